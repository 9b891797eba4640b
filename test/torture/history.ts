/**
 * What clients asked and heard, by key, and what is to be said of it: outcomes,
 * gaps, and whether one copy of the data could have answered so.
 */
import {
  byKey,
  findViolation,
  type HistoryEntry,
  UndecidedError,
} from '../simulation/linearizability.ts'
import { describe, describeReply } from '../simulation/operation.ts'
import { settle } from '../simulation/replies.ts'
import type { Reply } from './connection.ts'

/** Searching all histories takes no longer; the keys that are left are undecided. */
const CHECK_MS_MAX = 120_000

export interface Recorded extends HistoryEntry {
  readonly server: string
  /** The reply as it came, or why there is none. */
  line: string
}

export interface Violation {
  readonly key: string
  /** Those for which no place was found. */
  readonly unplaced: readonly HistoryEntry[]
  readonly history: readonly Recorded[]
}

export interface Verdict {
  readonly keyCount: number
  readonly violations: readonly Violation[]
  readonly undecidedKeys: readonly string[]
  readonly longest: number
}

const ACKNOWLEDGED = /^(STORED|DELETED|HD)$/

export class History {
  startMs = performance.now()
  readonly entries: Recorded[] = []
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
    this.entries.push(recorded)
    return recorded
  }

  /**
   * @param entries Of one request.
   * @param reply null where the connection ended without one: then `why`.
   */
  end(entries: readonly Recorded[], reply: Reply | null, why = 'connection lost'): void {
    const [first] = entries as readonly [Recorded]
    const { kind } = first.operation
    const outcome = reply ? settle(entries, reply, reply.atMs) : 'unknown'
    for (const entry of entries) entry.line = reply?.line ?? why
    // It never happens: as if it had never been asked for.
    if (outcome === 'refused') this.entries.splice(this.entries.lastIndexOf(first), entries.length)
    if (outcome === 'surprise' && reply) {
      const hits = reply.hits.map(({ key }) => key)
      this.surprises.push(`${describe(first)} -> ${[...hits, reply.line].join(' ')}`)
    }
    const counts = this.outcomes.get(kind) ?? new Map<string, number>()
    this.outcomes.set(kind, counts)
    for (const entry of entries) {
      const status = entry.reply?.status ?? (reply ? outcome : why)
      const name = /^\d+$/.test(status) ? 'a number' : status
      counts.set(name, (counts.get(name) ?? 0) + 1)
    }
    if (reply && ACKNOWLEDGED.test(first.reply?.status ?? '')) this.#acknowledged(reply.atMs)
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
    const histories = byKey(this.entries)
    const violations: Violation[] = []
    const undecidedKeys: string[] = []
    let longest = 0
    const deadlineMs = performance.now() + CHECK_MS_MAX
    for (const [key, history] of histories) {
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
    return { keyCount: histories.size, violations, undecidedKeys, longest }
  }

  /** One operation as a line: when, who, through which server, what, and what came back. */
  line(entry: Recorded): string {
    const { startMs, endMs, client, server, line, reply } = entry
    const at = (ms: number) => (ms === Infinity ? '-' : (ms - this.startMs).toFixed(3)).padStart(11)
    const heard = reply ? describeReply(reply) : line
    const tail = [heard, entry.after && '(pipelined)'].filter(Boolean).join(' ')
    return `${at(startMs)} ${at(endMs)} ${client} ${server} ${describe(entry)} -> ${tail}`
  }
}
