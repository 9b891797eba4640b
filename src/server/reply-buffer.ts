/**
 * Where replies are put together as bytes, one behind the other, before they leave in one
 * write: memory that connections use in turn.
 *
 * Whoever adds to it takes out all of it, as text or by writing it, before anybody else adds.
 * The reply to a get costs little that way: its value is copied once, and no strings are joined.
 */
import type { Stream } from '../io/io.ts'
import { copyBytes, viewOf } from './keystore/copier.ts'
import type { FoundItem } from './keystore/item-store.ts'

export type Piece = string | Buffer

/** More than this is not worth copying into one piece. */
const BUFFER_BYTES = 64 * 1024
/** Longer texts are written by a call. */
const LOOP_TEXT_MAX = 32
/** What the lines of an item take at the most: a word, the key, three numbers, blanks and line ends. */
const LINES_BYTES_MAX = 6 + 250 + 11 + 11 + 21 + 4
const ZERO = 48
const SPACE = 32
const CR = 13
const LF = 10

export class ReplyBuffer {
  #bytes = Buffer.allocUnsafeSlow(BUFFER_BYTES)
  #view = viewOf(this.#bytes)
  #end = 0
  /** The start of it that left last: replies are often as long as those before. */
  #start = this.#bytes.subarray(0, 0)

  get length(): number {
    return this.#end
  }

  hasRoomFor(text: string): boolean {
    return this.#end + text.length <= BUFFER_BYTES
  }

  hasRoomForItem(found: FoundItem): boolean {
    return this.#end + LINES_BYTES_MAX + found.valueBytes <= BUFFER_BYTES
  }

  clear(): void {
    this.#end = 0
  }

  /** @param text latin1, and there is room for it. */
  addText(text: string): void {
    const { length } = text
    if (length > LOOP_TEXT_MAX) {
      this.#end += this.#bytes.write(text, this.#end, 'latin1')
      return
    }
    const bytes = this.#bytes
    const start = this.#end
    for (let index = 0; index < length; index++) bytes[start + index] = text.charCodeAt(index)
    this.#end = start + length
  }

  /** An item as a get answers it; there is room for it. */
  addItem(key: string, found: FoundItem, withCas: boolean): void {
    const { bytes, view, valueStart, valueEnd } = found
    this.addText('VALUE ')
    this.addText(key)
    this.#addNumber(found.flags)
    this.#addNumber(found.valueBytes)
    if (withCas) this.addText(` ${found.casUnique}`)
    this.#addLineEnd()
    copyBytes(bytes, view, valueStart, valueEnd, this.#bytes, this.#view, this.#end)
    this.#end += found.valueBytes
    this.#addLineEnd()
  }

  /** Takes out all that is in it. */
  takeText(): string {
    const text = this.#bytes.toString('latin1', 0, this.#end)
    this.#end = 0
    return text
  }

  /**
   * Takes out all that is in it, and writes it.
   * @returns how many bytes that was.
   */
  writeTo(stream: Stream): number {
    const length = this.#end
    this.#end = 0
    if (length === 0) return 0
    if (this.#start.length !== length) this.#start = this.#bytes.subarray(0, length)
    const bytes = this.#start
    // What has to wait keeps its memory: no more than it needs, but for the first of it.
    if (stream.bufferedBytes > 0) {
      stream.write(Buffer.from(bytes))
      return length
    }
    stream.write(bytes)
    if (stream.bufferedBytes > 0) {
      this.#bytes = Buffer.allocUnsafeSlow(BUFFER_BYTES)
      this.#view = viewOf(this.#bytes)
      this.#start = this.#bytes.subarray(0, 0)
    }
    return length
  }

  /**
   * Writes pieces one behind the other, where it is empty; strings are latin1.
   * @returns how many bytes that was.
   */
  writePieces(stream: Stream, pieces: readonly Piece[]): number {
    let length = 0
    for (const piece of pieces) length += piece.length
    if (length > BUFFER_BYTES) {
      stream.writeAll(pieces.map((piece) => (isText(piece) ? Buffer.from(piece, 'latin1') : piece)))
      return length
    }
    for (const piece of pieces) {
      if (isText(piece)) this.addText(piece)
      else this.#end += piece.copy(this.#bytes, this.#end)
    }
    return this.writeTo(stream)
  }

  /** A blank and a number, which is whole and not negative. */
  #addNumber(number: number): void {
    const bytes = this.#bytes
    bytes[this.#end] = SPACE
    let at = this.#end + 1
    for (let power = 10; number >= power; power *= 10) at++
    this.#end = at + 1
    let rest = number
    while (rest > 9) {
      const tens = Math.floor(rest / 10)
      bytes[at--] = ZERO + rest - 10 * tens
      rest = tens
    }
    bytes[at] = ZERO + rest
  }

  #addLineEnd(): void {
    this.#bytes[this.#end] = CR
    this.#bytes[this.#end + 1] = LF
    this.#end += 2
  }
}

function isText(piece: Piece): piece is string {
  return typeof piece === 'string'
}
