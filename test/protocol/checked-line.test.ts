import fc from 'fast-check'
import { expect, test } from 'vitest'
import { checkedLine, crcHex, readCheckedLine, seedOf } from '../../src/protocol/checked-line.ts'

/** Any one line: what `.` matches in a regular expression. */
const TEXT = fc
  .string({ unit: 'binary', maxLength: 60 })
  .map((text) => text.replace(/[\n\r\u2028\u2029]/g, '_'))

test('a line is its text, a space, the checksum in 8 digits and a line end', () => {
  // The check value of CRC-32, and one that begins with zeros.
  expect(checkedLine('123456789')).toBe('123456789 cbf43926\n')
  expect(crcHex(0x1f)).toBe('0000001f')
  expect(crcHex(0xffffffff)).toBe('ffffffff')
})

test('a line reads back, with and without its end', () => {
  fc.assert(
    fc.property(TEXT, fc.nat(0xffffffff), (text, seed) => {
      const line = checkedLine(text, seed)
      expect(readCheckedLine(line, seed)).toBe(text)
      expect(readCheckedLine(line.slice(0, -1), seed)).toBe(text)
    }),
  )
})

test('the empty text reads back', () => {
  expect(readCheckedLine(checkedLine(''))).toBe('')
})

test('every damage of one byte shows', () => {
  const line = checkedLine('vote 17 a1b2c3d4', 5)
  for (let at = 0; at < line.length - 1; at++) {
    for (let byte = 0; byte < 128; byte++) {
      const damaged = line.slice(0, at) + String.fromCharCode(byte) + line.slice(at + 1)
      expect(readCheckedLine(damaged, 5)).toBe(damaged === line ? 'vote 17 a1b2c3d4' : null)
    }
  }
})

test('a line cut anywhere does not verify', () => {
  const line = checkedLine('cluster 0123456789abcdef -')
  for (let end = 0; end < line.length - 1; end++) {
    expect(readCheckedLine(line.slice(0, end))).toBeNull()
  }
})

test('a line of another owner does not verify', () => {
  fc.assert(
    fc.property(TEXT, TEXT, TEXT, (text, owner, other) => {
      fc.pre(seedOf(owner) !== seedOf(other))
      expect(readCheckedLine(checkedLine(text, seedOf(owner)), seedOf(other))).toBeNull()
    }),
  )
  expect(readCheckedLine(checkedLine('x', seedOf('c1')))).toBeNull()
  expect(readCheckedLine(checkedLine('x'), seedOf('c1'))).toBeNull()
})

test.each([
  '',
  '\n',
  'abc',
  ' cbf43926',
  '123456789cbf43926',
  '123456789 CBF43926',
  '123456789 cbf43926 ',
  '123456789 cbf43926\n\n',
  '123456789 cbf43926\r\n',
  '123456789  cbf43926',
  '\n123456789 cbf43926',
  '123456789 cbf43926\n123456789 cbf43926\n',
])('%j is no checked line', (line) => {
  expect(readCheckedLine(line)).toBeNull()
})
