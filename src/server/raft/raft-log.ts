/**
 * The core's view of the log: the terms of every entry, and the newest entries
 * themselves.
 *
 * Terms are kept as runs, so the term at any index is
 * known without the entry. Entries are kept only in the tail: all that are not
 * yet both durable and applied here, and before them as many as `trim` leaves,
 * for followers that lag a little. Older ones are the driver's to read, down to
 * the log's base: that entry and all before it are only in a snapshot.
 *
 * Invariants: base.index <= appliedIndex <= commitIndex <= lastIndex, appliedIndex <=
 * stableIndex <= lastIndex, tailFirst <= appliedIndex + 1.
 */
import { EMPTY_CONFIG } from './config.ts'
import { IndexRing } from './index-ring.ts'
import { furthest, isUpToDate, NO_ENTRY, TermRuns } from './term-runs.ts'
import type { Config, Entry, EntryId } from './types.ts'

/**
 * What the tail holds the collector has to copy while it is young, and to look for everywhere
 * once it is not: more than followers that lag a little need costs more than a read. So many
 * entries, and of those that are large so few as are so many bytes, but for the newest.
 */
const TAIL_ENTRIES_MAX = 4_096
const TAIL_LARGE_BYTES_MAX = 2 * 1024 * 1024
const TAIL_ENTRIES_MIN = 64

export interface RaftLogState<E extends Entry> {
  /** The last entry that is not in the log any more; where it is missing, nothing is. */
  readonly base?: EntryId
  /** What the log once had durably, where damage has cut it short since. */
  readonly owed?: EntryId
  /** Runs of equal term in ascending order: each run's first index and its term. */
  readonly termRuns: readonly EntryId[]
  /** The newest entries; their last is the log's last. */
  readonly tail: readonly E[]
  readonly lastIndex: number
  /** Log time of the last entry. */
  readonly lastTimeMs: number
  readonly commitIndex: number
  /** The newest configurations: the one in force at `commitIndex` and any after it. */
  readonly configs: readonly { readonly index: number; readonly config: Config }[]
}

export class RaftLog<E extends Entry> {
  stableIndex: number
  commitIndex: number
  appliedIndex: number
  /** What the log once had durably; it may have it again by now. */
  readonly owed: EntryId
  #terms: TermRuns
  readonly #tail = new IndexRing<E>()
  #lastIndex: number
  #tailBytes: number
  #configs: { readonly index: number; readonly config: Config }[]
  #lastTimeMs: number

  constructor(state: RaftLogState<E>) {
    this.owed = state.owed ?? NO_ENTRY
    this.#terms = new TermRuns(state.base, state.termRuns)
    for (const entry of state.tail) this.#tail.set(entry.index, entry)
    this.#lastIndex = state.lastIndex
    this.#tailBytes = state.tail.reduce((sum, entry) => sum + entry.bytes, 0)
    this.#configs = [...state.configs]
    this.#lastTimeMs = state.lastTimeMs
    this.stableIndex = state.lastIndex
    this.commitIndex = state.commitIndex
    this.appliedIndex = state.commitIndex
  }

  get lastIndex(): number {
    return this.#lastIndex
  }

  /** The entry before the first that the log still has. */
  get base(): EntryId {
    return this.#terms.base
  }

  /**
   * Whether entries are missing here that this server once had and may have
   * acknowledged. They are protected by its vote only (`isUpToDate`), and it must not
   * lead, until it has them again or what a newer leader has in their place.
   */
  get isOwing(): boolean {
    return !isUpToDate(this.last, this.owed)
  }

  get last(): EntryId {
    const index = this.lastIndex
    return { term: this.termAt(index), index }
  }

  get lastTimeMs(): number {
    return this.#lastTimeMs
  }

  /** The index of the first entry that memory still holds; lastIndex + 1 where it holds none. */
  get tailFirst(): number {
    return this.#lastIndex + 1 - this.#tail.count
  }

  /** The newest configuration in the log, committed or not (thesis 4.1). */
  get config(): { readonly index: number; readonly config: Config } | undefined {
    return this.#configs.at(-1)
  }

  /**
   * The configuration in force at `index`, which must not be before the last trim: for checks. What
   * is kept with a state is the one that it was applied with.
   */
  configAt(index: number): Config {
    return this.#configs.findLast((entry) => entry.index <= index)?.config ?? EMPTY_CONFIG
  }

  /** Term of the entry at `index`; 0 before the base and after the last. */
  termAt(index: number): number {
    return index > this.lastIndex ? 0 : this.#terms.termAt(index)
  }

  /** What is before the base is committed: there no leader's log differs. */
  matches(id: EntryId): boolean {
    return (
      id.index < this.base.index ||
      id.index === 0 ||
      (id.index <= this.lastIndex && this.termAt(id.index) === id.term)
    )
  }

