/**
 * The replies to `stats`, from what a server knows of itself. Pure.
 *
 * Names and spelling are memcached's, so that its tools and libraries find what
 * they look for. What a store that evicts nothing does not have is absent, or 0
 * where tools add it up. What memcached does not have comes last: `log_syncs`, and
 * what there is on the disk, which `store status` shows.
 *
 * Source: memcached's doc/protocol.txt and the replies of 1.6.45.
 */
import type { Address } from '../io/io.ts'
import { needsBase64 } from '../protocol/commands.ts'
import { canonicalUint32 } from '../protocol/numbers.ts'
import { FORMAT_ERROR } from '../protocol/replies.ts'
import { PROTOCOL_VERSION } from '../protocol/requests.ts'
import type { ReadMode } from '../protocol/status.ts'
import type { Stats } from './stats.ts'

export interface ServerFacts {
  readonly pid: number
  readonly uptimeS: number
  readonly wallMs: number
  readonly userCpuMs: number
  readonly systemCpuMs: number
  readonly itemCount: number
  readonly itemBytes: number
  readonly logSyncCount: number
  /** null before the server belongs to a cluster. */
  readonly disk: DiskFacts | null
  /** Infinity where there is none. */
  readonly memoryLimitBytes: number
  readonly itemSizeMax: number
  readonly readMode: ReadMode
  readonly connectionsMax: number
  readonly idleTimeoutS: number
  readonly verbosity: number
  readonly client: Address
  readonly isAuthNeeded: boolean
  readonly mayShutDown: boolean
  readonly connections: readonly ConnectionFacts[]
  /** Items that are there now, in no particular order. */
  readonly items: () => Iterable<ItemFacts>
}

export interface DiskFacts {
  /** null where nobody watches: without a reserve nothing is kept free. */
  readonly freeBytes: number | null
  /** Writes end rather than that less is left free. */
  readonly keptBytes: number
  /** Entries of the log that the keystore file does not have. */
  readonly logBytes: number
  readonly keystoreBytes: number
}

export interface ItemFacts {
  readonly key: string
  readonly valueBytes: number
  /** Unix milliseconds; 0 for never. */
  readonly expiresAtMs: number
}

export interface ConnectionFacts {
  readonly remote: Address
  readonly idleS: number
}

/** Subcommands can be cut short, as memcached's can: the first that begins so is meant. */
const SUBCOMMANDS = [
  'reset',
  'detail',
  'settings',
  'cachedump',
  'conns',
  'items',
  'slabs',
  'sizes',
] as const

const END = 'END\r\n'
/** All items are of this class. */
const CLASS = 1
const CLASSES_MAX = 64
/** A dump of more would keep other clients waiting. */
const DUMP_BYTES_MAX = 256 * 1024

/** @returns the whole reply to `stats` and these words. */
export function statsReply(words: readonly string[], stats: Stats, facts: ServerFacts): string {
  const [word, argument = '', limit] = words
  if (word === undefined) return list(general(stats, facts))
  switch (SUBCOMMANDS.find((subcommand) => subcommand.startsWith(word))) {
    case 'reset':
      stats.reset()
      return 'RESET\r\n'
    case 'detail':
      return detailReply(argument, stats)
    case 'settings':
      return list(settings(stats, facts))
    case 'cachedump':
      return limit === undefined
        ? 'CLIENT_ERROR bad command line\r\n'
        : dump(argument, limit, facts)
    case 'conns':
      return list(connections(facts))
    case 'items':
      return list(items(facts))
    case 'slabs':
      return list(slabs(facts))
    case 'sizes':
      return list([['sizes_status', 'disabled']])
    default:
      return 'ERROR\r\n'
  }
}

type Line = readonly [name: string, value: string | number]

function list(lines: readonly Line[]): string {
  return lines.map(([name, value]) => `STAT ${name} ${value}\r\n`).join('') + END
}

function detailReply(word: string, stats: Stats): string {
  switch (word) {
    case 'on':
    case 'off':
      stats.isDetailed = word === 'on'
      return 'OK\r\n'
    case 'dump':
      return stats.detail
    default:
      return 'CLIENT_ERROR usage: stats detail on|off|dump\r\n'
  }
}

function general(stats: Stats, facts: ServerFacts): Line[] {
  const { total_items, ...counts } = stats.counts
  const { total_connections, rejected_connections, ...commands } = counts
  return [
    ['pid', facts.pid],
    ['uptime', facts.uptimeS],
    ['time', Math.floor(facts.wallMs / 1000)],
    ['version', PROTOCOL_VERSION],
    ['pointer_size', 64],
    ['rusage_user', seconds(facts.userCpuMs)],
    ['rusage_system', seconds(facts.systemCpuMs)],
    ['max_connections', facts.connectionsMax],
    ['curr_connections', facts.connections.length],
    ['total_connections', total_connections],
    ['rejected_connections', rejected_connections],
    ['connection_structures', facts.connections.length],
    ...Object.entries(commands),
    ['get_expired', 0],
    ['get_flushed', 0],
    ['bytes_read', stats.bytesRead],
    ['bytes_written', stats.bytesWritten],
    ['limit_maxbytes', memoryLimit(facts)],
    ['accepting_conns', 1],
    ['listen_disabled_num', 0],
    ['time_in_listen_disabled_us', 0],
    ['threads', 1],
    ['bytes', facts.itemBytes],
    ['curr_items', facts.itemCount],
    ['total_items', total_items],
    ['evictions', 0],
    ['reclaimed', 0],
    ['lrutail_reflocked', 0],
    ['log_syncs', facts.logSyncCount],
    ...disk(facts.disk),
  ]
}

