/** Timers that a test fires, and what it takes to see everything through that is under way. */
import type { Timer, Timers } from '../../src/io/io.ts'

export class ManualTimers implements Timers {
  #nowMs = 0
  #due: { readonly dueMs: number; readonly fn: () => void }[] = []

  after(delayMs: number, fn: () => void): Timer {
    const timer = { dueMs: this.#nowMs + delayMs, fn }
    this.#due.push(timer)
    return {
      cancel: () => {
        this.#due = this.#due.filter((other) => other !== timer)
      },
    }
  }

  soon(fn: () => void): void {
    this.after(0, fn)
  }

  get waitingCount(): number {
    return this.#due.length
  }

  /** Fires all that wait, the soonest first. */
  fire(): void {
    const due = this.#due.sort((a, b) => a.dueMs - b.dueMs)
    this.#due = []
    for (const { fn } of due) fn()
  }

  /** So much time goes by: fires those whose turn has come then. */
  advance(ms: number): void {
    this.#nowMs += ms
    const due = this.#due.filter(({ dueMs }) => dueMs <= this.#nowMs)
    this.#due = this.#due.filter(({ dueMs }) => dueMs > this.#nowMs)
    for (const { fn } of due.sort((a, b) => a.dueMs - b.dueMs)) fn()
  }
}

/** Resolves once all promises have settled that settle without outside help. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
