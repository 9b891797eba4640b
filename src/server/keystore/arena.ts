/**
 * Where the records of items lie: flat segments of memory, appended to and never
 * changed, so that a value read from one stays what it is for as long as anybody
 * holds it. A segment in which nothing is live any more is let go; the
 * collector frees it when the last reply and the last view that use it are gone.
 *
 * A location is a number: which segment, and where in it in units of 8 bytes. 0 is none.
 * A record, in 8-byte units:
 *
 *     value bytes, u32 | flags, u32
 *     CAS unique, double
 *     expires at, double
 *     key bytes, u8 | key | value | padding
 */
import { hashOfBytes } from './key-hash.ts'

export interface Item {
  readonly flags: number
  /** Log time in Unix milliseconds at which it is gone; 0 for never. */
  readonly expiresAtMs: number
  /** The log index that wrote it. */
  readonly casUnique: number
  readonly value: Buffer
}

const UNIT_BYTES = 8
const OFFSET_BITS = 19
const OFFSET_MASK = 2 ** OFFSET_BITS - 1
/** Those of a small store are small, and each new one as large as all before it together. */
const SEGMENT_BYTES_MIN = 16 * 1024
const SEGMENT_BYTES_MAX = UNIT_BYTES * 2 ** OFFSET_BITS
/** Of the largest size they hold 32 GiB. */
const SEGMENTS_MAX = 2 ** (32 - OFFSET_BITS)
const KEY_LENGTH_OFFSET = 24
const KEY_OFFSET = KEY_LENGTH_OFFSET + 1
const KEY_LENGTH_MAX = 255
/** What it takes to find out whether a record is live, as if it were bytes to copy. */
const LOOK_WORK = 64
/** Up to here a loop copies faster than a call. */
const LOOP_COPY_BYTES = 512

interface Segment {
  readonly bytes: Buffer
  /** The same memory. */
  readonly words: Uint32Array
  readonly doubles: Float64Array
  usedBytes: number
  /** Of those, what no item needs any more. */
  deadBytes: number
}

/** Who knows which records are live, and needs to know when one has moved. */
export interface Owner {
  holds(hash: number, location: number): boolean
  move(hash: number, from: number, to: number): void
}

/** A segment that is being emptied, and how far. */
interface Victim {
  readonly id: number
  offset: number
}

/** As many as there have been, by the upper bits of a location. */
export type Segments = readonly (Segment | undefined)[]

export function recordBytes(keyLength: number, valueLength: number): number {
  return (KEY_OFFSET + keyLength + valueLength + UNIT_BYTES - 1) & -UNIT_BYTES
}

/** The item at a location; its value is a view of the segment. */
export function itemAt(segments: Segments, location: number): Item {
  const { bytes, words, doubles } = segments[location >>> OFFSET_BITS] as Segment
  const unit = location & OFFSET_MASK
  const start = unit * UNIT_BYTES + KEY_OFFSET + (bytes[unit * UNIT_BYTES + KEY_LENGTH_OFFSET] ?? 0)
  return {
    flags: words[2 * unit + 1] as number,
    expiresAtMs: doubles[unit + 2] as number,
    casUnique: doubles[unit + 1] as number,
    value: bytes.subarray(start, start + (words[2 * unit] as number)),
  }
}

export function keyAt(segments: Segments, location: number): string {
  const { bytes } = segments[location >>> OFFSET_BITS] as Segment
  const start = (location & OFFSET_MASK) * UNIT_BYTES + KEY_OFFSET
  return bytes.toString('latin1', start, start + (bytes[start - 1] ?? 0))
}

export class Arena {
  readonly #segments: (Segment | undefined)[] = [undefined]
  /** Places in `#segments` of those let go. */
  readonly #vacant: number[] = []
  /** The segment that is appended to. */
  #active: Segment | undefined
  #activeId = 0
  /** Of all but the active one. */
  #sealedBytes = 0
  #sealedDeadBytes = 0
  #heldBytes = 0
  /** The one that is being emptied. */
  #victim: Victim | undefined

  /** All memory held for records, in use or not. */
  get heldBytes(): number {
    return this.#heldBytes
  }

  /** For `itemAt` and `keyAt`; a copy stays good whatever happens here. */
  get segments(): Segments {
    return this.#segments
  }

  append(key: string, item: Item): number {
    const { length } = key
    if (length > KEY_LENGTH_MAX) throw new RangeError(`a key of ${length} bytes`)
    const { value } = item
    const location = this.#take(recordBytes(length, value.length))
    const { bytes, words, doubles } = this.#segments[location >>> OFFSET_BITS] as Segment
    const unit = location & OFFSET_MASK
    words[2 * unit] = value.length
    words[2 * unit + 1] = item.flags
    doubles[unit + 1] = item.casUnique
    doubles[unit + 2] = item.expiresAtMs
    let offset = unit * UNIT_BYTES + KEY_LENGTH_OFFSET
    bytes[offset++] = length
    for (let at = 0; at < length; at++) bytes[offset++] = key.charCodeAt(at)
    bytes.set(value, offset)
    return location
  }

  /**
   * Nothing needs this record any more.
   * @returns its size.
   */
  release(location: number): number {
    const id = location >>> OFFSET_BITS
    const segment = this.#segments[id] as Segment
    const size = this.#sizeAt(location)
    segment.deadBytes += size
    if (segment !== this.#active) {
      this.#sealedDeadBytes += size
      this.#maybeLetGo(id, segment)
    }
    return size
  }

