import http2 from 'node:http2'
import net from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import {
  DATA,
  END_STREAM,
  encodeField,
  encodeFrame,
  encodeSettings,
  encodeWindowUpdate,
  FrameReader,
  HEADERS,
  INITIAL_WINDOW_SIZE,
  PING,
} from '../../bench/load/http2.ts'
import { jobFor } from './job.ts'
import { Recorder } from './recorder.ts'

test('frames are as RFC 9113 has them', () => {
  expect(encodeFrame(PING, 1, 0, Buffer.from('12345678')).toString('hex')).toBe(
    '0000080601000000003132333435363738',
  )
  expect(encodeWindowUpdate(3, 65_536).toString('hex')).toBe('00000408000000000300010000')
  expect(encodeSettings([[INITIAL_WINDOW_SIZE, 1]]).toString('hex')).toBe(
    '000006040000000000000400000001',
  )
  expect(encodeField('te', 'trailers').toString('hex')).toBe('0002746508747261696c657273')
})

test('a reader takes frames cut anywhere', () => {
  const frames = Buffer.concat([
    encodeSettings([[INITIAL_WINDOW_SIZE, 70_000]]),
    encodeFrame(HEADERS, 4, 1, Buffer.from('h')),
    encodeFrame(DATA, 0, 1, Buffer.alloc(300, 'd')),
    encodeFrame(DATA, 0, 3, Buffer.alloc(0)),
    encodeFrame(PING, 0, 0, Buffer.from('12345678')),
    encodeFrame(HEADERS, 5, 2 ** 31 - 1, Buffer.from('trailers')),
  ])
  for (let pieceBytes = 1; pieceBytes <= frames.length; pieceBytes++) {
    const seen: unknown[] = []
    const reader = new FrameReader({
      onSkipped: (...frame) => seen.push(frame),
      onFrame: (type, flags, stream, payload) =>
        seen.push([type, flags, stream, payload.toString('hex')]),
    })
    for (let at = 0; at < frames.length; at += pieceBytes) {
      const piece = frames.subarray(at, at + pieceBytes)
      reader.read(piece, piece.length)
    }
    expect(seen).toEqual([
      [4, 0, 0, '000400011170'],
      [HEADERS, 4, 1, 1],
      [DATA, 0, 1, 300],
      [DATA, 0, 3, 0],
      [PING, 0, 0, '3132333435363738'],
      [HEADERS, 5, 2 ** 31 - 1, 8],
    ])
  }
})

describe('etcd', () => {
  const OK = encodeFrame(HEADERS, 4, 0, encodeField(':status', '200'))
  const TRAILERS = encodeFrame(HEADERS, 4 | END_STREAM, 0, encodeField('grpc-status', '0'))

  function on(stream: number, frame: Buffer): Buffer {
    const copy = Buffer.from(frame)
    copy.writeUInt32BE(stream, 5)
    return copy
  }

  function reply(stream: number, messageBytes: number): Buffer {
    const message = encodeFrame(DATA, 0, stream, Buffer.alloc(messageBytes))
    return Buffer.concat([on(stream, OK), message, on(stream, TRAILERS)])
  }

  const JOB = jobFor({ protocol: 'etcd', valueBytes: 100 })

  test('is ready once the first stream is answered; then replies come in any order, cut anywhere', () => {
    const bytes = Buffer.concat([reply(1, 30), reply(5, 180), reply(3, 180)])
    for (let pieceBytes = 1; pieceBytes <= bytes.length; pieceBytes++) {
      const recorder = new Recorder(JOB)
      recorder.session.open()
      recorder.session.request(2)
      recorder.receive(bytes, pieceBytes)
      expect(recorder).toMatchObject({ isReady: true, replies: [1, 0], errors: [] })
    }
  })

  test('a reply without a message is an error, and so is one of a wrong length', () => {
    const recorder = new Recorder(JOB)
    recorder.session.request(3)
    recorder.receive(Buffer.concat([on(3, TRAILERS), reply(5, 30), reply(7, 400)]))
    expect(recorder.replies).toEqual([0, 1, 2])
    expect(recorder.errors).toEqual([
      'etcd refused a request: a reply without a message',
      'etcd answered a read with 30 bytes',
      'etcd answered a read with 400 bytes',
    ])
  })

  test('settings and pings are acknowledged, a stream reset is an error', () => {
    const recorder = new Recorder(JOB)
    recorder.receive(encodeSettings([[3, 100]]))
    recorder.receive(encodeFrame(PING, 0, 0, Buffer.from('12345678')))
    expect(recorder.takeSent().toString('hex')).toBe(
      `000000040100000000${'000008060100000000'}3132333435363738`,
    )
    recorder.receive(encodeFrame(3, 0, 5, Buffer.alloc(4)))
    expect(recorder.errors).toEqual(['etcd gave up a stream'])
  })

  test('sends no more than there is room for, on the connection and on a stream', () => {
    const job = jobFor({ protocol: 'etcd', kind: 'write', valueBytes: 60_000 })
    const recorder = new Recorder(job)
    recorder.session.request(1)
    expect(dataBytes(recorder.takeSent())).toBeGreaterThan(60_000)
    recorder.session.request(1)
    expect(dataBytes(recorder.takeSent())).toBe(0)
    // The rest of the connection's window, and 20,000 more: one piece of 16,384, not two.
    recorder.receive(encodeWindowUpdate(0, 20_000))
    expect(dataBytes(recorder.takeSent())).toBe(16_384)
    recorder.receive(encodeWindowUpdate(0, 1_000_000))
    expect(dataBytes(recorder.takeSent())).toBeGreaterThan(60_000 - 16_384)
    const large = new Recorder({ ...job, valueBytes: 65_536 })
    large.receive(encodeWindowUpdate(0, 1_000_000))
    large.session.request(1)
    expect(dataBytes(large.takeSent())).toBe(3 * 16_384)
    large.receive(encodeWindowUpdate(3, 1))
    expect(dataBytes(large.takeSent())).toBe(16_384)
    large.receive(encodeSettings([[INITIAL_WINDOW_SIZE, 100_000]]))
    expect(dataBytes(large.takeSent())).toBe(5 + 2 + 12 + 4 + 65_536 - 4 * 16_384)
  })

  function dataBytes(frames: Buffer): number {
    let sum = 0
    const onSkipped = (type: number, _flags: number, _stream: number, bytes: number) => {
      if (type === DATA) sum += bytes
    }
    new FrameReader({ onSkipped, onFrame: () => {} }).read(frames, frames.length)
    return sum
  }
})

