/**
 * A log as its segments stand, read without the server.
 *
 * In: the directory of the segments. Out: which entries are in effect and where
 * they stand, and everything that is off. Unlike the server's own walk (../log/scan.ts)
 * it begins with the oldest segment, whatever a keystore file covers, and does not stop
 * at damage: it says where, and goes on with the next segment.
 *
 * A segment says the term of the entry before its first. Where the entry that stands
 * there is another, or none does, the log begins anew with it, behind what a keystore
 * file or a snapshot holds: what stands before is not in effect. Where damage is the
 * reason that none does, what stands before it stays.
 *
 * Segments between one and the next that goes on from it count no more, whatever is in them.
 *
 * Memory: a few numbers for each segment, term and run. A run is a piece of a
 * segment that holds neighbouring entries; another begins with each segment and
 * with each entry that supersedes others. So the entries of a log of any size can
 * be read in index order, run by run.
 */
import type { Disk } from '../../io/io.ts'
import { type LogEntry, RecordReader, type Seal } from '../log/record.ts'
import { isRoomFrom } from '../log/room.ts'
import type { Segment } from '../log/scan.ts'
import {
  findLastSeal,
  readSegmentHeader,
  type SegmentHeader,
  type SegmentVisitor,
  scanSegment,
  segmentSequence,
} from '../log/segment.ts'
import { furthest, isUpToDate, NO_ENTRY, TermRuns } from '../raft/term-runs.ts'
import type { EntryId } from '../raft/types.ts'
import type { Finding } from './finding.ts'
import type { LogPosition } from './log-follower.ts'

export interface SurveyOptions {
  readonly disk: Disk
  /** Of the segments. */
  readonly directory: string
  /** null: what the first segment says. */
  readonly clusterId: string | null
  readonly group: number | null
  /** A keystore file holds everything up to here; null where that was not looked at. */
  readonly coveredIndex?: number | null
  /** @returns what is wrong with an entry whose checksum is right; null where nothing is. */
  readonly checkEntry?: (entry: LogEntry) => string | null
  /** Called as each segment is done. */
  readonly onSegment?: (report: SegmentReport, findings: readonly Finding[]) => void
}

export interface SegmentReport {
  readonly path: string
  readonly bytes: number
  readonly entryCount: number
  readonly sealCount: number
  /** The lowest and the highest index that stand in it; 0 where no entry does. */
  readonly lowestIndex: number
  readonly highestIndex: number
}

/** Where the log begins behind something that it does not hold. */
export interface Beginning {
  /** The segment that says so. */
  readonly path: string
  /** What a keystore file has to hold everything up to. */
  readonly base: EntryId
  /** What stands before it, in segments that do not count any more; 0/0 where nothing does. */
  readonly before: EntryId
}

/** Entries `[firstIndex, endIndex)`, one behind the other from `offset` on. */
interface Run {
  readonly segment: Segment
  readonly offset: number
  readonly firstIndex: number
  endIndex: number
}

export class LogSurvey {
  readonly findings: Finding[] = []
  /** null where it begins with the first entry. */
  beginning: Beginning | null = null
  clusterId: string | null
  group: number | null
  /** The newest entry; 0 for none. */
  lastIndex = 0
  /** The newest commit index that a seal names. */
  commitIndex = 0
  /** What this log once had and does not have yet again; 0/0 where it has it all. */
  owed: EntryId = NO_ENTRY

  readonly #options: SurveyOptions
  readonly #segments: Segment[] = []
  #runs: Run[] = []
  #terms = new TermRuns()
  #isAppending = false
  #isAfterDamage = false
  /** Up to where the segment that counts and was read last can be read. */
  #end = { sequence: 0, offset: 0 }
  /** Nothing up to here can be superseded within the segment. */
  #settledIndex = 0

  private constructor(options: SurveyOptions) {
    this.#options = options
    this.clusterId = options.clusterId
    this.group = options.group
  }

  /** Reads all of it once. */
  static async run(options: SurveyOptions): Promise<LogSurvey> {
    const survey = new LogSurvey(options)
    try {
      await survey.#open()
      await survey.#walk()
    } catch (error) {
      await survey.close()
      throw error
    }
    return survey
  }

