/**
 * Bytes of a connection to replies.
 *
 * In: chunks, cut anywhere. Out: for each reply its last line, with the items (`VALUE`) and the
 * statistics (`STAT`) that came before it. It need not know what was asked: memcached's text
 * protocol says itself where a reply ends. Chunks are the parser's to keep: values of a short one
 * are parts of it, those of a long one copies, as one that is kept must not keep all of it.
 *
 * A chunk becomes one text, of which lines are parts: that is cheaper than a call into Node for
 * each of them.
 */
import { ITEM_SIZE_BOUNDS } from '../protocol/bounds.ts'

export interface RawItem {
  /** As bytes, one a character. */
  readonly key: string
  readonly flags: number
  readonly value: Buffer
  /** Only of replies to `gets`. */
  readonly casUnique: string | null
}

export type OnReply = (
  line: string,
  items: readonly RawItem[],
  statistics: readonly string[],
) => void

/** The other side says what no server says; nothing can be told of what follows. */
export class ProtocolError extends Error {}

const LINE_BYTES_MAX = 4_096
/** A small buffer of Node's keeps as much alive: it is a part of a pool. */
const SHORT_CHUNK_BYTES_MAX = Buffer.poolSize
const NONE: readonly never[] = []

const CR = 0x0d
const LF = 0x0a

export class ReplyParser {
  readonly #onReply: OnReply
  /** A line whose end has not come. */
  #rest: Buffer | null = null
  /** A value whose end has not come, with the line end after it. */
  #partial: { readonly item: RawItem; readonly bytes: Buffer; filled: number } | null = null
  #items: RawItem[] | null = null
  #statistics: string[] | null = null

  constructor(onReply: OnReply) {
    this.#onReply = onReply
  }

  /** @throws ProtocolError */
  push(chunk: Buffer): void {
    let bytes = chunk
    let at = 0
    if (this.#rest) {
      bytes = Buffer.concat([this.#rest, chunk])
      this.#rest = null
    } else if (this.#partial) {
      at = this.#fillPartial(chunk)
    }
    if (at === bytes.length) return
    // One byte a character, so that places are the same in both.
    const text = bytes.toString('latin1')
    while (at < bytes.length) {
      const end = text.indexOf('\n', at)
      if ((end === -1 ? bytes.length : end) - at > LINE_BYTES_MAX) {
        throw new ProtocolError('a line is too long')
      }
      if (end === -1) {
        this.#rest = bytes.subarray(at)
        return
      }
      if (end === at || text.charCodeAt(end - 1) !== CR) {
        throw new ProtocolError('a line ends early')
      }
      at = this.#takeLine(bytes, text, at, end - 1)
    }
  }

  /** @returns where the next line begins. */
  #takeLine(bytes: Buffer, text: string, at: number, end: number): number {
    if (text.startsWith('VALUE ', at)) return this.#takeValue(text.slice(at, end), bytes, end + 2)
    const line = lineOf(text, at, end)
    if (line.startsWith('STAT ')) {
      this.#statistics ??= []
      this.#statistics.push(line)
      return end + 2
    }
    const items = this.#items ?? NONE
    const statistics = this.#statistics ?? NONE
    this.#items = null
    this.#statistics = null
    this.#onReply(line, items, statistics)
    return end + 2
  }

  #takeValue(line: string, bytes: Buffer, at: number): number {
    const { key, flags, length, casUnique } = parseValueLine(line)
    const end = at + length
    if (end + 2 <= bytes.length) {
      if (bytes[end] !== CR || bytes[end + 1] !== LF) throw new ProtocolError('a value ends late')
      this.#add({ key, flags, value: ownPart(bytes, at, end), casUnique })
      return end + 2
    }
    const whole = Buffer.allocUnsafe(length + 2)
    const item = { key, flags, value: whole.subarray(0, length), casUnique }
    this.#partial = { item, bytes: whole, filled: bytes.copy(whole, 0, at) }
    return bytes.length
  }

  /** Most replies have one: an array that begins with it takes no room for more. */
  #add(item: RawItem): void {
    if (this.#items) this.#items.push(item)
    else this.#items = [item]
  }

  /** @returns how many bytes of the chunk it took. */
  #fillPartial(chunk: Buffer): number {
    const partial = this.#partial
    if (!partial) return 0
    const { item, bytes } = partial
    const taken = chunk.copy(bytes, partial.filled)
    partial.filled += taken
    if (partial.filled === bytes.length) {
      if (bytes[bytes.length - 2] !== CR || bytes[bytes.length - 1] !== LF) {
        throw new ProtocolError('a value ends late')
      }
      this.#add(item)
      this.#partial = null
    }
    return taken
  }
}

function ownPart(bytes: Buffer, start: number, end: number): Buffer {
  if (bytes.length <= SHORT_CHUNK_BYTES_MAX) return bytes.subarray(start, end)
  const part = Buffer.allocUnsafe(end - start)
  bytes.copy(part, 0, start, end)
  return part
}

/** The two that are nearly all need no text of their own. */
function lineOf(text: string, at: number, end: number): string {
  if (end - at === 3 && text.startsWith('END', at)) return 'END'
  if (end - at === 6 && text.startsWith('STORED', at)) return 'STORED'
  return text.slice(at, end)
}

/** `VALUE <key> <flags> <length> [<cas unique>]` */
function parseValueLine(line: string) {
  const keyEnd = line.indexOf(' ', 6)
  const flagsEnd = keyEnd === -1 ? -1 : line.indexOf(' ', keyEnd + 1)
  if (flagsEnd === -1) throw new ProtocolError('a value has no length')
  const lengthEnd = line.indexOf(' ', flagsEnd + 1)
  const flags = parseDigits(line, keyEnd + 1, flagsEnd)
  const length = parseDigits(line, flagsEnd + 1, lengthEnd === -1 ? line.length : lengthEnd)
  if (length > ITEM_SIZE_BOUNDS.max) throw new ProtocolError('a value is too long')
  const casUnique = lengthEnd === -1 ? null : line.slice(lengthEnd + 1)
  if (casUnique !== null && !/^\d{1,20}$/.test(casUnique)) {
    throw new ProtocolError('a CAS unique is no number')
  }
  return { key: line.slice(6, keyEnd), flags, length, casUnique }
}

function parseDigits(line: string, at: number, end: number): number {
  let number = 0
  for (let k = at; k < end; k++) {
    const digit = line.charCodeAt(k) - 0x30
    if (digit < 0 || digit > 9) throw new ProtocolError('a number is none')
    number = number * 10 + digit
  }
  if (end === at || end - at > 10) throw new ProtocolError('a number is none')
  return number
}
