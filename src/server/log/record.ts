/**
 * Log records: entries to bytes and back. The same bytes go to the log and, as
 * they are, to followers.
 *
 *     <index> <term> <time, ms> <body bytes> <crc32>\n<body>
 *
 * The body is one canonical command (see protocol/commands.ts) or one of the
 * log's own: `noop`, `time`, `config <json>`; it always ends `\r\n`. The
 * checksum covers the cluster id, the header before it and the body, so a value
 * that looks like a record, or a record of another cluster, does not verify.
 *
 * Between records stand seals, `seal <index> <term> <commit index> <offset> <crc32>\n`:
 * every byte before a seal was known to be durable when it was written, up to
 * the entry `index` of `term`; and everything up to `commit index` was known committed.
 * A seal names its own offset in the file, so that a copy of one in a value is none.
 */
import { crc32 } from 'node:zlib'
import { checkedLine, crcHex, readCheckedLine, seedOf } from '../../protocol/checked-line.ts'
import { ITEM_SIZE_BOUNDS } from '../../protocol/commands.ts'
import type { Config, Entry, EntryId, Payload } from '../raft/types.ts'

const LF = 10
const SPACE = 32
const ZERO = 48
const NINE = 57
const LOWER_A = 97
/** The first letter of `seal`; records begin with a digit. */
const SEAL_START = 115
const HEADER_BYTES_MAX = 100
/** Bodies above this are no command of this store: a value of the largest size, and its line. */
export const BODY_BYTES_MAX = ITEM_SIZE_BOUNDS.max + 4 * 1024
const ARENA_BYTES = 256 * 1024

export class LogEntry implements Entry {
  readonly index: number
  readonly term: number
  readonly timeMs: number
  /** Header and body, as on disk and on the wire. */
  readonly record: Buffer
  readonly config: Config | undefined
  readonly #bodyStart: number

  constructor(id: EntryId, timeMs: number, record: Buffer, bodyStart: number, config?: Config) {
    this.index = id.index
    this.term = id.term
    this.timeMs = timeMs
    this.record = record
    this.#bodyStart = bodyStart
    this.config = config
  }

  get bytes(): number {
    return this.record.length
  }

  get body(): Buffer {
    return this.record.subarray(this.#bodyStart)
  }
}

/** `index` and `term` are those of the last entry before it. */
export interface Seal extends EntryId {
  readonly commitIndex: number
  readonly offset: number
}

/** Encodes entries one behind the other into shared memory, so that neighbours go out as one piece. */
export class RecordWriter {
  readonly #seed: number
  #arena = Buffer.allocUnsafeSlow(ARENA_BYTES)
  #used = 0

  constructor(clusterId: string) {
    this.#seed = seedOf(clusterId)
  }

