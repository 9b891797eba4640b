/**
 * What a server still has room for. Pure: sizes, positions and times in, verdicts out.
 *
 * A leader asks before it proposes, so that what cannot be kept is refused while
 * it certainly never happens; apply never refuses. Disk space is judged ahead,
 * by a reserve: a write that ran into a full disk would end the process. A disk
 * is slow when others have long had what it is still writing. What each server
 * knows of its own disk it tells the leader as its `Condition`.
 */
import { type Command, parseCommand } from '../protocol/commands.ts'
import { itemBytes } from './keystore/item-store.ts'
import { quorumSize } from './raft/config.ts'

export interface Limits {
  /** What items may take in memory, by their accounted size. */
  readonly memoryBytes: number
  /** Kept free on the disk, besides the size of the next keystore; 0 for nothing, null for the default. */
  readonly diskReserveBytes: number | null
}

export const DEFAULT_LIMITS: Limits = {
  memoryBytes: Number.POSITIVE_INFINITY,
  diskReserveBytes: null,
}

const RESERVE_BYTES = 256 * 1024 * 1024
const RESERVE_RATIO = 1 / 8

/** On a small disk the reserve is a share of it. */
export function defaultReserveBytes(diskBytes: number): number {
  return Math.min(RESERVE_BYTES, Math.floor(diskBytes * RESERVE_RATIO))
}

// ---------------------------------------------------------------- disk space

/**
 * `low`: a leader refuses writes or hands over, a follower goes on. `scarce`: soon
 * a follower takes no more writes from its leader. `none`: nothing is written that
 * can be left.
 */
export const ROOMS = ['enough', 'low', 'scarce', 'none'] as const
export type Room = (typeof ROOMS)[number]

export interface Space {
  readonly freeBytes: number
  readonly reserveBytes: number
  /** What the items take: the next keystore file stands beside the last one for a while. */
  readonly dataBytes: number
}

export function keptBytes({ reserveBytes, dataBytes }: Space): number {
  return reserveBytes === 0 ? 0 : reserveBytes + dataBytes
}

/** @param before It takes more to have room again than it took to lose it. */
export function roomOf(space: Space, before: Room): Room {
  const { freeBytes, reserveBytes } = space
  if (freeBytes < reserveBytes / 16) return 'none'
  if (freeBytes < reserveBytes / 2) return 'scarce'
  const margin = before === 'enough' ? 0 : reserveBytes / 4
  return freeBytes < keptBytes(space) + margin ? 'low' : 'enough'
}

interface EntryLike {
  readonly config?: object | undefined
  readonly body: Uint8Array
}

/** `noop` and `time` with their line end; no command is as short. */
const OWN_BODY_BYTES = 6

/**
 * Whether a follower takes these entries from its leader; else they are as good
 * as lost on the way. The log's own are small, and without them nobody could lead.
 * @param takenBytes Taken since its room is scarce: what was on its way then still
 *   finds some, or it could not serve reads while nobody writes any more.
 */
export function takesEntries(
  room: Room,
  reserveBytes: number,
  takenBytes: number,
  entries: readonly EntryLike[],
): boolean {
  if (room === 'none') return entries.length === 0
  if (room !== 'scarce' || takenBytes < reserveBytes / 8) return true
  return entries.every(({ config, body }) => config !== undefined || body.length <= OWN_BODY_BYTES)
}

export interface VoterRoom {
  /** null where it did not say lately. */
  readonly room: Room | null
  readonly isLive: boolean
}

/** Whether nothing can be committed because disks of voters are at one of these `rooms`. */
export function lacksQuorum(voters: readonly VoterRoom[], rooms: readonly Room[]): boolean {
  const isOut = ({ room }: VoterRoom) => room !== null && rooms.includes(room)
  const able = voters.filter((voter) => voter.isLive && !isOut(voter))
  return voters.some(isOut) && able.length < quorumSize(voters.length)
}

// ---------------------------------------------------------------- memory

/** Of 64 unsigned bits. */
const NUMBER_BYTES_MAX = 20

export interface Memory {
  /** Left by the items held, and by what is proposed and not applied yet. */
  readonly roomBytes: number
  readonly isAnyInFlight: boolean
  /** Of the value under `key` now; undefined where there is none. */
  readonly valueBytes: (key: string) => number | undefined
}

/** Without a look into what are `count` commands. */
export function surelyFit(commands: Buffer, count: number, roomBytes: number): boolean {
  return itemBytes(commands.length, 0) + (count - 1) * itemBytes(0, 0) <= roomBytes
}

/**
 * Whether a command would take items past the limit. One that does not grow the
 * item it replaces is let through, or nobody could shrink what is there.
 */
export function lacksMemory(command: Buffer, memory: Memory): boolean {
  const { roomBytes } = memory
  const parsed = parseCommand(command)
  if (parsed.verb === 'flush_all') return false
  const { key } = parsed
  const before = memory.valueBytes(key)
  const cost = itemBytes(key.length, valueBytesAfter(parsed, before))
  if (cost <= roomBytes) return false
  return before === undefined
    ? makesItem(parsed, memory.isAnyInFlight)
    : cost > itemBytes(key.length, before)
}

