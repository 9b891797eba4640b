/** One timer for many times: it rings at the earliest that was asked for, and forgets the others. */
import type { Io, Timer } from '../io/io.ts'

export class Alarm {
  readonly #io: Io
  readonly #onRing: (nowMs: number) => void
  #timer: Timer | null = null
  #atMs = Number.POSITIVE_INFINITY

  /** @param onRing Looks at all that may be due, and asks for the next time. */
  constructor(io: Io, onRing: (nowMs: number) => void) {
    this.#io = io
    this.#onRing = onRing
  }

  ringAt(atMs: number, nowMs: number): void {
    if (atMs >= this.#atMs) return
    this.#timer?.cancel()
    this.#atMs = atMs
    this.#timer = this.#io.timers.after(Math.max(0, atMs - nowMs), () => {
      this.#timer = null
      this.#atMs = Number.POSITIVE_INFINITY
      this.#onRing(this.#io.clock.monotonicMs())
    })
  }

  cancel(): void {
    this.#timer?.cancel()
    this.#timer = null
    this.#atMs = Number.POSITIVE_INFINITY
  }
}
