/**
 * The durable log: a directory of segments.
 *
 * In: entries in log order, each possibly superseding ones at its index and
 * after. Out: `onStable` once they are durable, in order. While one write and
 * its fdatasync run the next batch gathers (group commit).
 *
 * Promises: an entry reported stable is read back after any crash; what was
 * never durable is either read back whole or cut. Damage before the last seal
 * is corruption and refused at open, damage after it is the torn tail of a
 * crash. Everything past the last seal is written again to a new segment and
 * synced at open, because after a failed sync the page cache may show what the
 * disk never got; a segment is appended to only by the process that began it.
 * After any failed write or sync the log is poisoned: `onFailure`, and nothing
 * more is written.
 */
import { basename } from 'node:path'
import type { Disk, DiskFile, Timers } from '../../io/io.ts'
import type { Config, EntryId } from '../raft/types.ts'
import { coalesce, type LogEntry, RecordReader, RecordWriter } from './record.ts'
import {
  encodeSegmentHeader,
  hasSealAfter,
  readSegmentHeader,
  scanSegment,
  segmentName,
  segmentSequence,
} from './segment.ts'

/** How far apart the positions are that a read of old entries may start from. */
const MARK_BYTES = 64 * 1024
const BATCH_BYTES_MAX = 4 * 1024 * 1024
const READ_CHUNK_BYTES = 256 * 1024
/** How long the newest batch stays without a seal while nothing follows it. */
const IDLE_SEAL_MS = 10

export class LogDamagedError extends Error {}

interface Segment {
  readonly sequence: number
  readonly path: string
  readonly file: DiskFile
  readonly firstIndex: number
  /** A later leader's entries may stand here with indexes below the first. */
  lowestIndex: number
}

/** Entries from `index` on stand one behind the other in `segment` from `offset` on. */
interface Mark {
  readonly index: number
  readonly segment: Segment
  readonly offset: number
}

/** What the log held when it was opened. */
export interface LogSummary {
  readonly termRuns: readonly EntryId[]
  readonly configs: readonly { readonly index: number; readonly config: Config }[]
  readonly lastIndex: number
  readonly lastTimeMs: number
  /** The newest commit index that a seal names. */
  readonly commitIndex: number
}

export interface LogStoreOptions {
  readonly disk: Disk
  readonly timers: Timers
  /** `…/groups/<group>/log`. */
  readonly directory: string
  readonly clusterId: string
  readonly group: number
}

export class LogStore {
  onStable: (id: EntryId) => void = () => {}
  onFailure: (error: Error) => void = () => {}
  /** The newest commit index, written into seals. */
  commitIndex = 0

  readonly #options: LogStoreOptions
  readonly #reader: RecordReader
  readonly #writer: RecordWriter
  #segments: Segment[] = []
  #marks: Mark[] = []
  /** The index after the newest entry written; another one starts a new run of marks. */
  #nextIndex = 1
  #size = 0
  #queue: LogEntry[] = []
  #isWriting = false
  /** The newest durable entry when no seal names it yet. */
  #unsealed: EntryId | null = null
  #lastSealed = 0
  #sealTimer: { cancel(): void } | null = null
  #isPoisoned = false
  #isClosed = false
  #onIdle: (() => void) | null = null

  private constructor(options: LogStoreOptions) {
    this.#options = options
    this.#reader = new RecordReader(options.clusterId)
    this.#writer = new RecordWriter(options.clusterId)
  }

  /** Whether a log was begun in this directory. */
  static async exists(disk: Disk, directory: string): Promise<boolean> {
    return (await disk.list(directory)).some((name) => segmentSequence(name) !== null)
  }

  /** @throws LogDamagedError naming file, offset and index. */
  static async open(options: LogStoreOptions): Promise<{ log: LogStore; summary: LogSummary }> {
    const log = new LogStore(options)
    const summary = await log.#recover()
    return { log, summary }
  }

