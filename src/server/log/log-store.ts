/**
 * The durable log: a directory of segments.
 *
 * In: entries in log order, each possibly superseding ones at its index and
 * after. Out: `onStable` once they are durable, in order. While one write and
 * its sync run the next batch gathers (group commit). What a keystore file
 * covers is cut off, by whole segments (`cutTo`).
 *
 * Promises: an entry reported stable is read back after any crash; what was
 * never durable is either read back whole or cut. Damage before the last seal
 * ends the log there, and the log then says what it owes: the entry up to which
 * it was durable before (`owed`, written into every segment until that is reached
 * again). Segments that hold the damaged range stay until then. Damage after the
 * last seal is the torn tail of a crash, and cut. Everything past the last seal
 * is written again to a new segment and
 * synced at open, because after a failed sync the page cache may show what the
 * disk never got; a segment is appended to only by the process that began it.
 * After any failed write or sync the log is poisoned: `onFailure`, and nothing
 * more is written.
 */
import { basename } from 'node:path'
import { type Disk, type DiskFile, isUnreadable, type Timers } from '../../io/io.ts'
import { isUpToDate, NO_ENTRY, TermRuns } from '../raft/term-runs.ts'
import type { Config, EntryId } from '../raft/types.ts'
import { coalesce, type LogEntry, RecordReader, RecordWriter } from './record.ts'
import { Room } from './room.ts'
import { type LogDamage, type ScannedLog, type Segment, scanLog } from './scan.ts'
import { encodeSegmentHeader, readSegmentHeader, segmentName, segmentSequence } from './segment.ts'

/** How far apart the positions are that a read of old entries may start from. */
const MARK_BYTES = 64 * 1024
const BATCH_BYTES_MAX = 4 * 1024 * 1024
const READ_CHUNK_BYTES = 256 * 1024
/** How long the newest batch stays without a seal while nothing follows it. */
const IDLE_SEAL_MS = 10

export class LogDamagedError extends Error {}

/** What was to be scrubbed goes: nobody needs it any more. */
class CutError extends Error {}

/** Entries from `index` on stand one behind the other in `segment` from `offset` on. */
interface Mark {
  readonly index: number
  readonly segment: Segment
  readonly offset: number
}

/** What the log held when it was opened. */
export interface LogSummary {
  /** The entry before the first. */
  readonly base: EntryId
  readonly termRuns: readonly EntryId[]
  readonly configs: readonly { readonly index: number; readonly config: Config }[]
  readonly lastIndex: number
  /** 0 where the log holds no entries. */
  readonly lastTimeMs: number
  /** The newest commit index that a seal names. */
  readonly commitIndex: number
  /** What the log once had durably and now lacks; 0/0 where it has it all. */
  readonly owed: EntryId
  readonly damage: LogDamage | null
}

export interface LogStoreOptions {
  readonly disk: Disk
  readonly timers: Timers
  /** `…/groups/<group>/log`. */
  readonly directory: string
  readonly clusterId: string
  readonly group: number
  /** A segment as long as this is followed by the next. */
  readonly segmentBytes?: number
  /** The entry as of which a keystore file holds everything. */
  readonly covered?: EntryId
  /** That file came from a leader: where the log does not have its entry, it starts behind it. */
  readonly isCoverNews?: boolean
  /** Nothing is changed; then nothing can be appended. */
  readonly readOnly?: boolean
  /** Called at the start for each entry found; it may be superseded by one that comes later. */
  readonly onScanned?: (entry: LogEntry) => void
  /** Called at the start, in between: entries found up to here are not. */
  readonly onCommitted?: (commitIndex: number) => void
}

export const SEGMENT_BYTES = 16 * 1024 * 1024

export class LogStore {
  onStable: (id: EntryId) => void = () => {}
  onFailure: (error: Error) => void = () => {}
  /** The newest commit index, written into seals. */
  commitIndex = 0