function disk(facts: DiskFacts | null): Line[] {
  if (!facts) return []
  const { freeBytes, keptBytes, logBytes, keystoreBytes } = facts
  return [
    ...(freeBytes === null ? [] : ([['disk_free', freeBytes]] as const)),
    ['disk_kept_free', keptBytes],
    ['log_bytes', logBytes],
    ['keystore_bytes', keystoreBytes],
  ]
}

function settings({ isDetailed }: Stats, facts: ServerFacts): Line[] {
  return [
    ['maxbytes', memoryLimit(facts)],
    ['maxconns', facts.connectionsMax],
    ['tcpport', facts.client.port],
    ['udpport', 0],
    ['inter', facts.client.host],
    ['verbosity', facts.verbosity],
    ['oldest', 0],
    ['evictions', 'off'],
    ['domain_socket', 'NULL'],
    ['umask', '700'],
    ['shutdown_command', yesNo(facts.mayShutDown)],
    ['growth_factor', '1.25'],
    ['chunk_size', 48],
    ['num_threads', 1],
    ['stat_key_prefix', ':'],
    ['detail_enabled', yesNo(isDetailed)],
    ['cas_enabled', 'yes'],
    ['binding_protocol', 'ascii'],
    ['auth_enabled_sasl', 'no'],
    ['auth_enabled_ascii', yesNo(facts.isAuthNeeded)],
    ['item_size_max', facts.itemSizeMax],
    ['read_mode', facts.readMode],
    ['maxconns_fast', 'yes'],
    ['flush_enabled', 'yes'],
    ['dump_enabled', 'yes'],
    ['lru_crawler', 'no'],
    ['lru_maintainer_thread', 'no'],
    ['idle_timeout', facts.idleTimeoutS],
    ['client_flags_size', 4],
  ]
}

function connections({ client, connections: open }: ServerFacts): Line[] {
  const own = `tcp:${client.host}:${client.port}`
  const lines: Line[] = [
    ['0:addr', own],
    ['0:state', 'conn_listening'],
    ['0:secs_since_last_cmd', 0],
  ]
  for (const [at, { remote, idleS }] of open.entries()) {
    lines.push(
      [`${at + 1}:addr`, `tcp:${remote.host}:${remote.port}`],
      [`${at + 1}:listen_addr`, own],
      [`${at + 1}:state`, idleS === 0 ? 'conn_parse_cmd' : 'conn_read'],
      [`${at + 1}:secs_since_last_cmd`, idleS],
    )
  }
  return lines
}

/** @param limit How many; 0 for as many as there may be. */
function dump(classText: string, limit: string, { items }: ServerFacts): string {
  const [classId, most] = [canonicalUint32(classText), canonicalUint32(limit)]
  if (classId === null || most === null) return `${FORMAT_ERROR}\r\n`
  if (Number(classId) >= CLASSES_MAX) return 'CLIENT_ERROR Illegal slab id\r\n'
  let left = Number(classId) === CLASS ? Number(most) || Number.POSITIVE_INFINITY : 0
  let reply = ''
  for (const { key, valueBytes, expiresAtMs } of left > 0 ? items() : []) {
    if (needsBase64(key)) continue // no line can have it
    reply += `ITEM ${key} [${valueBytes} b; ${Math.floor(expiresAtMs / 1000)} s]\r\n`
    if (--left === 0 || reply.length > DUMP_BYTES_MAX) break
  }
  return reply + END
}

function items({ itemCount }: ServerFacts): Line[] {
  if (itemCount === 0) return []
  const names = ['evicted', 'outofmemory', 'tailrepairs', 'reclaimed'] as const
  return [
    [`items:${CLASS}:number`, itemCount],
    ...names.map((name): Line => [`items:${CLASS}:${name}`, 0]),
  ]
}

function slabs({ itemCount, itemBytes }: ServerFacts): Line[] {
  return [
    ...(itemCount === 0 ? [] : ([[`${CLASS}:used_chunks`, itemCount]] as const)),
    ['active_slabs', itemCount === 0 ? 0 : 1],
    ['total_malloced', itemBytes],
  ]
}

function memoryLimit({ memoryLimitBytes }: ServerFacts): number {
  return Number.isFinite(memoryLimitBytes) ? memoryLimitBytes : 0
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(6)
}

function yesNo(is: boolean): string {
  return is ? 'yes' : 'no'
}
