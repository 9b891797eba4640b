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
 * wrote it that way.
 *
 * Source: memcached's doc/protocol.txt and the behaviour of 1.6.45.
 */
import {
  canonicalCas,
  canonicalDelete,
  canonicalExptime,
  canonicalFlags,
  canonicalStore,
  KEY_BYTES_MAX,
  type StoreVerb,
  VALUE_BYTES_MAX,
} from './commands.ts'

/** A longer line without its end closes the connection, unless it is a get's. */
const LINE_BYTES_MAX = 2_048
const GET_LINE_BYTES_MAX = 1024 * 1024
/** memcached's own bound on an announced length: nothing longer is swallowed. */
const ANNOUNCED_BYTES_MAX = 2_147_483_645

/** The memcached whose protocol this is; libraries want three numbers, the first at least 1. */
export const PROTOCOL_VERSION = '1.6.45'

export type Request =
  | { readonly kind: 'get'; readonly keys: readonly string[]; readonly withCas: boolean }
  | { readonly kind: 'write'; readonly command: Buffer; readonly noreply: boolean }
  | { readonly kind: 'version' }
  /** About the cluster: not memcached's, and with words that it answers with ERROR. */
  | { readonly kind: 'cluster'; readonly question: 'get-servers' | 'status' }
  | { readonly kind: 'remove'; readonly server: string }
  | { readonly kind: 'backup' }
  /** Answer what came before, then close. */
  | { readonly kind: 'quit' }
  /** Answer this line and go on; empty where `noreply` keeps even that away. */
  | { readonly kind: 'error'; readonly line: string }

const FORMAT_ERROR = 'CLIENT_ERROR bad command line format'
const BAD_CHUNK = 'CLIENT_ERROR bad data chunk'
const TOO_LARGE = 'SERVER_ERROR object too large for cache'

const LF = 10
const CR = 13
const SPACE = 32
const BINARY_MAGIC = 0x80

/** A storage command whose data block has not arrived whole. */
interface PendingStore {
  /** Where its line starts in the buffer when it is canonical as it stands; negative otherwise. */
  readonly lineStart: number
  readonly valueStart: number
  readonly valueBytes: number
  /** The canonical line. */
  readonly header: string
  readonly noreply: boolean
}

export class RequestDecoder {
  #buffer: Buffer = Buffer.alloc(0)
  #start = 0
  #end = 0
  /** No line end before this offset. */
  #scanned = 0
  /** Whether `#buffer` is this decoder's own, with room to grow into. */
  #owned = false
  #pending: PendingStore | null = null
  /** Bytes of a refused data block still to drop, and the answer once they are gone. */
  #swallow: { left: number; readonly line: string } | null = null
  #atStart = true
  #closed = false

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

