/**
 * Plain commands: a set or a delete, canonical and without options, as nearly all writes are.
 *
 *     set <key> <flags> <exptime> <bytes>\r\n<value>\r\n
 *     delete <key>\r\n
 *
 * In: bytes. Out: where the key and the value stand in them, and the numbers; no string, no
 * view, no object. What it takes is canonical, and `parseCommand` reads the same from it; what
 * it does not take may be canonical all the same.
 */
import { ITEM_SIZE_BOUNDS, KEY_BYTES_MAX } from './bounds.ts'

const LF = 10
const CR = 13
const SPACE = 32
const ZERO = 48
const NINE = 57
const LOWER_D = 100
const LOWER_S = 115
const SET = Buffer.from('set ')
const DELETE = Buffer.from('delete ')
const FLAGS_MAX = 2 ** 32 - 1
/** Longer than any exptime that is canonical; all are exact. */
const DIGITS_MAX = 11
const NO_BYTES: Buffer = Buffer.alloc(0)

/** One object for all: the fields are of the command that was read last. */
export class PlainCommand {
  isDelete = false
  bytes = NO_BYTES
  keyStart = 0
  keyEnd = 0
  /** These of a set only. */
  flags = 0
  exptime = 0
  valueStart = 0
  valueEnd = 0
  /** The next byte to be read, and where there are no more. */
  #at = 0
  #end = 0

  /** Where the command ends. */
  get end(): number {
    return this.#at
  }

  /** @returns false where what stands there is another command, or none, or not just one. */
  read(bytes: Buffer, start: number, end: number): boolean {
    return this.readFirst(bytes, start, end) && this.#at === end
  }

  /** Like `read`; more may follow. */
  readFirst(bytes: Buffer, start: number, end: number): boolean {
    this.bytes = bytes
    this.#at = start
    this.#end = end
    switch (bytes[start]) {
      case LOWER_S:
        this.isDelete = false
        return this.#takes(SET) && this.#readSet()
      case LOWER_D:
        this.isDelete = true
        return this.#takes(DELETE) && this.#readKey(CR) && this.#takesLineEnd()
    }
    return false
  }

  #readSet(): boolean {
    if (!this.#readKey(SPACE)) return false
    this.#at++
    this.flags = this.#number(SPACE)
    if (!(this.flags <= FLAGS_MAX)) return false
    this.#at++
    this.exptime = this.#number(SPACE)
    this.#at++
    const valueBytes = this.#number(CR)
    if (!(this.exptime >= 0 && valueBytes <= ITEM_SIZE_BOUNDS.max)) return false
    if (!this.#takesLineEnd()) return false
    this.valueStart = this.#at
    this.valueEnd = this.valueStart + valueBytes
    this.#at = this.valueEnd
    return this.#takesLineEnd()
  }

  #takes(word: Buffer): boolean {
    const { bytes } = this
    const start = this.#at
    this.#at += word.length
    if (this.#at > this.#end) return false
    for (let at = 0; at < word.length; at++) if (bytes[start + at] !== word[at]) return false
    return true
  }

  /** Up to the byte that ends it. */
  #readKey(ending: number): boolean {
    const { bytes } = this
    const start = this.#at
    const limit = Math.min(this.#end, start + KEY_BYTES_MAX + 1)
    for (let at = start; at < limit; at++) {
      const byte = bytes[at] as number
      if (byte === ending) {
        this.keyStart = start
        this.keyEnd = at
        this.#at = at
        return at > start
      }
      if (byte === SPACE || byte === LF) return false
    }
    return false
  }

  /** A number in its one spelling, up to the byte that ends it; NaN where there is none. */
  #number(ending: number): number {
    const { bytes } = this
    const start = this.#at
    const limit = Math.min(this.#end, start + DIGITS_MAX + 1)
    let value = 0
    for (let at = start; at < limit; at++) {
      const byte = bytes[at] as number
      if (byte === ending) {
        this.#at = at
        const isCanonical = at > start && (bytes[start] !== ZERO || at === start + 1)
        return isCanonical ? value : Number.NaN
      }
      if (byte < ZERO || byte > NINE) return Number.NaN
      value = 10 * value + (byte - ZERO)
    }
    return Number.NaN
  }

  #takesLineEnd(): boolean {
    const at = this.#at
    this.#at += 2
    return this.#at <= this.#end && this.bytes[at] === CR && this.bytes[at + 1] === LF
  }
}
