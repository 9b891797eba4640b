/**
 * Frames on a peer's stream: a header of text and a payload of bytes.
 *
 *     <header bytes, uint32><payload bytes, uint32><header><payload>     big-endian
 */

const PREFIX_BYTES = 8
export const HEADER_BYTES_MAX = 1024 * 1024
export const PAYLOAD_BYTES_MAX = 64 * 1024 * 1024

/** Of a new piece; that of a quiet stream is small. */
const MEMORY_BYTES_MIN = 4 * 1024
const MEMORY_BYTES_MAX = 256 * 1024
const NO_MEMORY = Buffer.alloc(0)

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

/**
 * Chunks to frames. What comes is copied, one chunk behind the other, into larger pieces of
 * memory that are not written again: a payload is a view of them. So it takes one allocation
 * for many reads, and the chunk's own memory can be used for the next read at once.
 */
export class FrameDecoder {
  /** Larger frames than these are refused; to be lowered for strangers. */
  headerBytesMax = HEADER_BYTES_MAX
  payloadBytesMax = PAYLOAD_BYTES_MAX
  #memory = NO_MEMORY
  /** What is there and not taken stands between these. */
  #start = 0
  #end = 0
  /** Of the one that has begun, where that is known. */
  #frameBytes = 0

  /** The chunk is good only until this returns. */
  push(chunk: Buffer): void {
    if (this.#memory.length - this.#end < chunk.length) this.#begin(chunk.length)
    chunk.copy(this.#memory, this.#end)
    this.#end += chunk.length
  }

  /**
   * @returns the next frame, or null until more bytes come.
   * @throws Error where the lengths can't be a peer's.
   */
  next(): Frame | null {
    if (this.#end - this.#start < PREFIX_BYTES) return null
    const headerBytes = this.#memory.readUInt32BE(this.#start)
    const payloadBytes = this.#memory.readUInt32BE(this.#start + 4)
    if (headerBytes > this.headerBytesMax || payloadBytes > this.payloadBytesMax) {
      throw new Error(`a frame of ${headerBytes} + ${payloadBytes} bytes`)
    }
    this.#frameBytes = PREFIX_BYTES + headerBytes + payloadBytes
    if (this.#end - this.#start < this.#frameBytes) return null
    const headerStart = this.#start + PREFIX_BYTES
    const headerEnd = headerStart + headerBytes
    this.#start += this.#frameBytes
    this.#frameBytes = 0
    return {
      header: this.#memory.toString('utf8', headerStart, headerEnd),
      payload: this.#memory.subarray(headerEnd, this.#start),
    }
  }

  /** Goes on in other memory, with room for the frame that has begun and for so many bytes. */
  #begin(bytes: number): void {
    const before = this.#memory.subarray(this.#start, this.#end)
    const usual = Math.min(MEMORY_BYTES_MAX, Math.max(MEMORY_BYTES_MIN, 2 * this.#memory.length))
    const needed = Math.max(before.length + bytes, this.#frameBytes)
    this.#memory = Buffer.allocUnsafeSlow(Math.max(usual, needed))
    this.#start = 0
    this.#end = before.copy(this.#memory)
  }
}