function valueBytesAfter(command: Exclude<Command, { verb: 'flush_all' }>, before = 0): number {
  switch (command.verb) {
    case 'append':
    case 'prepend':
      return before + command.value.length
    case 'incr':
    case 'decr':
      return Math.max(before, NUMBER_BYTES_MAX)
    case 'delete':
    case 'get':
    case 'touch':
      return before
    default:
      return command.value.length
  }
}

/**
 * Whether it can make an item where there is none, or lengthen one that is on its way:
 * else what comes right behind the first write of a key would meet no limit.
 */
function makesItem(
  command: Exclude<Command, { verb: 'flush_all' }>,
  mayBeOnItsWay: boolean,
): boolean {
  switch (command.verb) {
    case 'set':
    case 'add':
      return true
    case 'delete':
    case 'touch':
      return false
    case 'get':
      return command.options.has('vivify')
    default:
      return mayBeOnItsWay || command.options.has('vivify')
  }
}

// ---------------------------------------------------------------- slow disks

export interface SlownessRules {
  /** An entry that is here so much later than it should be is late. */
  readonly lateMs: number
  /** A disk is slow when for so long one entry after the other was late. */
  readonly slowMs: number
  /** A new leader gives its own disk so long before it judges it. */
  readonly graceMs: number
  /** A server hands over for a slow disk no more often: where all are slow nothing is gained. */
  readonly againMs: number
}

export const DEFAULT_SLOWNESS: SlownessRules = {
  lateMs: 300,
  slowMs: 1_000,
  graceMs: 5_000,
  againMs: 30_000,
}

/** How far behind a position is where it should be, over time. */
export class Lag {
  readonly #rules: SlownessRules
  /** The position that is waited for, and since when. */
  #mark: { readonly index: number; readonly sinceMs: number } | null = null
  /** From when to when one after the other was late. */
  #late: { readonly fromMs: number; readonly toMs: number } | null = null

  constructor(rules: SlownessRules) {
    this.#rules = rules
  }

  update(nowMs: number, wantedIndex: number, reachedIndex: number): void {
    if (this.#mark && wantedIndex < this.#mark.index) this.#mark = null // nobody waits for it any more
    const mark = this.#mark
    if (mark) {
      if (nowMs - mark.sinceMs > this.#rules.lateMs) this.#noteLate(mark.sinceMs, nowMs)
      else if (reachedIndex >= mark.index) this.#late = null
    }
    if (mark && reachedIndex < mark.index) return
    this.#mark = wantedIndex > reachedIndex ? { index: wantedIndex, sinceMs: nowMs } : null
  }

  reset(): void {
    this.#mark = null
    this.#late = null
  }

  /** For how long now one after the other has been late; 0 where it is not slow. */
  slowForMs(nowMs: number): number {
    const late = this.#late
    if (!late || nowMs - late.toMs > this.#rules.slowMs) return 0
    const forMs = late.toMs - late.fromMs
    return forMs >= this.#rules.slowMs ? forMs : 0
  }

  #noteLate(sinceMs: number, nowMs: number): void {
    const late = this.#late
    const goesOn = late && sinceMs - late.toMs <= this.#rules.slowMs
    this.#late = { fromMs: goesOn ? late.fromMs : sinceMs, toMs: nowMs }
  }
}

// ---------------------------------------------------------------- what a server says of itself

export interface Condition {
  readonly room: Room
  readonly freeBytes: number
  readonly keptBytes: number
  /** For how long its disk has been slow; 0 where it is not. */
  readonly slowForMs: number
  /** Its log is damaged, and has to get entries up to here again; 0 where it is not. */
  readonly owedIndex: number
  /** Places on its disk that had rotted and were replaced, since its start. */
  readonly mendedCount: number
}

export function isWell({ room, slowForMs, owedIndex, mendedCount }: Condition): boolean {
  return room === 'enough' && slowForMs === 0 && owedIndex === 0 && mendedCount === 0
}

/** For people; null where all is well. */
export function describeCondition(condition: Condition): string | null {
  const { room, freeBytes, keptBytes, slowForMs, owedIndex, mendedCount } = condition
  const parts: string[] = []
  if (owedIndex > 0) parts.push(`log damaged: gets entries up to ${owedIndex} from others`)
  if (mendedCount > 0)
    parts.push(`disk rots: ${mendedCount} damaged places replaced since its start`)
  if (room !== 'enough') {
    parts.push(`out of disk space: ${sizeText(freeBytes)} free, ${sizeText(keptBytes)} kept`)
  }
  if (slowForMs > 0) parts.push(`slow disk: writes late for ${(slowForMs / 1_000).toFixed(1)} s`)
  return parts.join('; ') || null
}

function sizeText(bytes: number): string {
  if (bytes >= 10 * 2 ** 30) return `${Math.floor(bytes / 2 ** 30)} GiB`
  if (bytes >= 10 * 2 ** 20) return `${Math.floor(bytes / 2 ** 20)} MiB`
  return `${Math.floor(bytes / 2 ** 10)} KiB`
}
