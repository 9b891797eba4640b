/**
 * What a load balancer knows and does. Pure: time and datagrams in, datagrams
 * to send and a file to write out.
 *
 * It suspects; the voters decide. When the leader is silent it asks the other
 * servers how far their logs go and asks the best voter to campaign: highest
 * last term, then highest last index, random among equals. Votes and terms make
 * that safe, so a wrong suspicion, or two load balancers, cost time and never data.
 *
 * First start: with two servers registered, and none of an older cluster, the
 * first one that came is asked to form the cluster. That choice is kept on disk
 * before anyone hears of it and never made again: only that server may form it.
 * Where servers have several balancers, only the first of their list forms one.
 */
import type { Address } from '../io/io.ts'
import {
  type Registration,
  type Report,
  SERVERS_MAX,
  type ToBalancer,
  type ToServer,
} from '../protocol/balancer.ts'
import { isSuccessor } from '../protocol/cluster-id.ts'
import type { MemberStatus } from '../protocol/status.ts'

export interface CoordinatorTiming {
  /** Between heartbeats to the leader. */
  readonly heartbeatMs: number
  /** A leader silent for so long is suspected. */
  readonly suspectMs: number
  /** How long the others have to say how far their logs go. */
  readonly askMs: number
  /** How long a campaign may take before the next is asked for. */
  readonly campaignMs: number
  /** Servers of an old cluster get so long to register before a new one is formed. */
  readonly formAfterMs: number
  /** A leader silent longer than this is not offered to clients. */
  readonly offerMs: number
  /** Silent longer than this, a server counts as dead. */
  readonly deadMs: number
  /** Silent longer than this, a server is forgotten. */
  readonly forgetMs: number
}

export const DEFAULT_COORDINATOR_TIMING: CoordinatorTiming = {
  heartbeatMs: 100,
  suspectMs: 400,
  askMs: 100,
  campaignMs: 600,
  formAfterMs: 1_200,
  offerMs: 1_000,
  deadMs: 3_000,
  forgetMs: 3_600_000,
}

/** What it keeps on disk. */
export interface ClusterRecord {
  readonly cluster: string
  /** The server that may form it; null where it was formed before this balancer knew. */
  readonly formedBy: string | null
}

export type Action =
  | { readonly kind: 'send'; readonly to: Address; readonly message: ToServer }
  /** To be durable before `clusterSaved` is called. */
  | { readonly kind: 'save'; readonly record: ClusterRecord }

/** Which servers `get-servers` names, and in what order. */
export const DISCOVER_POLICIES = ['leader', 'round-robin', 'least-requests'] as const
export type DiscoverPolicy = (typeof DISCOVER_POLICIES)[number]

/** A server that lacks more entries of the leader's is not offered. */
const OFFER_LAG_MAX = 1_000

const RATE_MS = 1_000

/** What a server's clients asked of it lately. */
interface Requests {
  readonly perSecond: number
  /** As of the last time that the rate was taken. */
  readonly count: number
  readonly sinceMs: number
}

interface Server {
  report: Report
  requests: Requests
  /** Of this balancer in the server's list; null before it has registered. */
  place: number | null
  from: Address
  readonly firstHeardMs: number
  lastHeardMs: number
}

/** What is being done about a leader that is missing. */
type Search =
  | { readonly phase: 'idle' }
  | { readonly phase: 'asking'; readonly sinceMs: number }
  | { readonly phase: 'campaigning'; readonly sinceMs: number; readonly id: string }

export class Coordinator {
  readonly #timing: CoordinatorTiming
  readonly #random: () => number
  readonly #createClusterId: () => string
  readonly #startedMs: number
  readonly #servers = new Map<string, Server>()
  #record: ClusterRecord | null
  #isSaved: boolean
  #heartbeatDueMs = 0
  /** Whose turn it is to be named first. */
  #turn = 0
  #search: Search = { phase: 'idle' }
  #leaderlessSinceMs: number

  constructor(options: {
    readonly nowMs: number
    readonly record: ClusterRecord | null
    readonly random: () => number
    readonly createClusterId: () => string
    readonly timing?: CoordinatorTiming
  }) {
    this.#startedMs = options.nowMs
    this.#leaderlessSinceMs = options.nowMs
    this.#record = options.record
    this.#isSaved = options.record !== null
    this.#random = options.random
    this.#createClusterId = options.createClusterId
    this.#timing = options.timing ?? DEFAULT_COORDINATOR_TIMING
  }