  /** Queues entries to be made durable. */
  append(entries: readonly LogEntry[]): void {
    for (const entry of entries) this.#queue.push(entry)
    if (!this.#isWriting && !this.#isPoisoned) void this.#writeQueue()
  }

  /** Durable entries from `firstIndex` to `lastIndex`, of about `bytesMax` together, at least one. */
  async read(firstIndex: number, lastIndex: number, bytesMax: number): Promise<LogEntry[]> {
    const entries: LogEntry[] = []
    let bytes = 0
    let at = this.#markAt(firstIndex)
    for (let mark = this.#marks[at]; mark; mark = this.#marks[++at]) {
      const stopIndex = Math.min(this.#marks[at + 1]?.index ?? Infinity, lastIndex + 1)
      for await (const entry of this.#entriesFrom(mark, stopIndex)) {
        if (entry.index < firstIndex) continue
        bytes += entry.bytes
        if (entries.length > 0 && bytes > bytesMax) return entries
        entries.push(entry)
      }
      if (stopIndex > lastIndex) break
    }
    return entries
  }

  /** Writes what is queued and a last seal, so that the next open finds a clean end. */
  async close(): Promise<void> {
    this.#isClosed = true
    if (this.#isWriting) await new Promise<void>((resolve) => (this.#onIdle = resolve))
    this.#sealTimer?.cancel()
    if (!this.#isPoisoned) {
      // A seal says that all before it is durable; one written while idle is not yet.
      if (!this.#unsealed) await this.#segment.file.datasync()
      const index = this.#unsealed?.index ?? this.#lastSealed
      await this.#writeAll([this.#takeSeal({ index }, [])])
    }
    for (const { file } of this.#segments) await file.close()
  }

  // ---------------------------------------------------------------- writing

  async #writeQueue(): Promise<void> {
    this.#isWriting = true
    this.#sealTimer?.cancel()
    try {
      while (this.#queue.length > 0) {
        const batch = this.#takeBatch()
        const seals = this.#unsealed ? [this.#takeSeal(this.#unsealed, batch)] : []
        this.#mark(batch, this.#size + byteCount(seals))
        await this.#writeAll([...seals, ...coalesce(batch.map((entry) => entry.record))])
        const last = batch.at(-1)
        if (last) this.#unsealed = { term: last.term, index: last.index }
        this.#reportStable(batch)
      }
    } catch (error) {
      this.#poison(error)
    }
    this.#becomeIdle()
    if (!this.#isPoisoned && !this.#isClosed) {
      this.#sealTimer = this.#options.timers.after(IDLE_SEAL_MS, () => this.#sealIdle())
    }
  }

  #becomeIdle(): void {
    this.#isWriting = false
    if (this.#queue.length > 0 && !this.#isPoisoned) void this.#writeQueue()
    else this.#onIdle?.()
  }

  /**
   * An entry that a queued one supersedes is not durable in its place, even if
   * the same entry is queued again behind that.
   */
  #reportStable(batch: readonly LogEntry[]): void {
    const queuedFrom = lowestIndex(this.#queue)
    const last = batch.findLast(({ index }) => index < queuedFrom)
    if (last) this.onStable({ term: last.term, index: last.index })
  }

  #takeBatch(): LogEntry[] {
    let bytes = 0
    let count = 0
    for (const entry of this.#queue) {
      if (count > 0 && bytes + entry.bytes > BATCH_BYTES_MAX) break
      bytes += entry.bytes
      count++
    }
    return this.#queue.splice(0, count)
  }

  /** A seal for the end of the file, in front of `batch`. */
  #takeSeal({ index }: { readonly index: number }, batch: readonly LogEntry[]): Buffer {
    this.#unsealed = null
    this.#lastSealed = index
    // What is committed may be entries still to be written, in the place of those that stand here.
    const writtenTo = Math.min(lowestIndex(batch), lowestIndex(this.#queue)) - 1
    const commitIndex = Math.min(this.commitIndex, writtenTo)
    return this.#writer.seal({ index, commitIndex, offset: this.#size })
  }

  /**
   * A seal on its own needs no sync: lost, it only makes the next open write
   * more again. The batch after it starts without one, because that one would
   * claim that these bytes are durable.
   */
  async #sealIdle(): Promise<void> {
    if (this.#isWriting || !this.#unsealed || this.#isPoisoned || this.#isClosed) return
    this.#isWriting = true
    try {
      const seal = this.#takeSeal(this.#unsealed, [])
      const offset = this.#size
      this.#size += seal.length
      await this.#segment.file.write([seal], offset)
    } catch (error) {
      this.#poison(error)
    }
    this.#becomeIdle()
  }

  #poison(error: unknown): void {
    this.#isPoisoned = true
    this.onFailure(error instanceof Error ? error : new Error(String(error)))
  }

  async #writeAll(chunks: readonly Buffer[]): Promise<void> {
    const { file } = this.#segment
    const offset = this.#size
    this.#size += byteCount(chunks)
    await file.write(chunks, offset)
    await file.datasync()
  }

  get #segment(): Segment {
    const segment = this.#segments.at(-1)
    if (!segment) throw new Error('the log is not open')
    return segment
  }

  // ---------------------------------------------------------------- positions

  #mark(batch: readonly LogEntry[], offset: number): void {
    let position = offset
    for (const entry of batch) {
      this.#markEntry(entry, this.#segment, position)
      position += entry.bytes
    }
  }

