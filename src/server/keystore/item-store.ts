/**
 * The items in memory: records in an arena, found by an index of their hashes.
 * The state machine is the only one that changes them.
 *
 * No call moves more than a page of the index or a bounded part of a segment,
 * however many items there are: what is to be cleaned up is cleaned up a little
 * with each change. What it holds depends only on the calls made; where it holds
 * it is nobody's business.
 */
import { Arena, type Item, itemAt, keyAt, recordBytes, type Segments } from './arena.ts'
import { HashIndex, locationsIn, type Page } from './hash-index.ts'
import { hashOf } from './key-hash.ts'

export type { Item } from './arena.ts'

/** The hashes are swept in so many parts. */
export const SLICES = 256
const SLICE_WIDTH = 2 ** 32 / SLICES
/** What an item costs in the index, between the most and the least its pages are filled. */
const INDEX_BYTES = 16
/** Cleaning done for a change, in bytes looked at and copied: a multiple of what it is about. */
const CLEAN_FACTOR = 16
const CLEAN_WORK_MAX = 256 * 1024
/** A sweep may leave many dead at once. */
const SWEEP_CLEAN_WORK = 1024 * 1024

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

  /** The sum of `itemBytes`; what is really held is up to a third more. */
  get bytes(): number {
    return this.#bytes
  }

  /** All memory held for records, for tests and measurements. */
  get heldBytes(): number {
    return this.#arena.heldBytes
  }

  /** The value is a view: it stays as it is, and keeps some MiB in memory while somebody has it. */
  get(key: string): Item | undefined {
    const location = this.#index.get(hashOf(key), key)
    return location === 0 ? undefined : itemAt(this.#arena.segments, location)
  }

  /** Copies what it is given. */
  set(key: string, item: Item): void {
    const before = this.#index.set(hashOf(key), key, this.#arena.append(key, item))
    this.#count++
    this.#bytes += itemBytes(key.length, item.value.length)
    if (item.expiresAtMs !== 0) this.#expiringCount++
    if (before !== 0) this.#forget(before)
    this.#clean(recordBytes(key.length, item.value.length))
  }

  delete(key: string): boolean {
    const location = this.#index.delete(hashOf(key), key)
    if (location === 0) return false
    this.#clean(this.#forget(location))
    return true
  }

  /** Removes what has expired by `timeMs` from one of the `SLICES` parts of the hashes. */
  sweep(slice: number, timeMs: number): void {
    const first = slice * SLICE_WIDTH
    this.#index.sweep(first, first + SLICE_WIDTH - 1, (location) => {
      const expiresAtMs = this.#arena.expiresAtMs(location)
      if (expiresAtMs === 0 || expiresAtMs > timeMs) return false
      this.#forget(location)
      return true
    })
    this.#arena.clean(SWEEP_CLEAN_WORK, this.#index)
  }

  /** All items as of now, in no particular order, while the store goes on. */
  view(): ItemsView {
    return new ItemsView(this.#count, this.#index.snapshot(), this.#arena.segments.slice())
  }

  /** @returns the size of the record. */
  #forget(location: number): number {
    if (this.#arena.expiresAtMs(location) !== 0) this.#expiringCount--
    const size = this.#arena.release(location)
    this.#count--
    this.#bytes -= size + INDEX_BYTES
    return size
  }

  #clean(size: number): void {
    this.#arena.clean(Math.min(CLEAN_FACTOR * size, CLEAN_WORK_MAX), this.#index)
  }
}

/** Costs memory for what has changed since, until nobody has it any more. */
export class ItemsView implements Iterable<readonly [key: string, item: Item]> {
  readonly count: number
  readonly #pages: readonly Page[]
  readonly #segments: Segments

  constructor(count: number, pages: readonly Page[], segments: Segments) {
    this.count = count
    this.#pages = pages
    this.#segments = segments
  }

  *[Symbol.iterator](): Generator<readonly [key: string, item: Item]> {
    for (const location of locationsIn(this.#pages)) {
      yield [keyAt(this.#segments, location), itemAt(this.#segments, location)]
    }
  }
}