describe("against Node's own http2", () => {
  const ends: (() => void)[] = []
  afterEach(() => {
    for (const end of ends.splice(0)) end()
  })

  /** A server that answers each call with its path, and a message of this length; and what it saw. */
  async function serve(messageBytes: number) {
    const calls: { path: unknown; type: unknown; bytes: number }[] = []
    const server = http2.createServer()
    server.on('stream', (stream, headers) => {
      let bytes = 0
      stream.on('data', (chunk: Buffer) => {
        bytes += chunk.length
      })
      stream.on('end', () => {
        calls.push({ path: headers[':path'], type: headers['content-type'], bytes })
        stream.respond({ ':status': 200 }, { waitForTrailers: true })
        stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
        stream.end(Buffer.alloc(messageBytes))
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    ends.push(() => server.close())
    return { port: (server.address() as net.AddressInfo).port, calls }
  }

  test('requests arrive and replies are understood, also such as need more than a window', async () => {
    const valueBytes = 65_536
    const { port, calls } = await serve(valueBytes + 100)
    const job = jobFor({ protocol: 'etcd', kind: 'mix', valueBytes })
    const recorder = new Recorder(job)
    const socket = net.connect(port, '127.0.0.1')
    ends.push(() => socket.destroy())
    const count = 100
    const { session } = recorder
    const done = new Promise<void>((resolve, reject) => {
      let isAsked = false
      socket.on('error', reject)
      socket.on('data', (chunk) => {
        session.receive(chunk, chunk.length)
        if (recorder.isReady && !isAsked) {
          isAsked = true
          session.request(count)
        }
        socket.write(recorder.takeSent())
        if (recorder.replies.length === count) resolve()
      })
    })
    session.open()
    socket.write(recorder.takeSent())
    await done
    expect([...recorder.replies].sort((a, b) => a - b)).toEqual(
      Array.from({ length: count }, (_, number) => number),
    )
    expect(calls).toHaveLength(count + 1)
    expect(calls.every(({ type }) => type === 'application/grpc')).toBe(true)
    const [first, ...rest] = calls
    expect(first?.path).toBe('/etcdserverpb.KV/Range')
    const writes = rest.filter(({ path }) => path === '/etcdserverpb.KV/Put')
    expect(writes.length).toBeGreaterThan(0)
    for (const { bytes } of writes) expect(bytes).toBe(5 + 2 + 12 + 4 + valueBytes)
    // Writes were answered with a message of a read's length: each is told, and nothing else is.
    expect(recorder.errors).toHaveLength(writes.length)
  })
})
