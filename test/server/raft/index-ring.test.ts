import fc from 'fast-check'
import { expect, test } from 'vitest'
import { IndexRing } from '../../../src/server/raft/index-ring.ts'

test('values at indexes far from 0', () => {
  const ring = new IndexRing<string>()
  const index = 2 ** 40 + 7
  ring.set(index, 'a')
  ring.set(index + 1, 'b')
  expect([ring.get(index - 1), ring.get(index), ring.get(index + 1)]).toEqual([undefined, 'a', 'b'])
  expect([ring.count, ring.first]).toEqual([2, index])
})

test('what is deleted is let go of, and the first moves on past it', () => {
  const ring = new IndexRing<string>()
  for (const index of [5, 6, 7, 8]) ring.set(index, `v${index}`)
  ring.delete(6)
  expect(ring.first).toBe(5)
  ring.delete(5)
  expect([ring.first, ring.count, ring.get(5)]).toEqual([7, 2, undefined])
  ring.delete(5)
  expect(ring.count).toBe(2)
})

test('an index below all others, when the ring is as good as full', () => {
  const ring = new IndexRing<number>()
  for (let index = 100; index < 164; index++) ring.set(index, index)
  ring.set(90, 90)
  expect([ring.first, ring.count, ring.get(90), ring.get(163)]).toEqual([90, 65, 90, 163])
})

test('as a map does, wherever the window moves', () => {
  const action = fc.record({ step: fc.integer({ min: -40, max: 90 }), isDelete: fc.boolean() })
  fc.assert(
    fc.property(fc.array(action, { maxLength: 300 }), (actions) => {
      const ring = new IndexRing<number>()
      const map = new Map<number, number>()
      let at = 1_000
      for (const { step, isDelete } of actions) {
        at = Math.max(0, at + step)
        if (isDelete) {
          ring.delete(at)
          map.delete(at)
        } else {
          ring.set(at, at + 1)
          map.set(at, at + 1)
        }
        expect(ring.count).toBe(map.size)
        if (map.size > 0) expect(ring.first).toBe(Math.min(...map.keys()))
        for (let near = at - 200; near < at + 200; near++) {
          expect(ring.get(near)).toBe(map.get(near))
        }
      }
    }),
    { numRuns: 60 },
  )
})

test('one by one from the first, as a queue', () => {
  const ring = new IndexRing<number>()
  let next = 0
  for (let turn = 0; turn < 200; turn++) {
    for (let count = 0; count < (turn * 7) % 23; count++) ring.set(next, next++)
    for (let count = 0; count < (turn * 5) % 19 && ring.count > 0; count++) {
      expect(ring.get(ring.first)).toBe(next - ring.count)
      ring.delete(ring.first)
    }
  }
  while (ring.count > 0) ring.delete(ring.first)
  expect(ring.get(ring.first)).toBeUndefined()
})
