/**
 * The replicated state machine: log entries in, replies out.
 *
 * Deterministic: what it holds and answers depends only on the entries applied,
 * in order, so replicas that applied the same index are equal. It never refuses
 * for a local reason. Its clock is log time, the time of the newest entry
 * applied; items expire by that alone.
 */
import { parseCommand, type StoreCommand } from '../../protocol/commands.ts'
import { type Item, ItemStore, SLICES } from './item-store.ts'

/** What an entry of the log is to the state machine. */
export interface AppliedEntry {
  readonly index: number
  readonly timeMs: number
  readonly body: Buffer
}

/** Exptimes up to 30 days count from now, later ones are Unix time. */
const RELATIVE_EXPTIME_MAX_SECONDS = 30 * 24 * 60 * 60

/** One entry pays for no more than this, however far the time has gone; the rest has its next turn. */
const SWEEPS_MAX = 2

export class StateMachine {
  readonly #items = new ItemStore()
  #appliedIndex = 0
  #timeMs = 0

  get appliedIndex(): number {
    return this.#appliedIndex
  }

  /** Log time: that of the newest entry applied. */
  get timeMs(): number {
    return this.#timeMs
  }

  get items(): ItemStore {
    return this.#items
  }

  /** Whether time passing can change anything. */
  get hasExpiring(): boolean {
    return this.#items.hasExpiring
  }

  /** The live item under `key`, as of the newest entry applied. */
  get(key: string): Item | undefined {
    return this.#ifLive(this.#items.get(key))
  }

  /** Takes over a state as of `index`: items are put in with `restoreItem`. */
  restore(index: number, timeMs: number): void {
    this.#appliedIndex = index
    this.#timeMs = timeMs
  }

  /** @param accessedS Taken for when it was last used. */
  restoreItem(key: string, item: Item, accessedS = 0): void {
    const { flags, expiresAtMs, casUnique, marks, value } = item
    const stored = { flags, expiresAtMs, casUnique, marks, value, isFetched: false, accessedS }
    this.#items.set(key, stored)
  }

  /** @returns memcached's reply line without its end; empty for entries no client sent. */
  apply(entry: AppliedEntry): string {
    if (entry.index !== this.#appliedIndex + 1) {
      throw new Error(`entry ${entry.index} applied after ${this.#appliedIndex}`)
    }
    this.#appliedIndex = entry.index
    this.#advanceTime(entry.timeMs)
    const body = entry.body
    if (isOwnEntry(body)) return ''
    const command = parseCommand(body)
    return command.verb === 'delete'
      ? this.#applyDelete(command.key)
      : this.#applyStore(command, entry)
  }

  #applyDelete(key: string): string {
    const isFound = this.#peek(key) !== undefined
    this.#items.delete(key)
    return isFound ? 'DELETED' : 'NOT_FOUND'
  }

  #applyStore(command: StoreCommand, { index, timeMs }: AppliedEntry): string {
    const { verb, key, flags, exptime, casUnique, value } = command
    if (verb === 'add' && this.#peek(key)) return 'NOT_STORED'
    if (verb === 'cas') {
      const current = this.#peek(key)
      if (!current) return 'NOT_FOUND'
      if (current.casUnique !== casUnique) return 'EXISTS'
    }
    const expiresAtMs = expiryOf(exptime, timeMs)
    if (expiresAtMs !== 0 && expiresAtMs <= timeMs) this.#items.delete(key)
    else {
      const accessedS = Math.floor(timeMs / 1000)
      const fresh = { casUnique: index, marks: 0, isFetched: false, accessedS }
      this.#items.set(key, { flags, expiresAtMs, value, ...fresh })
    }
    return 'STORED'
  }

  #peek(key: string): Item | undefined {
    return this.#ifLive(this.#items.peek(key))
  }

  #ifLive(item: Item | undefined): Item | undefined {
    const isGone = item && item.expiresAtMs !== 0 && item.expiresAtMs <= this.#timeMs
    return isGone ? undefined : item
  }

  /**
   * Expired items are hidden at once; the memory of each part of them is reclaimed when its
   * second comes. Which that is depends on nothing but the times before and after, so that a
   * replica that begins with a keystore file goes on like one that wrote it.
   */
  #advanceTime(timeMs: number): void {
    const fromSecond = Math.floor(this.#timeMs / 1000)
    const toSecond = Math.floor(timeMs / 1000)
    this.#timeMs = timeMs
    if (!this.#items.hasExpiring) return
    const first = Math.max(fromSecond + 1, toSecond - SWEEPS_MAX + 1)
    for (let second = first; second <= toSecond; second++) {
      this.#items.sweep(second % SLICES, timeMs)
    }
  }
}

/** Unix milliseconds at which an item with this exptime is gone; 0 for never. */
function expiryOf(exptime: number, timeMs: number): number {
  if (exptime === 0) return 0
  if (exptime < 0) return 1
  if (exptime <= RELATIVE_EXPTIME_MAX_SECONDS) return timeMs + exptime * 1000
  return exptime * 1000
}

const OWN_ENTRIES = ['noop', 'time', 'config']

/** The log's own entries: the first word tells, and no memcached command begins like them. */
function isOwnEntry(body: Buffer): boolean {
  const word = body.toString('latin1', 0, 6)
  return OWN_ENTRIES.some((own) => word.startsWith(own))
}
