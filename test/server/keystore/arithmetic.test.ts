import { expect, test } from 'vitest'
import { addDelta, mayBeNumber, parseNumber } from '../../../src/server/keystore/arithmetic.ts'

const MAX = 2n ** 64n - 1n

test.each([
  ['0', 0n],
  ['009', 9n],
  [' 12 ', 12n],
  ['5  ', 5n],
  ['+7', 7n],
  ['\t\r\n8\n', 8n],
  ['18446744073709551615', MAX],
  ['000000000000000000009', 9n],
  ['9'.padStart(1_024, '0'), 9n],
  ['9'.padStart(1_025, '0'), null],
  ['18446744073709551616', null],
  ['', null],
  [' ', null],
  ['-1', null],
  ['+', null],
  ['12a', null],
  ['a 12', null],
  ['1 2', 1n],
  ['10 abc', 10n],
  ['1.0', null],
  ['0x1', null],
  ['1\0', 1n],
  [`10 ${'w'.repeat(70_000)}`, 10n],
  ['9 '.padStart(1_024, '0'), 9n],
  ['9 '.padStart(1_025, '0'), null],
  ['100\0\xff', 100n],
  ['\x001', null],
])('the number in %j is %s', (text, number) => {
  expect(parseNumber(Buffer.from(text))).toBe(number)
})

test.each([
  [0, false],
  [1, true],
  [524_288, true],
  [524_289, false],
])('a value of %s bytes may be a number: %s', (length, isPossible) => {
  expect(mayBeNumber(Buffer.alloc(length, '1'))).toBe(isPossible)
})

test.each([
  ['incr', 10n, 5, 15n],
  ['incr', MAX, 1, 0n],
  ['incr', 1n, MAX, 0n],
  ['incr', 2n ** 53n, 1, 2n ** 53n + 1n],
  ['decr', 10n, 3, 7n],
  ['decr', 3n, 3, 0n],
  ['decr', 3n, 4, 0n],
  ['decr', MAX, 2n ** 63n, 2n ** 63n - 1n],
] as const)('%s of %s by %s is %s', (verb, number, delta, sum) => {
  expect(addDelta(verb, number, delta)).toBe(sum)
})
