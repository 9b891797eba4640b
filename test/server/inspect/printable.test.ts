import fc from 'fast-check'
import { expect, test } from 'vitest'
import { printable } from '../../../src/server/inspect/printable.ts'

/** What bash's `printf %b` makes of it. */
function unescaped(text: string): Buffer {
  const short: Record<string, string> = { n: '\n', r: '\r', t: '\t', '\\': '\\' }
  const parts = text.split(/(\\x[0-9a-f]{2}|\\.)/s).map((part) => {
    if (part.startsWith('\\x')) return Buffer.from(part.slice(2), 'hex')
    return Buffer.from(part.startsWith('\\') ? (short[part.slice(1)] ?? '?') : part)
  })
  return Buffer.concat(parts)
}

test('text stays as it is', () => {
  for (const text of ['', 'hello world', '{"a":["b~!"]}', 'größer 日本 🙂', '\ufeffmark']) {
    expect(printable(Buffer.from(text))).toBe(text)
  }
})

test.each([
  ['a\r\nb\tc', 'a\\r\\nb\\tc'],
  ['C:\\n', 'C:\\\\n'],
  ['\0\x1b[31m\x7f', '\\x00\\x1b[31m\\x7f'],
  ['\u0085\u2028', '\\xc2\\x85\\xe2\\x80\\xa8'],
])('what would break the line or the terminal is escaped: %j', (text, shown) => {
  expect(printable(Buffer.from(text))).toBe(shown)
})

test('bytes that are not UTF-8 are shown one by one', () => {
  expect(printable(Buffer.from('ff61c3bc80', 'hex'))).toBe('\\xffa\\xc3\\xbc\\x80')
})

test('any bytes stay one line, and can be had back', () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 40 }).map((array) => Buffer.from(array)),
    fc.string({ unit: 'binary', maxLength: 20 }).map((text) => Buffer.from(text)),
  )
  fc.assert(
    fc.property(bytes, (value) => {
      const shown = printable(value)
      expect(shown).not.toMatch(/\p{Cc}/u)
      expect(unescaped(shown).equals(value)).toBe(true)
    }),
    { numRuns: 500 },
  )
})
