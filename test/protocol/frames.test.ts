import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { encodeFrame, FrameDecoder } from '../../src/protocol/frames.ts'

const HEADER_MAX = 1024 * 1024
const PAYLOAD_MAX = 64 * 1024 * 1024

interface Plain {
  readonly header: string
  readonly payload: string
}

test('a frame is two lengths, the header and the payload', () => {
  const bytes = Buffer.concat(encodeFrame('hé', [Buffer.from('ab'), Buffer.from('c')]))
  expect(bytes.toString('latin1')).toBe('\0\0\0\x03\0\0\0\x03h\xc3\xa9abc')
})

test('the payload goes out without a copy', () => {
  const piece = Buffer.from('abc')
  expect(encodeFrame('h', [piece])[1]).toBe(piece)
})

test('frames come back whole, byte by byte and cut anywhere', () => {
  const frame = fc.record({
    header: fc.string({ unit: 'grapheme', maxLength: 40 }),
    pieces: fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 3 }),
  })
  const sizes = fc.infiniteStream(fc.integer({ min: 0, max: 30 }))
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 5 }), sizes, (frames, cuts) => {
      const bytes = Buffer.concat(
        frames.flatMap(({ header, pieces }) => encodeFrame(header, pieces.map(Buffer.from))),
      )
      const plain = frames.map(({ header, pieces }) => ({
        header,
        payload: Buffer.concat(pieces).toString('latin1'),
      }))
      expect(decode([bytes])).toEqual(plain)
      expect(decode(Array.from(bytes, (byte) => Buffer.from([byte])))).toEqual(plain)
      const chunks: Buffer[] = []
      for (let at = 0; at < bytes.length; ) {
        const size: number = cuts.next().value ?? 1
        chunks.push(Buffer.from(bytes.subarray(at, at + size)))
        at += size
      }
      expect(decode(chunks)).toEqual(plain)
    }),
    { numRuns: 300 },
  )
})

test('a payload stays what it was while more comes in', () => {
  const decoder = new FrameDecoder()
  decoder.push(Buffer.concat(encodeFrame('1', [Buffer.from('one')])))
  const first = decoder.next()
  for (let at = 0; at < 100; at++) {
    decoder.push(Buffer.concat(encodeFrame('2', [Buffer.alloc(100, 'x')])))
    decoder.next()
  }
  expect(first?.payload.toString()).toBe('one')
})

test('an unfinished frame waits', () => {
  const bytes = Buffer.concat(encodeFrame('header', [Buffer.from('payload')]))
  for (let end = 0; end < bytes.length; end++) {
    const decoder = new FrameDecoder()
    decoder.push(bytes.subarray(0, end))
    expect(decoder.next()).toBeNull()
    expect(decoder.next()).toBeNull()
    decoder.push(bytes.subarray(end))
    expect(decoder.next()).toMatchObject({ header: 'header' })
  }
})

describe('lengths that can not be a peer’s', () => {
  test.each([
    ['header one too long', HEADER_MAX + 1, 0],
    ['payload one too long', 0, PAYLOAD_MAX + 1],
    ['both as long as they can be', 0xffffffff, 0xffffffff],
  ])('%s: throws as soon as the lengths are there', (_title, header, payload) => {
    const decoder = new FrameDecoder()
    const bytes = lengths(header, payload)
    decoder.push(bytes.subarray(0, 7))
    expect(decoder.next()).toBeNull()
    decoder.push(bytes.subarray(7))
    expect(() => decoder.next()).toThrow(`a frame of ${header} + ${payload} bytes`)
  })

  test('the longest that can be waits', () => {
    const decoder = new FrameDecoder()
    decoder.push(lengths(HEADER_MAX, PAYLOAD_MAX))
    expect(decoder.next()).toBeNull()
  })

  test('the longest header comes back', () => {
    const header = 'h'.repeat(HEADER_MAX)
    expect(decode(encodeFrame(header))).toEqual([{ header, payload: '' }])
  })

  test('another protocol’s first bytes throw', () => {
    const decoder = new FrameDecoder()
    decoder.push(Buffer.from('GET / HTTP/1.1\r\n'))
    expect(() => decoder.next()).toThrow('a frame of')
  })
})

function lengths(header: number, payload: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeUInt32BE(header, 0)
  bytes.writeUInt32BE(payload, 4)
  return bytes
}

/** Takes what there is after each chunk; renders at the end. */
function decode(chunks: readonly Buffer[]): Plain[] {
  const decoder = new FrameDecoder()
  const frames = chunks.flatMap((chunk) => {
    decoder.push(chunk)
    return [...take(decoder)]
  })
  return frames.map(({ header, payload }) => ({ header, payload: payload.toString('latin1') }))
}

function* take(decoder: FrameDecoder) {
  for (let frame = decoder.next(); frame; frame = decoder.next()) yield frame
}

test('the memory of a chunk may be used again at once', () => {
  const decoder = new FrameDecoder()
  const [first, second] = ['one', 'two'].map((text) =>
    Buffer.concat(encodeFrame(text, [Buffer.from(text.repeat(2_000))])),
  ) as [Buffer, Buffer]
  const memory = Buffer.alloc(1_000)
  const frames: string[] = []
  for (let at = 0; at < first.length + second.length; at += memory.length) {
    const count = Buffer.concat([first, second]).copy(memory, 0, at, at + memory.length)
    decoder.push(memory.subarray(0, count))
    memory.fill('x')
    for (let frame = decoder.next(); frame; frame = decoder.next()) {
      frames.push(frame.header, frame.payload.toString())
    }
  }
  expect(frames).toEqual(['one', 'one'.repeat(2_000), 'two', 'two'.repeat(2_000)])
})
