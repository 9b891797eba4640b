/**
 * What clients asked and heard, by key, and what is to be said of it: outcomes,
 * gaps, and whether one copy of the data could have answered so.
 */
import {
  findViolation,
  type HistoryEntry,
  type Operation,
  UndecidedError,
} from '../simulation/linearizability.ts'
import { describe } from '../simulation/operation.ts'
import type { Reply } from './connection.ts'

/** Searching all histories takes no longer; the keys that are left are undecided. */
const CHECK_MS_MAX = 120_000

export interface Recorded extends HistoryEntry {
  readonly server: string
  /** The reply as it came, or why there is none. */
  line: string
  reply: string | null | undefined
  unique?: string
  endMs: number
}

export interface Violation {
  readonly key: string
  /** Those for which no place was found. */
  readonly unplaced: readonly HistoryEntry[]
  readonly history: readonly Recorded[]
}

export interface Verdict {
  readonly violations: readonly Violation[]
  readonly undecidedKeys: readonly string[]
  readonly longest: number
}

/** What memcached may answer to each. */
const REPLIES: Readonly<Record<Operation['kind'], readonly string[]>> = {
  get: ['END'],
  gets: ['END'],
  set: ['STORED'],
  add: ['STORED', 'NOT_STORED'],
  cas: ['STORED', 'EXISTS', 'NOT_FOUND'],
  delete: ['DELETED', 'NOT_FOUND'],
  expire: [],
}

export class History {
  startMs = performance.now()
  readonly byKey = new Map<string, Recorded[]>()
  /** Kind of operation -> outcome -> how many. */
  readonly outcomes = new Map<string, Map<string, number>>()
  /** Replies that are none of memcached's, or not to this request. */
  readonly surprises: string[] = []
  /** Longest time without an acknowledged write. */
  gap = { sinceMs: this.startMs, untilMs: this.startMs }
  #acknowledgedMs = this.startMs

  /** Clients begin now. */
  start(): void {
    this.startMs = performance.now()
    this.gap = { sinceMs: this.startMs, untilMs: this.startMs }
    this.#acknowledgedMs = this.startMs
  }

  begin(entry: Omit<Recorded, 'reply' | 'endMs' | 'line'>): Recorded {
    const recorded: Recorded = {
      ...entry,
      reply: undefined,
      endMs: Number.POSITIVE_INFINITY,
      line: '',
    }
    const history = this.byKey.get(entry.key)
    if (history) history.push(recorded)
    else this.byKey.set(entry.key, [recorded])
    return recorded
  }

  /** @param reply null where the connection ended without one: then `why`. */
  end(entry: Recorded, reply: Reply | null, why = 'connection lost'): void {
    const { kind } = entry.operation
    entry.line = reply?.line ?? why
    const outcome = this.#outcomeOf(entry, reply)
    const counts = this.outcomes.get(kind) ?? new Map<string, number>()
    this.outcomes.set(kind, counts)
    counts.set(outcome, (counts.get(outcome) ?? 0) + 1)
    if (reply && (outcome === 'STORED' || outcome === 'DELETED')) this.#acknowledged(reply.atMs)
  }

  #outcomeOf(entry: Recorded, reply: Reply | null): string {
    const { kind } = entry.operation
    if (!reply) return entry.line
    const { line, hits, atMs } = reply
    if (line.startsWith('SERVER_ERROR ')) {
      if (kind === 'get' || kind === 'gets') return this.#refused(entry)
      if (/^SERVER_ERROR (not stored|out of )/.test(line)) return this.#refused(entry)
      if (line.startsWith('SERVER_ERROR outcome unknown')) return 'outcome unknown'
    }
    const [hit] = hits
    const isSurprise =
      !REPLIES[kind].includes(line) ||
      hits.length > (line === 'END' ? 1 : 0) ||
      (hit !== undefined && hit.key !== entry.key)
    if (isSurprise) {
      this.surprises.push(
        `${describe(entry)} -> ${[...hits.map(({ key }) => key), line].join(' ')}`,
      )
      return 'surprise'
    }
    entry.endMs = atMs
    if (line !== 'END') {
      entry.reply = line
      return line
    }
    entry.reply = hit ? hit.value : null
    if (hit?.unique !== undefined) entry.unique = hit.unique
    return hit ? 'hit' : 'miss'
  }

  /** It never happens: as if it had never been asked for. */
  #refused(entry: Recorded): string {
    const history = this.byKey.get(entry.key) ?? []
    const at = history.lastIndexOf(entry)
    if (at !== -1) history.splice(at, 1)
    return 'refused'
  }

  #acknowledged(atMs: number): void {
    this.countGap(atMs)
    this.#acknowledgedMs = Math.max(this.#acknowledgedMs, atMs)
  }

  /** No write was acknowledged from the last one until now. */
  countGap(nowMs: number): void {
    const sinceMs = this.#acknowledgedMs
    if (nowMs - sinceMs > this.gap.untilMs - this.gap.sinceMs)
      this.gap = { sinceMs, untilMs: nowMs }
  }

  check(): Verdict {
    const violations: Violation[] = []
    const undecidedKeys: string[] = []
    let longest = 0
    const deadlineMs = performance.now() + CHECK_MS_MAX
    for (const [key, history] of this.byKey) {
      longest = Math.max(longest, history.length)
      if (performance.now() > deadlineMs) {
        undecidedKeys.push(key)
        continue
      }
      try {
        const unplaced = findViolation(history)
        if (unplaced) violations.push({ key, unplaced, history })
      } catch (error) {
        if (!(error instanceof UndecidedError)) throw error
        undecidedKeys.push(key)
      }
    }
    return { violations, undecidedKeys, longest }
  }

  /** One operation as a line: when, who, through which server, what, and what came back. */
  line(entry: Recorded): string {
    const { startMs, endMs, client, server, line, reply, unique, operation } = entry
    const at = (ms: number) => (ms === Infinity ? '-' : (ms - this.startMs).toFixed(3)).padStart(11)
    const isRead = operation.kind === 'get' || operation.kind === 'gets'
    const heard = isRead && reply !== undefined ? (reply ?? 'miss') : line
    const tail = [heard, unique, entry.after && '(pipelined)'].filter(Boolean).join(' ')
    return `${at(startMs)} ${at(endMs)} ${client} ${server} ${describe(entry)} -> ${tail}`
  }
}
