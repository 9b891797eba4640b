/**
 * One log on a disk in memory, beside what it should hold.
 *
 * The model is a state (the entry the log starts behind, and the entries) and the
 * list of all that was done to it since it was opened, in order: an entry appended,
 * or a reset. After a crash the log must hold the state with the first `n` of that
 * list applied to it, for some `n` that is not less than what was reported stable;
 * of entries that a keystore covers any number may be gone.
 *
 * Damage may take more, if the log says that it owes what it lacks. `heal` brings
 * that back as a leader would.
 */
import { expect } from 'vitest'
import { LogStore, type LogSummary } from '../../../src/server/log/log-store.ts'
import { type LogEntry, RecordWriter } from '../../../src/server/log/record.ts'
import { isUpToDate, NO_ENTRY, TermRuns } from '../../../src/server/raft/term-runs.ts'
import type { Config, EntryId } from '../../../src/server/raft/types.ts'
import { ManualTimers, settle } from '../../io/manual-timers.ts'
import { MemoryDisk, seededRandom } from '../../io/memory-disk.ts'

export const CLUSTER = 'cluster-1'
export const DIRECTORY = 'data/groups/0/log'
export const START_MS = 1_700_000_000_000

export function segmentPath(sequence: number): string {
  return `${DIRECTORY}/${String(sequence).padStart(12, '0')}.log`
}

/** What a log holds: the entries behind `base`. */
interface State {
  readonly base: EntryId
  readonly entries: readonly LogEntry[]
}

type Change = LogEntry | { readonly resetTo: EntryId }

export class LogHarness {
  disk: MemoryDisk
  timers = new ManualTimers()
  /** Of the log that is open. */
  summary: LogSummary = NOTHING
  failures: Error[] = []
  /** Calls of `onStable`, over all openings. */
  readonly reports: EntryId[] = []
  readonly segmentBytes: number | undefined
  /** As of which entry a keystore holds everything, and whether that came as a snapshot just now. */
  covered: EntryId = NO_ENTRY
  #isCoverNews = false
  readonly #writer = new RecordWriter(CLUSTER)
  #log: LogStore | null = null
  #state: State = { base: NO_ENTRY, entries: [] }
  #changes: Change[] = []
  #stableCount = 0
  #term = 1
  #createdCount = 0
  /** The newest commit index ever set: nothing up to it is superseded. */
  #commitIndex = 0

  constructor(disk = new MemoryDisk({ random: seededRandom(1) }), segmentBytes?: number) {
    this.disk = disk
    this.segmentBytes = segmentBytes
  }

