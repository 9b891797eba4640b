import { expect, test } from 'vitest'
import { GetValues } from '../../src/server/get-values.ts'

const kept = (values: GetValues) => [1, 2, 3, 4].filter((place) => values.get(place))

test('values are kept by their place until those before it are forgotten', () => {
  const values = new GetValues(100)
  for (const place of [1, 2, 4]) values.add(place, Buffer.from(`${place}`))
  expect(`${values.get(2)}`).toBe('2')
  values.forgetBefore(3)
  expect(kept(values)).toEqual([4])
  values.clear()
  expect(kept(values)).toEqual([])
})

test('no more bytes are kept than may be: the oldest go', () => {
  const values = new GetValues(100)
  for (const place of [1, 2, 3]) values.add(place, Buffer.alloc(40))
  expect(kept(values)).toEqual([2, 3])
  values.forgetBefore(3)
  values.add(4, Buffer.alloc(60))
  expect(kept(values)).toEqual([3, 4])
  values.clear()
  for (const place of [1, 2]) values.add(place, Buffer.alloc(50))
  expect(kept(values)).toEqual([1, 2])
})
