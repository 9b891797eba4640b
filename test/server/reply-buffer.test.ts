import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Stream } from '../../src/io/io.ts'
import { ItemStore } from '../../src/server/keystore/item-store.ts'
import { ReplyBuffer } from '../../src/server/reply-buffer.ts'

const items = fc.record({
  key: fc.string({
    unit: fc.integer({ min: 33, max: 255 }).map(charOf),
    minLength: 1,
    maxLength: 250,
  }),
  flags: fc.oneof(fc.constantFrom(0, 9, 10, 99, 100, 2 ** 31, 2 ** 32 - 1), fc.nat()),
  casUnique: fc.oneof(fc.nat(), fc.constantFrom(2 ** 53 - 1, 2n ** 64n - 1n)),
  value: fc.uint8Array({ maxLength: 2_048 }).map((bytes) => Buffer.from(bytes)),
  withCas: fc.boolean(),
})

function charOf(code: number): string {
  return String.fromCharCode(code)
}

test('an item stands in it as a get answers it', () => {
  fc.assert(
    fc.property(fc.array(items, { maxLength: 40 }), (added) => {
      const store = new ItemStore()
      const buffer = new ReplyBuffer()
      let expected = ''
      for (const { key, flags, casUnique, value, withCas } of added) {
        const fields = { expiresAtMs: 0, marks: 0, isFetched: false, accessedS: 0 }
        store.set(key, { flags, casUnique, value, ...fields })
        const found = store.find(key, 1)
        if (!found) throw new Error(`no ${key}`)
        if (!buffer.hasRoomForItem(found)) break
        buffer.addItem(key, found, withCas)
        const cas = withCas ? ` ${casUnique}` : ''
        const text = value.toString('latin1')
        expected += `VALUE ${key} ${flags} ${value.length}${cas}\r\n${text}\r\n`
        expect(buffer.length).toBe(expected.length)
      }
      expect(buffer.takeText()).toBe(expected)
      expect(buffer.length).toBe(0)
    }),
  )
})

test('an item for which there is room fits, whatever its numbers', () => {
  const store = new ItemStore()
  const key = 'k'.repeat(250)
  const fields = { expiresAtMs: 0, marks: 0, isFetched: false, accessedS: 0 }
  const value = Buffer.alloc(2_048, 'v')
  store.set(key, { flags: 2 ** 32 - 1, casUnique: 2n ** 64n - 1n, value, ...fields })
  const found = store.find(key, 1)
  if (!found) throw new Error('no item')
  for (let filled = 61_000; filled < 65_536; filled++) {
    const buffer = new ReplyBuffer()
    buffer.addText('x'.repeat(filled))
    if (!buffer.hasRoomForItem(found)) break
    buffer.addItem(key, found, true)
    expect(buffer.takeText().slice(-7)).toBe('vvvvv\r\n')
  }
})

describe('what is written', () => {
  /** @param takes Whether it takes what is written at once. */
  function streamThat(takes: boolean): { stream: Stream; chunks: Buffer[] } {
    const chunks: Buffer[] = []
    const stream = {
      write: (chunk: Buffer) => {
        chunks.push(takes ? Buffer.from(chunk) : chunk)
        return takes
      },
      get bufferedBytes() {
        return takes ? 0 : chunks.reduce((sum, { length }) => sum + length, 0)
      },
    }
    return { stream: stream as unknown as Stream, chunks }
  }

  test.each([true, false])('stays as it was, whether it is taken at once or not: %s', (takes) => {
    const buffer = new ReplyBuffer()
    const { stream, chunks } = streamThat(takes)
    for (const text of ['one', 'two', 'and three', 'siX']) {
      buffer.addText(text)
      expect(buffer.writeTo(stream)).toBe(text.length)
    }
    expect(buffer.writePieces(stream, ['four ', Buffer.from('and'), ' five'])).toBe(13)
    expect(chunks.map(String)).toEqual(['one', 'two', 'and three', 'siX', 'four and five'])
    expect(buffer.writeTo(stream)).toBe(0)
    expect(chunks).toHaveLength(5)
  })

  test('keeps no more memory than it needs while it waits, but for the first of it', () => {
    const buffer = new ReplyBuffer()
    const { stream, chunks } = streamThat(false)
    for (let count = 0; count < 1_000; count++) {
      buffer.addText('END\r\n')
      buffer.writeTo(stream)
    }
    const memories = new Set(chunks.map((chunk) => chunk.buffer))
    const bytes = [...memories].reduce((sum, { byteLength }) => sum + byteLength, 0)
    expect(bytes).toBeLessThan(128 * 1024)
  })
})