  #markEntry(entry: LogEntry, segment: Segment, offset: number): void {
    const isNewRun = entry.index !== this.#nextIndex
    while ((this.#marks.at(-1)?.index ?? 0) >= entry.index) this.#marks.pop()
    const last = this.#marks.at(-1)
    const isFar = !last || last.segment !== segment || offset - last.offset >= MARK_BYTES
    if (isNewRun || isFar) this.#marks.push({ index: entry.index, segment, offset })
    this.#nextIndex = entry.index + 1
    segment.lowestIndex = Math.min(segment.lowestIndex, entry.index)
  }

  /** Which mark to start from for `index`. */
  #markAt(index: number): number {
    let low = 0
    let high = this.#marks.length
    while (low + 1 < high) {
      const middle = (low + high) >> 1
      if ((this.#marks[middle]?.index ?? 0) <= index) low = middle
      else high = middle
    }
    return low
  }

  /** Entries of one run, up to before `stopIndex`. */
  async *#entriesFrom(mark: Mark, stopIndex: number): AsyncGenerator<LogEntry> {
    let position = mark.offset
    let wanted = READ_CHUNK_BYTES
    for (let next = mark.index; next < stopIndex; ) {
      const bytes = await mark.segment.file.read(position, wanted)
      let at = 0
      while (next < stopIndex) {
        const read = this.#reader.read(bytes, at)
        if (read.kind === 'short') break
        if (read.kind === 'bad' || (read.kind === 'entry' && read.entry.index !== next)) {
          throw damaged(mark.segment, position + at, next)
        }
        at = read.end
        if (read.kind === 'seal') continue
        yield read.entry
        next++
      }
      if (next >= stopIndex || (bytes.length < wanted && at === 0)) return
      wanted = at === 0 ? 2 * wanted : READ_CHUNK_BYTES
      position += at
    }
  }

  // ---------------------------------------------------------------- opening

  async #recover(): Promise<LogSummary> {
    const { disk, directory } = this.#options
    await disk.makeDirectory(directory)
    // A name that is readable may not be durable, if the process before died in between.
    await disk.syncDirectory(directory)
    for (const name of await disk.list(directory)) {
      const path = `${directory}/${name}`
      const sequence = segmentSequence(name)
      if (sequence === null) {
        if (name.endsWith('.tmp')) await disk.remove(path)
        continue
      }
      const file = await disk.open(path, { create: false })
      const read = await readSegmentHeader(file)
      if (!read) throw new LogDamagedError(`${path}: its first line is damaged`)
      const { header } = read
      if (header.clusterId !== this.#options.clusterId || header.group !== this.#options.group) {
        throw new LogDamagedError(
          `${path}: belongs to cluster ${header.clusterId}, group ${header.group}`,
        )
      }
      const { firstIndex } = header
      this.#segments.push({ sequence, path, file, firstIndex, lowestIndex: firstIndex })
    }
    if (this.#segments.length === 0) {
      await this.#startSegment(1, [])
      return { termRuns: [], configs: [], lastIndex: 0, lastTimeMs: 0, commitIndex: 0 }
    }
    return this.#scan()
  }

  async #scan(): Promise<LogSummary> {
    const state = new ScanState()
    for (const [at, segment] of this.#segments.entries()) {
      const next = this.#segments[at + 1]
      if (segment.firstIndex > state.lastIndex + 1) throw damaged(segment, 0, state.lastIndex + 1)
      state.startSegment(segment.firstIndex)
      const start = (await readSegmentHeader(segment.file))?.end ?? 0
      const end = await scanSegment(segment.file, start, this.#reader, {
        onEntry: (entry, offset) => {
          if (!state.add(entry)) return false
          this.#markEntry(entry, segment, offset)
          return true
        },
        onSeal: (seal) => state.seal(seal.index, seal.commitIndex),
      })
      this.#size = end
      if (end === (await segment.file.size())) continue
      // A torn tail, and then superseded where a segment follows; never what a later seal vouches for.
      const isSuperseded = !next || next.firstIndex <= state.lastIndex + 1
      if (!isSuperseded || (await hasSealAfter(segment.file, end, this.#reader))) {
        throw damaged(segment, end, state.lastIndex + 1)
      }
    }
    this.commitIndex = state.commitIndex
    this.#lastSealed = state.lastIndex
    // Always a new file: after a failed sync even the last seal may be readable and not durable,
    // and what is appended behind it would vouch for it.
    await this.#rewriteTail(state.unsealedFirst ?? state.lastIndex + 1, state.lastIndex)
    return state
  }

