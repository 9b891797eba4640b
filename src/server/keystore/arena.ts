/**
 * Where the records of items lie: flat segments of memory, appended to. A record
 * changes in place only where the new one is of the same size and no view is open;
 * else it is written again elsewhere. A segment in which nothing is live any
 * more is used again, or given back little by little: to free hundreds of MiB at
 * once, as the collector does, stalls, and so does to touch new ones. So what is
 * read of a segment is good only until the next change, or copied, or
 * in a view, for which segments are set aside while it is open.
 *
 * What this server alone knows of a record always changes in place, and no view reads it.
 * Large values are in buffers of their own, which are the collector's.
 *
 * A location is a number: which segment, and where in it in units of 16 bytes;
 * or, with the highest bit, which of the large ones. 0 is none. A record:
 *
 *     value bytes, u32 | flags, u32 | CAS unique, two u32, the lower first
 *     expires at, double | accessed at, u32 | marks, and 128 if it was fetched, u8
 *     key bytes, u8 | key | value | padding
 */
import { type CasUnique, casOfWords, highWordOf, lowWordOf } from '../../protocol/cas-unique.ts'
import { Copier, viewOf } from './copier.ts'
import type { ItemKey } from './item-key.ts'
import { hashOf, hashOfBytes } from './key-hash.ts'

/** Marks: its value is out of date, and one client was told to bring a new one. */
export const STALE = 1
export const WON = 2
/** All that there is room for. */
export const MARKS_MAX = 127

interface ItemFields {
  readonly flags: number
  /** Log time in Unix milliseconds at which it is gone; 0 for never. */
  readonly expiresAtMs: number
  /** The log index that wrote it, or what a client chose. */
  readonly casUnique: CasUnique
  /** A sum of marks; 0 for most. */
  readonly marks: number
}

export interface Item extends ItemFields {
  readonly value: Buffer
}

/** All but the value, and what this server alone knows of it, which is in no file and in no view. */
export interface StoredFields extends ItemFields {
  /** Whether it was got since it was written. */
  readonly isFetched: boolean
  /** When that was last, or it was written: Unix seconds. */
  readonly accessedS: number
}

export interface StoredItem extends StoredFields {
  readonly value: Buffer
}

/** Where an item was found: one object for all, good until the next is looked for or something changes. */
export class FoundItem {
  flags = 0
  expiresAtMs = 0
  /** Of the CAS unique, the lower word first. */
  casLow = 0
  casHigh = 0
  bytes = NO_BYTES
  /** Of the same memory. */
  view = NO_VIEW
  valueStart = 0
  valueEnd = 0

  get casUnique(): CasUnique {
    return casOfWords(this.casLow, this.casHigh)
  }

  get valueBytes(): number {
    return this.valueEnd - this.valueStart
  }
}

/** Who knows which records are live, and needs to know when one has moved. */
export interface Owner {
  holds(hash: number, location: number): boolean
  move(hash: number, from: number, to: number): void
}

const NO_BYTES: Buffer = Buffer.alloc(0)
const NO_VIEW = viewOf(NO_BYTES)
const UNIT_BYTES = 16
const UNIT_WORDS = UNIT_BYTES / 4
const UNIT_DOUBLES = UNIT_BYTES / 8
const OFFSET_BITS = 18
const OFFSET_MASK = 2 ** OFFSET_BITS - 1
const LARGE = 2 ** 31
/** Those of a small store are small, and each new one as large as all before it together. */
const SEGMENT_BYTES_MIN = 16 * 1024
const SEGMENT_BYTES_MAX = UNIT_BYTES * 2 ** OFFSET_BITS
/** They hold 32 GiB. */
const SEGMENTS_MAX = 2 ** (31 - OFFSET_BITS)
/** Longer values are large. */
const SMALL_VALUE_BYTES_MAX = 64 * 1024
const ACCESSED_WORD = 6
const MARKS_OFFSET = 28
const KEY_LENGTH_OFFSET = 29
const KEY_OFFSET = KEY_LENGTH_OFFSET + 1
const KEY_LENGTH_MAX = 255
const FETCHED = MARKS_MAX + 1
/** Cleaned up is what is dead above this share. */
const DEAD_SHARE = 1 / 4
/**
 * No more than this may be live, in all records that are not large: so much less than the segments
 * hold as what is dead, and what is not let go of while a view is open, may take.
 */