  /** The oldest entry in effect; 0 for none. */
  get firstIndex(): number {
    return this.#runs[0]?.firstIndex ?? 0
  }

  get entryCount(): number {
    return this.#runs.reduce((sum, run) => sum + run.endIndex - run.firstIndex, 0)
  }

  get lastTerm(): number {
    return this.#terms.lastTerm
  }

  /** Where to read on. */
  get position(): LogPosition {
    const terms = new TermRuns(this.#terms.base, this.#terms.runs)
    return { ...this.#end, terms, lastIndex: this.lastIndex }
  }

  get segmentCount(): number {
    return this.#segments.length
  }

  /** The term of an entry in effect, or of the one before the first; null for others. */
  termAt(index: number): number | null {
    const isHere = this.#runs.some((run) => run.firstIndex <= index && index < run.endIndex)
    const isKnown = isHere || (index > 0 && index === this.#terms.base.index)
    return isKnown ? this.#terms.termAt(index) : null
  }

  /** Every entry in effect, in index order. */
  async read(onEntry: (entry: LogEntry) => void): Promise<void> {
    const reader = new RecordReader(this.clusterId ?? '')
    for (const { segment, offset, firstIndex, endIndex } of this.#runs) {
      let next = firstIndex
      await scanSegment(segment.file, offset, reader, {
        onEntry(entry) {
          if (next === endIndex || entry.index !== next) return false
          next++
          onEntry(entry)
          return true
        },
        onSeal() {},
      })
      if (next < endIndex) throw new Error(`${segment.path}: changed while it was read`)
    }
  }

  async close(): Promise<void> {
    for (const { file } of this.#segments) await file.close()
  }

  // ---------------------------------------------------------------- the walk

  /** All are opened first: a server that cuts its log meanwhile takes none of them away. */
  async #open(): Promise<void> {
    const { disk, directory } = this.#options
    for (const name of await disk.list(directory)) {
      const sequence = segmentSequence(name)
      if (sequence === null) continue
      const path = `${directory}/${name}`
      const file = await disk.open(path, { create: false }).catch((error) => {
        if (error.code !== 'ENOENT') throw error
      })
      if (!file) continue
      const { header, end: start } = await readSegmentHeader(file, path).catch(async (error) => {
        await file.close()
        throw error
      })
      this.#segments.push({ sequence, path, file, header, start })
    }
  }

  async #walk(): Promise<void> {
    let owed = NO_ENTRY
    let next = Math.max(0, this.#nextAfter(-1))
    for (const [at, segment] of this.#segments.entries()) {
      if (segment.header) owed = furthest(owed, segment.header.owed)
      const knownCount = this.findings.length
      const isPassedOver = at < next
      const report = await (isPassedOver ? this.#passOver(segment) : this.#walkSegment(segment, at))
      if (!isPassedOver) next = Math.max(at + 1, this.#nextAfter(at))
      this.#options.onSegment?.(report, this.findings.slice(knownCount))
    }
    if (!isUpToDate({ term: this.lastTerm, index: this.lastIndex }, owed)) this.owed = owed
  }

  /** The segment that goes on with all that counts up to now; -1 where none does. */
  #nextAfter(at: number): number {
    return this.#segments.findIndex(
      ({ header }, after) => after > at && header && this.#isFollowedBy(header),
    )
  }

  /** What stands between a segment and the one that goes on from there counts no more. */
  async #passOver({ path, file, header, start }: Segment): Promise<SegmentReport> {
    const bytes = await file.size()
    const report = emptyReport(path, bytes)
    const reader = new RecordReader(header?.clusterId ?? '')
    const end = await scanSegment(file, header ? start : 0, reader, {
      onEntry: ({ index }) => {
        count(report, index)
        return true
      },
      onSeal: () => report.sealCount++,
    })
    if (!(await isRoomFrom(file, end))) {
      const what = `no whole ${header ? 'record' : 'first line'} stands here; ${REPLACED}`
      this.findings.push({ kind: 'note', path, offset: header ? end : 0, what })
    }
    return report
  }

  async #walkSegment(segment: Segment, at: number): Promise<SegmentReport> {
    const { path, file, header, start } = segment
    const bytes = await file.size()
    const report = emptyReport(path, bytes)
    if (!header) {
      const what = `its first line does not verify${this.#remedy(at)}`
      this.#breakOff({ path, offset: 0, index: this.lastIndex + 1, what })
      return report
    }
    if (!this.#belongs(path, header)) return report
    this.#begin(path, header)

    const reader = new RecordReader(header.clusterId)
    const scan = { refusal: null as string | null, isAllRight: true }
    /** Something wrong that does not end the walk; one of a segment is enough. */
    const complain = (offset: number, index: number, what: string | null) => {
      if (what !== null && scan.isAllRight) {
        scan.isAllRight = false
        this.findings.push({ kind: 'damage', path, offset, index, what })
      }
    }
    const visitor: SegmentVisitor = {
      onEntry: (entry, offset) => {
        scan.refusal = this.#refusalOf(entry)
        if (scan.refusal !== null) return false
        this.#add(entry, segment, offset)
        count(report, entry.index)
        complain(offset, entry.index, this.#options.checkEntry?.(entry) ?? null)
        return true
      },
      onSeal: (seal) => {
        report.sealCount++
        complain(seal.offset, seal.index, this.#seal(seal))
      },
    }
    let end = await scanSegment(file, start, reader, visitor)
    if (!(await isRoomFrom(file, end))) {
      const lastSeal = await findLastSeal(file, end, reader)
      // A server may have written there meanwhile: what stands before a seal is whole by then.
      if (scan.refusal === null) end = await scanSegment(file, end, reader, visitor)
      const isAllRead = lastSeal ? end >= lastSeal.end : await isRoomFrom(file, end)
      if (scan.refusal !== null || !isAllRead) {
        await this.#judgeTail(at, end, lastSeal?.seal ?? null, scan.refusal)
      }
    }
    this.#end = { sequence: segment.sequence, offset: end }
    return report
  }

  #belongs(path: string, { clusterId, group }: SegmentHeader): boolean {
    this.clusterId ??= clusterId
    this.group ??= group
    if (clusterId === this.clusterId && group === this.group) return true
    const what = `it belongs to cluster ${clusterId}, group ${group}, not to cluster ${this.clusterId}, group ${this.group}`
    this.#breakOff({ path, offset: 0, what })
    return false
  }

  /** A segment supersedes everything from its first index on. */
  #begin(path: string, header: SegmentHeader): void {
    const base = { term: header.termBefore, index: header.firstIndex - 1 }
    if (this.#isFollowedBy(header)) this.#truncateFrom(header.firstIndex)
    else if (this.#isAfterDamage && base.index > this.lastIndex && base.term >= this.lastTerm) {
      this.#terms.add(base)
    } else this.#beginAnew(path, base)
    this.#isAppending = false
    this.#isAfterDamage = false
    this.lastIndex = base.index
    this.#settledIndex = Math.min(this.commitIndex, this.lastIndex)
  }

  #beginAnew(path: string, base: EntryId): void {
    const before = { term: this.lastTerm, index: this.lastIndex }
    this.beginning = base.index === 0 ? null : { path, base, before }
    this.#terms = new TermRuns(base)
    this.#runs = []
  }

  /** Whether what stands up to now goes on with this segment. */
  #isFollowedBy({ clusterId, firstIndex, termBefore }: SegmentHeader): boolean {
    if (this.clusterId !== null && clusterId !== this.clusterId) return false
    const before = firstIndex - 1
    if (before > this.lastIndex || before < this.#terms.base.index) return false
    return this.#terms.termAt(before) === termBefore
  }

  #refusalOf({ index, term }: EntryId): string | null {
    const id = `${term}/${index}`
    if (index > this.lastIndex + 1) return `entry ${id} stands behind entry ${this.lastIndex}`
    if (index <= this.#terms.base.index) {
      return `entry ${id} stands in a log that begins behind entry ${this.#terms.base.index}`
    }
    if (index <= this.#settledIndex) {
      return `entry ${id} stands behind a seal that says ${this.#settledIndex} is committed`
    }
    const termBefore = this.#terms.termAt(index - 1)
    return term < termBefore ? `entry ${id} follows one of term ${termBefore}` : null
  }

  /** @returns what is wrong with it. */
  #seal({ index, term, commitIndex }: Seal): string | null {
    if (index > this.lastIndex || this.#terms.termAt(index) !== term) {
      return 'a seal for an entry that does not stand before it'
    }
    this.#settledIndex = Math.max(this.#settledIndex, Math.min(commitIndex, index))
    this.commitIndex = Math.max(this.commitIndex, this.#settledIndex)
    return null
  }

  #add(entry: LogEntry, segment: Segment, offset: number): void {
    const { index } = entry
    if (index <= this.lastIndex) this.#truncateFrom(index)
    const run = this.#runs.at(-1)
    if (this.#isAppending && run) run.endIndex = index + 1
    else this.#runs.push({ segment, offset, firstIndex: index, endIndex: index + 1 })
    this.#isAppending = true
    this.#terms.add(entry)
    this.lastIndex = index
  }

  #truncateFrom(index: number): void {
    this.#isAppending = false
    while ((this.#runs.at(-1)?.firstIndex ?? 0) >= index) this.#runs.pop()
    const last = this.#runs.at(-1)
    if (last) last.endIndex = Math.min(last.endIndex, index)
    this.#terms.truncateFrom(index)
    this.lastIndex = Math.min(this.lastIndex, index - 1)
  }

  /**
   * What does not read on is the torn tail of a crash, or damage, or was written again since.
   * @param lastSeal One that stands behind it.
   */
  async #judgeTail(
    at: number,
    end: number,
    lastSeal: Seal | null,
    refusal: string | null,
  ): Promise<void> {
    const { path = '', file } = this.#segments[at] ?? {}
    const isLast = at + 1 === this.#segments.length
    const place = { path, offset: end, index: this.lastIndex + 1 }
    const isReplaced = this.#nextAfter(at) !== -1
    const remedy = this.#remedy(at, lastSeal?.index)
    if (refusal !== null) {
      this.#breakOff({ ...place, what: refusal + remedy })
    } else if (isReplaced && lastSeal) {
      const what = `no whole record stands here, and a seal further on says there was one; ${REPLACED}`
      this.findings.push({ kind: 'note', ...place, what })
    } else if (lastSeal) {
      const what = 'no whole record stands here, and a seal further on says there was one'
      this.#breakOff({ ...place, what: what + remedy })
    } else if (isReplaced || isLast) {
      const bytes = ((await file?.size()) ?? end) - end
      const what = `the ${bytes} bytes from here on are no whole record and no seal vouches for them: the torn tail of a crash, or of a copy made while it was written; a start cuts it`
      this.findings.push({ kind: 'note', ...place, what })
    } else {
      const what = 'no whole record stands here, and no later segment goes on from here'
      this.#breakOff({ ...place, what: what + remedy })
    }
  }

  /** What becomes of entries that a segment can't give any more, as far as one knows up to `reach`. */
  #remedy(at: number, reach = Infinity): string {
    const { coveredIndex = null } = this.#options
    if (coveredIndex === null) return ''
    const later = this.#segments.slice(at + 1)
    const isPassed = later.some(({ header }) => header && header.firstIndex <= coveredIndex + 1)
    return isPassed || (later.length === 0 && reach <= coveredIndex)
      ? '; the keystore file has what it held'
      : '; what it held comes from another server'
  }

  /** Damage that the rest of a segment can't be read behind. */
  #breakOff(finding: Omit<Finding, 'kind'>): void {
    this.#isAfterDamage = true
    this.findings.push({ kind: 'damage', ...finding })
  }
}

const REPLACED = 'a later segment takes its place'

function emptyReport(path: string, bytes: number): Mutable<SegmentReport> {
  return { path, bytes, entryCount: 0, sealCount: 0, lowestIndex: 0, highestIndex: 0 }
}

function count(report: Mutable<SegmentReport>, index: number): void {
  report.lowestIndex = report.entryCount === 0 ? index : Math.min(report.lowestIndex, index)
  report.highestIndex = Math.max(report.highestIndex, index)
  report.entryCount++
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] }
