/**
 * The replicated state machine: log entries in, replies out.
 *
 * Deterministic: what it holds and answers depends only on the entries applied,
 * in order, so replicas that applied the same index are equal. It never refuses
 * for a local reason. Its clock is log time, the time of the newest entry
 * applied; items expire by that alone.
 *
 * Not part of that state, and not in any file: when this server's own clients
 * last read an item, and whether they have.
 *
 * Source of the rules: memcached's doc/protocol.txt and the behaviour of 1.6.45.
 */
import {
  type ArithmeticCommand,
  type Command,
  commandEnd,
  type DeleteCommand,
  type GetCommand,
  GROUP_COMMANDS_MAX,
  ITEM_SIZE_MAX,
  type Options,
  parseCommand,
  type StoreCommand,
} from '../../protocol/commands.ts'
import { PlainCommand } from '../../protocol/plain-commands.ts'
import type { CommandReply, ItemReply } from '../../protocol/replies.ts'
import { EMPTY_CONFIG, mayGroup } from '../raft/config.ts'
import type { Config } from '../raft/types.ts'
import { type FoundItem, type Item, STALE, type StoredItem } from './arena.ts'
import { addDelta, mayBeNumber, parseNumber } from './arithmetic.ts'
import { expiryOf, isExpired, secondsLeft } from './expiry.ts'
import { type GetResult, getItem } from './get.ts'
import { ItemStore, SLICES } from './item-store.ts'

/** What an entry of the log is to the state machine. */
export interface AppliedEntry {
  readonly index: number
  readonly timeMs: number
  /** The body stands in it from `bodyStart` to `end`. */
  readonly memory: Buffer
  readonly bodyStart: number
  readonly end: number
  readonly config?: Config | undefined
}

/** What a keystore file says of it besides the items. */
export interface MachineState {
  readonly index: number
  readonly timeMs: number
  readonly flushAtMs: number
  readonly config: Config
}

/** One entry pays for no more than this, however far the time has gone; the rest has its next turn. */
const SWEEPS_MAX = 2

const EMPTY = Buffer.alloc(0)
const NOTHING: CommandReply = { line: '' }
const END: CommandReply = { line: 'END' }
const OK: CommandReply = { line: 'OK' }
const STORED: CommandReply = { line: 'STORED' }
const NOT_STORED: CommandReply = { line: 'NOT_STORED' }
const EXISTS: CommandReply = { line: 'EXISTS' }
const NOT_FOUND: CommandReply = { line: 'NOT_FOUND' }
const DELETED: CommandReply = { line: 'DELETED' }
const TOUCHED: CommandReply = { line: 'TOUCHED' }
const NOT_A_NUMBER: CommandReply = {
  line: 'CLIENT_ERROR cannot increment or decrement non-numeric value',
}

export class StateMachine {
  readonly #items = new ItemStore()
  /** The one that is applied. */
  readonly #plain = new PlainCommand()
  #appliedIndex = 0
  #timeMs = 0
  /** The same in whole seconds. */
  #timeS = 0
  /** When everything stored before is to vanish; 0 for never. */
  #flushAtMs = 0
  #config = EMPTY_CONFIG
  #itemSizeMax = ITEM_SIZE_MAX
  /** Whether an entry may have more than one command. */
  #hasGroups = false

  get appliedIndex(): number {
    return this.#appliedIndex
  }

  /** Log time: that of the newest entry applied. */
  get timeMs(): number {
    return this.#timeMs
  }

  get flushAtMs(): number {
    return this.#flushAtMs
  }

  /** That in force at the newest entry applied; the log may know of newer ones, and no longer of this one. */
  get config(): Config {
    return this.#config
  }

  get items(): ItemStore {
    return this.#items
  }

  /** Whether time passing can change anything. */
  get hasExpiring(): boolean {
    return this.#items.hasExpiring || this.#flushAtMs !== 0
  }

  /**
   * The live item under `key`, as of the newest entry applied.
   * @param nowS Notes that a client has read it; what is returned is from before.
   */
  get(key: string, nowS?: number): StoredItem | undefined {
    return this.#ifLive(this.#items.get(key, nowS))
  }

  /** Like `get`; the value is good only until the next entry is applied. */
  look(key: string, nowS?: number): StoredItem | undefined {
    return this.#ifLive(this.#items.look(key, nowS))
  }

