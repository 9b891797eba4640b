// Goal: what is copied arrives, whatever stands around it, in whatever order memories come.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Copier, viewOf } from '../../../src/server/keystore/copier.ts'

const SIZE = 600

test('copies from anywhere to anywhere, and touches nothing else', () => {
  const piece = fc.record({
    source: fc.nat(2),
    start: fc.nat(SIZE / 2),
    length: fc.oneof(fc.nat(20), fc.nat(SIZE / 2 - 1)),
    at: fc.nat(SIZE / 2),
  })
  const property = fc.property(fc.array(piece, { minLength: 1, maxLength: 12 }), (pieces) => {
    const copier = new Copier()
    const pool = Buffer.from(Array.from({ length: 4 * SIZE }, byteAt))
    const sources = [0, 1, 2].map((at) => pool.subarray(1 + at * SIZE, 1 + (at + 1) * SIZE))
    const to = Buffer.alloc(SIZE, 0xee)
    const wanted = Buffer.from(to)
    for (const { source, start, length, at } of pieces) {
      const from = sources[source] as Buffer
      copier.copy(from, start, start + length, to, viewOf(to), at)
      wanted.set(from.subarray(start, start + length), at)
      expect(to.equals(wanted)).toBe(true)
    }
  })
  fc.assert(property, { seed: 1, numRuns: 1_000 })
})

function byteAt(_: unknown, at: number): number {
  return (at * 31 + (at >> 8)) & 255
}
