import { describe, expect, test } from 'vitest'
import {
  canonicalExptime,
  canonicalFlags,
  canonicalUint32,
  canonicalUint64,
  parseLength,
} from '../../src/protocol/numbers.ts'

const BAD = [
  '',
  '-',
  '+',
  '--1',
  '+-1',
  '1x',
  'x1',
  '1.5',
  '1e3',
  '0x10',
  ' 1',
  '1 ',
  '1\n',
  '\u0661',
]
const ZEROS = '0'.repeat(30)

describe.each([
  ['canonicalFlags', canonicalFlags],
  ['canonicalUint32', canonicalUint32],
  ['canonicalUint64', canonicalUint64],
  ['canonicalExptime', canonicalExptime],
])('%s', (_, canonical) => {
  test.each(BAD)('%j is no number', (text) => {
    expect(canonical(text)).toBeNull()
  })

  test.each([
    ['0', '0'],
    ['+0', '0'],
    ['00', '0'],
    ['+007', '7'],
    ['999999999', '999999999'],
    ['1000000000', '1000000000'],
    ['0999999999', '999999999'],
    [`${ZEROS}12`, '12'],
  ])('%j is %j', (text, number) => {
    expect(canonical(text)).toBe(number)
  })

  test('more digits than any number needs are not looked at', () => {
    expect(canonical('0'.repeat(41))).toBeNull()
  })
})

test.each([
  ['4294967295', '4294967295'],
  ['4294967296', '0'],
  ['8589934591', '4294967295'],
  ['18446744073709551615', '4294967295'],
  ['18446744073709551616', null],
  ['-1', null],
  ['-0', null],
])('flags %s wrap to %s', (text, flags) => {
  expect(canonicalFlags(text)).toBe(flags)
})

test.each([
  ['4294967295', '4294967295'],
  ['4294967296', null],
  ['-1', null],
])('32 bits: %s is %s', (text, number) => {
  expect(canonicalUint32(text)).toBe(number)
})

test.each([
  ['9007199254740993', '9007199254740993'],
  ['18446744073709551615', '18446744073709551615'],
  ['+018446744073709551615', '18446744073709551615'],
  ['18446744073709551616', null],
  ['-1', null],
])('64 bits: %s is %s', (text, number) => {
  expect(canonicalUint64(text)).toBe(number)
})

test.each([
  ['2592001', '2592001'],
  ['2147483648', '2147483648'],
  ['99999999999', '99999999999'],
  ['100000000000', '99999999999'],
  ['9223372036854775807', '99999999999'],
  ['9223372036854775808', null],
  ['-0', '0'],
  ['-1', '-1'],
  ['-5', '-1'],
  ['-9223372036854775808', '-1'],
  ['-9223372036854775809', null],
])('exptime %s is %s', (text, exptime) => {
  expect(canonicalExptime(text)).toBe(exptime)
})

test.each([
  ['0', 0],
  ['+1', 1],
  ['0010', 10],
  ['2147483645', 2_147_483_645],
  ['2147483646', null],
  ['-1', null],
  ['-0', null],
  ['', null],
  ['1x', null],
  ['9'.repeat(1_000), null],
])('a length of %s is %s', (text, length) => {
  expect(parseLength(text)).toBe(length)
})