export const SMALL_BYTES_MAX = (SEGMENTS_MAX * SEGMENT_BYTES_MAX * (1 - DEAD_SHARE) * 5) / 6
/** How many bytes are looked at and copied for one that is written: so many, */
const CLEAN_FACTOR_MIN = 4
/** and, were all dead, so many more. */
const CLEAN_FACTOR_GROWTH = 24
/** At the most at once. */
const CLEAN_WORK_MAX = 256 * 1024
/** What it takes to find out whether a record is live, as if it were bytes to copy. */
const LOOK_WORK = 128
/** Up to here a loop over words copies faster than a call. */
const LOOP_COPY_BYTES = 512
/** Of the empty segments this many are kept, and this share of those in use. */
const SPARE_COUNT = 2
const SPARE_SHARE = 1 / 8
/** Of those too many, one is given back at every so-manieth change. */
const GIVE_BACK_CHANGES = 2048

interface Segment {
  readonly bytes: Buffer
  /** The same memory. */
  readonly words: Uint32Array
  readonly doubles: Float64Array
  readonly view: DataView
  usedBytes: number
  /** Of those, what no item needs any more. */
  deadBytes: number
}

interface Large {
  readonly key: string
  readonly item: Item
  isFetched: boolean
  accessedS: number
}

/** A segment that is being emptied, and how far. */
interface Victim {
  readonly id: number
  offset: number
}

/** What a record takes, be it large or not. */
export function recordBytes(keyLength: number, valueLength: number): number {
  return (KEY_OFFSET + keyLength + valueLength + UNIT_BYTES - 1) & -UNIT_BYTES
}

function sizeOf({ key, item }: Large): number {
  return recordBytes(key.length, item.value.length)
}

/** Whether a value of this length is in a buffer of its own, and stays as it is. */
export function isLarge(length: number): boolean {
  return length > SMALL_VALUE_BYTES_MAX
}

/** What is needed to read records. */
export class Records {
  protected readonly segments: (Segment | undefined)[]
  protected readonly larges: (Large | undefined)[]

  constructor(segments: (Segment | undefined)[], larges: (Large | undefined)[]) {
    this.segments = segments
    this.larges = larges
  }

  key(location: number): string {
    if (location >= LARGE) return this.large(location).key
    const { bytes } = this.segment(location)
    const start = (location & OFFSET_MASK) * UNIT_BYTES + KEY_OFFSET
    return bytes.toString('latin1', start, start + (bytes[start - 1] as number))
  }

  /** The value is good as long as the segment is not used again. */
  item(location: number): Item {
    if (location >= LARGE) return this.large(location).item
    const { bytes, words, doubles } = this.segment(location)
    const unit = location & OFFSET_MASK
    const keyStart = unit * UNIT_BYTES + KEY_OFFSET
    const start = keyStart + (bytes[keyStart - 1] as number)
    return {
      flags: words[UNIT_WORDS * unit + 1] as number,
      expiresAtMs: doubles[UNIT_DOUBLES * unit + 2] as number,
      casUnique: casOfWords(
        words[UNIT_WORDS * unit + 2] as number,
        words[UNIT_WORDS * unit + 3] as number,
      ),
      marks: (bytes[unit * UNIT_BYTES + MARKS_OFFSET] as number) & MARKS_MAX,
      value: bytes.subarray(start, start + (words[UNIT_WORDS * unit] as number)),
    }
  }

  protected segment(location: number): Segment {
    return this.segments[location >>> OFFSET_BITS] as Segment
  }

  protected large(location: number): Large {
    return this.larges[location - LARGE] as Large
  }
}

export class Arena extends Records {
  /** Places of those let go. */
  readonly #vacant: number[] = []
  readonly #vacantLarges: number[] = []
  /** The segment that is appended to. */
  #active: Segment | undefined
  #activeId = 0
  /** Of all but the active one. */
  #sealedBytes = 0
  #sealedDeadBytes = 0
  #heldBytes = 0
  #largeBytes = 0
  /** The one that is being emptied. */
  #victim: Victim | undefined
  /** Empty ones of the largest size. */
  readonly #spare: Segment[] = []
  /** The same, that open views may still need. */
  readonly #setAside: Segment[] = []
  /** Of large records: they never change, so that one that comes back, touched, need not be copied. */
  readonly #ownValues = new WeakSet<Buffer>()
  /** Large ones that were released with all others; for the collector to free them at once stalls. */
  readonly #dropping: Large[] = []
  /** So many bytes of them may go now. */
  #dropBytes = 0
  #viewCount = 0
  readonly #copier = new Copier()
  #changeCount = 0

  constructor() {
    super([undefined], [])
  }

  /** All memory held for records, in use or not. */
  /** Of the large ones that are live. */
  get largeBytes(): number {
    return this.#largeBytes
  }

