/**
 * A leader's lease: how long it may serve reads without asking whether it still leads.
 *
 * In: when each round of heartbeats was sent, the newest round that a quorum answered, and the
 * end of what the answers stood for. Out: whether the lease holds at a moment.
 *
 * A voter that answers a round withholds its vote for the election timeout from then on, by its
 * own clock. That is after the round was sent. So for as long after the *sending* nobody else
 * can be elected, and what this leader has committed is all that was. The voter's clock may run
 * faster than this one's: the lease is shorter than the promise by a margin.
 *
 * A machine that was suspended may find that its monotonic clock stood still meanwhile, while
 * the voters' went on. The wall clock is no better alone, as people set it; so both must agree
 * that it holds.
 *
 * Which rounds and whose answers count is the Raft core's to say. Why this is safe, and what it
 * trusts: docs/decisions/leases.md. Source: Ongaro's thesis, 6.4.1.
 */

/** By so much a voter's clock may run faster than the leader's, as a share of the election timeout. */
const CLOCK_RATE_MARGIN = 0.1

interface Moment {
  readonly monotonicMs: number
  readonly wallMs: number
}

export class Lease {
  readonly #durationMs: number
  /** Rounds that no quorum has answered yet, the oldest first. */
  #sent: { readonly round: number; readonly at: Moment }[] = []
  /** When the newest round was sent that a quorum has answered. */
  #since: Moment | null = null

  /** @param electionTimeoutMs For which voters withhold their votes. */
  constructor(electionTimeoutMs: number) {
    this.#durationMs = electionTimeoutMs * (1 - CLOCK_RATE_MARGIN)
  }

  /** A round is about to be sent: the clocks were read before. */
  sent(round: number, monotonicMs: number, wallMs: number): void {
    // Answers to older ones would be of no use any more.
    const isOver = ({ at }: { at: Moment }) => monotonicMs - at.monotonicMs >= this.#durationMs
    while (this.#sent[0] && isOver(this.#sent[0])) this.#sent.shift()
    this.#sent.push({ round, at: { monotonicMs, wallMs } })
  }

  /** A quorum has answered `round` or a later one. */
  confirmed(round: number): void {
    while (this.#sent[0] && this.#sent[0].round <= round) {
      this.#since = this.#sent.shift()?.at ?? null
    }
  }

  /** Whatever was sent until now counts for nothing. */
  end(): void {
    this.#sent = []
    this.#since = null
  }

  holds(monotonicMs: number, wallMs: number): boolean {
    const since = this.#since
    if (since === null) return false
    return this.#covers(monotonicMs - since.monotonicMs) && this.#covers(wallMs - since.wallMs)
  }

  #covers(passedMs: number): boolean {
    return passedMs >= 0 && passedMs < this.#durationMs
  }
}
