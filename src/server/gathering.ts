/**
 * Whether what clients sent should wait a moment for more of it. Pure.
 *
 * In: requests as they come and as they are answered, of which connection, and the turns of the
 * loop. Out: for each turn, whether what is at hand leaves now or waits. Clients that wait for a
 * reply before they send the next request come back right after they are answered; who lets the
 * first of them go alone has two halves of them from then on, each with a message and a sync of
 * its own. So whoever came back promptly the last time is waited for, after it was answered.
 *
 * Promises: nothing waits for longer than `GATHER_MS`, nor for clients that were answered longer
 * ago than that, nor for clients that take their time.
 */

/** So long what came first waits at the most, and so soon a prompt client is back. */
const GATHER_MS = 2
/** So many of those that are awaited are not waited for. */
const ABSENT_SHARE = 0.1

/** `turn`: until the next turn of the loop. `clients`: until more come, or a while has passed. */
export type Wait = 'turn' | 'clients' | null

/** What is known of when a client comes back; one for each connection. */
export interface Visits {
  answeredMs: number
  isPrompt: boolean
  /** The batch that it is awaited for; 0 for none. */
  awaitedFor: number
}

export function createVisits(): Visits {
  return { answeredMs: Number.NEGATIVE_INFINITY, isPrompt: false, awaitedFor: 0 }
}

export class Gathering {
  /** Requests that came or were answered since the last turn. */
  #activity = 0
  /** Counts those that left. */
  #batch = 1
  /** Since the last one left: clients to wait for, and those of them that are not back. */
  #awaitedCount = 0
  #absentCount = 0
  #answeredMs = Number.NEGATIVE_INFINITY
  /** Since when something waits. */
  #sinceMs = 0

  came(visits: Visits, nowMs: number): void {
    this.#activity++
    visits.isPrompt = nowMs - visits.answeredMs < GATHER_MS
    if (visits.awaitedFor !== this.#batch) return
    visits.awaitedFor = 0
    this.#absentCount--
  }

  answered(visits: Visits, nowMs: number): void {
    this.#activity++
    this.#answeredMs = nowMs
    visits.answeredMs = nowMs
    if (!visits.isPrompt || visits.awaitedFor === this.#batch) return
    visits.awaitedFor = this.#batch
    this.#awaitedCount++
    this.#absentCount++
  }

  /** @param isAnyWaiting Whether anything would leave if it did not wait. */
  turn(nowMs: number, isAnyWaiting: boolean): Wait {
    const isBusy = this.#activity > 0
    this.#activity = 0
    if (!isAnyWaiting) this.#sinceMs = nowMs
    if (isBusy && nowMs - this.#sinceMs < GATHER_MS) return 'turn'
    if (!isAnyWaiting) return null
    if (nowMs < this.untilMs && !this.#areEnough) return 'clients'
    this.#batch++
    this.#awaitedCount = 0
    this.#absentCount = 0
    return null
  }

  /** Until when clients are waited for. */
  get untilMs(): number {
    return GATHER_MS + Math.min(this.#sinceMs, this.#answeredMs)
  }

  get #areEnough(): boolean {
    return this.#absentCount <= ABSENT_SHARE * this.#awaitedCount
  }
}
