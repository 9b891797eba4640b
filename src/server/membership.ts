/**
 * Who should be in the configuration: from the configuration, the servers that
 * are registered, their health and what people asked for, to the next change or
 * the reason why not. Pure. One step at a time; the caller proposes it and asks
 * again later.
 *
 * The rules, the first that applies is taken:
 *   1. A server at a new address is the same server.
 *   2. Who shall leave leaves, and who was silent for too long is removed, if
 *      those that stay are a live quorum and no fewer than the floor. At the
 *      floor a learner that stands by gets its vote first.
 *   3. A learner that has caught up becomes a voter, up to the wanted number, if
 *      the larger set has a live quorum. While one of three or five voters is missing
 *      it waits: with one more the quorum is larger too, and needs the newcomer.
 *   4. Voters beyond the wanted number become learners.
 *   5. A live server that registers joins as a learner, if it speaks what the members do.
 *
 * Before all of these: when the members, and all servers that register, speak a later
 * protocol, the configuration says so, and the log may have what came with it.
 *
 * Source: DESIGN's floor rule; Consul's autopilot for what goes wrong without one.
 */
import type { Registration, ServerAddress } from '../protocol/balancer.ts'
import { configProtocol, EMPTY_CONFIG, memberOf, quorumSize, voterIds } from './raft/config.ts'
import type { Config, Member, ServerId } from './raft/types.ts'

/** Silent longer than this, people are told. */
const SILENT_MS = 3_000
/** A server registers every second; one that did not lately is no newcomer. */
const REGISTERED_MS = 1_500
/** Voters and servers that stand by. */
const MEMBERS_MAX = 16
/** With three voters once reached, no fewer are wanted again. */
const FLOOR_MAX = 3

export interface MembershipRules {
  /** A member silent for so long is removed or replaced. */
  readonly evictAfterMs: number
  /** Voters wanted; an odd number, because an even one survives no more deaths. */
  readonly votersMax: number
}

export const DEFAULT_RULES: MembershipRules = { evictAfterMs: 30_000, votersMax: 5 }

export interface Health {
  /** Since the leader last saw it do what a live server does. */
  readonly silentMs: number
  /** Whether it does now what a live server does: only then does it count for a quorum to come. */
  readonly isLive: boolean
  /** Entries of the leader's log that it is not known to have. */
  readonly lag: number
  /** Whether it has (nearly) all of the log. */
  readonly isCaughtUp: boolean
  /** What it speaks; null where it did not say since this server started. */
  readonly protocol: number | null
}

export interface Situation {
  readonly config: Config
  /** The leader, who asks. */
  readonly self: ServerId
  /** Servers that load balancers know. */
  readonly registered: readonly Registration[]
  /** Of members. */
  readonly health: (id: ServerId) => Health
  /** Servers that shall leave. */
  readonly leaving: ReadonlySet<ServerId>
  readonly rules: MembershipRules
}

export interface Decision {
  readonly change: Config | null
  /** What is done, or why nothing is. */
  readonly why: string
  /** The leader itself shall leave: another one has to lead first. */
  readonly handOver: boolean
  /** About each server, for people; none for a voter that is well. */
  readonly notes: ReadonlyMap<ServerId, string>
}

export function nextConfig(situation: Situation): Decision {
  return new Membership(situation).decide()
}

class Membership {
  readonly #situation: Situation
  readonly #config: Config
  readonly #voters: readonly ServerId[]
  readonly #notes = new Map<ServerId, string>()

  constructor(situation: Situation) {
    this.#situation = situation
    this.#config = situation.config
    this.#voters = voterIds(situation.config)
  }

  decide(): Decision {
    const learners = this.#config.members.filter(({ voter }) => !voter)
    for (const { id } of learners) this.#notes.set(id, this.#learnerNote(id))
    return (
      this.#upgraded() ??
      this.#moved() ??
      this.#gone() ??
      this.#caughtUp(learners) ??
      this.#tooMany() ??
      this.#stranger() ??
      this.#nothing(learners)
    )
  }

  #moved(): Decision | null {
    const { registered } = this.#situation
    const moved = registered.find((server) => {
      const member = memberOf(this.#config, server.id)
      return member && server.silentMs < REGISTERED_MS && !isSameAddress(member, server)
    })
    if (!moved) return null
    const change = (member: Member) => ({ ...member, ...addressOf(moved) })
    return this.#change(this.#with(moved.id, change), `server ${moved.id} has a new address`)
  }