  get log(): LogStore {
    if (!this.#log) throw new Error('the log is not open')
    return this.#log
  }

  get #whole(): State {
    return after(this.#state, this.#changes)
  }

  get #stable(): State {
    return after(this.#state, this.#changes.slice(0, this.#stableCount))
  }

  /** What the log holds behind its base once all that was appended is written. */
  get entries(): readonly LogEntry[] {
    return this.#whole.entries
  }

  /** Of all that was appended, written or not. */
  get lastIndex(): number {
    return lastOf(this.#whole).index
  }

  get stableLast(): EntryId {
    return lastOf(this.#stable)
  }

  get stableIndex(): number {
    return this.stableLast.index
  }

  /** The entry that the log starts behind, or did before it was cut. */
  get base(): EntryId {
    return this.#stable.base
  }

  get commitIndex(): number {
    return this.#commitIndex
  }

  /** As its first line says. */
  async firstIndexOfNewestSegment(): Promise<number> {
    const newest = (await this.disk.list(DIRECTORY)).at(-1)
    const firstLine = this.disk.bytes(`${DIRECTORY}/${newest}`).toString('latin1').split('\n')[0]
    return Number(firstLine?.split(' ')[4])
  }

  /** A copy that goes on with another disk. */
  fork(disk: MemoryDisk): LogHarness {
    const copy = new LogHarness(disk, this.segmentBytes)
    copy.covered = this.covered
    copy.#isCoverNews = this.#isCoverNews
    copy.#state = this.#state
    copy.#changes = [...this.#changes]
    copy.#stableCount = this.#stableCount
    copy.#term = this.#term
    copy.#createdCount = this.#createdCount
    copy.#commitIndex = this.#commitIndex
    return copy
  }

  // ---------------------------------------------------------------- what is done to it

  /** Opens the log, and checks all it says against the model. */
  async open(): Promise<void> {
    await this.openOnly()
    await this.check()
  }

  /** Without reading it. */
  async openOnly(): Promise<void> {
    this.timers = new ManualTimers()
    this.failures = []
    const { disk, timers } = this
    const { log, summary } = await LogStore.open({
      ...{ disk, timers, directory: DIRECTORY, clusterId: CLUSTER, group: 0 },
      ...{ covered: this.covered, isCoverNews: this.#isCoverNews },
      ...(this.segmentBytes ? { segmentBytes: this.segmentBytes } : {}),
    })
    this.#log = log
    this.summary = summary
    log.onStable = (id) => this.#onStable(id)
    log.onFailure = (error) => this.failures.push(error)
  }

  /** Queues new entries behind the newest, one of each size. */
  append(...valueBytes: number[]): void {
    this.#appendFrom(this.lastIndex + 1, valueBytes)
  }

  /** Queues entries of a new term that replace those from `index` on. */
  supersede(index: number, ...valueBytes: number[]): void {
    if (index <= this.#commitIndex) throw new Error(`${index} is committed`)
    this.#term++
    this.#appendFrom(index, valueBytes)
  }

  appendConfig(config: Config): void {
    const id = { term: this.#term, index: this.lastIndex + 1 }
    this.#append([this.#writer.createEntry(id, this.#timeMs(), { kind: 'config', config })])
  }

  /** As the core does: what is committed here is durable here. */
  commit(index: number): void {
    if (index > this.stableIndex) throw new Error(`${index} is not stable`)
    this.#commitIndex = Math.max(this.#commitIndex, index)
    this.log.commitIndex = this.#commitIndex
  }

  /** A keystore file is written as of a committed entry, and the log cut to it. */
  cut(index: number): void {
    if (index > this.#commitIndex) throw new Error(`${index} is not committed`)
    if (index <= this.covered.index) return
    this.covered = idAt(this.#stable, index)
    this.log.cutTo(index)
  }

  /** A snapshot as of `index`, which no log here has, is durable and takes the log's place. */
  async reset(index: number): Promise<void> {
    if (index <= this.#commitIndex) throw new Error(`${index} is committed`)
    const base = { term: ++this.#term, index }
    this.covered = base
    this.#isCoverNews = true
    this.#commitIndex = index
    this.#changes.push({ resetTo: base })
    this.#stableCount = this.#changes.length
    await this.log.reset(base)
    this.#isCoverNews = false
    this.log.cutTo(index)
    this.log.commitIndex = index
  }

  async close(): Promise<void> {
    await this.log.close()
    this.#log = null
  }

  /** Goes on with what a crash or a kill left. */
  restartOn(disk: MemoryDisk): void {
    this.disk = disk
    this.#log = null
  }

  // ---------------------------------------------------------------- what must hold

  /** The log that was just opened holds what it must; from now on exactly that. */
  async check(): Promise<void> {
    expect(this.summary).toMatchObject({ damage: null, owed: NO_ENTRY })
    this.#adopt(await this.#readAll())
  }

  /**
   * The log that was opened after damage to one of its files lacks nothing, or says
   * so, and gets it back from a leader that has it all.
   * @returns whether anything was missing.
   */
  async heal(): Promise<boolean> {
    const found = await this.#readAll()
    const { base, entries } = found
    const model = this.#stable
    const hasBase =
      base.index >= model.base.index || idsEqual(idAt(found, model.base.index), model.base)
    const isWhole = hasBase && sameEntries(entries, entriesAfter(model, base.index))
    if (isWhole) {
      expect(this.summary.owed).toEqual(NO_ENTRY)
      this.#adopt(found)
      return false
    }
    expect(isUpToDate(this.summary.owed, this.stableLast)).toBe(true)
    this.log.onStable = () => {}
    if (hasBase) {
      const differs = (entry: LogEntry) => !idsEqual(entry, idAt(model, entry.index))
      const { index } = lastOf(found)
      this.log.append(entriesAfter(model, (entries.find(differs)?.index ?? index + 1) - 1))
    } else {
      await this.log.reset(model.base)
      this.covered = model.base
      this.log.cutTo(model.base.index)
      this.log.append(model.entries)
    }
    this.#changes = []
    this.#stableCount = 0
    this.#state = model
    await settle()
    this.log.onStable = (id) => this.#onStable(id)
    this.log.commitIndex = this.#commitIndex
    return true
  }

  /** The keystore file is damaged. */
  loseKeystore(): void {
    this.covered = NO_ENTRY
  }

  /** Reads and compares `first` to `last`. */
  async checkRead(first: number, last: number, bytesMax = Infinity): Promise<void> {
    const found = await this.log.read(first, last, bytesMax)
    const wanted = entriesAfter(this.#stable, first - 1).filter(({ index }) => index <= last)
    let bytes = 0
    const fitting = wanted.findIndex((entry, at) => {
      bytes += entry.bytes
      return at > 0 && bytes > bytesMax
    })
    const expected = fitting === -1 ? wanted : wanted.slice(0, fitting)
    expect(found.map(describeEntry)).toEqual(expected.map(describeEntry))
    expect(sameEntries(found, expected)).toBe(true)
  }

  /** Everything behind the base that the log says it has; it must fit the rest of what it says. */
  async #readAll(): Promise<State> {
    const { base, lastIndex } = this.summary
    const first = base.index + 1
    const entries = lastIndex < first ? [] : await this.log.read(first, lastIndex, Infinity)
    expect(entries.map(({ index }) => index)).toEqual(
      Array.from({ length: lastIndex - base.index }, (_, at) => first + at),
    )
    this.#checkSummary(entries)
    return { base, entries }
  }

  #checkSummary(found: readonly LogEntry[]): void {
    const { base, termRuns, configs, lastTimeMs, commitIndex } = this.summary
    const terms = new TermRuns(base, termRuns)
    expect(found.map(({ index }) => terms.termAt(index))).toEqual(found.map(({ term }) => term))
    // It may be later, that of an entry cut since: log time only must not go back.
    expect(lastTimeMs).toBeGreaterThanOrEqual(found.at(-1)?.timeMs ?? 0)
    const withConfig = found.filter(({ config }) => config !== undefined)
    expect(configs.filter(({ index }) => index > base.index)).toEqual(
      withConfig.map(({ index, config }) => ({ index, config })),
    )
    expect(commitIndex).toBeLessThanOrEqual(this.#commitIndex)
  }

  /** Takes what was found as what the log holds, where the model allows it. */
  #adopt(found: State): void {
    const { base } = found
    for (let count = this.#stableCount; count <= this.#changes.length; count++) {
      const state = after(this.#state, this.#changes.slice(0, count))
      if (base.index < state.base.index || base.index > lastOf(state).index) continue
      if (base.index > Math.max(state.base.index, this.covered.index)) continue
      if (!idsEqual(base, idAt(state, base.index))) continue
      if (!sameEntries(found.entries, entriesAfter(state, base.index))) continue
      // Entries that are cut stay in the model: a segment may hold them still.
      this.#state = state
      this.#changes = []
      this.#stableCount = 0
      return
    }
    const text = `stable ${describeState(this.#stable)}, all ${describeState(this.#whole)}`
    throw new Error(`the log holds ${describeState(found)}; ${text}`)
  }

  #onStable(id: EntryId): void {
    this.reports.push(id)
    const isSame = (change: Change) => 'index' in change && idsEqual(change, id)
    const at = this.#changes.findIndex((change, at) => at >= this.#stableCount && isSame(change))
    // A write that was on its way when the log was reset ends as any other.
    const isBeforeReset = this.#changes.some(
      (change, at) => isSame(change) && at < this.#stableCount,
    )
    if (at === -1 && isBeforeReset && this.#changes.some((change) => 'resetTo' in change)) return
    if (at === -1) throw new Error(`reported ${id.term}/${id.index}, which does not wait for it`)
    this.#stableCount = at + 1
  }

  #appendFrom(firstIndex: number, valueBytes: readonly number[]): void {
    const entries = valueBytes.map((bytes, at) => {
      const index = firstIndex + at
      const value = `${this.#createdCount}:`.padEnd(bytes, 'v').slice(0, Math.max(bytes, 8))
      const text = `set key${index} 0 0 ${value.length}\r\n${value}\r\n`
      const payload = { kind: 'command', command: Buffer.from(text) } as const
      return this.#writer.createEntry({ term: this.#term, index }, this.#timeMs(), payload)
    })
    this.#append(entries)
  }

  #append(entries: readonly LogEntry[]): void {
    this.#changes.push(...entries)
    this.log.append(entries)
  }

  #timeMs(): number {
    return START_MS + ++this.#createdCount
  }
}

const NOTHING: LogSummary = {
  base: { term: 0, index: 0 },
  owed: { term: 0, index: 0 },
  damage: null,
  termRuns: [],
  configs: [],
  lastIndex: 0,
  lastTimeMs: 0,
  commitIndex: 0,
}

/** One step of a short story of a log. */
export type Step = (harness: LogHarness) => void | Promise<void>

export const reopen: Step = async (harness) => {
  await harness.close()
  await harness.openOnly()
}

/** Runs a story until it ends or the disk halts, seeing each step through. */
export async function run(harness: LogHarness, story: readonly Step[]): Promise<void> {
  const tell = async () => {
    for (const step of story) {
      await step(harness)
      await settle()
    }
  }
  await Promise.race([tell(), harness.disk.halted])
}

/** The story cut off at each of its changes of the disk in turn: written, renamed, synced, ... */
export async function* runToEachChange(
  story: readonly Step[],
  segmentBytes?: number,
): AsyncGenerator<LogHarness> {
  for (let haltAt = 1; ; haltAt++) {
    const harness = new LogHarness(undefined, segmentBytes)
    harness.disk.haltAt = haltAt
    await run(harness, story)
    yield harness
    if (harness.disk.mutationCount < haltAt) return
  }
}

function after(state: State, changes: readonly Change[]): State {
  let { base } = state
  let entries = [...state.entries]
  for (const change of changes) {
    if ('resetTo' in change) {
      base = change.resetTo
      entries = []
    } else {
      entries.length = change.index - base.index - 1
      entries.push(change)
    }
  }
  return { base, entries }
}

function lastOf({ base, entries }: State): EntryId {
  return entries.at(-1) ?? base
}

/** 0/0 where there is none. */
function idAt({ base, entries }: State, index: number): EntryId {
  const { term, index: found } = entries[index - base.index - 1] ?? base
  return found === index ? { term, index } : NO_ENTRY
}

function entriesAfter({ entries }: State, index: number): LogEntry[] {
  return entries.filter((entry) => entry.index > index)
}

function idsEqual(a: EntryId, b: EntryId): boolean {
  return a.index === b.index && a.term === b.term
}

function sameEntries(left: readonly LogEntry[], right: readonly LogEntry[]): boolean {
  return (
    left.length === right.length &&
    left.every((entry, at) => entry.record.equals(right[at]?.record ?? Buffer.alloc(0)))
  )
}

function describeEntry({ term, index, bytes }: LogEntry): string {
  return `${term}/${index}:${bytes}`
}

function describeState({ base, entries }: State): string {
  return `${base.term}/${base.index} [${entries.map(describeEntry).join(' ')}]`
}