  /** Where it is, for who reads it at once: one object for all, good until the next call or entry. */
  find(key: string, nowS: number): FoundItem | null {
    const found = this.#items.find(key, nowS)
    return found && isExpired(found.expiresAtMs, this.#timeMs) ? null : found
  }

  /**
   * Live items, in no particular order, for as long as nothing is applied.
   * @param looksMax Of so many that are in memory: for some minutes all may be expired.
   */
  *liveItems(looksMax: number): Generator<readonly [key: string, item: Item]> {
    let left = looksMax
    for (const [key, item] of this.#items) {
      if (left-- === 0) return
      if (!isExpired(item.expiresAtMs, this.#timeMs)) yield [key, item]
    }
  }

  /** What a get with these options would do now. */
  preview(item: Item | undefined, options: Options): GetResult {
    return getItem(item, options, 0, this.#timeMs)
  }

  /** Takes over a state: items are put in with `restoreItem`. */
  restore({ index, timeMs, flushAtMs, config }: MachineState): void {
    this.#appliedIndex = index
    this.#timeMs = timeMs
    this.#timeS = Math.floor(timeMs / 1000)
    this.#flushAtMs = flushAtMs
    this.#configure(config)
  }

  /** @param accessedS Taken for when it was last used. */
  restoreItem(key: string, item: Item, accessedS = 0): void {
    const { flags, expiresAtMs, casUnique, marks, value } = item
    const stored = { flags, expiresAtMs, casUnique, marks, value, isFetched: false, accessedS }
    this.#items.set(key, stored)
  }

  /**
   * @param onReply Hears of the outcome of each command in the entry, in order, and of its place
   * in the log: the CAS unique that it gives.
   * @returns the last outcome.
   */
  apply(entry: AppliedEntry, onReply?: (reply: CommandReply, place: number) => void): CommandReply {
    if (entry.index !== this.#appliedIndex + 1) {
      throw new Error(`entry ${entry.index} applied after ${this.#appliedIndex}`)
    }
    if (entry.timeMs !== this.#timeMs) this.#advanceTime(entry.timeMs)
    if (entry.config) this.#configure(entry.config)
    const { memory, bodyStart, end } = entry
    let reply = NOTHING
    let count = 0
    for (let at = bodyStart; at < end; count++) {
      const place = this.#placeOf(entry.index, count)
      if (this.#plain.readFirst(memory, at, end)) {
        at = this.#plain.end
        reply = this.#applyPlain(this.#plain, place)
      } else if (count === 0 && isOwnEntry(memory.subarray(at, end))) {
        at = end
      } else {
        const commandStart = at
        at = commandEnd(memory, at, end)
        if (at === -1) throw new Error(`entry ${entry.index} does not end with a command`)
        reply = this.#applyCommand(parseCommand(memory.subarray(commandStart, at)), place)
      }
      onReply?.(reply, place)
    }
    this.#appliedIndex = entry.index // no read before that sees a part of it
    return reply
  }

  /** The place of the last command that was applied; of those before it all are lower. */
  get appliedPlace(): number {
    return this.#placeOf(this.#appliedIndex + 1, 0) - 1
  }

  /**
   * Every command has its own, and a later one a higher. Members of earlier versions know
   * entries of one command only, and take their index.
   */
  #placeOf(index: number, count: number): number {
    return this.#hasGroups ? index * GROUP_COMMANDS_MAX + count : index
  }

  /** What `#applyCommand` would do, from the bytes as they stand. */
  #applyPlain(command: PlainCommand, place: number): CommandReply {
    if (command.isDelete) {
      const expiredAtMs = this.#items.deleteAt(command)
      const wasLive = expiredAtMs !== null && !isExpired(expiredAtMs, this.#timeMs)
      return wasLive ? DELETED : NOT_FOUND
    }
    const { flags, exptime } = command
    const expiresAtMs = expiryOf(exptime, this.#timeMs)
    if (isExpired(expiresAtMs, this.#timeMs)) this.#items.deleteAt(command)
    else {
      // No part of it is spread: V8 may copy that by name, which took a fifth of a follower's time.
      this.#items.setAt(command, {
        flags,
        expiresAtMs,
        casUnique: place,
        marks: 0,
        isFetched: false,
        accessedS: this.#timeS,
      })
    }
    return STORED
  }

  #applyCommand(command: Command, place: number): CommandReply {
    switch (command.verb) {
      case 'delete':
        return this.#applyDelete(command, place)
      case 'incr':
      case 'decr':
        return this.#applyArithmetic(command, place)
      case 'get':
        return this.#applyGet(command, place)
      case 'touch':
        return this.#applyTouch(command.key, command.exptime)
      case 'flush_all':
        return this.#applyFlush(command.exptime)
      default:
        return this.#applyStore(command, place)
    }
  }

  #applyStore(command: StoreCommand, place: number): CommandReply {
    const { verb, key, flags, exptime, options, value } = command
    const casUnique = options.get('unique') ?? place
    const expiresAtMs = expiryOf(exptime, this.#timeMs)
    const item: Item = { flags, expiresAtMs, casUnique, marks: 0, value }
    switch (verb) {
      case 'add':
        if (this.look(key)) return NOT_STORED
        break
      case 'replace':
        if (!this.look(key)) return NOT_STORED
        break
      case 'cas':
        return this.#applyCas(command, item)
      case 'append':
      case 'prepend':
        return this.#applyJoin(command, item)
    }
    this.#put(key, item)
    return STORED
  }

  #applyCas({ key, casUnique: expected, options }: StoreCommand, item: Item): CommandReply {
    const current = this.look(key)
    if (!current) return NOT_FOUND
    if (current.casUnique === expected) {
      this.#put(key, item)
      return STORED
    }
    // One that comes late may be stored as stale: who won keeps the turn.
    const isLate = options.has('stale') && expected !== 0 && expected < current.casUnique
    if (!isLate) return EXISTS
    const { expiresAtMs, marks } = current
    this.#put(key, { ...item, expiresAtMs, marks: marks | STALE })
    return STORED
  }

  /** append and prepend: the flags and exptime given are those of an item that is made. */
  #applyJoin({ verb, key, options, value }: StoreCommand, item: Item): CommandReply {
    const current = this.look(key)
    if (!current) {
      if (!options.has('vivify')) return NOT_STORED
      const made = { ...item, expiresAtMs: this.#expiryIn(options, 'vivify', 0) }
      this.#put(key, made)
      return { line: 'STORED', item: this.#replyOf(made, made.expiresAtMs) }
    }
    const expected = options.get('compare')
    if (expected !== undefined && expected !== current.casUnique) return EXISTS
    if (current.value.length + value.length > this.#itemSizeMax) return NOT_STORED
    const parts = verb === 'append' ? [current.value, value] : [value, current.value]
    const { flags, expiresAtMs } = current
    const joined = { ...item, flags, expiresAtMs, value: Buffer.concat(parts) }
    this.#put(key, joined)
    return { line: 'STORED', item: this.#replyOf(joined, expiresAtMs) }
  }

  #applyDelete({ key, options }: DeleteCommand, place: number): CommandReply {
    const current = this.look(key)
    if (!current) {
      this.#items.delete(key)
      return NOT_FOUND
    }
    const expected = options.get('compare')
    if (expected !== undefined && expected !== current.casUnique) return EXISTS
    const isCleared = options.has('clear')
    if (!isCleared && !options.has('stale')) {
      this.#items.delete(key)
      return DELETED
    }
    const flags = Number(options.get('flags') ?? 0)
    const kept: Item = isCleared
      ? { flags, expiresAtMs: 0, casUnique: current.casUnique, marks: 0, value: EMPTY }
      : current
    const expiresAtMs = this.#expiryIn(options, 'exptime', kept.expiresAtMs)
    const isStale = options.has('stale')
    const casUnique = options.get('unique') ?? (isStale ? place : kept.casUnique)
    const after = { ...kept, expiresAtMs, casUnique, marks: isStale ? STALE : 0 }
    this.#put(key, after, isCleared ? undefined : current)
    return DELETED
  }

  #applyArithmetic(command: ArithmeticCommand, place: number): CommandReply {
    const { verb, key, delta, options } = command
    const current = this.look(key)
    const casUnique = options.get('unique') ?? place
    if (!current) {
      if (!options.has('vivify')) return NOT_FOUND
      const line = String(options.get('initial') ?? 0)
      const expiresAtMs = this.#lastExpiryIn(options)
      const value = Buffer.from(line)
      const made = { flags: 0, expiresAtMs, casUnique, marks: 0, value }
      this.#put(key, made)
      return { line, item: this.#replyOf(made, 0) }
    }
    const { value } = current
    if (!mayBeNumber(value)) return NOT_A_NUMBER
    const expected = options.get('compare')
    if (expected !== undefined && expected !== current.casUnique) return EXISTS
    const number = parseNumber(value)
    if (number === null) return NOT_A_NUMBER
    const line = String(addDelta(verb, number, delta))
    const isLonger = line.length > value.length
    const after: Item = {
      ...current,
      expiresAtMs: this.#expiryIn(options, 'exptime', current.expiresAtMs),
      casUnique,
      marks: isLonger ? 0 : current.marks,
      // A shorter number stands in the place of the longer one.
      value: Buffer.from(line.padEnd(value.length, ' ')),
    }
    this.#put(key, after, isLonger ? undefined : current)
    return { line, item: this.#replyOf(after, current.expiresAtMs) }
  }

  #applyGet({ key, options }: GetCommand, place: number): CommandReply {
    const current = this.get(key)
    const { reply, after } = getItem(current, options, place, this.#timeMs)
    if (after !== undefined) this.#put(key, after, current)
    return reply ? { line: 'VALUE', item: reply } : END
  }

  #applyTouch(key: string, exptime: number): CommandReply {
    const current = this.look(key)
    if (!current) return NOT_FOUND
    const expiresAtMs = expiryOf(exptime, this.#timeMs)
    if (expiresAtMs !== current.expiresAtMs) this.#put(key, { ...current, expiresAtMs }, current)
    return TOUCHED
  }

  /** Replaces one that is pending. A time that is over already changes nothing else. */
  #applyFlush(exptime: number): CommandReply {
    const atMs = exptime <= 0 ? 0 : expiryOf(exptime, this.#timeMs)
    this.#flushAtMs = atMs > this.#timeMs ? atMs : 0
    if (exptime <= 0) this.#items.clear()
    return OK
  }

  // ---------------------------------------------------------------- helpers

  /** @param before The item it was, where it counts as the same one: how it was used stays. */
  #put(key: string, item: Item | null, before?: StoredItem): void {
    if (!item || isExpired(item.expiresAtMs, this.#timeMs)) {
      this.#items.delete(key)
      return
    }
    const { flags, expiresAtMs, casUnique, marks, value } = item
    const isFetched = before?.isFetched ?? false
    const accessedS = before?.accessedS ?? this.#timeS
    const stored = { flags, expiresAtMs, casUnique, marks, value, isFetched, accessedS }
    this.#items.set(key, stored)
  }

  #ifLive<T extends Item>(item: T | undefined): T | undefined {
    return item && isExpired(item.expiresAtMs, this.#timeMs) ? undefined : item
  }

  #expiryIn(options: Options, name: 'exptime' | 'vivify', otherwise: number): number {
    const seconds = options.get(name)
    return seconds === undefined ? otherwise : expiryOf(Number(seconds), this.#timeMs)
  }

  /** Of exptime and vivify, what stands last. */
  #lastExpiryIn(options: Options): number {
    let expiresAtMs = 0
    for (const [name, seconds] of options) {
      if (name === 'exptime' || name === 'vivify') {
        expiresAtMs = expiryOf(Number(seconds), this.#timeMs)
      }
    }
    return expiresAtMs
  }

  #replyOf(item: Item, expiredAtMs: number): ItemReply {
    return {
      flags: item.flags,
      ttlBeforeS: secondsLeft(expiredAtMs, this.#timeMs),
      ttlS: secondsLeft(item.expiresAtMs, this.#timeMs),
      casUnique: item.casUnique,
      valueBytes: item.value.length,
      marks: '',
    }
  }

  #configure(config: Config): void {
    this.#config = config
    this.#itemSizeMax = config.itemSizeMax ?? ITEM_SIZE_MAX
    this.#hasGroups = mayGroup(config)
  }

  /**
   * Expired items are hidden at once; the memory of each part of them is reclaimed when its
   * second comes. Which that is depends on nothing but the times before and after, so that a
   * replica that begins with a keystore file goes on like one that wrote it.
   */
  #advanceTime(timeMs: number): void {
    const fromSecond = this.#timeS
    const toSecond = Math.floor(timeMs / 1000)
    this.#timeMs = timeMs
    this.#timeS = toSecond
    if (this.#flushAtMs !== 0 && this.#flushAtMs <= timeMs) {
      this.#flushAtMs = 0
      this.#items.clear()
    }
    if (!this.#items.hasExpiring) return
    const first = Math.max(fromSecond + 1, toSecond - SWEEPS_MAX + 1)
    for (let second = first; second <= toSecond; second++) {
      this.#items.sweep(second % SLICES, timeMs)
    }
  }
}

const OWN_ENTRIES = ['noop', 'time', 'config']

/** The log's own entries: the first word tells, and no memcached command begins like them. */
function isOwnEntry(body: Buffer): boolean {
  const word = body.toString('latin1', 0, 6)
  return OWN_ENTRIES.some((own) => word.startsWith(own))
}
