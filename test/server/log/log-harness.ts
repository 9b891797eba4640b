/**
 * One log on a disk in memory, beside what it should hold.
 *
 * The model is an array of entries and the list of all that was appended since
 * the log was opened, in order. After a crash the log must hold the array with
 * the first `n` of that list applied to it, for some `n` that is not less than
 * what was reported stable.
 */
import { expect } from 'vitest'
import { LogStore, type LogSummary } from '../../../src/server/log/log-store.ts'
import { type LogEntry, RecordWriter } from '../../../src/server/log/record.ts'
import type { Config, EntryId } from '../../../src/server/raft/types.ts'
import { ManualTimers, settle } from '../../io/manual-timers.ts'
import { MemoryDisk, seededRandom } from '../../io/memory-disk.ts'

export const CLUSTER = 'cluster-1'
export const DIRECTORY = 'data/groups/0/log'
export const START_MS = 1_700_000_000_000

export function segmentPath(sequence: number): string {
  return `${DIRECTORY}/${String(sequence).padStart(12, '0')}.log`
}

export class LogHarness {
  disk: MemoryDisk
  timers = new ManualTimers()
  /** Of the log that is open. */
  summary: LogSummary = NOTHING
  failures: Error[] = []
  /** Calls of `onStable`, over all openings. */
  readonly reports: EntryId[] = []
  readonly #writer = new RecordWriter(CLUSTER)
  #log: LogStore | null = null
  #base: readonly LogEntry[] = []
  #appended: LogEntry[] = []
  #stableCount = 0
  #term = 1
  #createdCount = 0
  /** The newest commit index ever set: nothing up to it is superseded. */
  #commitIndex = 0

  constructor(disk = new MemoryDisk({ random: seededRandom(1) })) {
    this.disk = disk
  }

  get log(): LogStore {
    if (!this.#log) throw new Error('the log is not open')
    return this.#log
  }

  /** What the log holds once all that was appended is written. */
  get entries(): LogEntry[] {
    return after(this.#base, this.#appended)
  }

  get lastIndex(): number {
    return this.entries.length
  }

  get stableEntries(): LogEntry[] {
    return after(this.#base, this.#appended.slice(0, this.#stableCount))
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
    const copy = new LogHarness(disk)
    copy.#base = this.#base
    copy.#appended = [...this.#appended]
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
    const options = { disk, timers, directory: DIRECTORY, clusterId: CLUSTER, group: 0 }
    const { log, summary } = await LogStore.open(options)
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
    if (index > this.stableEntries.length) throw new Error(`${index} is not stable`)
    this.#commitIndex = Math.max(this.#commitIndex, index)
    this.log.commitIndex = this.#commitIndex
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
    const { lastIndex } = this.summary
    const found = lastIndex === 0 ? [] : await this.log.read(1, lastIndex, Infinity)
    expect(found.map(({ index }) => index)).toEqual(Array.from(found, (_, at) => at + 1))
    expect(found).toHaveLength(lastIndex)
    this.#checkSummary(found)
    this.#adopt(found)
  }

  /** Reads and compares `first` to `last`. */
  async checkRead(first: number, last: number, bytesMax = Infinity): Promise<void> {
    const found = await this.log.read(first, last, bytesMax)
    const wanted = this.stableEntries.slice(first - 1, last)
    let bytes = 0
    const fitting = wanted.findIndex((entry, at) => {
      bytes += entry.bytes
      return at > 0 && bytes > bytesMax
    })
    const expected = fitting === -1 ? wanted : wanted.slice(0, fitting)
    expect(found.map(describeEntry)).toEqual(expected.map(describeEntry))
    expect(sameEntries(found, expected)).toBe(true)
  }

  #checkSummary(found: readonly LogEntry[]): void {
    const { termRuns, configs, lastTimeMs, commitIndex } = this.summary
    const runs = found.filter(({ term }, at) => term !== found[at - 1]?.term)
    expect(termRuns).toEqual(runs.map(({ term, index }) => ({ term, index })))
    // It may be later, that of an entry cut since: log time only must not go back.
    expect(lastTimeMs).toBeGreaterThanOrEqual(found.at(-1)?.timeMs ?? 0)
    const withConfig = found.filter(({ config }) => config !== undefined)
    expect(configs).toEqual(withConfig.map(({ index, config }) => ({ index, config })))
    expect(commitIndex).toBeLessThanOrEqual(this.#commitIndex)
  }

  /** Takes what was found as what the log holds, where the model allows it. */
  #adopt(found: readonly LogEntry[]): void {
    let isAllowed = false
    for (let count = this.#stableCount; count <= this.#appended.length; count++) {
      isAllowed ||= sameEntries(found, after(this.#base, this.#appended.slice(0, count)))
    }
    if (!isAllowed) {
      const text = `stable ${describeEntries(this.stableEntries)}, all ${describeEntries(this.entries)}`
      throw new Error(`the log holds ${describeEntries(found)}; ${text}`)
    }
    this.#base = found
    this.#appended = []
    this.#stableCount = 0
  }

  #onStable(id: EntryId): void {
    this.reports.push(id)
    const isSame = (entry: LogEntry) => entry.index === id.index && entry.term === id.term
    const at = this.#appended.findIndex((entry, at) => at >= this.#stableCount && isSame(entry))
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
    this.#appended.push(...entries)
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
export async function* runToEachChange(story: readonly Step[]): AsyncGenerator<LogHarness> {
  for (let haltAt = 1; ; haltAt++) {
    const harness = new LogHarness()
    harness.disk.haltAt = haltAt
    await run(harness, story)
    yield harness
    if (harness.disk.mutationCount < haltAt) return
  }
}

function after(base: readonly LogEntry[], appended: readonly LogEntry[]): LogEntry[] {
  const entries = [...base]
  for (const entry of appended) {
    entries.length = entry.index - 1
    entries.push(entry)
  }
  return entries
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

function describeEntries(entries: readonly LogEntry[]): string {
  return `[${entries.map(describeEntry).join(' ')}]`
}
