/**
 * Frames on a peer's stream: a JSON header and a payload of bytes.
 *
 *     <header bytes, uint32><payload bytes, uint32><header><payload>     big-endian
 */

const PREFIX_BYTES = 8
export const HEADER_BYTES_MAX = 1024 * 1024
export const PAYLOAD_BYTES_MAX = 64 * 1024 * 1024

export interface Frame {
  readonly header: string
  readonly payload: Buffer
}

export function encodeFrame(header: string, payload: readonly Buffer[] = []): Buffer[] {
  const headerBytes = Buffer.byteLength(header)
  const payloadBytes = payload.reduce((sum, piece) => sum + piece.length, 0)
  const start = Buffer.allocUnsafe(PREFIX_BYTES + headerBytes)
  start.writeUInt32BE(headerBytes, 0)
  start.writeUInt32BE(payloadBytes, 4)
  start.write(header, PREFIX_BYTES)
  return [start, ...payload]
}

/** Chunks to frames. A payload is a view of memory that is not written again. */
export class FrameDecoder {
  /** Larger frames than these are refused; to be lowered for strangers. */
  headerBytesMax = HEADER_BYTES_MAX
  payloadBytesMax = PAYLOAD_BYTES_MAX
  #chunks: Buffer[] = []
  #bytes = 0

  push(chunk: Buffer): void {
    this.#chunks.push(chunk)
    this.#bytes += chunk.length
  }

  /**
   * @returns the next frame, or null until more bytes come.
   * @throws Error where the lengths can't be a peer's.
   */
  next(): Frame | null {
    if (this.#bytes < PREFIX_BYTES) return null
    const prefix = this.#peek(PREFIX_BYTES)
    const headerBytes = prefix.readUInt32BE(0)
    const payloadBytes = prefix.readUInt32BE(4)
    if (headerBytes > this.headerBytesMax || payloadBytes > this.payloadBytesMax) {
      throw new Error(`a frame of ${headerBytes} + ${payloadBytes} bytes`)
    }
    const frameBytes = PREFIX_BYTES + headerBytes + payloadBytes
    if (this.#bytes < frameBytes) return null
    const frame = this.#peek(frameBytes)
    this.#drop(frameBytes)
    return {
      header: frame.toString('utf8', PREFIX_BYTES, PREFIX_BYTES + headerBytes),
      payload: frame.subarray(PREFIX_BYTES + headerBytes, frameBytes),
    }
  }

  /** The first `count` bytes in one piece. */
  #peek(count: number): Buffer {
    const first = this.#chunks[0]
    if (first && first.length >= count) return first.subarray(0, count)
    const pieces: Buffer[] = []
    let bytes = 0
    while (bytes < count) {
      const piece = this.#chunks.shift()
      if (!piece) break
      pieces.push(piece)
      bytes += piece.length
    }
    const joined = Buffer.concat(pieces)
    this.#chunks.unshift(joined)
    return joined.subarray(0, count)
  }

  #drop(count: number): void {
    this.#bytes -= count
    const first = this.#chunks[0]
    if (!first || first.length === count) this.#chunks.shift()
    else this.#chunks[0] = first.subarray(count)
  }
}
