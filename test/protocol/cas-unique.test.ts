import fc from 'fast-check'
import { expect, test } from 'vitest'
import { casOfWords, highWordOf, lowWordOf, parseCas } from '../../src/protocol/cas-unique.ts'

test('a number up to 2^53 - 1, a bigint from there to 2^64 - 1', () => {
  expect(parseCas('0')).toBe(0)
  expect(parseCas('007')).toBe(7)
  expect(parseCas('4294967296')).toBe(2 ** 32)
  expect(parseCas('9007199254740991')).toBe(2 ** 53 - 1)
  expect(parseCas('9007199254740992')).toBe(2n ** 53n)
  expect(parseCas('9007199254740993')).toBe(2n ** 53n + 1n)
  expect(parseCas('18446744073709551615')).toBe(2n ** 64n - 1n)
})

test('what is more than 64 bits, or no plain decimal number, is none', () => {
  const texts = ['18446744073709551616', '9'.repeat(40), '', '-1', '+1', '1.5', '1e3', '0x1', ' 1']
  expect(texts.map(parseCas)).toEqual(texts.map(() => null))
})

test('text, value and words say the same', () => {
  const bits = fc.oneof(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.maxSafeNat().map(BigInt))
  const property = fc.property(bits, (exact) => {
    const cas = parseCas(String(exact))
    if (cas === null) throw new Error(`${exact} is none`)
    expect(typeof cas).toBe(exact < 2n ** 53n ? 'number' : 'bigint')
    expect(String(cas)).toBe(String(exact))
    expect(BigInt(highWordOf(cas)) * 2n ** 32n + BigInt(lowWordOf(cas))).toBe(exact)
    expect(casOfWords(lowWordOf(cas), highWordOf(cas))).toBe(cas)
  })
  const edges = [2n ** 32n - 1n, 2n ** 32n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 64n - 1n]
  fc.assert(property, { seed: 1, numRuns: 2_000, examples: edges.map((edge) => [edge]) })
})
