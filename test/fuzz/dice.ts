/** Dice of one seed: equal seeds give equal throws. */
import { seededRandom } from '../io/memory-disk.ts'

export class Dice {
  readonly #random: () => number

  constructor(seed: number) {
    this.#random = seededRandom(seed)
  }

  chance(probability: number): boolean {
    return this.#random() < probability
  }

  /** A whole number in [min, max]. */
  integer(min: number, max: number): number {
    return min + Math.floor(this.#random() * (max - min + 1))
  }

  pick<T>(from: readonly T[]): T {
    if (from.length === 0) throw new Error('nothing to pick from')
    return from[this.integer(0, from.length - 1)] as T
  }

  /** So many of them, each at most once, in any order. */
  some<T>(from: readonly T[], count: number): T[] {
    const left = [...from]
    const taken: T[] = []
    while (taken.length < count && left.length > 0) {
      taken.push(...left.splice(this.integer(0, left.length - 1), 1))
    }
    return taken
  }

  /** Pairs of weight and value. */
  weighted<T>(table: readonly (readonly [number, T])[]): T {
    let left = this.#random() * table.reduce((sum, [weight]) => sum + weight, 0)
    for (const [weight, value] of table) {
      left -= weight
      if (left < 0) return value
    }
    return this.pick(table)[1]
  }
}
