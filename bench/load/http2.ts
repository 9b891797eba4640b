/**
 * Frames of HTTP/2, as far as a gRPC client needs them, by hand: Node's own http2 costs more
 * CPU a request than etcd does, and would be what is measured.
 *
 * Encoders return whole frames. `FrameReader` takes a stream cut anywhere; the payloads of
 * DATA and HEADERS, which a load generator only counts, are skipped.
 *
 * Source: RFC 9113 (frames, flow control), RFC 7541 (header fields).
 */
export const DATA = 0
export const HEADERS = 1
export const RST_STREAM = 3
export const SETTINGS = 4
export const PING = 6
export const GOAWAY = 7
export const WINDOW_UPDATE = 8

export const ACK = 1
export const END_STREAM = 1
export const END_HEADERS = 4

export const INITIAL_WINDOW_SIZE = 4
/** Of a connection and of each stream, until something else is said. */
export const DEFAULT_WINDOW = 65_535
export const WINDOW_MAX = 2 ** 31 - 1
/** Of a frame's payload, until something else is said. */
export const PAYLOAD_MAX = 16_384
export const FRAME_HEADER_BYTES = 9
/** Where in a frame the number of its stream is. */
export const STREAM_OFFSET = 5

export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1')

const STORED_PAYLOAD_MAX = 4_096

export function encodeFrame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(FRAME_HEADER_BYTES)
  header.writeUIntBE(payload.length, 0, 3)
  header[3] = type
  header[4] = flags
  header.writeUInt32BE(stream, STREAM_OFFSET)
  return Buffer.concat([header, payload])
}

export function encodeSettings(settings: readonly (readonly [id: number, value: number])[]) {
  const payload = Buffer.alloc(6 * settings.length)
  for (const [at, [id, value]] of settings.entries()) {
    payload.writeUInt16BE(id, 6 * at)
    payload.writeUInt32BE(value, 6 * at + 2)
  }
  return encodeFrame(SETTINGS, 0, 0, payload)
}

export function encodeWindowUpdate(stream: number, bytes: number): Buffer {
  const payload = Buffer.alloc(4)
  payload.writeUInt32BE(bytes)
  return encodeFrame(WINDOW_UPDATE, 0, stream, payload)
}

/** A header field, literal, not to be remembered by the other side, not compressed. */
export function encodeField(name: string, value: string): Buffer {
  return Buffer.concat([Buffer.from([0]), encodeText(name), encodeText(value)])
}

function encodeText(text: string): Buffer {
  if (text.length > 126) throw new Error('too long for a length of one byte')
  return Buffer.concat([Buffer.from([text.length]), Buffer.from(text, 'latin1')])
}

export interface FrameVisitor {
  /** DATA or HEADERS, once all of its payload is there. */
  onSkipped(type: number, flags: number, stream: number, bytes: number): void
  /** Any other frame; `payload` is a copy, cut at 4 KiB. */
  onFrame(type: number, flags: number, stream: number, payload: Buffer): void
}

export class FrameReader {
  readonly #visitor: FrameVisitor
  readonly #header = Buffer.alloc(FRAME_HEADER_BYTES)
  #headerHave = 0
  #payloadHave = 0
  #payload = Buffer.alloc(0)

  constructor(visitor: FrameVisitor) {
    this.#visitor = visitor
  }

  read(bytes: Buffer, length: number): void {
    let at = 0
    const header = this.#header
    while (at < length) {
      while (this.#headerHave < FRAME_HEADER_BYTES && at < length) {
        header[this.#headerHave++] = bytes[at++] ?? 0
      }
      if (this.#headerHave < FRAME_HEADER_BYTES) return
      const size = header.readUIntBE(0, 3)
      const type = header[3] ?? 0
      const isSkipped = type === DATA || type === HEADERS
      const taken = Math.min(size - this.#payloadHave, length - at)
      if (!isSkipped && this.#payload.length < STORED_PAYLOAD_MAX) {
        this.#payload = Buffer.concat([this.#payload, bytes.subarray(at, at + taken)])
      }
      at += taken
      this.#payloadHave += taken
      if (this.#payloadHave < size) return
      const stream = header.readUInt32BE(STREAM_OFFSET) & WINDOW_MAX
      const flags = header[4] ?? 0
      const payload = this.#payload
      this.#headerHave = 0
      this.#payloadHave = 0
      if (isSkipped) {
        this.#visitor.onSkipped(type, flags, stream, size)
      } else {
        this.#payload = Buffer.alloc(0)
        this.#visitor.onFrame(type, flags, stream, payload)
      }
    }
  }
}
