/**
 * First in, first out, in constant time; what is taken out is let go of at once. A ring that
 * is made anew only to become larger: arrays that are replaced in the rate of writes keep what
 * they held alive until the next full collection.
 */

const CAPACITY_MIN = 64

export class Fifo<T> {
  /** As many as a power of two. */
  #slots = emptySlots<T>(CAPACITY_MIN)
  /** Of the first and of the one behind the last, both counted from the start. */
  #head = 0
  #tail = 0

  get first(): T | undefined {
    return this.#slots[this.#head & (this.#slots.length - 1)]
  }

  push(item: T): void {
    if (this.#tail - this.#head === this.#slots.length) this.#grow()
    this.#slots[this.#tail++ & (this.#slots.length - 1)] = item
  }

  shift(): void {
    if (this.#head === this.#tail) return
    this.#slots[this.#head++ & (this.#slots.length - 1)] = undefined
  }

  *[Symbol.iterator](): Generator<T> {
    for (let at = this.#head; at < this.#tail; at++) {
      yield this.#slots[at & (this.#slots.length - 1)] as T
    }
  }

  #grow(): void {
    const items = [...this]
    this.#slots = emptySlots(2 * items.length)
    for (const [at, item] of items.entries()) this.#slots[at] = item
    this.#head = 0
    this.#tail = items.length
  }
}

function emptySlots<T>(capacity: number): (T | undefined)[] {
  return new Array<T | undefined>(capacity).fill(undefined)
}