  get cluster(): string | null {
    return this.#record?.cluster ?? null
  }

  /** That record is durable; nobody hears of it if it is not the last one any more. */
  clusterSaved(record: ClusterRecord): void {
    if (record === this.#record) this.#isSaved = true
  }

  receive(nowMs: number, message: ToBalancer, from: Address): Action[] {
    const { server: report } = message
    const known = this.#servers.get(report.id)
    if (!known && this.#servers.size >= SERVERS_MAX && !this.#forgetOne(nowMs)) return []
    const { requestCount } = report
    if (known) {
      const requests = counted(known.requests, requestCount, nowMs)
      Object.assign(known, { report, from, requests, lastHeardMs: nowMs })
    } else {
      const requests = { perSecond: 0, count: requestCount, sinceMs: nowMs }
      const heard = { firstHeardMs: nowMs, lastHeardMs: nowMs, requests }
      this.#servers.set(report.id, { report, place: null, from, ...heard })
    }
    const actions = this.#maybeAdopt(nowMs, report)
    if (message.type === 'register') {
      const server = this.#servers.get(report.id)
      if (server) server.place = message.place
      actions.push(...this.#answerRegister(nowMs, report, message.place, from))
    }
    return actions
  }

  /** Room for a new server: the one that is dead longest goes. */
  #forgetOne(nowMs: number): boolean {
    const [oldest] = [...this.#servers.values()].sort((a, b) => a.lastHeardMs - b.lastHeardMs)
    if (!oldest || nowMs - oldest.lastHeardMs <= this.#timing.deadMs) return false
    return this.#servers.delete(oldest.report.id)
  }

  tick(nowMs: number): Action[] {
    for (const [id, server] of this.#servers) {
      if (nowMs - server.lastHeardMs > this.#timing.forgetMs) this.#servers.delete(id)
    }
    if (!this.#record) return this.#maybeForm(nowMs)
    return [...this.#heartbeat(nowMs), ...this.#watchLeader(nowMs)]
  }

  /** The server that leads, as far as is known. */
  leader(nowMs: number): Report | null {
    const server = this.#leaderServer(nowMs)
    if (!server || nowMs - server.lastHeardMs > this.#timing.offerMs) return null
    return server.report
  }

  /** Servers that take requests, the one to try first in front; none without a leader. */
  servers(nowMs: number, policy: DiscoverPolicy): Report[] {
    const leader = this.leader(nowMs)
    if (!leader) return []
    if (policy === 'leader') return [leader]
    const able = this.#live(nowMs).filter(({ report }) => {
      const lag = leader.commitIndex - report.appliedIndex
      return report.cluster === this.cluster && report.leader === leader.id && lag <= OFFER_LAG_MAX
    })
    if (policy === 'least-requests')
      able.sort((a, b) => a.requests.perSecond - b.requests.perSecond)
    else able.push(...able.splice(0, this.#turn++ % Math.max(1, able.length)))
    return able.map(({ report }) => report)
  }

  /** Why there is no leader, for people. */
  whyNoLeader(nowMs: number): string {
    const live = this.#live(nowMs)
    if (live.length === 0) return 'no server has registered'
    if (!this.#record) {
      if (live.length === 1) return 'one server has registered, a new cluster needs two'
      if (live.every(({ place }) => place !== 0)) {
        return 'waiting for the first load balancer of their list to form a cluster'
      }
      return 'forming a cluster'
    }
    const members = live.filter((server) => server.report.cluster === this.cluster)
    const { formedBy } = this.#record
    if (members.every((server) => server.report.lastIndex === 0) && formedBy !== null) {
      return `waiting for server ${formedBy}, which shall form the cluster or has formed it`
    }
    const voters = members.filter((server) => server.report.voter)
    const goneMs = Math.round(nowMs - this.#leaderlessSinceMs)
    const search =
      this.#search.phase === 'campaigning'
        ? `server ${this.#search.id} was asked to campaign`
        : 'asking the servers how far their logs go'
    return `none for ${goneMs} ms, ${voters.length} voters answer, ${search}`
  }

  status(nowMs: number): MemberStatus[] {
    const members = this.leader(nowMs)?.members
    const known = [...this.#servers.values()].map(({ report, lastHeardMs }) => ({
      ...statusOf(report, members),
      lastHeardMsAgo: Math.round(nowMs - lastHeardMs),
      alive: nowMs - lastHeardMs <= this.#timing.deadMs,
    }))
    // Members that have not registered with this balancer yet: it may be new, and they dead.
    const others = (members ?? [])
      .filter(({ id }) => !this.#servers.has(id))
      .map((member) => ({ ...UNHEARD, ...member, cluster: this.cluster }))
    return [...known, ...others].sort((a, b) => a.cip.localeCompare(b.cip) || a.cport - b.cport)
  }

  // ---------------------------------------------------------------- forming

  #answerRegister(nowMs: number, report: Report, place: number, to: Address): Action[] {
    const isStranger = this.#isStranger(report)
    const record = this.#isSaved ? this.#record : null
    const refused = record && isStranger ? refusal(report.cluster ?? '', record.cluster) : undefined
    if (record?.formedBy === report.id && report.lastIndex === 0 && !isStranger) {
      return [{ kind: 'send', to, message: { type: 'form', cluster: record.cluster } }]
    }
    const message: ToServer = {
      type: 'registered',
      cluster: record?.cluster ?? null,
      servers: this.#membersKnown(nowMs),
      place,
      refused,
    }
    return [{ kind: 'send', to, message }]
  }

  /** A server without data may follow its cluster into a recovery. */
  #isStranger({ cluster, lastIndex }: Report): boolean {
    if (cluster === null || cluster === this.cluster) return false
    return lastIndex > 0 || !isSuccessor(this.cluster ?? '', cluster)
  }

  /** Servers of this cluster, and new ones that may join it. */
  #membersKnown(nowMs: number): Registration[] {
    return [...this.#servers.values()]
      .filter(({ report }) => report.cluster === null || report.cluster === this.cluster)
      .map(({ report: { id, cip, cport, sip, sport, protocol }, lastHeardMs }) => {
        const silentMs = Math.floor(nowMs - lastHeardMs)
        return { id, cip, cport, sip, sport, protocol, silentMs }
      })
  }

  /**
   * A server of an older cluster tells which one it is, or that it was recovered under a new epoch:
   * from a cluster that has a leader nothing has to be recovered, whatever was tried.
   */
  #maybeAdopt(nowMs: number, { cluster }: Report): Action[] {
    if (cluster === null || this.leader(nowMs)) return []
    if (this.#record && !isSuccessor(cluster, this.#record.cluster)) return []
    return this.#save({ cluster, formedBy: null })
  }

  #maybeForm(nowMs: number): Action[] {
    const live = this.#live(nowMs).filter(({ place }) => place === 0)
    if (live.length < 2 || nowMs - this.#startedMs < this.#timing.formAfterMs) return []
    const [first] = live.sort((a, b) => a.firstHeardMs - b.firstHeardMs)
    if (!first) return []
    return this.#save({ cluster: this.#createClusterId(), formedBy: first.report.id })
  }

  #save(record: ClusterRecord): Action[] {
    this.#record = record
    this.#isSaved = false
    return [{ kind: 'save', record }]
  }

  // ---------------------------------------------------------------- the leader

  #live(nowMs: number): Server[] {
    return [...this.#servers.values()].filter(
      (server) => nowMs - server.lastHeardMs <= this.#timing.deadMs,
    )
  }

  /** The newest term's leader that this balancer hears, else the one that the others follow. */
  #leaderServer(nowMs: number): Server | null {
    const members = this.#live(nowMs).filter(({ report }) => report.cluster === this.cluster)
    let newest: Server | null = null
    for (const server of members) {
      if (server.report.role !== 'leader') continue
      if (!newest || server.report.term > newest.report.term) newest = server
    }
    const newestTerm = Math.max(0, ...members.map(({ report }) => report.term))
    if (newest && newest.report.term === newestTerm) return newest
    // A leader whose own word has not come yet: those who follow it name it.
    for (const { report } of members) {
      const named = report.leader === null ? undefined : this.#servers.get(report.leader)
      if (report.term === newestTerm && named && members.includes(named)) return named
    }
    return null
  }

  #heartbeat(nowMs: number): Action[] {
    if (nowMs < this.#heartbeatDueMs) return []
    this.#heartbeatDueMs = nowMs + this.#timing.heartbeatMs
    const leader = this.#leaderServer(nowMs)
    if (!leader) return []
    return [{ kind: 'send', to: leader.from, message: { type: 'lbHeartbeat' } }]
  }

  #watchLeader(nowMs: number): Action[] {
    const leader = this.#leaderServer(nowMs)
    if (leader && nowMs - leader.lastHeardMs <= this.#timing.suspectMs) {
      this.#leaderlessSinceMs = leader.lastHeardMs
      this.#search = { phase: 'idle' }
      return []
    }
    const search = this.#search
    switch (search.phase) {
      case 'idle': {
        if (nowMs - this.#leaderlessSinceMs < this.#timing.suspectMs) return []
        if (this.#live(nowMs).every(({ report }) => report.lastIndex === 0)) return [] // forming
        this.#search = { phase: 'asking', sinceMs: nowMs }
        return this.#live(nowMs)
          .filter((server) => server !== leader)
          .map(({ from }) => ({ kind: 'send', to: from, message: { type: 'status' } }))
      }
      case 'asking': {
        if (nowMs - search.sinceMs < this.#timing.askMs) return []
        const best = this.#bestVoter(search.sinceMs)
        if (!best) {
          this.#search = { phase: 'idle' }
          return []
        }
        this.#search = { phase: 'campaigning', sinceMs: nowMs, id: best.report.id }
        return [{ kind: 'send', to: best.from, message: { type: 'campaign' } }]
      }
      case 'campaigning':
        if (nowMs - search.sinceMs >= this.#timing.campaignMs) this.#search = { phase: 'idle' }
        return []
    }
  }

  /** Among those heard since: the longest log decides, dice between equals. */
  #bestVoter(sinceMs: number): Server | null {
    const voters = [...this.#servers.values()].filter(
      ({ report, lastHeardMs }) =>
        report.voter && report.cluster === this.cluster && lastHeardMs >= sinceMs,
    )
    const compare = ({ report: a }: Server, { report: b }: Server) =>
      b.lastTerm - a.lastTerm || b.lastIndex - a.lastIndex
    const [first] = voters.sort(compare)
    if (!first) return null
    const equals = voters.filter((voter) => compare(voter, first) === 0)
    return equals[Math.floor(this.#random() * equals.length)] ?? first
  }
}

function refusal(theirs: string, ours: string): string {
  if (isSuccessor(ours, theirs)) {
    return `cluster ${theirs} was recovered without it, as ${ours}: move its data directory away, and it joins as a new server`
  }
  if (isSuccessor(theirs, ours)) {
    return `it was recovered as ${theirs}, but cluster ${ours} has a leader and lost nothing: move its data directory away, and it joins as a new server`
  }
  return `it belongs to cluster ${theirs}, this load balancer to ${ours}`
}

/** Reports close to each other say little: a rate is taken over a second or more. */
function counted(requests: Requests, count: number, nowMs: number): Requests {
  const elapsedMs = nowMs - requests.sinceMs
  if (elapsedMs < RATE_MS) return requests
  const isRestarted = count < requests.count
  const perSecond = isRestarted ? 0 : (1_000 * (count - requests.count)) / elapsedMs
  return { perSecond, count, sinceMs: nowMs }
}

const UNHEARD = {
  role: null,
  term: null,
  lastTerm: null,
  lastIndex: null,
  commitIndex: null,
  appliedIndex: null,
  lastHeardMsAgo: null,
  alive: false,
}

/** Who is a member, and what is up with it, the leader knows best. */
function statusOf(
  report: Report,
  members: Report['members'],
): Omit<MemberStatus, 'lastHeardMsAgo' | 'alive'> {
  const {
    reads: _,
    membership: __,
    members: ___,
    leader: ____,
    requestCount: _____,
    ...rest
  } = report
  if (!members) return { ...rest, note: null }
  const member = members.find(({ id }) => id === report.id)
  return { ...rest, voter: member?.voter ?? false, note: member ? member.note : 'no member' }
}