  /** Up to where entries are owed; 0 where none is. */
  get owedIndex(): number {
    return this.isOwing ? this.owed.index : 0
  }

  /** Whether a log that ends at `id` has all that this one has, or once had. */
  isUpToDate(id: EntryId): boolean {
    return isUpToDate(id, furthest(this.last, this.owed))
  }

  /** The newest entry at or before `id.index` whose term is at most `id.term`. */
  findHint(id: EntryId): EntryId {
    return this.#terms.findHint(id.term, Math.min(id.index, this.lastIndex))
  }

  append(entry: E): void {
    if (entry.index !== this.lastIndex + 1) {
      throw new Error(`append of entry ${entry.index} after ${this.lastIndex}`)
    }
    this.#terms.add(entry)
    if (entry.config) this.#configs.push({ index: entry.index, config: entry.config })
    this.#tail.set(entry.index, entry)
    this.#lastIndex = entry.index
    this.#tailBytes += entry.bytes
    this.#lastTimeMs = entry.timeMs
  }

  /** The last entry, which nobody has seen yet, has become larger. */
  lastGrew(bytes: number): void {
    this.#tailBytes += bytes
  }

  /** Drops the entry at `index` and all after it, which another leader's will replace. */
  truncateFrom(index: number): void {
    if (index <= this.commitIndex) {
      throw new Error(
        `truncation from ${index} would drop committed entries to ${this.commitIndex}`,
      )
    }
    for (; this.#lastIndex >= index; this.#lastIndex--) this.#forget(this.#lastIndex)
    this.#terms.truncateFrom(index)
    while ((this.#configs.at(-1)?.index ?? 0) >= index) this.#configs.pop()
    this.stableIndex = Math.min(this.stableIndex, index - 1)
    // Without an entry at hand the time stays: it may only be too late, never go back.
    this.#lastTimeMs = this.#tail.get(this.#lastIndex)?.timeMs ?? this.#lastTimeMs
  }

  /** Entries from `firstIndex` on, of at most `bytesMax` together but at least one. */
  slice(firstIndex: number, lastIndex: number, bytesMax: number): E[] {
    const entries: E[] = []
    let bytes = 0
    for (let index = firstIndex; index <= lastIndex; index++) {
      const entry = this.#tail.get(index)
      if (!entry) break
      bytes += entry.bytes
      if (entries.length > 0 && bytes > bytesMax) break
      entries.push(entry)
    }
    return entries
  }

  /** Forgets entries up to `index`, which must be applied: a snapshot has them. */
  compactTo(index: number): void {
    if (index <= this.base.index) return
    if (index > this.appliedIndex || index > this.stableIndex) {
      throw new Error(`compaction to ${index} of a log applied to ${this.appliedIndex}`)
    }
    this.#terms.cutTo(index)
    this.#forgetTo(index)
  }

  /** Everything up to `base` is in a snapshot, and nothing after it is known. */
  reset(base: EntryId, config: Config, timeMs: number): void {
    this.#terms = new TermRuns(base)
    while (this.#tail.count > 0) this.#forget(this.tailFirst)
    this.#lastIndex = base.index
    this.#configs = [{ index: base.index, config }]
    this.#lastTimeMs = timeMs
    this.stableIndex = base.index
    this.commitIndex = base.index
    this.appliedIndex = base.index
  }

  /**
   * Where the tail is longer than need be, or more than `bytesMax`, forgets the oldest of the
   * entries that are durable and applied, down to half.
   */
  trim(bytesMax: number): void {
    if (!isLong(this.#tail.count, this.#tailBytes, bytesMax, 1)) return
    const done = Math.min(this.appliedIndex, this.stableIndex)
    let bytes = this.#tailBytes
    let last = this.tailFirst - 1
    while (isLong(this.#lastIndex - last, bytes, bytesMax, 2)) {
      const entry = this.#tail.get(last + 1)
      if (!entry || entry.index > done) break
      bytes -= entry.bytes
      last++
    }
    this.#forgetTo(last)
  }

  #forgetTo(index: number): void {
    if (index < this.tailFirst) return
    while (this.#tail.count > 0 && this.tailFirst <= index) this.#forget(this.tailFirst)
    // The configuration in force at the tail's start must stay, all before it may go.
    while ((this.#configs[1]?.index ?? Infinity) <= this.appliedIndex) this.#configs.shift()
  }

  #forget(index: number): void {
    this.#tailBytes -= this.#tail.get(index)?.bytes ?? 0
    this.#tail.delete(index)
  }
}

/** @param divisor Of each bound. */
function isLong(count: number, bytes: number, bytesMax: number, divisor: number): boolean {
  if (bytes > bytesMax / divisor || count > TAIL_ENTRIES_MAX / divisor) return true
  return bytes > TAIL_LARGE_BYTES_MAX / divisor && count > TAIL_ENTRIES_MIN / divisor
}
