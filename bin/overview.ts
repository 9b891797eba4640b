/**
 * What `store status` shows of a cluster, from the answers of its load balancers and
 * servers. Pure. The overview is what `--json` prints: docs/STATUS.md has each field.
 *
 * What is known of a member only where it runs (items, disk, requests) comes from its own
 * `stats`, and how far it lags from the leader's `status`: load balancers hear a follower
 * once a second, in which a busy leader is 20,000 entries further. So no report between
 * servers and load balancers had to grow, and servers of any version can be shown: what
 * one does not tell is null. Requests a second are the difference of two samples.
 */
import type { Address } from '../src/io/io.ts'
import type { ClusterStatus, MemberStatus } from '../src/protocol/status.ts'

/** What was heard. */
export interface Observation {
  /** As the first of those asked tells it. */
  readonly status: ClusterStatus
  /** The load balancers that were asked; none where a server was. */
  readonly balancers: readonly BalancerAnswer[]
  /** As the leader itself tells it; null where it does not. */
  readonly leaderStatus: ClusterStatus | null
  /** Of members, by id. */
  readonly samples: ReadonlyMap<string, Sample>
  /** Samples taken before these. */
  readonly before: ReadonlyMap<string, Sample>
  /** Why a member that was asked has no sample. */
  readonly silences: ReadonlyMap<string, string>
}

export interface BalancerAnswer {
  readonly host: string
  readonly port: number
  /** null where it answered. */
  readonly failure: string | null
}

/** A member's `stats`, and when they came. */
export interface Sample {
  readonly atMs: number
  readonly stats: ReadonlyMap<string, string>
}

/** In the order in which they are shown. */
export const PROBLEM_KINDS = [
  'noLeader',
  'silent',
  'condition',
  'disk',
  'balancer',
  'figures',
] as const

export interface Problem {
  readonly kind: (typeof PROBLEM_KINDS)[number]
  /** The server it is about; null where it is about none, or several. */
  readonly server: string | null
  /** For people. */
  readonly text: string
}

export interface Overview extends Omit<ClusterStatus, 'members'> {
  readonly problems: readonly Problem[]
  readonly balancers: readonly BalancerAnswer[]
  /** Of all servers that tell. */
  readonly readsPerSecond: number | null
  readonly writesPerSecond: number | null
  readonly members: readonly MemberOverview[]
}

export interface MemberOverview extends MemberStatus, Figures {
  /** Entries of the leader's log that it is not known to have. */
  readonly lag: number | null
}

/** What a server tells of itself alone. */
export interface Figures {
  readonly items: number | null
  readonly itemBytes: number | null
  /** 0 where there is none. */
  readonly memoryLimitBytes: number | null
  readonly diskFreeBytes: number | null
  /** Writes end rather than that less is left free; 0 where nothing is kept. */
  readonly diskKeptBytes: number | null
  /** Entries of the log that the keystore file does not have. */
  readonly logBytes: number | null
  readonly keystoreBytes: number | null
  readonly connections: number | null
  /** Of clients that are connected to this server. */
  readonly readsPerSecond: number | null
  readonly writesPerSecond: number | null
}

/** What load balancers say of a server that has registered and is in no configuration. */
const NO_MEMBER = 'no member'

export function overviewOf(observation: Observation): Overview {
  const { status, balancers } = observation
  const leaderStatus = leading(observation)
  const lastIndex = leaderIndex(status, leaderStatus)
  const members = status.members.map((told): MemberOverview => {
    const known = leaderStatus?.members.find(({ id }) => id === told.id)
    const member = filled(told, known)
    const position = positionOf(member, known)
    const isMeant = position !== null && lastIndex !== null && isMember(member)
    const lag = isMeant ? Math.max(0, lastIndex - position) : null
    return { ...member, lastIndex: position, lag, ...figuresOf(observation, member.id) }
  })
  const { cluster, leader, whyNoLeader } = status
  return {
    ...{ cluster, leader, whyNoLeader },
    membership: status.membership ?? leaderStatus?.membership ?? null,
    reads: status.reads ?? leaderStatus?.reads ?? null, // older versions have one
    problems: problemsOf(observation, members),
    balancers,
    readsPerSecond: sum(members.map((member) => member.readsPerSecond)),
    writesPerSecond: sum(members.map((member) => member.writesPerSecond)),
    members,
  }
}

export function isMember({ note }: MemberStatus): boolean {
  return note !== NO_MEMBER
}

/** A leader that was deposed meanwhile tells nothing. */
function leading({ leaderStatus, status }: Observation): ClusterStatus | null {
  return leaderStatus !== null && leaderStatus.leader === status.leader ? leaderStatus : null
}

function leaderIndex(status: ClusterStatus, leaderStatus: ClusterStatus | null): number | null {
  const { members } = leaderStatus ?? status
  return members.find(({ id }) => id === status.leader)?.lastIndex ?? null
}

/** What is not known of a member to whom was asked, the leader may know. Nothing else gets in. */
function filled(told: MemberStatus, known: MemberStatus | undefined): MemberStatus {
  const { id, cip, cport, sip, sport, voter } = told
  const fill = <K extends keyof MemberStatus>(name: K) => told[name] ?? known?.[name] ?? null
  return {
    ...{ id, cip, cport, sip, sport, voter },
    cluster: fill('cluster'),
    role: fill('role'),
    term: fill('term'),
    lastTerm: fill('lastTerm'),
    lastIndex: fill('lastIndex'),
    commitIndex: fill('commitIndex'),
    appliedIndex: fill('appliedIndex'),
    lastHeardMsAgo: fill('lastHeardMsAgo'),
    alive: fill('alive'),
    note: fill('note'),
  }
}

