/**
 * A key as the items are found by it: bytes, wherever they stand, and their hash. One object
 * serves all keys, one after the other, because there are millions a second of them.
 */
import { hashOfBytes } from './key-hash.ts'

/** Longer than any key there is. */
const OWN_BYTES = 256

export class ItemKey {
  bytes: Buffer
  start = 0
  length = 0
  hash = 0
  #own: Buffer = Buffer.alloc(OWN_BYTES)

  constructor() {
    this.bytes = this.#own
  }

  /** Good as long as the bytes are. */
  standsIn(bytes: Buffer, start: number, end: number): void {
    this.bytes = bytes
    this.start = start
    this.length = end - start
    this.hash = hashOfBytes(bytes, start, end)
  }

  /** @param key Each character a byte. */
  is(key: string): void {
    const { length } = key
    if (length > this.#own.length) this.#own = Buffer.alloc(length)
    const own = this.#own
    for (let at = 0; at < length; at++) own[at] = key.charCodeAt(at)
    this.standsIn(own, 0, length)
  }

  equals(key: string): boolean {
    const { bytes, start, length } = this
    if (key.length !== length) return false
    for (let at = 0; at < length; at++) if (bytes[start + at] !== key.charCodeAt(at)) return false
    return true
  }

  toString(): string {
    return this.bytes.toString('latin1', this.start, this.start + this.length)
  }
}
