/**
 * What memcached's `stats` counts: requests of this server's clients, since its
 * start or the last reset. Nothing of it is replicated or kept.
 *
 * Names are memcached's own. A count is of commands, for reads of keys.
 */

import { isStoreVerb } from '../protocol/commands.ts'

const COUNTS = [
  'cmd_get',
  'cmd_set',
  'cmd_flush',
  'cmd_touch',
  'cmd_meta',
  'get_hits',
  'get_misses',
  'delete_misses',
  'delete_hits',
  'incr_misses',
  'incr_hits',
  'decr_misses',
  'decr_hits',
  'cas_misses',
  'cas_hits',
  'cas_badval',
  'touch_hits',
  'touch_misses',
  'store_too_large',
  'store_no_memory',
  'auth_cmds',
  'auth_errors',
  'total_items',
  'total_connections',
  'rejected_connections',
  'idle_kicks',
] as const

export type Count = (typeof COUNTS)[number]

/** More prefixes than this are not told apart: keys that all differ would fill the memory. */
const PREFIXES_MAX = 10_000
const DELIMITER = ':'

/** What the counts need of a write. */
export interface WriteKind {
  readonly verb: string
  /** Only where it is looked at. */
  readonly key: string
}

const PLAIN_SET: WriteKind = { verb: 'set', key: '' }
/** `set `, as four bytes read at once. */
const SET_START = Buffer.from('set ').readUInt32LE(0)

interface PrefixCounts {
  get: number
  hit: number
  set: number
  del: number
}

export class Stats {
  readonly #counts = Object.fromEntries(COUNTS.map((name) => [name, 0])) as Record<Count, number>
  /** Reads and writes since the start; never reset. */
  requestCount = 0
  /** From and to clients. */
  bytesRead = 0
  bytesWritten = 0
  readonly #prefixes = new Map<string, PrefixCounts>()
  /** Whether counts are also kept for what stands before the first `:` of a key. */
  isDetailed = false

  get counts(): Readonly<Record<Count, number>> {
    return this.#counts
  }

  add(name: Count, by = 1): void {
    this.#counts[name] += by
  }

  reset(): void {
    for (const name of COUNTS) this.#counts[name] = 0
    this.bytesRead = 0
    this.bytesWritten = 0
    this.#prefixes.clear()
  }

  /** A get of one key. */
  read(key: string, isHit: boolean): void {
    this.#counts.cmd_get++
    this.#counts[isHit ? 'get_hits' : 'get_misses']++
    if (this.isDetailed) this.#readPrefix(key, isHit)
  }

  /** A get that sets the expiry as well. */
  touched(key: string, isHit: boolean): void {
    this.#counts.cmd_touch++
    this.#counts[isHit ? 'touch_hits' : 'touch_misses']++
    if (this.isDetailed) this.#readPrefix(key, isHit)
  }

  /** What there is to know of a canonical command before it goes its way. */
  kindOf(command: Buffer): WriteKind {
    if (!this.isDetailed && command.readUInt32LE(0) === SET_START) return PLAIN_SET
    const verb = command.toString('latin1', 0, command.indexOf(' '))
    return { verb, key: verb === 'touch' || this.isDetailed ? keyOf(command) : '' }
  }

  /**
   * A write that was applied.
   * @param line The reply.
   */
  wrote({ verb, key }: WriteKind, line: string): void {
    const counts = this.#counts
    switch (verb) {
      case 'delete':
        counts[line === 'DELETED' ? 'delete_hits' : 'delete_misses']++
        break
      case 'incr':
      case 'decr':
        if (line === 'NOT_FOUND') counts[`${verb}_misses`]++
        else if (isNumber(line)) counts[`${verb}_hits`]++
        break
      case 'touch':
        counts.cmd_touch++
        counts[line === 'TOUCHED' ? 'touch_hits' : 'touch_misses']++
        break
      case 'flush_all':
        counts.cmd_flush++
        return
      case 'cas':
        if (line === 'STORED') counts.cas_hits++
        else counts[line === 'EXISTS' ? 'cas_badval' : 'cas_misses']++
        counts.cmd_set++
        break
      default:
        counts.cmd_set++
    }
    if (line === 'STORED') counts.total_items++
    if (this.isDetailed) this.#wrotePrefix(verb, key)
  }

  /** So many plain sets were applied, of no matter which keys. */
  set(count: number): void {
    this.#counts.cmd_set += count
    this.#counts.total_items += count
  }

  /** `stats detail dump`, with its end. */
  get detail(): string {
    const lines = [...this.#prefixes].map(([prefix, { get, hit, set, del }]) => {
      return `PREFIX ${prefix} get ${get} hit ${hit} set ${set} del ${del}\r\n`
    })
    return `${lines.join('')}END\r\n`
  }

  #readPrefix(key: string, isHit: boolean): void {
    const prefix = this.#prefixOf(key)
    if (!prefix) return
    prefix.get++
    if (isHit) prefix.hit++
  }

  #wrotePrefix(verb: string, key: string): void {
    const isDelete = verb === 'delete'
    const prefix = isDelete || isStoreVerb(verb) ? this.#prefixOf(key) : null
    if (prefix) prefix[isDelete ? 'del' : 'set']++
  }

  #prefixOf(key: string): PrefixCounts | null {
    const end = key.indexOf(DELIMITER)
    if (end === -1) return null
    const prefix = key.slice(0, end)
    const known = this.#prefixes.get(prefix)
    if (known || this.#prefixes.size >= PREFIXES_MAX) return known ?? null
    const counts = { get: 0, hit: 0, set: 0, del: 0 }
    this.#prefixes.set(prefix, counts)
    return counts
  }
}

function isNumber(line: string): boolean {
  return /^\d/.test(line)
}

/** The key's word in a canonical command that has one. */
function keyOf(command: Buffer): string {
  const start = command.indexOf(' ') + 1
  const lineEnd = command.indexOf('\r\n')
  const blank = command.indexOf(' ', start)
  const end = blank === -1 ? lineEnd : Math.min(blank, lineEnd)
  return command.toString('latin1', start, end)
}
