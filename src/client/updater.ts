/**
 * `update`: read, change, write back where nobody came in between, until it holds.
 *
 * Bounded in attempts and in time. From the second conflict on it pauses for a while, drawn
 * anew each time, so that many who update one key do not meet again and again. Where the
 * outcome of a write is unknown it ends: to go on could apply a change twice.
 */
import type { Io } from '../io/io.ts'
import { type Item, UPDATE_ATTEMPTS_MAX, type Value } from './api.ts'
import { StoreError } from './errors.ts'
import { onAbort } from './on-abort.ts'
import { shownKey } from './requests.ts'

export interface UpdateCalls {
  gets(timeoutMs: number): Promise<Item | null>
  add(value: Value, timeoutMs: number): Promise<boolean>
  cas(value: Value, casUnique: bigint, timeoutMs: number): Promise<'stored' | 'exists' | 'notFound'>
  deleteIf(casUnique: bigint, timeoutMs: number): Promise<'deleted' | 'exists' | 'notFound'>
}

type Change = (value: Buffer | null) => Value | null | undefined

const PAUSE_MS_FIRST = 1
const PAUSE_MS_MAX = 50

export class Updater {
  readonly #io: Io
  #count = 0
  #onIdle: (() => void) | null = null

  constructor(io: Io) {
    this.#io = io
  }

  /** Resolves when no update is under way. */
  idle(): Promise<void> {
    if (this.#count === 0) return Promise.resolve()
    return new Promise((resolve) => {
      this.#onIdle = resolve
    })
  }

  /** @returns what the key has now. @throws StoreError, or what `change` throws */
  async update(
    key: string,
    change: Change,
    timeoutMs: number,
    signal: AbortSignal | undefined,
    calls: UpdateCalls,
  ): Promise<Buffer | null> {
    this.#count++
    try {
      return await this.#update(key, change, timeoutMs, signal, calls)
    } finally {
      this.#count--
      if (this.#count === 0) this.#onIdle?.()
    }
  }

  async #update(
    key: string,
    change: Change,
    timeoutMs: number,
    signal: AbortSignal | undefined,
    calls: UpdateCalls,
  ): Promise<Buffer | null> {
    const deadlineMs = this.#io.clock.monotonicMs() + timeoutMs
    const conflict = (count: number) => {
      const why = `somebody else changed it each of ${count} times: try again later`
      return new StoreError('conflict', `update ${shownKey(key)}: ${why}`)
    }
    for (let count = 0; count < UPDATE_ATTEMPTS_MAX; count++) {
      if (count >= 2) await this.#pause(count - 2, signal)
      const leftMs = () => deadlineMs - this.#io.clock.monotonicMs()
      if (count > 0 && leftMs() <= 0) throw conflict(count)
      const item = await calls.gets(leftMs())
      const value = change(item?.value ?? null)
      if (value === undefined) return item?.value ?? null
      // What was read in time is written back even if `change` took long.
      const writeMs = Math.max(1, leftMs())
      if (value === null) {
        if (!item || (await calls.deleteIf(item.casUnique, writeMs)) !== 'exists') return null
      } else if (item) {
        const outcome = await calls.cas(value, item.casUnique, writeMs)
        if (outcome === 'stored') return bufferOf(value)
      } else if (await calls.add(value, writeMs)) return bufferOf(value)
    }
    throw conflict(UPDATE_ATTEMPTS_MAX)
  }

  /** Ends early with the signal: the next call then says so. */
  #pause(count: number, signal: AbortSignal | undefined): Promise<void> {
    const wholeMs = Math.min(PAUSE_MS_FIRST * 2 ** count, PAUSE_MS_MAX)
    return new Promise((resolve) => {
      const end = () => {
        timer.cancel()
        forget?.()
        resolve()
      }
      const timer = this.#io.timers.after(wholeMs * this.#io.random.float(), end)
      const forget = signal && onAbort(signal, end)
    })
  }
}

function bufferOf(value: Value): Buffer {
  return typeof value === 'string' ? Buffer.from(value) : value
}
