/**
 * memcached's text protocol, bytes to requests.
 *
 * In: chunks as they come off a connection, split anywhere. Out: requests, in
 * order, each either something to do or the error line to answer. Bad input
 * never throws and never desynchronises a connection that memcached would have
 * kept in step; memory is bounded by the largest request.
 *
 * Keys are latin1 strings: one character a byte. A write comes out as a
 * canonical command (see commands.ts), without a copy where the client already
 * wrote it that way: it is good for as long as the chunk is. What is left of a chunk
 * that its owner wants back is kept by `settle`.
 *
 * Source: memcached's doc/protocol.txt and the behaviour of 1.6.45.
 */
import { canonicalStore, ITEM_SIZE_MAX, KEY_BYTES_MAX, type StoreVerb } from './commands.ts'
import { areFlags, type MetaRequest, parseMetaSet } from './meta.ts'
import {
  canonicalExptime,
  canonicalFlags,
  canonicalUint64,
  parseLength,
  withoutPlus,
} from './numbers.ts'
import { PlainCommand } from './plain-commands.ts'
import { FORMAT_ERROR } from './replies.ts'
import { answer, parseLine, parseOther, type Request } from './requests.ts'

export type { Request } from './requests.ts'

/** A longer line without its end closes the connection, unless it is a get's. */
const LINE_BYTES_MAX = 2_048
const GET_LINE_BYTES_MAX = 1024 * 1024
/** A shorter one, with its end, is no command. */
const LINE_BYTES_MIN = 4
const AUTH_LINE_BYTES_MIN = 7
const AUTH_BYTES_MAX = 16_384
/** Sets that come as one request have no more than this: an entry of the log has room for them. */
const SETS_BYTES_MAX = 16 * 1024

const BAD_CHUNK = 'CLIENT_ERROR bad data chunk'
export const TOO_LARGE = 'SERVER_ERROR object too large for cache'

const LF = 10
const CR = 13
const SPACE = 32
const LOWER_E = 101
const LOWER_G = 103
const LOWER_T = 116
const BINARY_MAGIC = 0x80
const EMPTY = Buffer.alloc(0)
const plain = new PlainCommand()

/** A storage command whose data block has not arrived whole. */
interface PendingStore {
  /** Where its line starts in the buffer when it is canonical as it stands; negative otherwise. */
  readonly lineStart: number
  readonly valueStart: number
  readonly valueBytes: number
  /** The canonical line. */
  readonly header: string
  readonly noreply: boolean
  readonly meta: MetaRequest | undefined
}

export interface DecoderOptions {
  /** The length above which a value is refused, now. */
  readonly itemSizeMax?: () => number
}

export class RequestDecoder {
  #buffer: Buffer = EMPTY
  #start = 0
  #end = 0
  /** No line end before this offset. */
  #scanned = 0
  /** Whether `#buffer` is this decoder's own, with room to grow into. */
  #owned = false
  #pending: PendingStore | null = null
  /** Bytes of a refused data block still to drop, and the answer once they are gone. */
  #swallow: { left: number; readonly line: string } | null = null
  /** The length of the block in which a client says who it is. */
  #authBytes: number | null = null
  #atStart = true
  #closed = false
  readonly #itemSizeMax: () => number
  /** Whether nothing is taken before a client has said who it is. */
  needsAuth = false
  /** Of the last request, with its end: what it has of the line keeps all of it in memory. */
  lineBytes = 0

  constructor({ itemSizeMax = () => ITEM_SIZE_MAX }: DecoderOptions = {}) {
    this.#itemSizeMax = itemSizeMax
  }