  readonly #options: LogStoreOptions
  readonly #reader: RecordReader
  readonly #writer: RecordWriter
  #segments: Segment[] = []
  /** The newest segment's file once more: what is written through it is durable at once. */
  #durableFile: DiskFile | null = null
  /** Behind what it holds. */
  #room: Room | null = null
  /** Of the newest segment. */
  #firstIndex = 1
  #terms = new TermRuns()
  #owed: EntryId = NO_ENTRY
  #marks: Mark[] = []
  /** The index after the newest entry written; another one starts a new run of marks. */
  #nextIndex = 1
  #size = 0
  #queue: LogEntry[] = []
  #isWriting = false
  /** The newest durable entry, and whether a seal names it. */
  #last: EntryId = NO_ENTRY
  #isSealed = true
  /** The last bytes of the newest segment, where nothing has made them durable: a seal of its own. */
  #looseSeal: Buffer | null = null
  #isSealDue = false
  #syncCount = 0
  /** After it nothing is written any more. */
  #failure: Error | null = null
  #isOpen = false
  #isClosed = false
  #onIdle: (() => void)[] = []
  #readerCount = 0
  /** Files that were removed while somebody may read them. */
  #removed: DiskFile[] = []
  #removal: Promise<void> = Promise.resolve()

  private constructor(options: LogStoreOptions) {
    this.#options = options
    this.#reader = new RecordReader(options.clusterId)
    this.#writer = new RecordWriter(options.clusterId)
  }

  /** Whether a log was begun in this directory. */
  static async exists(disk: Disk, directory: string): Promise<boolean> {
    return (await disk.list(directory)).some((name) => segmentSequence(name) !== null)
  }

  /**
   * Reads what is there, and makes a new segment to go on with.
   * @throws LogDamagedError where this is not the log of the keystore or of the cluster;
   * nothing has changed then.
   */
  static async open(options: LogStoreOptions): Promise<{ log: LogStore; summary: LogSummary }> {
    const log = new LogStore(options)
    try {
      const summary = await log.#open()
      log.#isOpen = true
      return { log, summary }
    } catch (error) {
      await log.#closeFiles()
      throw error
    }
  }

  /** How often the log's files were synced since it was opened, the open included. */
  get syncCount(): number {
    return this.#syncCount
  }

