/**
 * ReadIndex: linearizable reads without a log entry (Ongaro's thesis, 6.4).
 *
 * A leader that has committed an entry of its own term notes its commit index
 * and confirms with one heartbeat round to a quorum that it still leads; reads
 * may then be served once that index is applied. One round at a time, shared
 * by all reads that arrived before it started: a round that is already on its
 * way proves nothing about later reads. Under a lease reads wait for no round.
 */
import type { ServerId } from './types.ts'

export interface PendingRead {
  readonly from: ServerId
  readonly id: number
}

export class ReadRounds {
  /** The newest round started; heartbeats carry it. */
  round = 0
  #waiting: PendingRead[] = []
  #inFlight: {
    readonly round: number
    readonly index: number
    readonly reads: readonly PendingRead[]
  } | null = null

  /** Whether a round waits for its answers. */
  get isUnderWay(): boolean {
    return this.#inFlight !== null
  }

  add(read: PendingRead): void {
    this.#waiting.push(read)
  }

  /** Begins a round that no read waits for. @returns which. */
  begin(): number {
    return ++this.round
  }

  /** Starts a round if reads wait and none is on its way. @returns whether it did. */
  maybeStart(commitIndex: number): boolean {
    if (this.#inFlight || this.#waiting.length === 0) return false
    this.#inFlight = { round: this.begin(), index: commitIndex, reads: this.takeWaiting() }
    return true
  }

  /** Those that no round was started for. */
  takeWaiting(): readonly PendingRead[] {
    const reads = this.#waiting
    this.#waiting = []
    return reads
  }

  /** A quorum has answered `round` or a later one. @returns the reads that may now be served, and at which index. */
  confirm(
    round: number,
  ): { readonly index: number; readonly reads: readonly PendingRead[] } | null {
    if (!this.#inFlight || round < this.#inFlight.round) return null
    const done = this.#inFlight
    this.#inFlight = null
    return done
  }

  /** Forgets all reads: who asked asks the next leader. */
  clear(): void {
    this.#waiting = []
    this.#inFlight = null
  }
}