  push(chunk: Buffer): void {
    if (this.#closed) return
    const left = this.#end - this.#start
    if (left === 0) {
      if (this.#pending) this.#pending = { ...this.#pending, valueStart: 0 }
      this.#buffer = chunk
      this.#start = this.#scanned = 0
      this.#end = chunk.length
      this.#owned = false
      return
    }
    if (!this.#owned || this.#end + chunk.length > this.#buffer.length) {
      const wanted = this.#pending ? this.#blockEnd(this.#pending) - this.#start : 0
      const grown = Buffer.allocUnsafe(Math.max(2 * (left + chunk.length), wanted))
      this.#buffer.copy(grown, 0, this.#start, this.#end)
      this.#rebase(grown)
    }
    chunk.copy(this.#buffer, this.#end)
    this.#end += chunk.length
  }

  /** From now on nothing of the last chunk is looked at any more. */
  settle(): void {
    const left = this.#end - this.#start
    if (this.#owned || left === 0) return
    const wanted = this.#pending ? this.#blockEnd(this.#pending) - this.#start : 0
    const kept = Buffer.allocUnsafe(Math.max(left, wanted))
    this.#buffer.copy(kept, 0, this.#start, this.#end)
    this.#rebase(kept)
  }

  /**
   * The next request, or null until more bytes come. Nothing follows a `quit`.
   * @param setsMax So many plain sets at the most come as one request, where they are here whole.
   */
  next(setsMax = 1): Request | null {
    while (!this.#closed) {
      if (this.#swallow) {
        const dropped = Math.min(this.#swallow.left, this.#end - this.#start)
        this.#advance(this.#start + dropped)
        this.#swallow.left -= dropped
        if (this.#swallow.left > 0) return null
        const { line } = this.#swallow
        this.#swallow = null
        return answer(line)
      }
      if (this.#authBytes !== null) return this.#takeAuthBlock(this.#authBytes)
      if (this.#pending) return this.#takeBlock(this.#pending)
      if (this.#start === this.#end) {
        this.#buffer = EMPTY // or an idle connection would keep that of its largest value
        this.#start = this.#end = this.#scanned = 0
        return null
      }
      if (this.#atStart && this.#buffer[this.#start] === BINARY_MAGIC) return this.#close()
      this.#atStart = false

      if (!this.needsAuth) {
        const request = this.#takePlain(setsMax)
        if (request) return request
      }
      const lineEnd = this.#buffer.indexOf(LF, this.#scanned)
      if (lineEnd === -1 || lineEnd >= this.#end) {
        this.#scanned = this.#end
        return this.#isLineTooLong() ? this.#close() : null
      }
      const request = this.needsAuth ? this.#takeAuthLine(lineEnd) : this.#takeLine(lineEnd)
      if (request) return request
    }
    return null
  }

  #close(): Request {
    this.#closed = true
    return { kind: 'quit' }
  }

  /** Consumes up to `offset`. */
  #advance(offset: number): void {
    this.#start = this.#scanned = offset
  }

  #rebase(buffer: Buffer): void {
    const shift = this.#start
    this.#buffer = buffer
    this.#owned = true
    this.#start = 0
    this.#end -= shift
    this.#scanned -= shift
    if (this.#pending) {
      const { lineStart, valueStart } = this.#pending
      this.#pending = {
        ...this.#pending,
        lineStart: lineStart - shift,
        valueStart: valueStart - shift,
      }
    }
  }

  #isLineTooLong(): boolean {
    const length = this.#end - this.#start
    if (length <= LINE_BYTES_MAX) return false
    if (this.needsAuth) return true
    const begin = this.#buffer.toString('latin1', this.#start, this.#start + 106)
    return !/^ {0,100}get(s|-local)? /.test(begin) || length > GET_LINE_BYTES_MAX
  }

  /**
   * What most requests are: one key to get, or plain sets that are here whole. Read in one
   * pass over the bytes, without a string but the key.
   * @returns null where it is anything else; then nothing was taken.
   */
  #takePlain(setsMax: number): Request | null {
    const start = this.#start
    if (this.#buffer[start] === LOWER_G) return this.#takePlainGet()
    const bytesMax = this.#itemSizeMax()
    let count = 0
    let end = start
    while (count < setsMax && end < this.#end && this.#readPlainSet(end, bytesMax)) {
      if (count > 0 && plain.end - start > SETS_BYTES_MAX) break
      if (count === 0) this.lineBytes = plain.valueStart - start
      end = plain.end
      count++
    }
    if (count === 0) return null
    this.#advance(end)
    const isAll = start === 0 && end === this.#buffer.length // as most are, where none are pipelined
    const bytes = isAll ? this.#buffer : this.#buffer.subarray(start, end)
    if (count > 1) return { kind: 'sets', commands: bytes, count }
    return { kind: 'write', command: bytes, noreply: false }
  }

  /** Into `plain`. */
  #readPlainSet(start: number, bytesMax: number): boolean {
    if (!plain.readFirst(this.#buffer, start, this.#end)) return false
    // The key of a delete may be a noreply.
    return !plain.isDelete && plain.valueEnd - plain.valueStart <= bytesMax
  }

  #takePlainGet(): Request | null {
    const buffer = this.#buffer
    const start = this.#start
    const keyStart = start + 4
    if (buffer[start + 1] !== LOWER_E || buffer[start + 2] !== LOWER_T) return null
    if (buffer[start + 3] !== SPACE) return null
    const limit = Math.min(this.#end - 1, keyStart + KEY_BYTES_MAX + 1)
    for (let at = keyStart; at < limit; at++) {
      const byte = buffer[at]
      if (byte === SPACE || byte === LF) return null
      if (byte !== CR) continue
      if (at === keyStart || buffer[at + 1] !== LF) return null
      this.#advance(at + 2)
      this.lineBytes = at + 2 - start
      return { kind: 'get', keys: [buffer.toString('latin1', keyStart, at)], withCas: false }
    }
    return null
  }

  /** Handles the line up to `lineEnd`; null where its block is awaited. */
  #takeLine(lineEnd: number): Request | null {
    const lineStart = this.#start
    const hasCr = lineEnd > lineStart && this.#buffer[lineEnd - 1] === CR
    const textEnd = hasCr ? lineEnd - 1 : lineEnd
    const line = this.#buffer.toString('latin1', lineStart, textEnd)
    this.#advance(lineEnd + 1)
    this.lineBytes = lineEnd + 1 - lineStart

    if (this.lineBytes < LINE_BYTES_MIN) return answer(FORMAT_ERROR)
    const words = splitWords(line)
    const verb = words[0]
    if (verb === undefined) return answer('ERROR')
    if (this.#buffer[lineStart] === SPACE) return parseOther(words) ?? this.#close()
    switch (verb) {
      case 'set':
      case 'add':
      case 'replace':
      case 'append':
      case 'prepend':
      case 'cas':
        return this.#takeStore(verb, words, lineStart, hasCr ? line.length : -1)
      case 'ms':
        return this.#takeMetaSet(words)
    }
    const request = parseLine(words)
    return request === null || request.kind === 'quit' ? this.#close() : request
  }

  #takeStore(
    verb: StoreVerb,
    words: readonly string[],
    lineStart: number,
    lineLength: number,
  ): Request | null {
    const [, key = '', flagsText = '', exptimeText = '', bytesText = '', casText = ''] = words
    // A cas without its unique announces a block all the same.
    if (words.length < 5) return answer(FORMAT_ERROR)
    const noreply = words.at(-1) === 'noreply'
    const valueBytes = parseLength(bytesText)
    if (valueBytes === null) return answer(FORMAT_ERROR)

    const flags = canonicalFlags(withoutPlus(flagsText))
    const exptime = canonicalExptime(withoutPlus(exptimeText))
    const cas = verb === 'cas' ? canonicalUint64(casText) : ''
    const isKeyGood = key.length <= KEY_BYTES_MAX
    if (!isKeyGood || flags === null || exptime === null || cas === null) {
      return this.#refuseBlock(valueBytes, noreply ? '' : FORMAT_ERROR)
    }
    if (valueBytes > this.#itemSizeMax())
      return this.#refuseBlock(valueBytes, noreply ? '' : TOO_LARGE)
    // append and prepend keep the item's own.
    const isJoin = verb === 'append' || verb === 'prepend'
    const header = isJoin
      ? canonicalStore(verb, key, '0', '0', valueBytes, cas)
      : canonicalStore(verb, key, flags, exptime, valueBytes, cas)
    // One spelling of every number, no extra word or blank: then the lengths are equal.
    const isCanonical =
      !isJoin && lineLength === header.length - 2 && exptimeText === exptime && flagsText === flags
    this.#pending = {
      lineStart: isCanonical ? lineStart : -1,
      valueStart: this.#start,
      valueBytes,
      header,
      noreply,
      meta: undefined,
    }
    // Line and block are handed out together: nothing of them is consumed yet.
    this.#start = isCanonical ? lineStart : this.#start
    return this.#takeBlock(this.#pending)
  }

  #takeMetaSet(words: readonly string[]): Request | null {
    const valueBytes = words.length < 3 ? null : parseLength(words[2] ?? '')
    if (valueBytes === null || !areFlags(words.slice(3))) return answer(FORMAT_ERROR)
    const parsed = parseMetaSet(words, valueBytes)
    if ('error' in parsed) return this.#refuseBlock(valueBytes, parsed.error)
    if (valueBytes > this.#itemSizeMax()) return this.#refuseBlock(valueBytes, TOO_LARGE)
    const { header, meta } = parsed
    const [lineStart, valueStart] = [-1, this.#start]
    this.#pending = { lineStart, valueStart, valueBytes, header, noreply: false, meta }
    return this.#takeBlock(this.#pending)
  }

  /** The connection stays in step: the announced block is dropped, then `line` answered. */
  #refuseBlock(valueBytes: number, line: string): null {
    this.#swallow = { left: valueBytes + 2, line }
    return null
  }

  #blockEnd(pending: PendingStore): number {
    return pending.valueStart + pending.valueBytes + 2
  }

  #takeBlock(pending: PendingStore): Request | null {
    const blockEnd = this.#blockEnd(pending)
    if (this.#end < blockEnd) return null
    this.#pending = null
    this.#advance(blockEnd)
    const { noreply, meta } = pending
    if (this.#buffer[blockEnd - 2] !== CR || this.#buffer[blockEnd - 1] !== LF) {
      return answer(noreply ? '' : BAD_CHUNK)
    }
    let command: Buffer
    if (pending.lineStart >= 0) command = this.#buffer.subarray(pending.lineStart, blockEnd)
    else {
      const block = this.#buffer.subarray(pending.valueStart, blockEnd)
      command = Buffer.concat([Buffer.from(pending.header, 'latin1'), block])
    }
    return meta ? { kind: 'write', command, noreply, meta } : { kind: 'write', command, noreply }
  }

  // ---------------------------------------------------------------- who it is

  /**
   * `set <key> <flags> <exptime> <bytes>` and a block of `<user> <password>`, which is how
   * memcached's clients say it; key, flags and exptime mean nothing.
   */
  #takeAuthLine(lineEnd: number): Request | null {
    const lineStart = this.#start
    const words = splitWords(this.#buffer.toString('latin1', lineStart, lineEnd).trimEnd())
    this.#advance(lineEnd + 1)
    if (lineEnd + 1 - lineStart < AUTH_LINE_BYTES_MIN) return this.#close()
    const bytes = words[0] === 'set' ? parseLength(words[4] ?? '') : null
    if (bytes === null) return answer('CLIENT_ERROR unauthenticated')
    if (bytes > AUTH_BYTES_MAX) return answer('CLIENT_ERROR auth token too long')
    this.#authBytes = bytes
    return this.#takeAuthBlock(bytes)
  }

  #takeAuthBlock(bytes: number): Request | null {
    const start = this.#start
    const end = start + bytes
    if (this.#end < end + 2) return null
    this.#authBytes = null
    this.#advance(end + 2)
    if (this.#buffer[end] !== CR || this.#buffer[end + 1] !== LF) {
      return answer('CLIENT_ERROR bad command line termination')
    }
    const text = this.#buffer.toString('latin1', start, end)
    const blank = text.indexOf(' ')
    if (blank === -1) return answer('CLIENT_ERROR bad authentication token format')
    return { kind: 'auth', user: text.slice(0, blank), password: text.slice(blank + 1) }
  }
}

function splitWords(line: string): string[] {
  return line.split(' ').filter((word) => word !== '')
}