  /** Queues entries to be made durable. */
  append(entries: readonly LogEntry[]): void {
    for (const entry of entries) this.#queue.push(entry)
    if (!this.#isWriting && !this.#failure) void this.#writeQueue()
  }

  /**
   * Durable entries from `firstIndex` to `lastIndex`, of about `bytesMax` together, at least one.
   * @throws LogDamagedError naming file, offset and index.
   */
  async read(firstIndex: number, lastIndex: number, bytesMax: number): Promise<LogEntry[]> {
    this.#readerCount++
    try {
      return await this.#read(firstIndex, lastIndex, bytesMax)
    } finally {
      await this.#endRead()
    }
  }

  /**
   * Reads all but what is being written once more; the newest segment is ended for it. It is
   * over once something is cut: that can be closed then, and what stays was written lately.
   * @param through What the files are read through.
   * @returns the first damage.
   */
  async scrub(through: (file: DiskFile) => DiskFile): Promise<LogDamage | null> {
    await this.endSegment()
    this.#readerCount++
    try {
      return await this.#scrub(through)
    } catch (error) {
      if (error instanceof CutError) return null
      throw error
    } finally {
      await this.#endRead()
    }
  }

  async #scrub(through: (file: DiskFile) => DiskFile): Promise<LogDamage | null> {
    const segments = this.#segments.map((segment) => ({
      ...segment,
      file: segment === this.#segment ? emptied(segment) : through(this.#untilCut(segment.file)),
    }))
    const { index } = this.#terms.base
    const rotted = await findRottedHeader(segments.slice(0, -1))
    if (rotted) return rotted
    const visitor = { onEntry: () => {}, onCommitted: () => {} }
    return (await scanLog(segments, index, index, this.#reader, visitor)).damage
  }

  /** Files that were cut stay open as long as anything is read. */
  #untilCut(file: DiskFile): DiskFile {
    const [oldest] = this.#segments
    return {
      ...READ_ONLY,
      size: () => file.size(),
      read: async (offset, length) => {
        if (this.#segments[0] !== oldest) throw new CutError()
        return file.read(offset, length)
      },
    }
  }

  /**
   * A durable keystore file holds everything up to `index`: segments that hold nothing
   * else go, unless the log owes something.
   * @returns the index behind which the log starts from now on.
   */
  cutTo(index: number): number {
    const covered = this.#cut(index)
    this.#removal = this.#removal
      .then(() => this.#remove(covered))
      .catch((error) => this.#poison(error))
    return this.#terms.base.index
  }

  #cut(index: number): Segment[] {
    const keptAt = this.#segments.findLastIndex(
      ({ header }) => header && header.firstIndex <= index + 1,
    )
    const kept = this.#segments[keptAt]?.header
    if (keptAt <= 0 || !kept || this.#isOwing) return []
    this.#terms.cutTo(Math.max(this.#terms.base.index, kept.firstIndex - 1))
    const removed = this.#segments.splice(0, keptAt)
    this.#marks = this.#marks.filter(({ segment }) => !removed.includes(segment))
    return removed
  }

  /** The log starts anew, durably, behind an entry that a snapshot holds; `cutTo` then removes the old. */
  async reset(base: EntryId): Promise<void> {
    this.#queue = []
    await this.#beginWriting()
    if (!this.#failure) {
      this.#startAnew(base)
      await this.#beginSegment()
    }
    this.#becomeIdle()
    if (this.#failure) throw this.#failure
  }

  /** Where the newest segment holds anything, another one follows. */
  async endSegment(): Promise<void> {
    await this.#beginWriting()
    const isEmpty = this.#last.index < this.#firstIndex
    if (!this.#failure && !this.#isClosed && !isEmpty) await this.#beginSegment()
    this.#becomeIdle()
  }

  async #beginSegment(): Promise<void> {
    try {
      await this.#startSegment([])
    } catch (error) {
      this.#poison(error)
    }
  }

  /** Writes what is queued and a last seal, so that the next open finds a clean end. */
  async close(): Promise<void> {
    this.#isClosed = true
    await this.#beginWriting()
    if (!this.#failure) await this.#writeBatches(() => true)
    if (!this.#failure && !this.#options.readOnly) {
      // A seal says that all before it is durable; one written while idle is not yet.
      if (this.#looseSeal) await this.#sync(this.#segment.file)
      this.#looseSeal = null
      await this.#writeAll([this.#takeSeal([])])
    }
    await this.#removal
    await this.#closeFiles()
  }

  async #closeFiles(): Promise<void> {
    await this.#room?.settled()
    await this.#durableFile?.close()
    for (const { file } of this.#segments) await file.close()
  }

  // ---------------------------------------------------------------- writing

  async #writeQueue(): Promise<void> {
    this.#isWriting = true
    // Whoever waits for the log has its turn after a batch.
    await this.#writeBatches(() => this.#onIdle.length === 0)
    this.#becomeIdle()
    this.#sealSoon()
  }

  /** Seals once nothing was written for a while. A timer for each batch costs more than its seal. */
  #sealSoon(): void {
    if (this.#isSealDue || this.#failure || this.#isClosed) return
    this.#isSealDue = true
    const size = this.#size
    this.#options.timers.after(IDLE_SEAL_MS, () => {
      this.#isSealDue = false
      if (this.#size === size) void this.#sealIdle()
      else this.#sealSoon()
    })
  }

  async #writeBatches(mayGoOn: () => boolean): Promise<void> {
    try {
      while (this.#queue.length > 0 && !this.#failure && mayGoOn()) {
        const isNew = this.#mustRotate
        const batch = this.#takeBatch(isNew ? (this.#queue[0]?.index ?? 0) : this.#firstIndex)
        if (isNew) await this.#startSegment(batch)
        else await this.#writeBatch(batch)
        this.#reportStable(batch)
      }
    } catch (error) {
      this.#poison(error)
    }
  }

  #becomeIdle(): void {
    this.#isWriting = false
    const next = this.#onIdle.shift()
    if (next) next()
    else if (this.#queue.length > 0 && !this.#failure) void this.#writeQueue()
  }

  /** Waits for the write that is under way, and keeps others from beginning one until `#becomeIdle`. */
  async #beginWriting(): Promise<void> {
    while (this.#isWriting) await new Promise<void>((resolve) => this.#onIdle.push(resolve))
    this.#isWriting = true
  }

  /** What goes back behind the first index of its segment begins one, and so does what comes late. */
  get #mustRotate(): boolean {
    const { segmentBytes = SEGMENT_BYTES } = this.#options
    return (this.#queue[0]?.index ?? 0) < this.#firstIndex || this.#size >= segmentBytes
  }

  async #writeBatch(batch: readonly LogEntry[]): Promise<void> {
    const seals = this.#isSealed ? [] : [this.#takeSeal(batch)]
    this.#mark(batch, this.#size + byteCount(seals))
    const sizeBefore = this.#size
    await this.#writeAll([...seals, ...coalesce(batch)])
    this.#room?.keep(this.#size, this.#size - sizeBefore)
    this.#isSealed = false
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

  /** The next entries, up to one that belongs before `firstIndex`. */
  #takeBatch(firstIndex: number): LogEntry[] {
    let bytes = 0
    let count = 0
    for (const entry of this.#queue) {
      if (entry.index < firstIndex) break
      if (count > 0 && bytes + entry.bytes > BATCH_BYTES_MAX) break
      bytes += entry.bytes
      count++
    }
    return this.#queue.splice(0, count)
  }

  /** A seal for the end of the file, in front of `batch`. */
  #takeSeal(batch: readonly LogEntry[]): Buffer {
    this.#isSealed = true
    // What is committed may be entries still to be written, in the place of those that stand here.
    const writtenTo = Math.min(lowestIndex(batch), lowestIndex(this.#queue)) - 1
    const commitIndex = Math.min(this.commitIndex, writtenTo)
    const { term, index } = this.#last
    return this.#writer.seal({ term, index, commitIndex, offset: this.#size })
  }

  /**
   * A seal on its own needs no sync: lost, it only makes the next open write
   * more again. The batch after it starts without another one, because that would
   * claim that these bytes are durable, but with this one once more: a durable write
   * is about its own bytes only.
   */
  async #sealIdle(): Promise<void> {
    if (this.#isWriting || this.#isSealed || this.#failure || this.#isClosed) return
    this.#isWriting = true
    try {
      const seal = this.#takeSeal([])
      const offset = this.#size
      this.#size += seal.length
      this.#looseSeal = seal
      if (this.#room?.isMadeBefore(this.#size)) await this.#untilRoomIsMade(this.#room)
      await this.#segment.file.write([seal], offset)
    } catch (error) {
      this.#poison(error)
    }
    this.#becomeIdle()
  }

  #poison(error: unknown): void {
    if (this.#failure) return
    this.#failure = error instanceof Error ? error : new Error(String(error))
    this.onFailure(this.#failure)
  }

  async #writeAll(chunks: readonly Buffer[]): Promise<void> {
    const loose = this.#looseSeal
    const offset = this.#size - (loose?.length ?? 0)
    this.#size += byteCount(chunks)
    this.#looseSeal = null
    this.#syncCount++
    if (this.#room?.isMadeBefore(this.#size)) await this.#untilRoomIsMade(this.#room)
    await this.#durable.write(loose ? [loose, ...chunks] : chunks, offset)
  }

  #roomIn(file: DiskFile): Room {
    const { segmentBytes = SEGMENT_BYTES } = this.#options
    const sync = () => this.#sync(file)
    return new Room(file, segmentBytes, sync, (error) => this.#poison(error))
  }

  /** @throws where that has failed: nothing is written any more. */
  async #untilRoomIsMade(room: Room): Promise<void> {
    await room.settled()
    if (this.#failure) throw this.#failure
  }

  #sync(file: DiskFile): Promise<void> {
    this.#syncCount++
    return file.datasync()
  }

  get #durable(): DiskFile {
    if (!this.#durableFile) throw new Error('the log is not open')
    return this.#durableFile
  }

  get #segment(): Segment {
    const segment = this.#segments.at(-1)
    if (!segment) throw new Error('the log is not open')
    return segment
  }

  // ---------------------------------------------------------------- positions

  #mark(batch: readonly LogEntry[], offset: number): void {
    let position = offset
    const segment = this.#segment
    let last = this.#last
    for (const entry of batch) {
      if (entry.index <= last.index) this.#truncateFrom(entry.index)
      this.#terms.add(entry)
      last = entry
      this.#markEntry(entry, segment, position)
      position += entry.bytes
    }
    this.#last = { term: last.term, index: last.index }
  }

  #truncateFrom(index: number): void {
    this.#terms.truncateFrom(index)
    if (this.#last.index >= index) this.#last = this.#entryId(index - 1)
  }

  #entryId(index: number): EntryId {
    return { term: this.#terms.termAt(index), index }
  }

  get #isOwing(): boolean {
    return !isUpToDate(this.#last, this.#owed)
  }

  #markEntry(entry: LogEntry, segment: Segment, offset: number): void {
    const isNewRun = entry.index !== this.#nextIndex
    while ((this.#marks.at(-1)?.index ?? 0) >= entry.index) this.#marks.pop()
    const last = this.#marks.at(-1)
    const isFar = !last || last.segment !== segment || offset - last.offset >= MARK_BYTES
    if (isNewRun || isFar) this.#marks.push({ index: entry.index, segment, offset })
    this.#nextIndex = entry.index + 1
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
      if (next >= stopIndex) return
      // A length that is damaged points behind the end; what was asked for is there.
      if (bytes.length < wanted && at === 0) throw damaged(mark.segment, position, next)
      wanted = at === 0 ? 2 * wanted : READ_CHUNK_BYTES
      position += at
    }
  }

  // ---------------------------------------------------------------- reading

  async #read(firstIndex: number, lastIndex: number, bytesMax: number): Promise<LogEntry[]> {
    const entries: LogEntry[] = []
    let bytes = 0
    // A copy: what is cut meanwhile stays readable until nobody reads.
    const marks = this.#marks.slice(this.#markAt(firstIndex), this.#markAt(lastIndex) + 2)
    for (const [at, mark] of marks.entries()) {
      const stopIndex = Math.min(marks[at + 1]?.index ?? Infinity, lastIndex + 1)
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

  async #remove(segments: readonly Segment[]): Promise<void> {
    if (segments.length === 0) return
    const { disk, directory } = this.#options
    for (const { path, file } of segments) {
      await disk.remove(path)
      this.#removed.push(file)
    }
    await disk.syncDirectory(directory)
    if (this.#readerCount === 0) await this.#closeRemoved()
  }

  async #endRead(): Promise<void> {
    this.#readerCount--
    if (this.#readerCount === 0) await this.#closeRemoved()
  }

  async #closeRemoved(): Promise<void> {
    for (const file of this.#removed.splice(0)) await file.close()
  }

  // ---------------------------------------------------------------- opening

  async #open(): Promise<LogSummary> {
    await this.#findSegments()
    const { covered = NO_ENTRY, isCoverNews, readOnly, onScanned, onCommitted } = this.#options
    if (this.#segments.length === 0) {
      this.#startAnew(covered)
      if (!readOnly) await this.#startSegment([])
      return this.#summary(null, [], 0, 0)
    }
    const scanned = await scanLog(
      this.#segments,
      covered.index,
      isCoverNews ? 0 : covered.index,
      this.#reader,
      {
        onEntry: (entry, segment, offset) => {
          onScanned?.(entry)
          this.#markEntry(entry, segment, offset)
        },
        onCommitted: (commitIndex) => onCommitted?.(commitIndex),
      },
    )
    const { configs, lastTimeMs, lastIndex, unsealedFirst, damage, terms } = scanned
    const isHeld = this.#holds(covered, scanned)
    if (isHeld) {
      this.#terms = terms
      this.#last = this.#entryId(lastIndex)
      this.commitIndex = scanned.commitIndex
    } else this.#startAnew(covered)
    this.#owed = scanned.owed
    if (!this.#isOwing) this.#owed = NO_ENTRY
    if (!readOnly) await (isHeld ? this.#goOn(unsealedFirst) : this.#startSegment([]))
    return isHeld
      ? this.#summary(damage, configs, lastTimeMs, scanned.commitIndex)
      : this.#summary(damage, [], 0, covered.index)
  }

  /**
   * Always in a new file: after a failed sync even the last seal may be readable and not durable,
   * and what is appended behind it would vouch for it.
   */
  async #goOn(unsealedFirst: number | null): Promise<void> {
    const tail =
      unsealedFirst === null ? [] : await this.read(unsealedFirst, this.#last.index, Infinity)
    await this.#startSegment(tail)
    await this.#writeAll([this.#takeSeal([])])
    if (!this.#isOwing) await this.#removeSuperseded()
    await this.#remove(this.#cut(this.#options.covered?.index ?? 0))
  }

  async #findSegments(): Promise<void> {
    const { disk, directory, clusterId, group, readOnly = false } = this.#options
    if (!readOnly) {
      await disk.makeDirectory(directory)
      // A name that is readable may not be durable, if the process before died in between.
      await disk.syncDirectory(directory)
    }
    for (const name of await disk.list(directory)) {
      const path = `${directory}/${name}`
      const sequence = segmentSequence(name)
      if (sequence === null) {
        if (name.endsWith('.tmp') && !readOnly) await disk.remove(path)
        continue
      }
      const file = this.#guarded(path, await disk.open(path, { create: false, readOnly }))
      const { header, end: start } = await readSegmentHeader(file, path)
      if (header && (header.clusterId !== clusterId || header.group !== group)) {
        throw new LogDamagedError(
          `${path}: belongs to cluster ${header.clusterId}, group ${header.group}`,
        )
      }
      this.#segments.push({ sequence, path, file, header, start })
    }
  }

  /**
   * What the device can't read any more is damage like any other once the log is open: no record
   * verifies there, and what it held is in memory. Not before: it might have said how far the log
   * had come, and what was acknowledged would be forgotten.
   */
  #guarded(path: string, file: DiskFile): DiskFile {
    const read = async (offset: number, length: number) => {
      try {
        return await file.read(offset, length)
      } catch (error) {
        if (!isUnreadable(error)) throw error
        if (this.#isOpen) return Buffer.alloc(Math.min(length, (await file.size()) - offset))
        throw new LogDamagedError(
          `${path}: the disk can't read it at byte ${offset} (${error}): restore the file, or move the server's directory away and start again as a new server`,
        )
      }
    }
    return {
      ...{ read, size: () => file.size(), close: () => file.close() },
      ...{ write: (chunks, at) => file.write(chunks, at), datasync: () => file.datasync() },
    }
  }

  /** Whether the log goes on from what is covered; else it has to start anew behind that. */
  #holds(covered: EntryId, { terms, lastIndex, damage }: ScannedLog): boolean {
    const { index, term } = covered
    if (index >= terms.base.index && index <= lastIndex && terms.termAt(index) === term) return true
    if (damage || this.#options.isCoverNews) return false
    throw new LogDamagedError(
      `the log in ${this.#options.directory} ends at entry ${lastIndex} and does not have the keystore's, ${term}/${index}: it is not this keystore's log`,
    )
  }

  #startAnew(base: EntryId): void {
    this.#terms = new TermRuns(base)
    this.#marks = []
    this.#nextIndex = base.index + 1
    this.#last = base
  }

  #summary(
    damage: LogDamage | null,
    configs: LogSummary['configs'],
    lastTimeMs: number,
    commitIndex: number,
  ): LogSummary {
    const { base, runs: termRuns } = this.#terms
    const { index: lastIndex } = this.#last
    const owed = this.#isOwing ? this.#owed : NO_ENTRY
    return { base, termRuns, configs, lastIndex, lastTimeMs, commitIndex, owed, damage }
  }

  /**
   * Segments that hold nothing any more would pile up with every crash. They go newest first, each
   * for good before the next, and none in front of one that stays: that one may begin, in its first
   * line, right behind what only the other still holds, and would then stand behind a gap.
   */
  async #removeSuperseded(): Promise<void> {
    for (;;) {
      const before = this.#segments.at(-2)
      if (!before || (before.header?.firstIndex ?? 0) < this.#firstIndex) return
      this.#segments.splice(-2, 1)
      await this.#remove([before])
    }
  }

  /** Begins a segment with these entries: new ones, or the newest once more. */
  async #startSegment(entries: readonly LogEntry[]): Promise<void> {
    if (this.#room) await this.#untilRoomIsMade(this.#room)
    const { disk, directory, clusterId, group } = this.#options
    const sequence = (this.#segments.at(-1)?.sequence ?? 0) + 1
    const path = `${directory}/${segmentName(sequence)}`
    const file = this.#guarded(path, await disk.open(`${path}.tmp`, { create: true }))
    const firstIndex = entries[0]?.index ?? this.#last.index + 1
    const termBefore = this.#terms.termAt(firstIndex - 1)
    const owed = this.#isOwing ? this.#owed : NO_ENTRY
    const header = { clusterId, group, firstIndex, termBefore, owed }
    const firstLine = encodeSegmentHeader(header)
    const chunks = [firstLine, ...coalesce(entries)]
    await file.write(chunks, 0)
    await this.#sync(file)
    await disk.rename(`${path}.tmp`, path)
    await disk.syncDirectory(directory)
    const before = this.#durableFile
    this.#durableFile = await disk.open(path, { create: false, isDurable: true })
    await before?.close()
    this.#room = this.#roomIn(file)
    this.#segments.push({ sequence, path, file, header, start: firstLine.length })
    this.#firstIndex = firstIndex
    this.#size = byteCount(chunks)
    this.#looseSeal = null
    this.#mark(entries, firstLine.length)
    this.#isSealed = entries.length === 0
  }
}

/** The walk over the segments goes by their first lines as they are in memory. */
async function findRottedHeader(segments: readonly Segment[]): Promise<LogDamage | null> {
  for (const { path, file, header } of segments) {
    const isRotted = header && !(await readSegmentHeader(file, path)).header
    if (isRotted) return { path, offset: 0, index: header.firstIndex }
  }
  return null
}

/** A segment's file as it was before any record. */
function emptied({ file, start }: Segment): DiskFile {
  return {
    ...READ_ONLY,
    size: async () => start,
    read: (offset, length) => file.read(offset, Math.max(0, Math.min(length, start - offset))),
  }
}

function unwritable(): never {
  throw new Error('only to be read')
}

const READ_ONLY = { write: unwritable, datasync: unwritable, close: unwritable }

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
