import { expect, test } from 'vitest'
import { Fifo } from '../../src/server/fifo.ts'

test('in the order in which they came, also across the end of the ring and through growth', () => {
  const fifo = new Fifo<number>()
  const expected: number[] = []
  let next = 0
  for (let turn = 0; turn < 200; turn++) {
    for (let count = 0; count < (turn * 7) % 23; count++) {
      fifo.push(next)
      expected.push(next++)
    }
    for (let count = 0; count < (turn * 5) % 19; count++) {
      expect(fifo.first).toBe(expected[0])
      fifo.shift()
      expected.shift()
    }
    expect([...fifo]).toEqual(expected)
  }
  expect(next).toBeGreaterThan(1_000)
})

test('nothing comes out of an empty one', () => {
  const fifo = new Fifo<string>()
  fifo.shift()
  expect(fifo.first).toBeUndefined()
  fifo.push('a')
  fifo.shift()
  expect([fifo.first, [...fifo]]).toEqual([undefined, []])
})
