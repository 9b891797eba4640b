/**
 * The items in memory: records in an arena, found by an index of their hashes.
 * The state machine is the only one that changes them.
 *
 * No call moves more than a page of the index or a bounded part of a segment,
 * however many items there are: what is to be cleaned up is cleaned up a little
 * with each change. What it holds depends only on the calls made; where it holds
 * it is nobody's business.
 */
import { Arena, type Item, isLarge, type Records, recordBytes, type StoredItem } from './arena.ts'
import { HashIndex, locationsIn, type Page } from './hash-index.ts'
import { hashOf } from './key-hash.ts'

export { type Item, STALE, type StoredItem, WON } from './arena.ts'

export type KeyedItem = readonly [key: string, item: Item]

/** The hashes are swept in so many parts. */
export const SLICES = 256
const SLICE_WIDTH = 2 ** 32 / SLICES
/** What an item costs in the index, between the most and the least its pages are filled. */
const INDEX_BYTES = 16

/** What an item counts in `bytes`. */
export function itemBytes(keyLength: number, valueLength: number): number {
  return recordBytes(keyLength, valueLength) + INDEX_BYTES
}

export class ItemStore {
  readonly #arena = new Arena()
  readonly #index = new HashIndex(this.#arena)
  #count = 0
  #expiringCount = 0
  #bytes = 0

  get count(): number {
    return this.#count
  }

  /** Whether any item has an expiry. */
  get hasExpiring(): boolean {
    return this.#expiringCount > 0
  }

  /** The sum of `itemBytes`; what is really held is up to half more. */
  get bytes(): number {
    return this.#bytes
  }

  /** All memory held for records, for tests and measurements. */
  get heldBytes(): number {
    return this.#arena.heldBytes
  }

  /** @param nowS The time, in Unix seconds, to be noted for those after this one; else nothing is. */
  get(key: string, nowS?: number): StoredItem | undefined {
    const location = this.#index.get(hashOf(key), key)
    if (location === 0) return undefined
    const item = this.#arena.stored(location)
    if (nowS !== undefined) this.#arena.noteAccess(location, nowS)
    const { flags, expiresAtMs, casUnique, marks, isFetched, accessedS } = item
    const value = isLarge(item.value) ? item.value : Buffer.from(item.value)
    return { flags, expiresAtMs, casUnique, marks, value, isFetched, accessedS }
  }

  /** For a look now: the value is good only until the next change. */
  peek(key: string): StoredItem | undefined {
    const location = this.#index.get(hashOf(key), key)
    return location === 0 ? undefined : this.#arena.stored(location)
  }

  /** Copies what it is given. */
  set(key: string, item: StoredItem): void {
    const before = this.#index.set(hashOf(key), key, this.#arena.append(key, item))
    this.#count++
    this.#bytes += itemBytes(key.length, item.value.length)
    if (item.expiresAtMs !== 0) this.#expiringCount++
    if (before !== 0) this.#forget(before)
    this.#arena.clean(recordBytes(key.length, item.value.length), this.#index)
  }

  delete(key: string): boolean {
    const location = this.#index.delete(hashOf(key), key)
    if (location === 0) return false
    this.#arena.clean(this.#forget(location), this.#index)
    return true
  }

  /** Removes everything. What it took is used again, or given back, with the changes that follow. */
  clear(): void {
    this.#index.clear()
    this.#arena.releaseAll()
    this.#count = 0
    this.#expiringCount = 0
    this.#bytes = 0
  }

  /** Removes what has expired by `timeMs` from one of the `SLICES` parts of the hashes. */
  sweep(slice: number, timeMs: number): void {
    const first = slice * SLICE_WIDTH
    let sweptBytes = 0
    this.#index.sweep(first, first + SLICE_WIDTH - 1, (location) => {
      const expiresAtMs = this.#arena.expiresAtMs(location)
      if (expiresAtMs === 0 || expiresAtMs > timeMs) return false
      sweptBytes += this.#forget(location)
      return true
    })
    this.#arena.clean(sweptBytes, this.#index)
  }

  /** All items, in no particular order, for as long as nothing changes. */
  *[Symbol.iterator](): Generator<KeyedItem> {
    for (const location of this.#index.locations()) {
      yield [this.#arena.key(location), this.#arena.item(location)]
    }
  }

  /** All items as of now, in no particular order, while the store goes on. To be closed. */
  view(): ItemsView {
    const pages = this.#index.openSnapshot()
    return new ItemsView(this.#count, pages, this.#arena.openView(), () => {
      this.#index.closeSnapshot()
      this.#arena.closeView()
    })
  }

  /** @returns the size of the record. */
  #forget(location: number): number {
    if (this.#arena.expiresAtMs(location) !== 0) this.#expiringCount--
    const size = this.#arena.release(location)
    this.#count--
    this.#bytes -= size + INDEX_BYTES
    return size
  }
}

/**
 * Keeps what has changed since in memory until it is closed. What is read of it
 * is good until then.
 */
export class ItemsView implements Iterable<KeyedItem> {
  readonly count: number
  #pages: readonly Page[]
  #records: Records | null
  readonly #onClose: () => void

  constructor(count: number, pages: readonly Page[], records: Records, onClose: () => void) {
    this.count = count
    this.#pages = pages
    this.#records = records
    this.#onClose = onClose
  }

  *[Symbol.iterator](): Generator<KeyedItem> {
    for (const location of locationsIn(this.#pages)) {
      const records = this.#open()
      yield [records.key(location), records.item(location)]
    }
    this.#open()
  }

  #open(): Records {
    if (!this.#records) throw new Error('this view of the items is closed')
    return this.#records
  }

  close(): void {
    if (!this.#records) return
    this.#records = null
    this.#pages = []
    this.#onClose()
  }
}