  /** Members that shall leave or are dead: removed, replaced, or kept with the reason. */
  #gone(): Decision | null {
    const { leaving, rules } = this.#situation
    const dead = this.#config.members
      .filter(({ id }) => !leaving.has(id) && this.#silentMs(id) >= rules.evictAfterMs)
      // One that load balancers hear would join again at once: it stays, as a learner.
      .filter(({ id, voter }) => voter || !this.#isRegistered(id))
      .sort((a, b) => this.#silentMs(b.id) - this.#silentMs(a.id))
    const left = this.#config.members.filter(({ id }) => leaving.has(id))
    let decision: Decision | null = null
    for (const member of [...left, ...dead]) decision ??= this.#remove(member)
    for (const id of this.#voters) {
      if (this.#silentMs(id) >= SILENT_MS && !this.#notes.has(id)) {
        const afterS = Math.ceil(rules.evictAfterMs / 1_000)
        this.#notes.set(id, `silent ${seconds(this.#silentMs(id))}, dead after ${afterS} s`)
      }
    }
    return decision
  }

  #remove({ id, voter }: Member): Decision | null {
    const { self, leaving } = this.#situation
    const cause = leaving.has(id) ? 'shall leave' : `dead ${seconds(this.#silentMs(id))}`
    const without = this.#config.members.filter((member) => member.id !== id)
    const removed = { ...this.#config, members: without }
    if (!voter) return this.#change(removed, `server ${id}, a learner, is removed: ${cause}`)

    const rest = this.#voters.filter((other) => other !== id)
    if (this.#liveCount(rest) < quorumSize(rest.length)) {
      this.#notes.set(id, `${cause}, kept: the other voters alone would have no live quorum`)
      return null
    }
    if (rest.length >= this.#config.floor) {
      if (id === self) {
        return { ...this.#nothing([]), why: `server ${id} ${cause}: handing over`, handOver: true }
      }
      return this.#change(removed, `server ${id} is removed: ${cause}`)
    }
    const successor = this.#config.members.find((member) => this.#mayVote(member))
    if (successor) {
      return this.#promote(successor.id, this.#config.floor, `in place of ${id}, ${cause}`)
    }
    this.#notes.set(id, `${cause}, kept: removing it would leave ${votersText(rest.length)}`)
    return null
  }

  #caughtUp(learners: readonly Member[]): Decision | null {
    if (this.#voters.length >= this.#situation.rules.votersMax) return null
    const isAnyMissing = this.#liveCount(this.#voters) < this.#voters.length
    if (isAnyMissing && this.#voters.length % 2 === 1) return null
    const ready = learners.find((member) => this.#mayVote(member))
    const floor = Math.max(this.#config.floor, Math.min(this.#voters.length + 1, FLOOR_MAX))
    return ready ? this.#promote(ready.id, floor, 'has caught up') : null
  }

  #mayVote({ id, voter }: Member): boolean {
    if (voter || this.#situation.leaving.has(id)) return false
    if (!this.#isLive(id) || !this.#situation.health(id).isCaughtUp) return false
    return this.#liveCount(this.#voters) + 1 >= quorumSize(this.#voters.length + 1)
  }

  #promote(id: ServerId, floor: number, why: string): Decision {
    const { members } = this.#with(id, (member) => ({ ...member, voter: true }))
    return this.#change({ ...this.#config, members, floor }, `server ${id} becomes a voter: ${why}`)
  }

  #tooMany(): Decision | null {
    const { self, rules } = this.#situation
    const rest = this.#voters.length - 1
    if (this.#voters.length <= rules.votersMax || rest < this.#config.floor) return null
    if (this.#liveCount(this.#voters) < this.#voters.length) return null // one may be going anyway
    const last = this.#voters.findLast((id) => id !== self)
    if (last === undefined) return null
    const demoted = this.#with(last, (member) => ({ ...member, voter: false }))
    return this.#change(demoted, `server ${last} stands by: ${rules.votersMax} voters are enough`)
  }

  #stranger(): Decision | null {
    const { leaving } = this.#situation
    if (this.#config.members.length >= MEMBERS_MAX) return null
    const strangers = this.#strangers.filter(({ id }) => !leaving.has(id))
    const needed = configProtocol(this.#config)
    const stranger = strangers.find((server) => spokenBy(server) >= needed)
    if (!stranger) return null
    const members = [...this.#config.members, { ...addressOf(stranger), voter: false }]
    return this.#change({ ...this.#config, members }, `server ${stranger.id} joins as a learner`)
  }

  #upgraded(): Decision | null {
    // One that is down may come back as an older version than it was.
    const members = this.#config.members.map(({ id }) => {
      const { isLive, protocol } = this.#situation.health(id)
      return isLive ? (protocol ?? 0) : 0
    })
    const protocol = Math.min(...members, ...this.#strangers.map(spokenBy))
    if (protocol <= configProtocol(this.#config)) return null
    return this.#change({ ...this.#config, protocol }, `every server speaks protocol ${protocol}`)
  }

  #nothing(learners: readonly Member[]): Decision {
    const { votersMax } = this.#situation.rules
    const silent = this.#voters.filter((id) => this.#silentMs(id) >= SILENT_MS)
    const old = this.#old()
    const why =
      old.length > 0
        ? `${old.join(', ')}: of an older version, to be upgraded`
        : silent.length > 0
          ? `${silent.join(', ')} ${silent.length === 1 ? 'does' : 'do'} not answer`
          : this.#voters.length >= votersMax && learners.length > 0
            ? `${votersMax} voters are enough, ${learners.length} more stand by`
            : learners.length > 0
              ? 'learners are catching up'
              : 'every server is a voter'
    return { change: null, why, handOver: false, notes: this.#notes }
  }

  // ---------------------------------------------------------------- helpers

  /** Who keeps the members from speaking what this server does, or can't join them. */
  #old(): string[] {
    const { self, health } = this.#situation
    const wanted = health(self).protocol ?? 0
    const members = this.#config.members.filter(
      ({ id }) => (health(id).protocol ?? wanted) < wanted,
    )
    const strangers = this.#strangers.filter((server) => spokenBy(server) < wanted)
    return [
      ...members.map(({ id }) => id),
      ...strangers.map(({ id, protocol }) => (protocol ? id : `${id} or its load balancer`)),
    ]
  }

  #change(change: Config, why: string): Decision {
    return { change, why, handOver: false, notes: this.#notes }
  }

  #with(id: ServerId, change: (member: Member) => Member): Config {
    const members = this.#config.members.map((member) =>
      member.id === id ? change(member) : member,
    )
    return { ...this.#config, members }
  }

  #silentMs(id: ServerId): number {
    return id === this.#situation.self ? 0 : this.#situation.health(id).silentMs
  }

  #isLive(id: ServerId): boolean {
    return id === this.#situation.self || this.#situation.health(id).isLive
  }

  #isRegistered(id: ServerId): boolean {
    const { registered } = this.#situation
    return registered.some((server) => server.id === id && server.silentMs < REGISTERED_MS)
  }

  /** Who registers and is no member. What members speak they say themselves. */
  get #strangers(): Registration[] {
    const { registered } = this.#situation
    return registered.filter(({ id }) => !memberOf(this.#config, id) && this.#isRegistered(id))
  }

  #liveCount(ids: readonly ServerId[]): number {
    return ids.filter((id) => this.#isLive(id)).length
  }

  #learnerNote(id: ServerId): string {
    const { lag, isCaughtUp } = this.#situation.health(id)
    if (this.#silentMs(id) >= SILENT_MS) return `learner, silent ${seconds(this.#silentMs(id))}`
    if (isCaughtUp) return 'learner, stands by'
    return `learner, ${lag.toLocaleString('en-US')} entries behind`
  }
}

/** Who does not say speaks what is spoken where nothing is said. */
function spokenBy({ protocol = configProtocol(EMPTY_CONFIG) }: Registration): number {
  return protocol
}

function addressOf({ id, cip, cport, sip, sport }: ServerAddress): Omit<Member, 'voter'> {
  return { id, cip, cport, sip, sport }
}

function isSameAddress(a: ServerAddress, b: ServerAddress): boolean {
  return a.cip === b.cip && a.cport === b.cport && a.sip === b.sip && a.sport === b.sport
}

function seconds(ms: number): string {
  return Number.isFinite(ms) ? `${Math.floor(ms / 1_000)} s` : 'always'
}

function votersText(count: number): string {
  return count === 1 ? '1 voter' : `${count} voters`
}
