/**
 * Values that gets have read as they were applied, by their place in the log, for this server's
 * own gets that are with the leader: what these hear of is where they stand, not what they read.
 *
 * Promises: no more than `bytesMax`, however many gets of others are applied meanwhile; then
 * the oldest are forgotten.
 */
export class GetValues {
  readonly #bytesMax: number
  readonly #values = new Map<number, Buffer>()
  #bytes = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  /** @param place Higher than all before it. */
  add(place: number, value: Buffer): void {
    this.#values.set(place, value)
    this.#bytes += value.length
    for (const [oldest, { length }] of this.#values) {
      if (this.#bytes <= this.#bytesMax) return
      this.#values.delete(oldest)
      this.#bytes -= length
    }
  }

  get(place: number): Buffer | undefined {
    return this.#values.get(place)
  }

  forgetBefore(place: number): void {
    for (const [before, { length }] of this.#values) {
      if (before >= place) return
      this.#values.delete(before)
      this.#bytes -= length
    }
  }

  clear(): void {
    this.#values.clear()
    this.#bytes = 0
  }
}
