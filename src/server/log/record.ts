/**
 * Log records: entries to bytes and back. The same bytes go to the log and, as
 * they are, to followers.
 *
 *     <index> <term> <time, ms> <body bytes> <crc32>\n<body>
 *
 * The body is canonical commands (see protocol/commands.ts), one behind the other, or one of
 * the log's own: `noop`, `time`, `config <json>`; it always ends `\r\n`. The
 * checksum covers the cluster id, the header before it and the body, so a value
 * that looks like a record, or a record of another cluster, does not verify.
 *
 * Between records stand seals, `seal <index> <term> <commit index> <offset> <crc32>\n`:
 * every byte before a seal was known to be durable when it was written, up to
 * the entry `index` of `term`; and everything up to `commit index` was known committed.
 * A seal names its own offset in the file, so that a copy of one in a value is none.
 */
import { checkedLine, readCheckedLine, seedOf } from '../../protocol/checked-line.ts'
import { GROUP_COMMANDS_MAX, ITEM_SIZE_BOUNDS } from '../../protocol/commands.ts'
import { crc32Of } from '../../protocol/crc32.ts'
import type { Config, Entry, EntryId, Payload } from '../raft/types.ts'

const LF = 10
const SPACE = 32
const ZERO = 48
const NINE = 57
const LOWER_A = 97
/** The first letter of `seal`; records begin with a digit. */
const SEAL_START = 115
const HEADER_BYTES_MAX = 100
/** Eight hex digits and the line end. */
const CRC_BYTES = 9
/** Bodies above this are no command of this store: a value of the largest size, and its line. */
export const BODY_BYTES_MAX = ITEM_SIZE_BOUNDS.max + 4 * 1024
export const ARENA_BYTES = 256 * 1024
/** What one entry has at the most, where it has more than one command. */
const GROUP_BYTES_MAX = 32 * 1024

/**
 * An entry, and where its bytes stand in memory that it shares with its neighbours: there are
 * hundreds of thousands of these, and a buffer for each would be more than all the rest of it.
 */
export class LogEntry implements Entry {
  readonly index: number
  readonly term: number
  readonly timeMs: number
  readonly memory: Buffer
  /** Where the record begins, and its body, and where both end: that moves while commands join it. */
  readonly start: number
  bodyStart: number
  end: number
  readonly config: Config | undefined

  constructor(
    index: number,
    term: number,
    timeMs: number,
    memory: Buffer,
    start: number,
    bodyStart: number,
    end: number,
    config: Config | undefined,
  ) {
    this.index = index
    this.term = term
    this.timeMs = timeMs
    this.memory = memory
    this.start = start
    this.bodyStart = bodyStart
    this.end = end
    this.config = config
  }

  get bytes(): number {
    return this.end - this.start
  }

  /** Header and body, as on disk and on the wire. */
  get record(): Buffer {
    return this.memory.subarray(this.start, this.end)
  }

