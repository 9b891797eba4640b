/** Where items live in memory; the state machine is the only one that changes them. */

export interface Item {
  readonly flags: number
  /** Log time in Unix milliseconds at which it is gone; 0 for never. */
  readonly expiresAtMs: number
  /** The log index that wrote it. */
  readonly casUnique: number
  readonly value: Buffer
}

/** Items are never changed in place: a view taken of them stays as it was. */
export interface ItemStore {
  get(key: string): Item | undefined
  set(key: string, item: Item): void
  delete(key: string): boolean
  readonly count: number
  /** All items as of now, in no particular order, while the store goes on. */
  view(): readonly (readonly [key: string, item: Item])[]
}

export class MapItemStore implements ItemStore {
  readonly #items = new Map<string, Item>()

  get(key: string): Item | undefined {
    return this.#items.get(key)
  }

  set(key: string, item: Item): void {
    this.#items.set(key, item)
  }

  delete(key: string): boolean {
    return this.#items.delete(key)
  }

  get count(): number {
    return this.#items.size
  }

  view(): readonly (readonly [string, Item])[] {
    return [...this.#items]
  }
}
