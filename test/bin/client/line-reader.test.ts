import fc from 'fast-check'
import { expect, test } from 'vitest'
import { readLines } from '../../../bin/client/line-reader.ts'
import type { DiskFile } from '../../../src/io/io.ts'

/** A file that hands out no more than `pieceBytes` at a time. */
function fileOf(text: string, pieceBytes: number): DiskFile {
  const bytes = Buffer.from(text)
  return {
    read: async (offset, length) => bytes.subarray(offset, offset + Math.min(length, pieceBytes)),
    size: async () => bytes.length,
    close: async () => {},
    write: () => Promise.reject(new Error('it is only read')),
    datasync: () => Promise.reject(new Error('it is only read')),
  }
}

test('lines are the same however the file comes, from the start of any of them', async () => {
  const text = fc.array(fc.constantFrom('a', 'bc', '\n', 'ä', '\r'), { maxLength: 40 })
  await fc.assert(
    fc.asyncProperty(
      text.map((parts) => parts.join('')),
      fc.integer({ min: 1, max: 10 }),
      async (text, pieceBytes) => {
        const expected = text.match(/[^\n]*\n|[^\n]+$/g) ?? []
        let start = 0
        for (let from = 0; from <= expected.length; from++) {
          const found: string[] = []
          let endOffset = start
          for await (const line of readLines(fileOf(text, pieceBytes), start)) {
            endOffset += line.raw.length
            expect(line.endOffset).toBe(endOffset)
            expect(String(line.bytes)).toBe(String(line.raw).replace(/\n$/, ''))
            found.push(String(line.raw))
          }
          expect(found).toEqual(expected.slice(from))
          start += Buffer.byteLength(expected[from] ?? '')
        }
      },
    ),
  )
})
