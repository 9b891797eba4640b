/**
 * A log as its segments stand, read without the server.
 *
 * In: the directory of the segments. Out: which entries are in effect and where
 * they stand, and everything that is off. Unlike the server it does not stop at
 * damage: it says where, and goes on with the next segment.
 *
 * Memory: a few numbers for each segment, term and run. A run is a piece of a
 * segment that holds neighbouring entries; another begins with each segment and
 * with each entry that supersedes others. So the entries of a log of any size can
 * be read in index order, run by run.
 */
import type { Disk, DiskFile } from '../../io/io.ts'
import { type LogEntry, RecordReader, type Seal } from '../log/record.ts'
import { hasSealAfter, readSegmentHeader, scanSegment, segmentSequence } from '../log/segment.ts'
import type { EntryId } from '../raft/types.ts'
import type { Finding } from './finding.ts'

export interface SurveyOptions {
  readonly disk: Disk
  /** Of the segments. */
  readonly directory: string
  /** null: what the first segment says. */
  readonly clusterId: string | null
  readonly group: number | null
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

/** Entries `[firstIndex, endIndex)` that the log does not hold: missing before the segment `path`. */
export interface Gap {
  readonly path: string
  readonly firstIndex: number
  readonly endIndex: number
}

interface Segment {
  readonly path: string
  readonly file: DiskFile
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
  /** Those that no damage found before explains. */
  readonly gaps: Gap[] = []
  clusterId: string | null
  group: number | null
  /** The newest entry; 0 for none. */
  lastIndex = 0
  /** The newest commit index that a seal names. */
  commitIndex = 0

  readonly #options: SurveyOptions
  readonly #files: Segment[] = []
  readonly #runs: Run[] = []
  #termRuns: EntryId[] = []
  #isAppending = false
  #isAfterDamage = false
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
    return this.#termRuns.at(-1)?.term ?? 0
  }

  /** The term of an entry in effect; null for others. */
  termAt(index: number): number | null {
    const isHere = this.#runs.some((run) => run.firstIndex <= index && index < run.endIndex)
    return isHere ? (this.#termRuns.findLast((run) => run.index <= index)?.term ?? null) : null
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

  get segmentCount(): number {
    return this.#files.length
  }

  async close(): Promise<void> {
    for (const { file } of this.#files) await file.close()
  }

  // ---------------------------------------------------------------- the walk

  async #walk(): Promise<void> {
    const { disk, directory } = this.#options
    const names = await disk.list(directory)
    // All are opened first: a server that cuts its log meanwhile takes none of them away.
    for (const name of names.filter((name) => segmentSequence(name) !== null)) {
      const path = `${directory}/${name}`
      const file = await disk.open(path, { create: false }).catch((error) => {
        if (error.code !== 'ENOENT') throw error
      })
      if (file) this.#files.push({ path, file })
    }
    for (const [at, segment] of this.#files.entries()) {
      const knownCount = this.findings.length
      const report = await this.#walkSegment(segment, this.#files[at + 1])
      this.#options.onSegment?.(report, this.findings.slice(knownCount))
    }
  }

  async #walkSegment(segment: Segment, next: Segment | undefined): Promise<SegmentReport> {
    const { path, file } = segment
    const bytes = await file.size()
    const report = { path, bytes, entryCount: 0, sealCount: 0, lowestIndex: 0, highestIndex: 0 }
    const read = await readSegmentHeader(file)
    if (!read) {
      this.#breakOff({
        path,
        offset: 0,
        index: this.lastIndex + 1,
        what: 'its first line does not verify',
      })
      return report
    }
    if (!this.#belongs(path, read.header)) return report
    this.#startAt(path, read.header.firstIndex)

    const reader = new RecordReader(read.header.clusterId)
    const scan = { refusal: null as string | null, isAllRight: true }
    /** Something wrong that does not end the walk; one of a segment is enough. */
    const complain = (offset: number, index: number, what: string | null) => {
      if (what !== null && scan.isAllRight) {
        scan.isAllRight = false
        this.findings.push({ kind: 'damage', path, offset, index, what })
      }
    }
    const end = await scanSegment(file, read.end, reader, {
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
    })
    if (end < bytes) {
      const nextFirst = next && (await readSegmentHeader(next.file))?.header.firstIndex
      await this.#judgeTail(segment, end, bytes, reader, scan.refusal, nextFirst)
    }
    return report
  }

