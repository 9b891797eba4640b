import fc from 'fast-check'
import { expect, test } from 'vitest'
import { UsageError } from '../../../bin/client/outcome.ts'
import { quoted } from '../../../bin/client/reply.ts'
import { splitWords } from '../../../bin/client/words.ts'

const split = (line: string) => splitWords(line).map(({ bytes }) => bytes.toString('latin1'))

test.each([
  ['', []],
  ['  a \t b  ', ['a', 'b']],
  ['set k "hello world"', ['set', 'k', 'hello world']],
  ["set k 'it is \\n'", ['set', 'k', 'it is \\n']],
  ['"" \'\'', ['', '']],
  ['"\\"\\\\\\n\\r\\t\\x00\\xFf"', ['"\\\n\r\t\0\xff']],
  ['{"a":1} it\'s C:\\temp', ['{"a":1}', "it's", 'C:\\temp']],
])('%s', (line, words) => {
  expect(split(line)).toEqual(words)
})

test('words are UTF-8, of every character', () => {
  expect(splitWords('grüße "grüße 🙂"').map(({ bytes }) => String(bytes))).toEqual([
    'grüße',
    'grüße 🙂',
  ])
})

test.each([
  ['get "a', 'the quote that begins "a has no end'],
  ["get 'a", "the quote that begins 'a has no end"],
  ['get "a\\', 'the quote that begins "a\\ has no end'],
  ['get "a"b', 'a blank must follow the quote that ends get "a"'],
  ['get "\\q"', 'no such escape: \\q; there are \\\\ \\" \\n \\r \\t \\xHH'],
  ['get "\\x4"', 'no such escape: \\x; there are \\\\ \\" \\n \\r \\t \\xHH'],
])('%s is an error that says why', (line, why) => {
  expect(() => splitWords(line)).toThrow(new UsageError(why))
})

test('any bytes can be typed as they are printed', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), fc.string(), (bytes, text) => {
      for (const value of [Buffer.from(bytes), Buffer.from(text)]) {
        const line = quoted(value)
        expect(line).not.toMatch(/[\n\r]/)
        expect(splitWords(line).map((word) => word.bytes)).toEqual([value])
      }
    }),
  )
})
