import { crc32 } from 'node:zlib'
import { expect, test } from 'vitest'
import { crc32Of } from '../../src/protocol/crc32.ts'

test('it is the sum that zlib makes, of any length, anywhere, behind anything', () => {
  const bytes = Buffer.from(Array.from({ length: 1_000 }, (_, at) => (at * 167 + (at >> 3)) & 255))
  for (const before of [0, 1, 2 ** 31, 2 ** 32 - 1]) {
    for (let length = 0; length < 700; length++) {
      const start = length % 17
      const end = start + length
      expect(crc32Of(bytes, start, end, before)).toBe(crc32(bytes.subarray(start, end), before))
    }
  }
})

test('a sum goes on where another one ended', () => {
  const bytes = Buffer.from('123456789')
  expect(crc32Of(bytes, 0, 9)).toBe(0xcbf43926)
  expect(crc32Of(bytes, 4, 9, crc32Of(bytes, 0, 4))).toBe(0xcbf43926)
})
