/**
 * The items in memory: records in an arena, found by an index of their hashes.
 * The state machine is the only one that changes them.
 *
 * No call moves more than a page of the index or a bounded part of a segment,
 * however many items there are: what is to be cleaned up is cleaned up a little
 * with each change. What it holds depends only on the calls made; where it holds
 * it is nobody's business.
 */
import {
  Arena,
  FoundItem,
  type Item,
  isLarge,
  type Records,
  recordBytes,
  type StoredFields,
  type StoredItem,
} from './arena.ts'
import { HashIndex, locationsIn, type Page } from './hash-index.ts'
import { ItemKey } from './item-key.ts'

export {
  type FoundItem,
  type Item,
  SMALL_BYTES_MAX,
  STALE,
  type StoredFields,
  type StoredItem,
  WON,
} from './arena.ts'

export type KeyedItem = readonly [key: string, item: Item]

/** Where a key stands in bytes, and a value. */
export interface KeyPlace {
  readonly bytes: Buffer
  readonly keyStart: number
  readonly keyEnd: number
}
export interface ItemPlace extends KeyPlace {
  readonly valueStart: number
  readonly valueEnd: number
}

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
  /** Of the call that is made. */
  readonly #key = new ItemKey()
  readonly #found = new FoundItem()
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

  /** What of it counts toward `SMALL_BYTES_MAX`. */
  get smallBytes(): number {
    return this.#bytes - this.#arena.largeBytes
  }

  /** All memory held for records, for tests and measurements. */
  get heldBytes(): number {
    return this.#arena.heldBytes
  }

  /** @param nowS The time, in Unix seconds, to be noted for those after this one; else nothing is. */
  get(key: string, nowS?: number): StoredItem | undefined {
    const item = this.look(key, nowS)
    if (!item || isLarge(item.value.length)) return item
    const { flags, expiresAtMs, casUnique, marks, isFetched, accessedS } = item
    const value = Buffer.from(item.value)
    return { flags, expiresAtMs, casUnique, marks, value, isFetched, accessedS }
  }

  /** Like `get`, for a look now: the value is good only until the next change. */
  look(key: string, nowS?: number): StoredItem | undefined {
    this.#key.is(key)
    const location = this.#index.get(this.#key)
    if (location === 0) return undefined
    const item = this.#arena.stored(location)
    if (nowS !== undefined) this.#arena.noteAccess(location, nowS)
    return item
  }

  /** Like `look`, of what a client is answered: one object for all, good until the next call or change. */
  find(key: string, nowS: number): FoundItem | null {
    this.#key.is(key)
    const location = this.#index.get(this.#key)
    if (location === 0) return null
    this.#arena.find(location, this.#found)
    this.#arena.noteAccess(location, nowS)
    return this.#found
  }

  /** Copies what it is given. */
  set(key: string, item: StoredItem): void {
    this.#key.is(key)
    this.#set(item, item.value, 0, item.value.length)
  }

  /** The same of a key and a value as they stand in other bytes. */
  setAt({ bytes, keyStart, keyEnd, valueStart, valueEnd }: ItemPlace, fields: StoredFields): void {
    this.#key.standsIn(bytes, keyStart, keyEnd)
    this.#set(fields, bytes, valueStart, valueEnd)
  }

  delete(key: string): boolean {
    this.#key.is(key)
    return this.#delete() !== null
  }

  /** @returns when it would have expired, 0 for never; null where there is none. */
  deleteAt({ bytes, keyStart, keyEnd }: KeyPlace): number | null {
    this.#key.standsIn(bytes, keyStart, keyEnd)
    return this.#delete()
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

  #set(fields: StoredFields, value: Buffer, start: number, end: number): void {
    const key = this.#key
    const size = recordBytes(key.length, end - start)
    const before = this.#index.get(key)
    if (before !== 0 && this.#arena.mayRewrite(before, key.length, end - start)) {
      if (this.#arena.expiresAtMs(before) !== 0) this.#expiringCount--
      this.#arena.rewrite(before, fields, value, start, end)
    } else {
      this.#index.set(key, this.#arena.append(key, fields, value, start, end))
      this.#count++
      this.#bytes += size + INDEX_BYTES
      if (before !== 0) this.#forget(before)
    }
    if (fields.expiresAtMs !== 0) this.#expiringCount++
    this.#arena.clean(size, this.#index)
  }

  #delete(): number | null {
    const location = this.#index.delete(this.#key)
    if (location === 0) return null
    const expiresAtMs = this.#arena.expiresAtMs(location)
    this.#arena.clean(this.#forget(location), this.#index)
    return expiresAtMs
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