  readonly createEntry = (id: EntryId, timeMs: number, payload: Payload): LogEntry => {
    const body = bodyOf(payload)
    const fields = `${id.index} ${id.term} ${timeMs} ${body.length} `
    const crc = crc32(body, crc32(fields, this.#seed))
    const header = `${fields}${crcHex(crc)}\n`
    const length = header.length + body.length
    if (this.#used + length > this.#arena.length) {
      this.#arena = Buffer.allocUnsafeSlow(Math.max(ARENA_BYTES, length))
      this.#used = 0
    }
    const record = this.#arena.subarray(this.#used, this.#used + length)
    record.write(header, 0, 'latin1')
    record.set(body, header.length)
    this.#used += length
    const config = payload.kind === 'config' ? payload.config : undefined
    return new LogEntry(id, timeMs, record, header.length, config)
  }

  seal({ index, term, commitIndex, offset }: Seal): Buffer {
    return Buffer.from(checkedLine(`seal ${index} ${term} ${commitIndex} ${offset}`, this.#seed))
  }
}

function bodyOf(payload: Payload): Uint8Array {
  switch (payload.kind) {
    case 'command':
      return payload.command
    case 'config':
      return Buffer.from(`config ${JSON.stringify(payload.config)}\r\n`)
    case 'noop':
    case 'time':
      return Buffer.from(`${payload.kind}\r\n`)
  }
}

/** `short`: the bytes end before the record does. `bad`: no record stands here. */
export type RecordRead =
  | { readonly kind: 'entry'; readonly entry: LogEntry; readonly end: number }
  | { readonly kind: 'seal'; readonly seal: Seal; readonly end: number }
  | { readonly kind: 'short' }
  | { readonly kind: 'bad' }

const SHORT: RecordRead = { kind: 'short' }
const BAD: RecordRead = { kind: 'bad' }

export class RecordReader {
  readonly #seed: number

  constructor(clusterId: string) {
    this.#seed = seedOf(clusterId)
  }

  /** Reads what stands at `offset`; entries are views into `bytes`. */
  read(bytes: Buffer, offset: number): RecordRead {
    if (bytes[offset] === SEAL_START) return this.#readSealAt(bytes, offset)
    const fields = new Fields(bytes, offset)
    const index = fields.number()
    const term = fields.number()
    const timeMs = fields.number()
    const length = fields.number()
    const crcStart = fields.at
    const crc = fields.crc()
    if (fields.isShort) return SHORT
    if (fields.isBad || length > BODY_BYTES_MAX) return BAD
    const bodyStart = fields.at
    const end = bodyStart + length
    if (end > bytes.length) return SHORT
    const headerCrc = crc32(bytes.subarray(offset, crcStart), this.#seed)
    const body = bytes.subarray(bodyStart, end)
    if (crc32(body, headerCrc) !== crc) return BAD
    const record = bytes.subarray(offset, end)
    const id = { term, index }
    const entry = new LogEntry(id, timeMs, record, bodyStart - offset, configIn(body))
    return { kind: 'entry', entry, end }
  }

  /** All records of a message's payload; null where one is damaged or cut. */
  readAll(bytes: Buffer): LogEntry[] | null {
    const entries: LogEntry[] = []
    for (let offset = 0; offset < bytes.length; ) {
      const read = this.read(bytes, offset)
      if (read.kind !== 'entry') return null
      entries.push(read.entry)
      offset = read.end
    }
    return entries
  }

  #readSealAt(bytes: Buffer, offset: number): RecordRead {
    const length = bytes.subarray(offset, offset + HEADER_BYTES_MAX).indexOf(LF)
    if (length === -1) return bytes.length - offset < HEADER_BYTES_MAX ? SHORT : BAD
    const text = readCheckedLine(bytes.toString('latin1', offset, offset + length), this.#seed)
    if (!text?.startsWith('seal ')) return BAD
    const [, index, term, commitIndex, at] = text.split(' ').map(Number)
    if (!isCount(index) || !isCount(term) || !isCount(commitIndex) || !isCount(at)) return BAD
    const seal = { index, term, commitIndex, offset: at }
    return { kind: 'seal', seal, end: offset + length + 1 }
  }
}

/** Reads a header's fields digit by digit: a start reads millions of them. */
class Fields {
  /** The next byte. */
  at: number
  isBad = false
  /** The bytes end before the header does. */
  isShort = false
  readonly #bytes: Buffer
  readonly #end: number

  constructor(bytes: Buffer, offset: number) {
    this.#bytes = bytes
    this.at = offset
    this.#end = offset + HEADER_BYTES_MAX
  }

  /** Decimal digits and the space behind them. */
  number(): number {
    const start = this.at
    let value = 0
    for (;;) {
      const digit = this.#next() - ZERO
      if (digit < 0 || digit > 9) break
      value = 10 * value + digit
    }
    const isNumber = this.at - start > 1 && this.#bytes[this.at - 1] === SPACE
    if (!isNumber || !Number.isSafeInteger(value)) this.isBad = true
    return value
  }

  /** Eight hex digits in lower case and the line end. */
  crc(): number {
    let value = 0
    for (let left = 8; left > 0; left--) {
      const byte = this.#next()
      const digit = byte >= LOWER_A ? byte - LOWER_A + 10 : byte - ZERO
      if (digit < 0 || digit > 15 || (byte > NINE && byte < LOWER_A)) this.isBad = true
      value = 16 * value + digit
    }
    if (this.#next() !== LF) this.isBad = true
    return value
  }

  /** 0 where there is none. */
  #next(): number {
    if (this.isBad || this.isShort) return 0
    const byte = this.#bytes[this.at]
    if (byte === undefined) this.isShort = true
    else if (this.at >= this.#end) this.isBad = true
    this.at++
    return byte ?? 0
  }
}

function isCount(value: number | undefined): value is number {
  return value !== undefined && Number.isSafeInteger(value) && value >= 0
}

const CONFIG_PREFIX = Buffer.from('config ')

function configIn(body: Buffer): Config | undefined {
  if (body[0] !== CONFIG_PREFIX[0] || !body.subarray(0, 7).equals(CONFIG_PREFIX)) return undefined
  return JSON.parse(body.toString('utf8', 7)) as Config
}

/** Joins neighbours in memory, so that many small records go out in few pieces. */
export function coalesce(records: Iterable<Buffer>): Buffer[] {
  const pieces: Buffer[] = []
  let last: Buffer | undefined
  for (const record of records) {
    if (
      last &&
      last.buffer === record.buffer &&
      last.byteOffset + last.length === record.byteOffset
    ) {
      last = Buffer.from(last.buffer, last.byteOffset, last.length + record.length)
      pieces[pieces.length - 1] = last
    } else {
      pieces.push(record)
      last = record
    }
  }
  return pieces
}