  #belongs(path: string, { clusterId, group }: { clusterId: string; group: number }): boolean {
    this.clusterId ??= clusterId
    this.group ??= group
    if (clusterId === this.clusterId && group === this.group) return true
    const what = `it belongs to cluster ${clusterId}, group ${group}, not to cluster ${this.clusterId}, group ${this.group}`
    this.#breakOff({ path, offset: 0, what })
    return false
  }

  /** A segment supersedes everything from its first index on, and may begin behind a gap. */
  #startAt(path: string, firstIndex: number): void {
    this.#truncateFrom(firstIndex)
    const missing = { path, firstIndex: this.lastIndex + 1, endIndex: firstIndex }
    if (missing.firstIndex < firstIndex && !this.#isAfterDamage) this.gaps.push(missing)
    this.#isAfterDamage = false
    this.lastIndex = firstIndex - 1
    this.#settledIndex = Math.min(this.commitIndex, this.lastIndex)
  }

  #refusalOf({ index, term }: EntryId): string | null {
    const id = `${term}/${index}`
    if (index > this.lastIndex + 1) return `entry ${id} stands behind entry ${this.lastIndex}`
    if (index <= this.#settledIndex) {
      return `entry ${id} stands behind a seal that says ${this.#settledIndex} is committed`
    }
    const before = this.#termRuns.findLast((run) => run.index < index)
    if (before && term < before.term) return `entry ${id} follows one of term ${before.term}`
    return null
  }

  /** @returns what is wrong with it. */
  #seal({ index, commitIndex }: Seal): string | null {
    if (index > this.lastIndex) return 'a seal for an entry that does not stand before it'
    this.#settledIndex = Math.max(this.#settledIndex, Math.min(commitIndex, index))
    this.commitIndex = Math.max(this.commitIndex, this.#settledIndex)
    return null
  }

  #add({ index, term }: EntryId, segment: Segment, offset: number): void {
    if (index <= this.lastIndex) this.#truncateFrom(index)
    const run = this.#runs.at(-1)
    if (this.#isAppending && run) run.endIndex = index + 1
    else this.#runs.push({ segment, offset, firstIndex: index, endIndex: index + 1 })
    this.#isAppending = true
    if (term !== this.lastTerm) this.#termRuns.push({ term, index })
    this.lastIndex = index
  }

  #truncateFrom(index: number): void {
    this.#isAppending = false
    while ((this.#runs.at(-1)?.firstIndex ?? 0) >= index) this.#runs.pop()
    const last = this.#runs.at(-1)
    if (last) last.endIndex = Math.min(last.endIndex, index)
    while ((this.#termRuns.at(-1)?.index ?? 0) >= index) this.#termRuns.pop()
    this.lastIndex = Math.min(this.lastIndex, index - 1)
  }

  /** What does not read on is the torn tail of a crash, or damage. */
  async #judgeTail(
    { path, file }: Segment,
    end: number,
    bytes: number,
    reader: RecordReader,
    refusal: string | null,
    nextFirst: number | undefined,
  ): Promise<void> {
    const place = { path, offset: end, index: this.lastIndex + 1 }
    const isVouchedFor = await hasSealAfter(file, end, reader)
    if (refusal !== null) {
      this.#breakOff({ ...place, what: refusal })
    } else if (isVouchedFor) {
      const isReplaced = nextFirst !== undefined && nextFirst <= this.lastIndex + 1
      const since = isReplaced ? '; a later segment holds these entries again' : ''
      const what = `no whole record stands here, and a seal further on says there was one${since}`
      this.#breakOff({ ...place, what })
    } else {
      const what = `the ${bytes - end} bytes from here on are no whole record and no seal vouches for them: the torn tail of a crash, or of a copy made while it was written; a start cuts it`
      this.findings.push({ kind: 'note', ...place, what })
    }
  }

  /** Damage that the rest of a segment can't be read behind. */
  #breakOff(finding: Omit<Finding, 'kind'>): void {
    this.#isAfterDamage = true
    this.findings.push({ kind: 'damage', ...finding })
  }
}

function count(report: Mutable<SegmentReport>, index: number): void {
  report.lowestIndex = report.entryCount === 0 ? index : Math.min(report.lowestIndex, index)
  report.highestIndex = Math.max(report.highestIndex, index)
  report.entryCount++
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] }
