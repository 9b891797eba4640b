/**
 * Values by log index, or by any other count, of which those that are there lie close together:
 * a ring.
 *
 * In: values at indexes. Out: the value at an index, in constant time and without an object
 * for it. A map would do, but in the rate of writes it is made anew all the time, and what is
 * left of the one before keeps young values alive until the next full collection.
 */

const CAPACITY_MIN = 64

export class IndexRing<T> {
  /** As many as a power of two; the value at `index` stands at its lowest bits. */
  #slots = emptySlots<T>(CAPACITY_MIN)
  /** None is before `first`, or at or behind `end`; where there are any, `first` is one. */
  #first = 0
  #end = 0
  #count = 0

  get count(): number {
    return this.#count
  }

  /** The lowest index with a value; where there is none, one without. */
  get first(): number {
    return this.#first
  }

  get(index: number): T | undefined {
    if (index < this.#first || index >= this.#end) return undefined
    return this.#slots[index & (this.#slots.length - 1)]
  }

  set(index: number, value: T): void {
    if (this.#count === 0) {
      this.#first = index
      this.#end = index
    }
    const first = Math.min(this.#first, index)
    const end = Math.max(this.#end, index + 1)
    if (end - first > this.#slots.length) this.#grow(end - first)
    this.#first = first
    this.#end = end
    const slot = index & (this.#slots.length - 1)
    if (this.#slots[slot] === undefined) this.#count++
    this.#slots[slot] = value
  }

  delete(index: number): void {
    if (this.get(index) === undefined) return
    const mask = this.#slots.length - 1
    this.#slots[index & mask] = undefined
    this.#count--
    if (this.#count === 0) this.#first = this.#end
    else while (this.#slots[this.#first & mask] === undefined) this.#first++
  }

  #grow(length: number): void {
    let capacity = this.#slots.length
    while (capacity < length) capacity *= 2
    const slots = emptySlots<T>(capacity)
    for (let index = this.#first; index < this.#end; index++) {
      slots[index & (capacity - 1)] = this.get(index)
    }
    this.#slots = slots
  }
}

function emptySlots<T>(capacity: number): (T | undefined)[] {
  return new Array<T | undefined>(capacity).fill(undefined)
}
