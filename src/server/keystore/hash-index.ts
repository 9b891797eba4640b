/**
 * From the hash of a key to where its record lies: extendible hashing (Fagin,
 * Nievergelt, Pippenger, Strong, 1979). The upper bits of the hash choose a page
 * from a directory; a page is a small table with linear probing. A full page
 * becomes twice as large, and from a certain size on two pages, so that no
 * operation moves more than a page.
 *
 * A snapshot shares its pages with the index; while it is open each is copied
 * before its first change. Pages of the common size are cut from larger pieces
 * of memory and used again, so that the collector has nothing to do with them.
 */
import type { ItemKey } from './item-key.ts'

const PAGE_SLOTS_MIN = 16
const PAGE_SLOTS_MAX = 512
const FRAME_LENGTH = 2 * PAGE_SLOTS_MAX
const FRAMES_AT_ONCE = 64
/** With so many pages, or where so many bits of the hashes are equal, pages grow instead. */
const DEPTH_MAX = 17

export interface Page {
  /** Pairs of hash and location; location 0 is an empty slot. */
  readonly slots: Uint32Array
  count: number
  /** How many upper bits of the hash all in it share. */
  readonly depth: number
  /** How many snapshots there had been: later ones have it too. */
  readonly epoch: number
}

/** Tells two keys of one hash apart. */
export interface Keys {
  isKeyAt(location: number, key: ItemKey): boolean
}

export class HashIndex {
  readonly #keys: Keys
  /** 2 ** depth of them; a page of a lesser depth stands there several times in a row. */
  #directory: Page[]
  #depth = 0
  /** The snapshots so far, and how many of them are open. */
  #epoch = 0
  #openCount = 0
  /** Memory of pages of the common size that nobody needs. */
  readonly #spare: Uint32Array[] = []
  /** The same, that open snapshots may still need. */
  readonly #setAside: Uint32Array[] = []
  /** Directories of what was cleared, with pages still to be let go. */
  readonly #cleared: Page[][] = []

  constructor(keys: Keys) {
    this.#keys = keys
    this.#directory = [this.#createPage(PAGE_SLOTS_MIN, 0)]
  }

