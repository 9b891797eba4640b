/**
 * etcd's version 3 API, Range and Put over gRPC, on one HTTP/2 connection whose frames are
 * written by hand (see http2.ts for why). Range is linearizable, which is etcd's default.
 *
 * A request is a HEADERS frame and its message in DATA frames; a good reply is HEADERS, the
 * message in DATA, and trailers that end the stream. Trailers without a message are an
 * error, and so is a message whose length is not that of what was asked for. What etcd says
 * of it is compressed and not decoded.
 *
 * In flight means streams. The first stream of a connection asks for nothing anybody
 * measures: with it the connection is known to work.
 *
 * Source: etcd's rpc.proto and kv.proto; gRPC's doc/PROTOCOL-HTTP2.md.
 */
import {
  ACK,
  DATA,
  DEFAULT_WINDOW,
  END_HEADERS,
  END_STREAM,
  encodeField,
  encodeFrame,
  encodeSettings,
  encodeWindowUpdate,
  FRAME_HEADER_BYTES,
  FrameReader,
  GOAWAY,
  HEADERS,
  INITIAL_WINDOW_SIZE,
  PAYLOAD_MAX,
  PING,
  PREFACE,
  RST_STREAM,
  SETTINGS,
  STREAM_OFFSET,
  WINDOW_MAX,
  WINDOW_UPDATE,
} from './http2.ts'
import type { RequestFormat, Script } from './script.ts'
import type { Session, SessionEvents } from './session.ts'

const HELLO_STREAM = 1
const FIRST_STREAM = 3
/** A reply to a read is its value and at most so much around it. */
const REPLY_OVERHEAD_MAX = 200
/** Replies that are under way, by their streams' numbers; of a stream that lags more, wrong. */
const LAG_MAX = 65_536
/** What may come on the connection before it is told that there is room again. */
const RECEIVE_WINDOW = 2 ** 30

/** The frames of a request, its stream's number to be filled in. */
export const etcdFormat: RequestFormat = {
  read: (key) => encodeCall('Range', encodeBytesField(1, Buffer.from(key))),
  write: (key, value) =>
    encodeCall(
      'Put',
      Buffer.concat([encodeBytesField(1, Buffer.from(key)), encodeBytesField(2, value)]),
    ),
}

function encodeCall(method: string, message: Buffer): Buffer {
  const fields = [
    encodeField(':method', 'POST'),
    encodeField(':scheme', 'http'),
    encodeField(':path', `/etcdserverpb.KV/${method}`),
    encodeField(':authority', '127.0.0.1'),
    encodeField('content-type', 'application/grpc'),
    encodeField('te', 'trailers'),
  ]
  const prefix = Buffer.alloc(5)
  prefix.writeUInt32BE(message.length, 1)
  const body = Buffer.concat([prefix, message])
  const frames = [encodeFrame(HEADERS, END_HEADERS, 0, Buffer.concat(fields))]
  for (let at = 0; at < body.length; at += PAYLOAD_MAX) {
    const piece = body.subarray(at, at + PAYLOAD_MAX)
    frames.push(encodeFrame(DATA, at + PAYLOAD_MAX >= body.length ? END_STREAM : 0, 0, piece))
  }
  return Buffer.concat(frames)
}

/** A field of a protocol buffer that holds bytes. */
function encodeBytesField(field: number, value: Buffer): Buffer {
  const head = [(field << 3) | 2]
  let length = value.length
  for (; length > 127; length >>>= 7) head.push((length & 127) | 128)
  return Buffer.concat([Buffer.from([...head, length]), value])
}

/** DATA that has to wait until there is room for it. */
interface Waiting {
  readonly stream: number
  readonly frame: Buffer
  readonly bytes: number
  readonly isLast: boolean
}

export class EtcdSession implements Session {
  readonly #script: Script
  readonly #valueBytes: number
  readonly #events: SessionEvents
  readonly #frames: FrameReader
  readonly #startAt: number
  #requestAt: number
  #nextStream = FIRST_STREAM
  /** Bytes of messages, by stream. */
  readonly #messageBytes = new Int32Array(LAG_MAX)
  #received = 0
  #sendWindow = DEFAULT_WINDOW
  #streamWindow = DEFAULT_WINDOW
  #waiting: Waiting[] = []
  /** What streams that are not sent whole may still send. */
  readonly #windows = new Map<number, number>()