  get heldBytes(): number {
    return this.#heldBytes
  }

  /** @param value The value stands in it from `start` to `end`. */
  append(key: ItemKey, fields: StoredFields, value: Buffer, start: number, end: number): number {
    const { length } = key
    if (length > KEY_LENGTH_MAX) throw new RangeError(`a key of ${length} bytes`)
    if (isLarge(end - start)) return this.#appendLarge(key, fields, value, start, end)
    const location = this.#take(recordBytes(length, end - start))
    const { bytes, view } = this.segment(location)
    const keyStart = (location & OFFSET_MASK) * UNIT_BYTES + KEY_OFFSET
    bytes[keyStart - 1] = length
    this.#copier.copy(key.bytes, key.start, key.start + length, bytes, view, keyStart)
    this.rewrite(location, fields, value, start, end)
    return location
  }

  /** Whether the record may become one of the same key with a value of this length, where it is. */
  mayRewrite(location: number, keyLength: number, valueLength: number): boolean {
    if (this.#viewCount > 0 || location >= LARGE || isLarge(valueLength)) return false
    return this.#sizeAt(location) === recordBytes(keyLength, valueLength)
  }

  /** Writes all of a record but its key. */
  rewrite(location: number, fields: StoredFields, value: Buffer, start: number, end: number): void {
    const { bytes, words, doubles, view } = this.segment(location)
    const unit = location & OFFSET_MASK
    const { casUnique } = fields
    words[UNIT_WORDS * unit] = end - start
    words[UNIT_WORDS * unit + 1] = fields.flags
    words[UNIT_WORDS * unit + 2] = lowWordOf(casUnique)
    words[UNIT_WORDS * unit + 3] = highWordOf(casUnique)
    doubles[UNIT_DOUBLES * unit + 2] = fields.expiresAtMs
    words[UNIT_WORDS * unit + ACCESSED_WORD] = fields.accessedS
    const offset = unit * UNIT_BYTES
    bytes[offset + MARKS_OFFSET] = fields.isFetched ? fields.marks | FETCHED : fields.marks
    const valueStart = offset + KEY_OFFSET + (bytes[offset + KEY_LENGTH_OFFSET] as number)
    this.#copier.copy(value, start, end, bytes, view, valueStart)
  }

  /**
   * Nothing needs this record any more.
   * @returns its size.
   */
  release(location: number): number {
    const size = this.#sizeAt(location)
    if (location >= LARGE) {
      this.larges[location - LARGE] = undefined
      this.#vacantLarges.push(location - LARGE)
      this.#heldBytes -= size
      this.#largeBytes -= size
      return size
    }
    const segment = this.segment(location)
    segment.deadBytes += size
    if (segment !== this.#active) {
      this.#sealedDeadBytes += size
      this.#maybeLetGo(location >>> OFFSET_BITS, segment)
    }
    return size
  }

  /** Nothing needs any record any more. Large values are dropped with the changes that follow. */
  releaseAll(): void {
    for (const segment of this.segments) if (segment) this.#letGo(segment)
    this.segments.length = 1
    this.#vacant.length = 0
    this.#active = undefined
    this.#victim = undefined
    this.#sealedBytes = 0
    this.#sealedDeadBytes = 0
    for (const large of this.larges) if (large) this.#dropping.push(large)
    this.#largeBytes = 0
    this.larges.length = 0
    this.#vacantLarges.length = 0
  }

  isKeyAt(location: number, key: ItemKey): boolean {
    if (location >= LARGE) return key.equals(this.large(location).key)
    const { bytes } = this.segment(location)
    const offset = (location & OFFSET_MASK) * UNIT_BYTES + KEY_OFFSET
    const { bytes: wanted, start, length } = key
    if (bytes[offset - 1] !== length) return false
    for (let at = 0; at < length; at++) if (bytes[offset + at] !== wanted[start + at]) return false
    return true
  }

  /** The same as `item`, with what this server knows of it. */
  stored(location: number): StoredItem {
    const { flags, expiresAtMs, casUnique, marks, value } = this.item(location)
    if (location >= LARGE) {
      const { isFetched, accessedS } = this.large(location)
      return { flags, expiresAtMs, casUnique, marks, value, isFetched, accessedS }
    }
    const { bytes, words } = this.segment(location)
    const unit = location & OFFSET_MASK
    const isFetched = (bytes[unit * UNIT_BYTES + MARKS_OFFSET] as number) >= FETCHED
    const accessedS = words[UNIT_WORDS * unit + ACCESSED_WORD] as number
    return { flags, expiresAtMs, casUnique, marks, value, isFetched, accessedS }
  }

  /** The same of an item, but for what this server alone knows, without an object or a view. */
  find(location: number, found: FoundItem): void {
    if (location >= LARGE) {
      const { flags, expiresAtMs, casUnique, value } = this.large(location).item
      found.flags = flags
      found.expiresAtMs = expiresAtMs
      found.casLow = lowWordOf(casUnique)
      found.casHigh = highWordOf(casUnique)
      found.bytes = value
      found.view = viewOf(value)
      found.valueStart = 0
      found.valueEnd = value.length
      return
    }
    const { bytes, words, doubles, view } = this.segment(location)
    const unit = location & OFFSET_MASK
    const keyStart = unit * UNIT_BYTES + KEY_OFFSET
    const valueStart = keyStart + (bytes[keyStart - 1] as number)
    found.flags = words[UNIT_WORDS * unit + 1] as number
    found.expiresAtMs = doubles[UNIT_DOUBLES * unit + 2] as number
    found.casLow = words[UNIT_WORDS * unit + 2] as number
    found.casHigh = words[UNIT_WORDS * unit + 3] as number
    found.bytes = bytes
    found.view = view
    found.valueStart = valueStart
    found.valueEnd = valueStart + (words[UNIT_WORDS * unit] as number)
  }

  /** It was fetched, at this time. */
  noteAccess(location: number, nowS: number): void {
    if (location >= LARGE) {
      const large = this.large(location)
      large.isFetched = true
      large.accessedS = nowS
      return
    }
    const { bytes, words } = this.segment(location)
    const unit = location & OFFSET_MASK
    const marksOffset = unit * UNIT_BYTES + MARKS_OFFSET
    bytes[marksOffset] = (bytes[marksOffset] as number) | FETCHED
    words[UNIT_WORDS * unit + ACCESSED_WORD] = nowS
  }

  expiresAtMs(location: number): number {
    if (location >= LARGE) return this.large(location).item.expiresAtMs
    const { doubles } = this.segment(location)
    return doubles[UNIT_DOUBLES * (location & OFFSET_MASK) + 2] as number
  }

  // ---------------------------------------------------------------- views

  /** What is there now, unchanged until the view is closed. */
  openView(): Records {
    this.#viewCount++
    return new Records(this.segments.slice(), this.larges.slice())
  }

  closeView(): void {
    if (--this.#viewCount > 0) return
    for (const segment of this.#setAside) this.#spare.push(segment)
    this.#setAside.length = 0
  }

  // ---------------------------------------------------------------- cleaning

  /**
   * While more than a quarter of the full segments is dead, moves what is live
   * out of the sparsest one; it is let go with the last of that.
   * @param bytes What has been written or released. A multiple of that is looked at and
   *   copied: what keeps the dead at a quarter when their share is so much, more when it is more.
   */
  clean(bytes: number, owner: Owner): void {
    if (++this.#changeCount % GIVE_BACK_CHANGES === 0) this.#maybeGiveBack()
    // What a view holds as well would be freed all at once when it is closed.
    if (this.#dropping.length > 0 && this.#viewCount === 0) this.#dropSome(bytes)
    const excess = this.#sealedDeadBytes / this.#sealedBytes - DEAD_SHARE
    if (!(excess > 0)) return
    const factor = CLEAN_FACTOR_MIN + CLEAN_FACTOR_GROWTH * excess
    for (let left = Math.min(factor * bytes, CLEAN_WORK_MAX); left > 0; ) {
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
    // If more than that is dead of all, some segment is as sparse.
    if (this.#sealedDeadBytes <= DEAD_SHARE * this.#sealedBytes) return undefined
    let share = 0
    for (const [id, segment] of this.segments.entries()) {
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
    const from = this.segment(location)
    const fromWord = UNIT_WORDS * (location & OFFSET_MASK)
    const copied = this.#take(size)
    const to = this.segment(copied)
    const toWord = UNIT_WORDS * (copied & OFFSET_MASK)
    const count = size / 4
    if (size > LOOP_COPY_BYTES) {
      to.words.set(from.words.subarray(fromWord, fromWord + count), toWord)
    } else {
      for (let at = 0; at < count; at++) to.words[toWord + at] = from.words[fromWord + at] as number
    }
    return copied
  }

  /** Memory that is transferred belongs to a young object, and is freed with the next young ones. */
  #maybeGiveBack(): void {
    const kept = SPARE_COUNT + SPARE_SHARE * (this.segments.length - this.#vacant.length)
    if (this.#spare.length <= kept) return
    const { buffer, length } = (this.#spare.pop() as Segment).bytes
    structuredClone(buffer, { transfer: [buffer as ArrayBuffer] })
    this.#heldBytes -= length
  }

  /** As many bytes as are written or released. */
  #dropSome(bytes: number): void {
    this.#dropBytes += bytes
    for (;;) {
      const large = this.#dropping.at(-1)
      const size = large ? sizeOf(large) : 0
      if (!large || size > this.#dropBytes) return
      this.#dropping.pop()
      this.#dropBytes -= size
      this.#heldBytes -= size
    }
  }

  // ---------------------------------------------------------------- inside

  #sizeAt(location: number): number {
    if (location >= LARGE) return sizeOf(this.large(location))
    const { bytes, words } = this.segment(location)
    const unit = location & OFFSET_MASK
    const keyLength = bytes[unit * UNIT_BYTES + KEY_LENGTH_OFFSET] as number
    return recordBytes(keyLength, words[UNIT_WORDS * unit] as number)
  }

  #hashAt(location: number): number {
    if (location >= LARGE) return hashOf(this.large(location).key)
    const { bytes } = this.segment(location)
    const start = (location & OFFSET_MASK) * UNIT_BYTES + KEY_OFFSET
    return hashOfBytes(bytes, start, start + (bytes[start - 1] as number))
  }

  #location(id: number, offset: number): number {
    return (id << OFFSET_BITS) | (offset / UNIT_BYTES)
  }

  #appendLarge(
    key: ItemKey,
    fields: StoredFields,
    given: Buffer,
    start: number,
    end: number,
  ): number {
    const { flags, expiresAtMs, casUnique, marks, isFetched, accessedS } = fields
    let value = given
    if (!this.#ownValues.has(given)) {
      value = Buffer.allocUnsafeSlow(end - start)
      given.copy(value, 0, start, end)
      this.#ownValues.add(value)
    }
    const id = this.#vacantLarges.pop() ?? this.larges.length
    const item = { flags, expiresAtMs, casUnique, marks, value }
    this.larges[id] = { key: key.toString(), item, isFetched, accessedS }
    const size = recordBytes(key.length, value.length)
    this.#heldBytes += size
    this.#largeBytes += size
    return LARGE + id
  }

  #take(size: number): number {
    let active = this.#active
    if (!active || active.usedBytes + size > active.bytes.length) active = this.#begin(size)
    const location = this.#location(this.#activeId, active.usedBytes)
    active.usedBytes += size
    return location
  }

  #begin(size: number): Segment {
    const full = this.#active
    this.#active = undefined
    if (full) {
      this.#sealedBytes += full.usedBytes
      this.#sealedDeadBytes += full.deadBytes
      this.#maybeLetGo(this.#activeId, full)
    }
    const id = this.#vacant.pop() ?? this.segments.length
    if (id >= SEGMENTS_MAX) throw new Error(`more than ${SEGMENTS_MAX} segments of items`)
    let capacity = SEGMENT_BYTES_MIN
    const wanted = Math.min(SEGMENT_BYTES_MAX, Math.max(this.#sealedBytes, size))
    while (capacity < wanted) capacity *= 2
    const spare = capacity === SEGMENT_BYTES_MAX ? this.#spare.pop() : undefined
    const segment = spare ?? this.#create(capacity)
    segment.usedBytes = 0
    segment.deadBytes = 0
    this.segments[id] = segment
    this.#active = segment
    this.#activeId = id
    return segment
  }

  #create(capacity: number): Segment {
    this.#heldBytes += capacity
    const bytes = Buffer.allocUnsafeSlow(capacity)
    const words = new Uint32Array(bytes.buffer)
    const doubles = new Float64Array(bytes.buffer)
    return { bytes, words, doubles, view: viewOf(bytes), usedBytes: 0, deadBytes: 0 }
  }

  #maybeLetGo(id: number, segment: Segment): void {
    if (segment.deadBytes < segment.usedBytes) return
    if (this.#victim?.id === id) this.#victim = undefined
    this.#sealedBytes -= segment.usedBytes
    this.#sealedDeadBytes -= segment.usedBytes
    this.segments[id] = undefined
    this.#vacant.push(id)
    this.#letGo(segment)
  }

  #letGo(segment: Segment): void {
    const { length } = segment.bytes
    if (length < SEGMENT_BYTES_MAX) this.#heldBytes -= length
    else if (this.#viewCount > 0) this.#setAside.push(segment)
    else this.#spare.push(segment)
  }
}
