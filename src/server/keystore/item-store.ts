/** Where items live in memory; the state machine is the only one that changes them. */

export interface Item {
  readonly flags: number
  /** Log time in Unix milliseconds at which it is gone; 0 for never. */
  readonly expiresAtMs: number
  /** The log index that wrote it. */
  readonly casUnique: number
  readonly value: Buffer
}

/** Besides its key and value an item takes about this. */
const ITEM_OVERHEAD_BYTES = 64

/** The accounted size of an item in memory. */
export function itemCost(keyBytes: number, valueBytes: number): number {
  return keyBytes + valueBytes + ITEM_OVERHEAD_BYTES
}

/** Items are never changed in place: a view taken of them stays as it was. */
export interface ItemStore {
  get(key: string): Item | undefined
  set(key: string, item: Item): void
  delete(key: string): boolean
  readonly count: number
  /** What all items take, by `itemCost`. */
  readonly bytes: number
  /** All items as of now, in no particular order, while the store goes on. */
  view(): readonly (readonly [key: string, item: Item])[]
}

export class MapItemStore implements ItemStore {
  readonly #items = new Map<string, Item>()
  #bytes = 0

  get(key: string): Item | undefined {
    return this.#items.get(key)
  }

  set(key: string, item: Item): void {
    this.#bytes += itemCost(key.length, item.value.length) - this.#costOf(key)
    this.#items.set(key, item)
  }

  delete(key: string): boolean {
    this.#bytes -= this.#costOf(key)
    return this.#items.delete(key)
  }

  get count(): number {
    return this.#items.size
  }

  get bytes(): number {
    return this.#bytes
  }

  view(): readonly (readonly [string, Item])[] {
    return [...this.#items]
  }

  #costOf(key: string): number {
    const item = this.#items.get(key)
    return item ? itemCost(key.length, item.value.length) : 0
  }
}