  constructor(script: Script, startAt: number, valueBytes: number, events: SessionEvents) {
    this.#script = script
    this.#startAt = startAt
    this.#requestAt = startAt
    this.#valueBytes = valueBytes
    this.#events = events
    this.#frames = new FrameReader({
      onSkipped: (...frame) => this.#handleStreamFrame(...frame),
      onFrame: (...frame) => this.#handleFrame(...frame),
    })
  }

  open(): void {
    const hello = etcdFormat.read('hello')
    setStream(hello, HELLO_STREAM)
    const settings = encodeSettings([[INITIAL_WINDOW_SIZE, WINDOW_MAX]])
    const window = encodeWindowUpdate(0, RECEIVE_WINDOW)
    this.#events.send(Buffer.concat([PREFACE, settings, window, hello]))
  }

  request(count: number): void {
    const { bytes, offsets, length } = this.#script
    const requests: Buffer[] = []
    for (let left = count; left > 0; left--) {
      const at = this.#requestAt
      const request = Buffer.from(bytes.subarray(offsets[at], offsets[at + 1]))
      setStream(request, this.#nextStream)
      this.#messageBytes[this.#nextStream % LAG_MAX] = 0
      this.#nextStream += 2
      this.#requestAt = at + 1 === length ? 0 : at + 1
      if (this.#waiting.length === 0 && this.#hasRoomFor(request)) requests.push(request)
      else this.#queue(request)
    }
    if (requests.length > 0) {
      this.#events.send(
        requests.length === 1 && requests[0] ? requests[0] : Buffer.concat(requests),
      )
    }
    this.#sendWaiting()
  }

  receive(bytes: Buffer, length: number): void {
    this.#frames.read(bytes, length)
    if (this.#received < RECEIVE_WINDOW / 2) return
    this.#events.send(encodeWindowUpdate(0, this.#received))
    this.#received = 0
  }

  #hasRoomFor(request: Buffer): boolean {
    const bytes = request.length // a little more than what counts
    if (bytes > this.#sendWindow || bytes > this.#streamWindow) return false
    this.#sendWindow -= dataBytesOf(request)
    return true
  }

  #queue(request: Buffer): void {
    const stream = request.readUInt32BE(STREAM_OFFSET)
    this.#windows.set(stream, this.#streamWindow)
    forEachFrame(request, (frame) => {
      const isData = frame[3] === DATA
      const isLast = isData && ((frame[4] ?? 0) & END_STREAM) !== 0
      const bytes = isData ? frame.length - FRAME_HEADER_BYTES : 0
      this.#waiting.push({ stream, frame, bytes, isLast })
    })
  }

  /** In order: one whose stream has no room holds up the others. */
  #sendWaiting(): void {
    let sent = 0
    for (const { stream, frame, bytes, isLast } of this.#waiting) {
      const window = this.#windows.get(stream) ?? 0
      if (bytes > Math.min(window, this.#sendWindow)) break
      this.#sendWindow -= bytes
      this.#windows.set(stream, window - bytes)
      if (isLast) this.#windows.delete(stream)
      this.#events.send(frame)
      sent++
    }
    if (sent > 0) this.#waiting.splice(0, sent)
  }

  #handleStreamFrame(type: number, flags: number, stream: number, bytes: number): void {
    const slot = stream % LAG_MAX
    if (type === DATA) {
      this.#received += bytes
      this.#messageBytes[slot] = (this.#messageBytes[slot] ?? 0) + bytes
    }
    if ((flags & END_STREAM) === 0) return
    const messageBytes = this.#messageBytes[slot] ?? 0
    if (stream === HELLO_STREAM) {
      if (messageBytes > 0) this.#events.onReady()
      else this.#events.onError('etcd refused the first request')
      return
    }
    const number = (stream - FIRST_STREAM) / 2
    const isWrite = this.#script.writes[(this.#startAt + number) % this.#script.length] === 1
    const least = isWrite ? 1 : this.#valueBytes
    if (messageBytes === 0) {
      this.#events.onError('etcd refused a request: a reply without a message')
    } else if (messageBytes < least || messageBytes > least + REPLY_OVERHEAD_MAX) {
      const what = isWrite ? 'write' : 'read'
      this.#events.onError(`etcd answered a ${what} with ${messageBytes} bytes`)
    }
    this.#events.onReply(number)
  }

  #handleFrame(type: number, flags: number, stream: number, payload: Buffer): void {
    switch (type) {
      case SETTINGS:
        if (flags & ACK) return
        this.#handleSettings(payload)
        this.#events.send(encodeFrame(SETTINGS, ACK, 0, Buffer.alloc(0)))
        return
      case PING:
        if (!(flags & ACK)) this.#events.send(encodeFrame(PING, ACK, 0, payload))
        return
      case WINDOW_UPDATE: {
        const bytes = payload.readUInt32BE() & WINDOW_MAX
        const window = this.#windows.get(stream)
        if (stream === 0) this.#sendWindow += bytes
        else if (window !== undefined) this.#windows.set(stream, window + bytes)
        this.#sendWaiting()
        return
      }
      case GOAWAY:
      case RST_STREAM:
        this.#events.onError(`etcd gave up ${type === GOAWAY ? 'the connection' : 'a stream'}`)
    }
  }

  #handleSettings(payload: Buffer): void {
    for (let at = 0; at + 6 <= payload.length; at += 6) {
      if (payload.readUInt16BE(at) !== INITIAL_WINDOW_SIZE) continue
      const more = payload.readUInt32BE(at + 2) - this.#streamWindow
      this.#streamWindow += more
      for (const [stream, window] of this.#windows) this.#windows.set(stream, window + more)
      this.#sendWaiting()
    }
  }
}

function forEachFrame(frames: Buffer, visit: (frame: Buffer) => void): void {
  for (let at = 0; at < frames.length; ) {
    const end = at + FRAME_HEADER_BYTES + frames.readUIntBE(at, 3)
    visit(frames.subarray(at, end))
    at = end
  }
}

function setStream(frames: Buffer, stream: number): void {
  forEachFrame(frames, (frame) => frame.writeUInt32BE(stream, STREAM_OFFSET))
}

/** A request's frames without their headers and its header fields. */
function dataBytesOf(request: Buffer): number {
  let bytes = 0
  forEachFrame(request, (frame) => {
    if (frame[3] === DATA) bytes += frame.length - FRAME_HEADER_BYTES
  })
  return bytes
}