  /** The location of `key`; 0 for none. */
  get(key: ItemKey): number {
    const { slots } = this.#pageOf(key.hash)
    return slots[this.#find(slots, key) + 1] as number
  }

  /** @returns the location that `key` had before; 0 for none. */
  set(key: ItemKey, location: number): number {
    const { hash } = key
    let { slots } = this.#ownPageOf(hash)
    let slot = this.#find(slots, key)
    const before = slots[slot + 1] as number
    if (before === 0) {
      let page = this.#pageOf(hash)
      if (isFull(page)) {
        while (isFull(page)) page = this.#enlarge(page, hash)
        slots = page.slots
        slot = firstEmpty(slots, hash)
      }
      page.count++
      slots[slot] = hash
    }
    slots[slot + 1] = location
    return before
  }

  /** @returns the location that `key` had; 0 for none. */
  delete(key: ItemKey): number {
    const { hash } = key
    const shared = this.#pageOf(hash)
    const slot = this.#find(shared.slots, key)
    const before = shared.slots[slot + 1] as number
    if (before === 0) return 0
    const page = this.#ownPageOf(hash)
    removeSlot(page, slot)
    this.#maybeShrink(page, hash)
    return before
  }

  /** Whether this location is that of a key. */
  holds(hash: number, location: number): boolean {
    return findLocation(this.#pageOf(hash).slots, hash, location) !== -1
  }

  /** The key at `from`, which must be there, is at `to` now. */
  move(hash: number, from: number, to: number): void {
    const { slots } = this.#ownPageOf(hash)
    slots[findLocation(slots, hash, from) + 1] = to
  }

  /** Removes what `isGone` says from the keys with hashes from `first` to `last`. */
  sweep(first: number, last: number, isGone: (location: number) => boolean): void {
    for (let hash = first; hash <= last; ) {
      const page = this.#sweepPage(hash, first, last, isGone)
      // To the first hash of the next page.
      const width = 2 ** (32 - page.depth)
      hash = (Math.floor(hash / width) + 1) * width
    }
  }

  /** Removes all keys, in no time: a page is let go when there is need of its memory. */
  clear(): void {
    this.#cleared.push(this.#directory)
    this.#letGoCleared()
    this.#directory = [this.#createPage(PAGE_SLOTS_MIN, 0)]
    this.#depth = 0
  }

  /** All locations, for as long as nothing changes. */
  locations(): Iterable<number> {
    return locationsIn(this.#directory)
  }

  /** All pages as they are now, for `locationsIn`, until it is closed. */
  openSnapshot(): readonly Page[] {
    this.#epoch++
    this.#openCount++
    return this.#directory.slice()
  }

  closeSnapshot(): void {
    if (--this.#openCount > 0) return
    for (const slots of this.#setAside) this.#spare.push(slots)
    this.#setAside.length = 0
  }

  // ---------------------------------------------------------------- inside

  #pageOf(hash: number): Page {
    // A shift by 32 would be none.
    return this.#directory[(hash >>> 1) >>> (31 - this.#depth)] as Page
  }

  /** The page, not shared with a snapshot. */
  #ownPageOf(hash: number): Page {
    const page = this.#pageOf(hash)
    if (page.epoch === this.#epoch || this.#openCount === 0) return page
    const { count, depth } = page
    const slots = this.#takeSlots(page.slots.length)
    slots.set(page.slots)
    const own = { slots, count, depth, epoch: this.#epoch }
    this.#replace(hash, depth, own)
    this.#letGo(page)
    return own
  }

  /** The offset of the slot of `key`, or of the empty one where it would be. */
  #find(slots: Uint32Array, key: ItemKey): number {
    const { hash } = key
    const mask = slots.length - 1
    for (let slot = (hash << 1) & mask; ; slot = (slot + 2) & mask) {
      const location = slots[slot + 1] as number
      if (location === 0) return slot
      if (slots[slot] === hash && this.#keys.isKeyAt(location, key)) return slot
    }
  }

  /** @returns the page of `hash` thereafter. */
  #enlarge(page: Page, hash: number): Page {
    const slotCount = page.slots.length / 2
    if (slotCount < PAGE_SLOTS_MAX || page.depth === DEPTH_MAX) {
      return this.#resize(page, hash, 2 * slotCount)
    }
    if (page.depth === this.#depth) {
      this.#directory = doubled(this.#directory)
      this.#depth++
    }
    const depth = page.depth + 1
    const bit = 2 ** (32 - depth)
    const low = this.#createPage(slotCount, depth)
    const high = this.#createPage(slotCount, depth)
    refill(page.slots, (each) => (each & bit ? high : low))
    this.#replace((hash & ~bit) >>> 0, depth, low)
    this.#replace((hash | bit) >>> 0, depth, high)
    this.#letGo(page)
    return hash & bit ? high : low
  }

  #maybeShrink(page: Page, hash: number): void {
    const slotCount = page.slots.length / 2
    let wanted = slotCount
    while (wanted > PAGE_SLOTS_MIN && page.count < wanted / 8) wanted /= 2
    if (wanted < slotCount) this.#resize(page, hash, wanted)
  }

  #resize(page: Page, hash: number, slotCount: number): Page {
    const resized = this.#createPage(slotCount, page.depth)
    refill(page.slots, () => resized)
    this.#replace(hash, page.depth, resized)
    this.#letGo(page)
    return resized
  }

  #createPage(slotCount: number, depth: number): Page {
    const slots = this.#takeSlots(2 * slotCount)
    slots.fill(0)
    return { slots, count: 0, depth, epoch: this.#epoch }
  }

  /** Memory for a page, with whatever is in it. */
  #takeSlots(length: number): Uint32Array {
    if (length !== FRAME_LENGTH) return new Uint32Array(length)
    if (this.#spare.length === 0) this.#letGoCleared()
    if (this.#spare.length === 0) {
      const { buffer } = new Uint32Array(FRAMES_AT_ONCE * FRAME_LENGTH)
      for (let at = 0; at < FRAMES_AT_ONCE; at++) {
        this.#spare.push(new Uint32Array(buffer, at * 4 * FRAME_LENGTH, FRAME_LENGTH))
      }
    }
    return this.#spare.pop() as Uint32Array
  }

  /** The index does not need this page any more. */
  #letGo({ slots, epoch }: Page): void {
    if (slots.length !== FRAME_LENGTH) return
    const isShared = this.#openCount > 0 && epoch < this.#epoch
    if (isShared) this.#setAside.push(slots)
    else this.#spare.push(slots)
  }

  /** Some of the pages that were cleared. */
  #letGoCleared(): void {
    for (let left = FRAMES_AT_ONCE; left > 0; left--) {
      const directory = this.#cleared.at(-1)
      if (!directory) return
      const page = directory.pop()
      if (!page) this.#cleared.pop()
      else if (page !== directory.at(-1)) this.#letGo(page)
    }
  }