  /** The next request, or null until more bytes come. Nothing follows a `quit`. */
  next(): Request | null {
    while (!this.#closed) {
      if (this.#swallow) {
        const dropped = Math.min(this.#swallow.left, this.#end - this.#start)
        this.#advance(this.#start + dropped)
        this.#swallow.left -= dropped
        if (this.#swallow.left > 0) return null
        const { line } = this.#swallow
        this.#swallow = null
        return { kind: 'error', line }
      }
      if (this.#pending) return this.#takeBlock(this.#pending)
      if (this.#start === this.#end) return null
      if (this.#atStart && this.#buffer[this.#start] === BINARY_MAGIC) return this.#close()
      this.#atStart = false

      const lineEnd = this.#buffer.subarray(0, this.#end).indexOf(LF, this.#scanned)
      if (lineEnd === -1) {
        this.#scanned = this.#end
        return this.#isLineTooLong() ? this.#close() : null
      }
      const request = this.#takeLine(lineEnd)
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
    const begin = this.#buffer.toString('latin1', this.#start, this.#start + 106)
    return !/^ {0,100}gets? /.test(begin) || length > GET_LINE_BYTES_MAX
  }

  /** Handles the line up to `lineEnd`; null where its block is awaited. */
  #takeLine(lineEnd: number): Request | null {
    const lineStart = this.#start
    const hasCr = lineEnd > lineStart && this.#buffer[lineEnd - 1] === CR
    const textEnd = hasCr ? lineEnd - 1 : lineEnd
    const line = this.#buffer.toString('latin1', lineStart, textEnd)
    this.#advance(lineEnd + 1)

    const tokens = splitTokens(line)
    const verb = tokens[0]
    if (verb === undefined || lineEnd + 1 - lineStart < 4) return errorLine(FORMAT_ERROR)
    if (this.#buffer[lineStart] === SPACE) return errorLine('ERROR')
    switch (verb) {
      case 'get':
      case 'gets':
        return takeGet(tokens)
      case 'set':
      case 'add':
      case 'cas':
        return this.#takeStore(verb, tokens, lineStart, hasCr ? line.length : -1)
      case 'delete':
        return takeDelete(tokens)
      case 'version':
        return { kind: 'version' }
      case 'get-servers':
      case 'status':
        return { kind: 'cluster', question: verb }
      case 'remove-server':
        return { kind: 'remove', server: tokens[1] ?? '' }
      case 'backup':
        return { kind: 'backup' }
      case 'quit':
        return this.#close()
    }
    const last = tokens.at(-1) ?? ''
    if (last.startsWith('HTTP/')) return this.#close()
    return errorLine(last === 'noreply' ? '' : 'ERROR')
  }

  #takeStore(
    verb: StoreVerb,
    tokens: readonly string[],
    lineStart: number,
    lineLength: number,
  ): Request | null {
    const operandCount = verb === 'cas' ? 6 : 5
    const [, key = '', flagsText = '', exptimeText = '', bytesText = '', casText = ''] = tokens
    if (tokens.length < operandCount) return errorLine(FORMAT_ERROR)
    const noreply = tokens.length > operandCount && tokens.at(-1) === 'noreply'
    const valueBytes = parseLength(bytesText)
    if (valueBytes === null) return errorLine(FORMAT_ERROR)

    const flags = canonicalFlags(flagsText)
    const exptime = canonicalExptime(exptimeText)
    const cas = verb === 'cas' ? canonicalCas(casText) : ''
    const isKeyGood = key.length <= KEY_BYTES_MAX
    if (!isKeyGood || flags === null || exptime === null || cas === null) {
      return this.#refuseBlock(valueBytes, noreply ? '' : FORMAT_ERROR)
    }
    if (valueBytes > VALUE_BYTES_MAX) return this.#refuseBlock(valueBytes, noreply ? '' : TOO_LARGE)
    const header = canonicalStore(verb, key, flags, exptime, valueBytes, cas)
    // One spelling of every number, no extra token or space: then the lengths are equal.
    const isCanonical =
      lineLength === header.length - 2 && exptimeText === exptime && flagsText === flags
    this.#pending = {
      lineStart: isCanonical ? lineStart : -1,
      valueStart: this.#start,
      valueBytes,
      header,
      noreply,
    }
    // Line and block are handed out together: nothing of them is consumed yet.
    this.#start = isCanonical ? lineStart : this.#start
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
    const { noreply } = pending
    if (this.#buffer[blockEnd - 2] !== CR || this.#buffer[blockEnd - 1] !== LF) {
      return errorLine(noreply ? '' : BAD_CHUNK)
    }
    if (pending.lineStart >= 0) {
      return { kind: 'write', command: this.#buffer.subarray(pending.lineStart, blockEnd), noreply }
    }
    const block = this.#buffer.subarray(pending.valueStart, blockEnd)
    const header = Buffer.from(pending.header, 'latin1')
    return { kind: 'write', command: Buffer.concat([header, block]), noreply }
  }
}

function errorLine(line: string): Request {
  return { kind: 'error', line }
}

function splitTokens(line: string): string[] {
  return line.split(' ').filter((token) => token !== '')
}

function takeGet(tokens: readonly string[]): Request {
  const keys = tokens.slice(1)
  if (keys.length === 0 || keys.some((key) => key.length > KEY_BYTES_MAX)) {
    return errorLine(FORMAT_ERROR)
  }
  return { kind: 'get', keys, withCas: tokens[0] === 'gets' }
}

function takeDelete(tokens: readonly string[]): Request {
  const [, key] = tokens
  // Old clients send a time after the key; it means nothing any more.
  if (key === undefined || key.length > KEY_BYTES_MAX || tokens.length > 4) {
    return errorLine(FORMAT_ERROR)
  }
  const noreply = tokens.at(-1) === 'noreply'
  return { kind: 'write', command: canonicalDelete(key), noreply }
}

function parseLength(text: string): number | null {
  if (!/^\+?\d+$/.test(text)) return null
  const length = Number(text)
  return length <= ANNOUNCED_BYTES_MAX ? length : null
}
