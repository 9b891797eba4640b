import { expect, test } from 'vitest'
import { hashOf, hashOfBytes } from '../../../src/server/keystore/key-hash.ts'

test('it never changes: what replicas sweep when depends on it', () => {
  expect(hashOf('')).toBe(0xab3e7c0b)
  expect(hashOf('key')).toBe(0x3a5e35fd)
  expect(hashOf('\xff\x80 a longer one, of any bytes')).toBe(0xeeee8410)
})

test('of a key and of its bytes it is the same', () => {
  for (const key of ['', 'k', 'key-000000000001', '\xff\x80\x00', 'x'.repeat(250)]) {
    const bytes = Buffer.from(`before${key}behind`, 'latin1')
    expect(hashOfBytes(bytes, 6, 6 + key.length)).toBe(hashOf(key))
  }
})

test('the upper and the lower bits of keys that hardly differ are spread evenly', () => {
  const high = new Array<number>(64).fill(0)
  const low = new Array<number>(64).fill(0)
  const count = 64_000
  for (let at = 0; at < count; at++) {
    const hash = hashOf(`user:${at}`)
    high[hash >>> 26] = (high[hash >>> 26] ?? 0) + 1
    low[hash & 63] = (low[hash & 63] ?? 0) + 1
  }
  for (const each of [...high, ...low]) {
    expect(each).toBeGreaterThan(850)
    expect(each).toBeLessThan(1150)
  }
})