  /** Writes entries from `firstIndex` on again, into a new segment, and syncs it and its name. */
  async #rewriteTail(firstIndex: number, lastIndex: number): Promise<void> {
    const entries =
      firstIndex <= lastIndex ? await this.read(firstIndex, lastIndex, Number.MAX_VALUE) : []
    await this.#startSegment(firstIndex, entries)
    await this.#writeAll([this.#takeSeal({ index: lastIndex }, [])])
    await this.#removeSuperseded()
  }

  /**
   * Segments that hold nothing any more would pile up with every crash. They go newest first, each
   * for good before the next, and none in front of one that stays: that one may begin, in its first
   * line, right behind what only the other still holds, and would then stand behind a gap.
   */
  async #removeSuperseded(): Promise<void> {
    const { disk, directory } = this.#options
    for (;;) {
      const before = this.#segments.at(-2)
      if (!before || before.lowestIndex < this.#segment.firstIndex) return
      await before.file.close()
      await disk.remove(before.path)
      await disk.syncDirectory(directory)
      this.#segments.splice(-2, 1)
    }
  }

  async #startSegment(firstIndex: number, entries: readonly LogEntry[]): Promise<void> {
    const { disk, directory, clusterId, group } = this.#options
    const sequence = (this.#segments.at(-1)?.sequence ?? 0) + 1
    const path = `${directory}/${segmentName(sequence)}`
    const file = await disk.open(`${path}.tmp`, { create: true })
    const header = encodeSegmentHeader({ clusterId, group, firstIndex })
    const chunks = [header, ...coalesce(entries.map((entry) => entry.record))]
    await file.write(chunks, 0)
    await file.datasync()
    await disk.rename(`${path}.tmp`, path)
    await disk.syncDirectory(directory)
    this.#segments.push({ sequence, path, file, firstIndex, lowestIndex: firstIndex })
    this.#size = byteCount(chunks)
    this.#mark(entries, header.length)
  }
}

/** What a walk over all segments has found so far. */
class ScanState implements LogSummary {
  termRuns: EntryId[] = []
  configs: { index: number; config: Config }[] = []
  lastIndex = 0
  lastTimeMs = 0
  commitIndex = 0
  /** The lowest index written after the last seal. */
  unsealedFirst: number | null = null

  /** A segment supersedes everything from its first index on, even before its first record. */
  startSegment(firstIndex: number): void {
    this.#truncateFrom(firstIndex)
    this.unsealedFirst = null
  }

  /** @returns false where the entry leaves a gap or replaces what was committed. */
  add(entry: LogEntry): boolean {
    if (entry.index > this.lastIndex + 1 || entry.index <= this.commitIndex) return false
    if (entry.index <= this.lastIndex) this.#truncateFrom(entry.index)
    if (entry.term < (this.termRuns.at(-1)?.term ?? 0)) return false
    if (entry.term !== this.termRuns.at(-1)?.term) {
      this.termRuns.push({ term: entry.term, index: entry.index })
    }
    if (entry.config) this.configs.push({ index: entry.index, config: entry.config })
    this.lastIndex = entry.index
    this.lastTimeMs = entry.timeMs
    this.unsealedFirst = Math.min(this.unsealedFirst ?? entry.index, entry.index)
    return true
  }

  seal(index: number, commitIndex: number): void {
    this.unsealedFirst = null
    this.commitIndex = Math.max(this.commitIndex, Math.min(commitIndex, index))
  }

  #truncateFrom(index: number): void {
    while ((this.termRuns.at(-1)?.index ?? 0) >= index) this.termRuns.pop()
    while ((this.configs.at(-1)?.index ?? 0) >= index) this.configs.pop()
    this.lastIndex = Math.min(this.lastIndex, index - 1)
  }
}

function lowestIndex(entries: readonly LogEntry[]): number {
  return entries.reduce((lowest, { index }) => Math.min(lowest, index), Number.POSITIVE_INFINITY)
}

function byteCount(chunks: readonly Buffer[]): number {
  return chunks.reduce((sum, chunk) => sum + chunk.length, 0)
}

function damaged(segment: Segment, offset: number, index: number): LogDamagedError {
  return new LogDamagedError(
    `${basename(segment.path)}: damaged at byte ${offset}, entry ${index} (${segment.path})`,
  )
}