  get body(): Buffer {
    return this.memory.subarray(this.bodyStart, this.end)
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
  /** The newest, where more commands may join it, and how many it has. */
  #open: LogEntry | null = null
  #commandCount = 0

  constructor(clusterId: string) {
    this.#seed = seedOf(clusterId)
  }

  /** Copies the command: whose memory it is may use that again at once. */
  readonly createEntry = ({ index, term }: EntryId, timeMs: number, payload: Payload): LogEntry => {
    const body = bodyOf(payload)
    const lengthMax = HEADER_BYTES_MAX + body.length
    if (this.#used + lengthMax > this.#arena.length) {
      this.#arena = Buffer.allocUnsafeSlow(Math.max(ARENA_BYTES, lengthMax))
      this.#used = 0
    }
    const memory = this.#arena
    const start = this.#used
    const config = payload.kind === 'config' ? payload.config : undefined
    const bodyStart = start + headerBytes(index, term, timeMs, body.length)
    const end = bodyStart + body.length
    memory.set(body, bodyStart)
    this.#used = end
    const entry = new LogEntry(index, term, timeMs, memory, start, bodyStart, end, config)
    this.#writeHeader(entry)
    this.#open = payload.kind === 'command' ? entry : null
    this.#commandCount = payload.kind === 'command' ? (payload.count ?? 1) : 1
    return entry
  }

  /**
   * More commands join the entry, which is no record until `closeEntry`.
   * @param count How many there are in `command`.
   * @returns false where there is no room for them, or the entry is not the newest.
   */
  readonly extendEntry = (entry: LogEntry, command: Uint8Array, count: number): boolean => {
    if (entry !== this.#open || this.#commandCount + count > GROUP_COMMANDS_MAX) return false
    const { memory, start, bodyStart, end, index, term, timeMs } = entry
    const bodyBytes = end - bodyStart + command.length
    // Its length may take more digits.
    const bodyStartAfter = start + headerBytes(index, term, timeMs, bodyBytes)
    if (bodyBytes > GROUP_BYTES_MAX || bodyStartAfter + bodyBytes > memory.length) return false
    if (bodyStartAfter !== bodyStart) memory.copyWithin(bodyStartAfter, bodyStart, end)
    entry.bodyStart = bodyStartAfter
    entry.end = bodyStartAfter + bodyBytes
    memory.set(command, entry.end - command.length)
    this.#used = entry.end
    this.#commandCount += count
    return true
  }

  /** No more commands join it: it is a record. */
  readonly closeEntry = (entry: LogEntry): void => {
    if (entry !== this.#open) return
    this.#open = null
    if (this.#commandCount > 1) this.#writeHeader(entry)
  }

  #writeHeader({ memory, start, bodyStart, end, index, term, timeMs }: LogEntry): void {
    let at = writeNumber(memory, start, index)
    at = writeNumber(memory, at, term)
    at = writeNumber(memory, at, timeMs)
    at = writeNumber(memory, at, end - bodyStart)
    const headerCrc = crc32Of(memory, start, at, this.#seed)
    writeCrc(memory, at, crc32Of(memory, bodyStart, end, headerCrc))
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

function headerBytes(index: number, term: number, timeMs: number, bodyBytes: number): number {
  const digits = digitsOf(index) + digitsOf(term) + digitsOf(timeMs) + digitsOf(bodyBytes)
  return digits + 4 + CRC_BYTES // a space behind each
}

function digitsOf(value: number): number {
  let count = 1
  for (let limit = 10; limit <= value; limit *= 10) count++
  return count
}

/**
 * Decimal digits, and a space.
 * @returns where it ends.
 */
function writeNumber(bytes: Buffer, start: number, value: number): number {
  const end = start + digitsOf(value)
  let rest = value
  for (let at = end - 1; at >= start; at--) {
    const tens = Math.floor(rest / 10)
    bytes[at] = ZERO + (rest - 10 * tens)
    rest = tens
  }
  bytes[end] = SPACE
  return end + 1
}

function writeCrc(bytes: Buffer, start: number, crc: number): void {
  for (let place = 0; place < 8; place++) {
    const digit = (crc >>> (28 - 4 * place)) & 15
    bytes[start + place] = digit < 10 ? ZERO + digit : LOWER_A - 10 + digit
  }
  bytes[start + 8] = LF
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
  readonly #fields = new Fields()

  constructor(clusterId: string) {
    this.#seed = seedOf(clusterId)
  }

  /** Reads what stands at `offset`; entries stand in `bytes`. */
  read(bytes: Buffer, offset: number): RecordRead {
    if (bytes[offset] === SEAL_START) return this.#readSealAt(bytes, offset)
    const entry = this.#readEntryAt(bytes, offset)
    if (entry !== null) return { kind: 'entry', entry, end: entry.end }
    return this.#fields.isShort ? SHORT : BAD
  }

  /** All records of a message's payload; null where one is damaged or cut. */
  readAll(bytes: Buffer): LogEntry[] | null {
    const entries: LogEntry[] = []
    for (let offset = 0; offset < bytes.length; ) {
      const entry = this.#readEntryAt(bytes, offset)
      if (entry === null) return null
      entries.push(entry)
      offset = entry.end
    }
    return entries
  }

  /** @returns null where no record stands, or, as `isShort` of the fields says, not all of one. */
  #readEntryAt(bytes: Buffer, offset: number): LogEntry | null {
    const fields = this.#fields
    fields.begin(bytes, offset)
    const index = fields.number()
    const term = fields.number()
    const timeMs = fields.number()
    const length = fields.number()
    const crcStart = fields.at
    const crc = fields.crc()
    if (fields.isShort || fields.isBad || length > BODY_BYTES_MAX) return null
    const bodyStart = fields.at
    const end = bodyStart + length
    if (end > bytes.length) {
      fields.isShort = true
      return null
    }
    const headerCrc = crc32Of(bytes, offset, crcStart, this.#seed)
    if (crc32Of(bytes, bodyStart, end, headerCrc) !== crc) return null
    const config = configIn(bytes, bodyStart, end)
    return new LogEntry(index, term, timeMs, bytes, offset, bodyStart, end, config)
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

const NO_BYTES: Buffer = Buffer.alloc(0)

/** Reads a header's fields digit by digit: a start reads millions of them. Behind one that is none all are. */
class Fields {
  /** The next byte. */
  at = 0
  isBad = false
  /** The bytes end before the header does. */
  isShort = false
  #bytes = NO_BYTES
  /** The header ends before this, or the bytes do. */
  #limit = 0

  begin(bytes: Buffer, offset: number): void {
    this.#bytes = bytes
    this.at = offset
    this.isBad = false
    this.isShort = false
    this.#limit = Math.min(bytes.length, offset + HEADER_BYTES_MAX)
  }

  /** Decimal digits and the space behind them. */
  number(): number {
    const bytes = this.#bytes
    const limit = this.#limit
    const start = this.at
    let value = 0
    for (let at = start; at < limit; at++) {
      const byte = bytes[at] as number
      if (byte === SPACE) {
        this.at = at + 1
        if (at === start || !Number.isSafeInteger(value)) this.#fail()
        return value
      }
      if (byte < ZERO || byte > NINE) {
        this.#fail()
        return 0
      }
      value = 10 * value + (byte - ZERO)
    }
    this.#runOut()
    return 0
  }

  /** Eight hex digits in lower case and the line end. */
  crc(): number {
    const bytes = this.#bytes
    const end = Math.min(this.#limit, this.at + CRC_BYTES - 1)
    let value = 0
    for (let at = this.at; at < end; at++) {
      const byte = bytes[at] as number
      const digit = byte >= LOWER_A ? byte - LOWER_A + 10 : byte - ZERO
      if (digit < 0 || digit > 15 || (byte > NINE && byte < LOWER_A)) {
        this.#fail()
        return 0
      }
      value = (value << 4) | digit
    }
    if (this.at + CRC_BYTES > this.#limit) this.#runOut()
    else if (bytes[end] !== LF) this.#fail()
    this.at = end + 1
    return value >>> 0
  }

  /** Nothing more is read. */
  #fail(): void {
    if (!this.isShort) this.isBad = true
    this.#limit = 0
  }

  #runOut(): void {
    if (this.isBad || this.isShort) return
    if (this.#limit === this.#bytes.length) this.isShort = true
    else this.isBad = true
    this.#limit = 0
  }
}

function isCount(value: number | undefined): value is number {
  return value !== undefined && Number.isSafeInteger(value) && value >= 0
}

const CONFIG_PREFIX = Buffer.from('config ')

function configIn(bytes: Buffer, start: number, end: number): Config | undefined {
  for (let at = 0; at < CONFIG_PREFIX.length; at++) {
    if (bytes[start + at] !== CONFIG_PREFIX[at]) return undefined
  }
  return JSON.parse(bytes.toString('utf8', start + CONFIG_PREFIX.length, end)) as Config
}

/** The records of these entries; those that are neighbours in memory go out as one piece. */
export function coalesce(entries: readonly LogEntry[]): Buffer[] {
  const pieces: Buffer[] = []
  let memory = NO_BYTES
  let start = 0
  let end = 0
  for (const entry of entries) {
    if (entry.start !== end || entry.memory !== memory) {
      if (end > start) pieces.push(memory.subarray(start, end))
      memory = entry.memory
      start = entry.start
    }
    end = entry.end
  }
  if (end > start) pieces.push(memory.subarray(start, end))
  return pieces
}