  isKeyAt(location: number, key: string): boolean {
    const { bytes } = this.#segments[location >>> OFFSET_BITS] as Segment
    const start = (location & OFFSET_MASK) * UNIT_BYTES + KEY_OFFSET
    const { length } = key
    if (bytes[start - 1] !== length) return false
    for (let at = 0; at < length; at++) if (bytes[start + at] !== key.charCodeAt(at)) return false
    return true
  }

  expiresAtMs(location: number): number {
    const { doubles } = this.#segments[location >>> OFFSET_BITS] as Segment
    return doubles[(location & OFFSET_MASK) + 2] as number
  }

  #hashAt(location: number): number {
    const { bytes } = this.#segments[location >>> OFFSET_BITS] as Segment
    const start = (location & OFFSET_MASK) * UNIT_BYTES + KEY_OFFSET
    return hashOfBytes(bytes, start, start + (bytes[start - 1] as number))
  }

  // ---------------------------------------------------------------- cleaning

  /**
   * While more than a quarter of the full segments is dead, moves what is live
   * out of the sparsest one; it is let go with the last of that.
   * @param work About as many bytes as may be looked at and copied.
   */
  clean(work: number, owner: Owner): void {
    let left = work
    while (left > 0) {
      const victim = this.#victim ?? this.#chooseVictim()
      if (!victim) return
      const location = this.#location(victim.id, victim.offset)
      const size = this.#sizeAt(location)
      victim.offset += size
      left -= LOOK_WORK
      const hash = this.#hashAt(location)
      if (!owner.holds(hash, location)) continue
      owner.move(hash, location, this.#copy(location, size))
      this.release(location)
      left -= size
    }
  }

  #chooseVictim(): Victim | undefined {
    // Then some segment is that sparse.
    if (4 * this.#sealedDeadBytes <= this.#sealedBytes) return undefined
    let share = 0
    for (const [id, segment] of this.#segments.entries()) {
      if (!segment || segment === this.#active) continue
      const deadShare = segment.deadBytes / segment.usedBytes
      if (deadShare <= share) continue
      share = deadShare
      this.#victim = { id, offset: 0 }
    }
    return this.#victim
  }

  /** Writes a record again elsewhere. */
  #copy(location: number, size: number): number {
    const from = this.#segments[location >>> OFFSET_BITS] as Segment
    const fromWord = 2 * (location & OFFSET_MASK)
    const copied = this.#take(size)
    const to = this.#segments[copied >>> OFFSET_BITS] as Segment
    const toWord = 2 * (copied & OFFSET_MASK)
    const count = size / 4
    if (size > LOOP_COPY_BYTES) {
      to.words.set(from.words.subarray(fromWord, fromWord + count), toWord)
    } else {
      for (let at = 0; at < count; at++) to.words[toWord + at] = from.words[fromWord + at] as number
    }
    return copied
  }

  // ---------------------------------------------------------------- inside

  #sizeAt(location: number): number {
    const { bytes, words } = this.#segments[location >>> OFFSET_BITS] as Segment
    const unit = location & OFFSET_MASK
    const keyLength = bytes[unit * UNIT_BYTES + KEY_LENGTH_OFFSET] as number
    return recordBytes(keyLength, words[2 * unit] as number)
  }

  #location(id: number, offset: number): number {
    return ((id << OFFSET_BITS) | (offset / UNIT_BYTES)) >>> 0
  }

  #take(size: number): number {
    if (size > SEGMENT_BYTES_MAX) return this.#takeAlone(size)
    let active = this.#active
    if (!active || active.usedBytes + size > active.bytes.length) active = this.#begin(size)
    const location = this.#location(this.#activeId, active.usedBytes)
    active.usedBytes += size
    return location
  }

  #takeAlone(size: number): number {
    const { id, segment } = this.#create(size)
    segment.usedBytes = size
    this.#sealedBytes += size
    return this.#location(id, 0)
  }

  #begin(size: number): Segment {
    const full = this.#active
    this.#active = undefined
    if (full) {
      this.#sealedBytes += full.usedBytes
      this.#sealedDeadBytes += full.deadBytes
      this.#maybeLetGo(this.#activeId, full)
    }
    let capacity = SEGMENT_BYTES_MIN
    const wanted = Math.min(SEGMENT_BYTES_MAX, Math.max(this.#sealedBytes, size))
    while (capacity < wanted) capacity *= 2
    const { id, segment } = this.#create(capacity)
    this.#active = segment
    this.#activeId = id
    return segment
  }

  #create(capacity: number): { id: number; segment: Segment } {
    const id = this.#vacant.pop() ?? this.#segments.length
    if (id >= SEGMENTS_MAX) throw new Error(`more than ${SEGMENTS_MAX} segments of items`)
    const bytes = Buffer.allocUnsafeSlow(capacity)
    const segment = {
      bytes,
      words: new Uint32Array(bytes.buffer, 0, capacity / 4),
      doubles: new Float64Array(bytes.buffer, 0, capacity / 8),
      usedBytes: 0,
      deadBytes: 0,
    }
    this.#segments[id] = segment
    this.#heldBytes += capacity
    return { id, segment }
  }

  #maybeLetGo(id: number, segment: Segment): void {
    if (segment.deadBytes < segment.usedBytes) return
    if (this.#victim?.id === id) this.#victim = undefined
    this.#heldBytes -= segment.bytes.length
    this.#sealedBytes -= segment.usedBytes
    this.#sealedDeadBytes -= segment.usedBytes
    this.#segments[id] = undefined
    this.#vacant.push(id)
  }
}
