/**
 * What a leader knows of one peer, and how much it may send it.
 *
 * probe: one append at a time, until the peer says where its log agrees.
 * replicate: appends are pipelined, within bounds on messages and bytes that
 * are not yet acknowledged. While one is on its way, what is little gathers for the
 * next, as in TCP's Nagle: so batches grow with the load and the time a sync takes,
 * and a message costs the same whatever is in it.
 * snapshot: what it lacks is not in the log any more; nothing is sent until it
 * has a snapshot, which is the driver's to bring.
 *
 * Source: etcd's raft, tracker; Ongaro's thesis, 10.2.1 on pipelining.
 */
import type { LogRead } from './types.ts'

const INFLIGHT_APPENDS_MAX = 256
const INFLIGHT_BYTES_MAX = 16 * 1024 * 1024

export class Progress {
  state: 'probe' | 'replicate' | 'snapshot' = 'probe'
  /** Everything up to here is known to be durable there. */
  matchIndex = 0
  nextIndex: number
  /** The newest commit index it was told. */
  commitSent = 0
  /** Until when a newer one may wait for entries to ride on; null where none waits. */
  newsDueMs: number | null = null
  /** Of all bytes that the leader ever appended, those that were sent; about. */
  sentBytes = 0
  /** When a probe was sent that is not answered yet; null when one may be sent. */
  probeSentMs: number | null = null
  /** What the driver is reading from the log for it. */
  logRead: LogRead | null = null
  /** When it last did what a live follower does (see Raft, CheckQuorum). */
  contactMs: number
  /** The newest heartbeat round it answered. */
  round = 0
  #inflight: { readonly lastIndex: number; readonly bytes: number }[] = []
  #inflightBytes = 0

  constructor(nextIndex: number, nowMs: number) {
    this.nextIndex = nextIndex
    this.contactMs = nowMs
  }

  get isPaused(): boolean {
    if (this.logRead !== null || this.state === 'snapshot') return true
    if (this.state === 'probe') return this.probeSentMs !== null
    return (
      this.#inflight.length >= INFLIGHT_APPENDS_MAX || this.#inflightBytes >= INFLIGHT_BYTES_MAX
    )
  }

  /**
   * Whether what is to be sent waits for what is on its way.
   * @param appendedBytes All that the leader ever appended.
   * @param gatherBytes This much does not wait.
   */
  mustGather(appendedBytes: number, gatherBytes: number): boolean {
    return this.#inflight.length > 0 && this.isLittle(appendedBytes, gatherBytes)
  }

  isLittle(appendedBytes: number, gatherBytes: number): boolean {
    return appendedBytes - this.sentBytes < gatherBytes
  }

  get inflightCount(): number {
    return this.#inflight.length
  }

  /** Whether it does now what a live follower does; it replicates only after it has answered this leader. */
  isLive(nowMs: number, withinMs: number): boolean {
    return this.state === 'replicate' && nowMs - this.contactMs <= withinMs
  }

  /** Without `nextIndex`, a probe goes on where it was: nothing is known below it either. */
  becomeProbe(nextIndex = this.state === 'probe' ? this.nextIndex : this.matchIndex + 1): void {
    this.state = 'probe'
    this.nextIndex = nextIndex
    this.probeSentMs = null
    this.commitSent = 0
    this.newsDueMs = null
    this.logRead = null
    this.#inflight = []
    this.#inflightBytes = 0
  }

  becomeSnapshot(): void {
    this.becomeProbe()
    this.state = 'snapshot'
  }

  /** Notes that entries up to `lastIndex` are on their way. */
  sent(lastIndex: number, bytes: number, nowMs: number): void {
    if (this.state === 'probe') {
      this.probeSentMs = nowMs
      return
    }
    if (lastIndex < this.nextIndex) return // no entries, nothing to wait for
    this.nextIndex = lastIndex + 1
    this.#inflight.push({ lastIndex, bytes })
    this.#inflightBytes += bytes
  }

  /** @returns whether `matchIndex` is news. */
  maybeMatch(matchIndex: number): boolean {
    const isNews = matchIndex > this.matchIndex
    if (isNews) this.matchIndex = matchIndex
    if (this.state !== 'replicate') {
      this.becomeProbe(this.matchIndex + 1)
      this.state = 'replicate'
    }
    this.nextIndex = Math.max(this.nextIndex, this.matchIndex + 1)
    let freed = 0
    for (const { lastIndex, bytes } of this.#inflight) {
      if (lastIndex > this.matchIndex) break
      this.#inflightBytes -= bytes
      freed++
    }
    if (freed > 0) this.#inflight.splice(0, freed)
    return isNews
  }
}