  /** Puts `page` in all places of the one that `hash` has at `depth`. */
  #replace(hash: number, depth: number, page: Page): void {
    const width = 2 ** (this.#depth - depth)
    const at = (hash >>> 1) >>> (31 - this.#depth)
    const from = at - (at % width)
    this.#directory.fill(page, from, from + width)
  }

  /** @returns the page of `hash`, swept of what is from `first` to `last`. */
  #sweepPage(
    hash: number,
    first: number,
    last: number,
    isGone: (location: number) => boolean,
  ): Page {
    let page = this.#pageOf(hash)
    for (let slot = 0; slot < page.slots.length; ) {
      const each = page.slots[slot] as number
      const location = page.slots[slot + 1] as number
      if (location === 0 || each < first || each > last || !isGone(location)) {
        slot += 2
        continue
      }
      // What takes the place of one removed is looked at as well.
      page = this.#ownPageOf(hash)
      removeSlot(page, slot)
    }
    this.#maybeShrink(page, hash)
    return page
  }
}

export function* locationsIn(snapshot: readonly Page[]): Generator<number> {
  let last: Page | undefined
  for (const page of snapshot) {
    if (page === last) continue
    last = page
    const { slots } = page
    for (let at = 1; at < slots.length; at += 2) {
      const location = slots[at] as number
      if (location !== 0) yield location
    }
  }
}

function doubled(directory: readonly Page[]): Page[] {
  const pages: Page[] = []
  for (const page of directory) pages.push(page, page)
  return pages
}

function isFull({ slots, count }: Page): boolean {
  return 8 * count >= 3 * slots.length
}

function refill(slots: Uint32Array, pageOf: (hash: number) => Page): void {
  for (let at = 0; at < slots.length; at += 2) {
    const location = slots[at + 1] as number
    if (location === 0) continue
    const hash = slots[at] as number
    const page = pageOf(hash)
    const slot = firstEmpty(page.slots, hash)
    page.slots[slot] = hash
    page.slots[slot + 1] = location
    page.count++
  }
}

function firstEmpty(slots: Uint32Array, hash: number): number {
  const mask = slots.length - 1
  let slot = (hash << 1) & mask
  while (slots[slot + 1] !== 0) slot = (slot + 2) & mask
  return slot
}

function findLocation(slots: Uint32Array, hash: number, location: number): number {
  const mask = slots.length - 1
  for (let slot = (hash << 1) & mask; slots[slot + 1] !== 0; slot = (slot + 2) & mask) {
    if (slots[slot + 1] === location) return slot
  }
  return -1
}

/** Empties a slot and closes the gap, so that whoever walks past finds what is behind it. */
function removeSlot(page: Page, removed: number): void {
  const { slots } = page
  const mask = slots.length - 1
  let gap = removed
  for (let slot = (gap + 2) & mask; slots[slot + 1] !== 0; slot = (slot + 2) & mask) {
    const home = ((slots[slot] as number) << 1) & mask
    // May it move? Only if its walk begins at the gap or before.
    if (((slot - home) & mask) < ((slot - gap) & mask)) continue
    slots[gap] = slots[slot] as number
    slots[gap + 1] = slots[slot + 1] as number
    gap = slot
  }
  slots[gap + 1] = 0
  page.count--
}