/** A new leader does not know yet what a silent server has; it has what it once called committed. */
function positionOf(told: MemberStatus, known: MemberStatus | undefined): number | null {
  if (!known || known.lastIndex === null) return told.lastIndex
  return Math.max(known.lastIndex, told.commitIndex ?? 0)
}

// ---------------------------------------------------------------- figures

const READS = ['cmd_get']
const WRITES = [
  ...['cmd_set', 'cmd_touch', 'cmd_flush', 'delete_hits', 'delete_misses'],
  ...['incr_hits', 'incr_misses', 'decr_hits', 'decr_misses'],
]

function figuresOf({ samples, before }: Observation, id: string): Figures {
  const sample = samples.get(id)
  const stat = (name: string) => (sample ? countOf(sample, name) : null)
  return {
    items: stat('curr_items'),
    itemBytes: stat('bytes'),
    memoryLimitBytes: stat('limit_maxbytes'),
    diskFreeBytes: stat('disk_free'),
    diskKeptBytes: stat('disk_kept_free'),
    logBytes: stat('log_bytes'),
    keystoreBytes: stat('keystore_bytes'),
    connections: stat('curr_connections'),
    readsPerSecond: rateOf(before.get(id), sample, READS),
    writesPerSecond: rateOf(before.get(id), sample, WRITES),
  }
}

function countOf({ stats }: Sample, name: string): number | null {
  const text = stats.get(name)
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : null
}

/** Not known where the server was started again meanwhile, or its counts were reset. */
function rateOf(
  before: Sample | undefined,
  now: Sample | undefined,
  names: readonly string[],
): number | null {
  if (!before || !now || now.atMs <= before.atMs) return null
  if (before.stats.get('pid') !== now.stats.get('pid')) return null
  const total = (sample: Sample) => sum(names.map((name) => countOf(sample, name))) ?? 0
  const count = total(now) - total(before)
  return count < 0 ? null : (1_000 * count) / (now.atMs - before.atMs)
}

/** Of what is known; null where nothing is. */
function sum(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null)
  return known.length === 0 ? null : known.reduce((total, value) => total + value, 0)
}

// ---------------------------------------------------------------- problems

function problemsOf(observation: Observation, members: readonly MemberOverview[]): Problem[] {
  const { status, balancers } = observation
  const problems = members.filter(isMember).flatMap(problemsOfMember)
  if (status.leader === null) {
    const text = `no leader: ${status.whyNoLeader ?? 'nobody says why'}`
    problems.push({ kind: 'noLeader', server: null, text })
  }
  for (const { failure } of balancers) {
    if (failure !== null) problems.push({ kind: 'balancer', server: null, text: failure })
  }
  problems.push(...withoutFigures(observation.silences))
  const rank = ({ kind }: Problem) => PROBLEM_KINDS.indexOf(kind)
  return problems.sort((a, b) => rank(a) - rank(b))
}

function problemsOfMember(member: MemberOverview): Problem[] {
  const { id: server, alive, note } = member
  const name = `server ${server}, ${member.cip}:${member.cport},`
  if (alive === false) {
    const why = note ?? `last heard ${describeAgo(member.lastHeardMsAgo)}`
    return [{ kind: 'silent', server, text: `${name} does not answer: ${why}` }]
  }
  const condition = conditionIn(member)
  if (condition) return [{ kind: 'condition', server, text: `${name} ${condition}` }]
  const { diskFreeBytes: free, diskKeptBytes: kept } = member
  if (free === null || kept === null || free >= 2 * kept) return []
  const sizes = `${sizeText(free)} free, writes end at ${sizeText(kept)}`
  return [{ kind: 'disk', server, text: `${name} disk low: ${sizes}` }]
}

/**
 * A learner's note begins with what is no problem: that it is one, and how it gets on. That
 * stands there for a moment longer when it has become a voter.
 */
function conditionIn({ note }: MemberStatus): string {
  return note?.replace(/^learner, [^;]*(; )?/, '') ?? ''
}

/** Servers that keep their figures for the same reason, a login for one, are named together. */
function withoutFigures(silences: ReadonlyMap<string, string>): Problem[] {
  const byWhy = new Map<string, string[]>()
  for (const [id, why] of silences) {
    const ids = byWhy.get(why)
    if (ids) ids.push(id)
    else byWhy.set(why, [id])
  }
  return [...byWhy].map(([why, ids]) => ({
    kind: 'figures',
    server: ids.length === 1 ? (ids[0] ?? null) : null,
    text: `no figures of ${ids.join(', ')}: ${why}`,
  }))
}

// ---------------------------------------------------------------- words

export function describeAgo(ms: number | null): string {
  if (ms === null) return 'never'
  return `${describeSpan(ms)} ago`
}

export function describeSpan(ms: number): string {
  const seconds = ms / 1_000
  if (seconds < 100) return `${seconds.toFixed(1)} s`
  return seconds < 6_000 ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds / 3_600)} h`
}

/** Five characters at the most, in powers of 1024, as `df -h` has it. */
export function sizeText(bytes: number): string {
  const units = ['B', 'K', 'M', 'G', 'T', 'P']
  let unit = 0
  let size = bytes
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024
    unit++
  }
  // Rounded down: what is free is not more than that.
  const text = size < 10 && unit > 0 ? (Math.floor(10 * size) / 10).toFixed(1) : Math.floor(size)
  return `${text}${units[unit]}`
}

/** Six characters at the most. */
export function countText(count: number): string {
  if (count < 100_000) return Math.round(count).toLocaleString('en-US')
  if (count < 1e6) return `${Math.floor(count / 1e3)}k`
  if (count < 1e9) return `${(Math.floor(count / 1e5) / 10).toFixed(1)}M`
  return `${(Math.floor(count / 1e8) / 10).toFixed(1)}G`
}

export function addressText({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
