/**
 * What a directory of segments holds: the one walk over a log at a start.
 *
 * In: the segments, and the entry up to which a keystore covers the log. Out:
 * the entries' terms, configurations and positions behind that, and what was
 * damaged. Reads only.
 *
 * The walk starts at the last segment that begins no later than behind what is
 * covered: no segment goes below its first index, so nothing before that one
 * counts any more. Each following one must say the term of the entry that the
 * walk has before its first: then, by Raft's log matching, all before it is what
 * it was when that segment was begun, and what else stands before it is a torn
 * tail, was superseded, or is damage that a start before this one has met already.
 * Behind the last record of the last segment a torn tail may stand as well; where
 * a seal follows, or a keystore holds more, it is damage.
 *
 * Damage ends the walk. What stands behind it is looked through for how far the
 * log had come (`owed`), because that much may have been acknowledged.
 */
import type { DiskFile } from '../../io/io.ts'
import { furthest, isUpToDate, NO_ENTRY, TermRuns } from '../raft/term-runs.ts'
import type { Config, EntryId } from '../raft/types.ts'
import type { LogEntry, RecordReader } from './record.ts'
import { isRoomFrom } from './room.ts'
import { findFirst, findLastSeal, type SegmentHeader, scanSegment } from './segment.ts'

export interface Segment {
  readonly sequence: number
  readonly path: string
  readonly file: DiskFile
  /** null where its first line is damaged. */
  readonly header: SegmentHeader | null
  /** Where records start. */
  readonly start: number
}

export interface LogDamage {
  readonly path: string
  readonly offset: number
  /** The first entry that can't be read. */
  readonly index: number
}

export interface ScannedLog {
  readonly terms: TermRuns
  readonly configs: readonly { readonly index: number; readonly config: Config }[]
  readonly lastIndex: number
  readonly lastTimeMs: number
  /** The newest commit index that a seal names. */
  readonly commitIndex: number
  /** The lowest index written after the last seal; null where all is sealed. */
  readonly unsealedFirst: number | null
  /** What the log once had; 0/0 where it has it all. */
  readonly owed: EntryId
  readonly damage: LogDamage | null
}

export interface ScanVisitor {
  /** An entry that is in effect as far as the walk has come. */
  onEntry(entry: LogEntry, segment: Segment, offset: number): void
  /** Entries up to here stay in effect. */
  onCommitted(commitIndex: number): void
}

/** @param hadIndex Up to here the log was durable once: where that is missing, it was not a crash. */
export async function scanLog(
  segments: readonly Segment[],
  coveredIndex: number,
  hadIndex: number,
  reader: RecordReader,
  visitor: ScanVisitor,
): Promise<ScannedLog> {
  let owed = NO_ENTRY
  for (const { header } of segments) if (header) owed = furthest(owed, header.owed)
  const from = segments.findLastIndex(
    ({ header }) => header && header.firstIndex <= coveredIndex + 1,
  )
  const walk = new Walk(segments[from]?.header ?? null)
  let damage: LogDamage | null = null
  const isTorn = async ({ file }: Segment, end: number) =>
    walk.lastIndex >= hadIndex && !(await findLastSeal(file, end, reader))
  if (from === -1) {
    const path = segments[0]?.path ?? ''
    damage = { path, offset: 0, index: coveredIndex + 1 }
    owed = furthest(owed, await reachOf(segments, 0, 0, reader))
  }
  for (let at = from, next = from; at !== -1 && at < segments.length; at = next) {
    const segment = segments[at]
    if (!segment?.header) break
    walk.begin(segment.header)
    const end = await scanSegment(segment.file, segment.start, reader, {
      onEntry: (entry, offset) => {
        if (!walk.add(entry)) return false
        visitor.onEntry(entry, segment, offset)
        return true
      },
      onSeal: (seal) => {
        walk.seal(seal.index, seal.commitIndex)
        visitor.onCommitted(walk.commitIndex)
      },
    })
    // What goes on from here does so with all that counts, whatever stands in between.
    next = segments.findIndex(
      ({ header }, after) => after > at && header && walk.isFollowedBy(header),
    )
    if (next !== -1) continue
    const isWhole = await isRoomFrom(segment.file, end)
    const isLast = at + 1 === segments.length
    if (isLast && (isWhole || (await isTorn(segment, end)))) break
    const [bad, offset] = isWhole ? [segments[at + 1] ?? segment, 0] : [segment, end]
    damage = { path: bad.path, offset, index: walk.lastIndex + 1 }
    owed = furthest(owed, await reachOf(segments, segments.indexOf(bad), offset, reader))
    break
  }
  const { terms, configs, lastIndex, lastTimeMs, unsealedFirst } = walk
  const commitIndex = Math.min(walk.commitIndex, lastIndex)
  const last = { term: lastIndex === 0 ? 0 : terms.termAt(lastIndex), index: lastIndex }
  if (isUpToDate(last, owed)) owed = NO_ENTRY
  return { terms, configs, lastIndex, lastTimeMs, commitIndex, unsealedFirst, owed, damage }
}

/** The furthest entry that anything from this place on speaks of. */
async function reachOf(
  segments: readonly Segment[],
  first: number,
  offset: number,
  reader: RecordReader,
): Promise<EntryId> {
  let reach = NO_ENTRY
  const reached = (id: EntryId) => {
    reach = furthest(reach, { term: id.term, index: id.index })
  }
  for (const [at, { file, header, start }] of segments.entries()) {
    if (at < first) continue
    const isAll = at > first || offset === 0
    if (header && isAll) reached({ term: header.termBefore, index: header.firstIndex - 1 })
    const from = header ? Math.max(isAll ? 0 : offset, start) : await findFirst(file, reader)
    const last = await findLastSeal(file, from, reader)
    if (last) reached(last.seal)
    // What was written last may be durable, and acknowledged, though no seal says so yet.
    await scanSegment(file, last?.end ?? from, reader, {
      onEntry: (entry) => {
        reached(entry)
        return true
      },
      onSeal: reached,
    })
  }
  return reach
}

/** What a walk over the segments has found so far. */
class Walk {
  readonly terms: TermRuns
  configs: { index: number; config: Config }[] = []
  lastIndex: number
  lastTimeMs = 0
  commitIndex = 0
  unsealedFirst: number | null = null

  constructor(first: SegmentHeader | null) {
    const index = (first?.firstIndex ?? 1) - 1
    this.terms = new TermRuns({ term: first?.termBefore ?? 0, index })
    this.lastIndex = index
  }

  isFollowedBy({ firstIndex, termBefore }: SegmentHeader): boolean {
    const before = firstIndex - 1
    if (before > this.lastIndex || before < this.terms.base.index) return false
    return this.terms.termAt(before) === termBefore
  }

  /** A segment that follows supersedes everything from its first index on, even before its first record. */
  begin(header: SegmentHeader): void {
    this.#truncateFrom(header.firstIndex)
    this.unsealedFirst = null
  }

  /** @returns false where the entry leaves a gap or replaces what was committed. */
  add(entry: LogEntry): boolean {
    if (entry.index > this.lastIndex + 1 || entry.index <= this.commitIndex) return false
    if (entry.index <= this.terms.base.index) return false
    if (entry.index <= this.lastIndex) this.#truncateFrom(entry.index)
    if (entry.term < this.terms.lastTerm) return false
    this.terms.add(entry)
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
    this.terms.truncateFrom(index)
    while ((this.configs.at(-1)?.index ?? 0) >= index) this.configs.pop()
    this.lastIndex = Math.min(this.lastIndex, index - 1)
  }
}
