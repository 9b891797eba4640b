/**
 * The replicated state machine: log entries in, replies out.
 *
 * Deterministic: what it holds and answers depends only on the entries applied,
 * in order, so replicas that applied the same index are equal. It never refuses
 * for a local reason. Its clock is log time, the time of the newest entry
 * applied; items expire by that alone.
 */
import { parseCommand, type StoreCommand } from '../../protocol/commands.ts'
import type { Item, ItemStore } from './item-store.ts'

/** What an entry of the log is to the state machine. */
export interface AppliedEntry {
  readonly index: number
  readonly timeMs: number
  readonly body: Buffer
}

/** Exptimes up to 30 days count from now, later ones are Unix time. */
const RELATIVE_EXPTIME_MAX_SECONDS = 30 * 24 * 60 * 60

export class StateMachine {
  readonly #items: ItemStore
  #appliedIndex = 0
  #timeMs = 0
  /** Keys by the second, rounded up, in which they expire. */
  readonly #expiries = new Map<number, Set<string>>()

  constructor(items: ItemStore) {
    this.#items = items
  }

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
    return this.#expiries.size > 0
  }

  /** The live item under `key`, as of the newest entry applied. */
  get(key: string): Item | undefined {
    const item = this.#items.get(key)
    return item && this.#isLive(item) ? item : undefined
  }

  /** Takes over a state as of `index`: items are put in with `restoreItem`. */
  restore(index: number, timeMs: number): void {
    this.#appliedIndex = index
    this.#timeMs = timeMs
  }

  restoreItem(key: string, item: Item): void {
    this.#put(key, item)
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
    const isFound = this.get(key) !== undefined
    this.#remove(key)
    return isFound ? 'DELETED' : 'NOT_FOUND'
  }

  #applyStore(command: StoreCommand, { index, timeMs }: AppliedEntry): string {
    const { verb, key, flags, exptime, casUnique, value } = command
    const current = this.get(key)
    if (verb === 'add' && current) return 'NOT_STORED'
    if (verb === 'cas') {
      if (!current) return 'NOT_FOUND'
      if (current.casUnique !== casUnique) return 'EXISTS'
    }
    const expiresAtMs = expiryOf(exptime, timeMs)
    // The command's bytes belong to the log; a copy lets go of them.
    if (expiresAtMs !== 0 && expiresAtMs <= timeMs) this.#remove(key)
    else this.#put(key, { flags, expiresAtMs, casUnique: index, value: Buffer.from(value) })
    return 'STORED'
  }

  #isLive(item: Item): boolean {
    return item.expiresAtMs === 0 || item.expiresAtMs > this.#timeMs
  }

  #put(key: string, item: Item): void {
    this.#forgetExpiry(key)
    this.#items.set(key, item)
    if (item.expiresAtMs === 0) return
    const second = expirySecond(item)
    const keys = this.#expiries.get(second)
    if (keys) keys.add(key)
    else this.#expiries.set(second, new Set([key]))
  }

  #remove(key: string): void {
    this.#forgetExpiry(key)
    this.#items.delete(key)
  }

  #forgetExpiry(key: string): void {
    if (this.#expiries.size === 0) return
    const item = this.#items.get(key)
    if (!item || item.expiresAtMs === 0) return
    const second = expirySecond(item)
    const keys = this.#expiries.get(second)
    keys?.delete(key)
    if (keys?.size === 0) this.#expiries.delete(second)
  }

  #advanceTime(timeMs: number): void {
    const fromSecond = Math.floor(this.#timeMs / 1000)
    const toSecond = Math.floor(timeMs / 1000)
    this.#timeMs = timeMs
    if (this.#expiries.size === 0 || fromSecond === toSecond) return
    if (toSecond - fromSecond < this.#expiries.size) {
      for (let second = fromSecond + 1; second <= toSecond; second++) this.#expire(second)
    } else {
      for (const second of this.#expiries.keys()) if (second <= toSecond) this.#expire(second)
    }
  }

  #expire(second: number): void {
    for (const key of this.#expiries.get(second) ?? []) this.#items.delete(key)
    this.#expiries.delete(second)
  }
}

function expirySecond(item: Item): number {
  return Math.ceil(item.expiresAtMs / 1000)
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
