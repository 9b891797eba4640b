/**
 * Who should be in the configuration: from the configuration, the servers that
 * are registered, and their health, to the next change or the reason why not.
 * Pure. One step at a time; the caller proposes it and asks again later.
 */

import type { ServerAddress } from '../protocol/balancer.ts'
import { memberOf, voterIds } from './raft/config.ts'
import type { Config, Member, ServerId } from './raft/types.ts'

/** Voters wanted; an odd number, because an even one survives no more deaths. */
const VOTERS_MAX = 5
/** Voters and servers that stand by. */
const MEMBERS_MAX = 16
/** With three voters once reached, no fewer are wanted again. */
const FLOOR_MAX = 3

export interface Health {
  /** Whether the server has (nearly) all of the log. */
  isCaughtUp(id: ServerId): boolean
}

export type Decision =
  | { readonly change: Config; readonly why: string }
  | { readonly change: null; readonly why: string }

export function nextConfig(
  config: Config,
  registered: readonly ServerAddress[],
  health: Health,
): Decision {
  const moved = registered.find((server) => {
    const member = memberOf(config, server.id)
    return member && !isSameAddress(member, server)
  })
  if (moved) {
    const members = config.members.map((member) =>
      member.id === moved.id ? { ...member, ...addressOf(moved) } : member,
    )
    return { change: { ...config, members }, why: `server ${moved.id} has a new address` }
  }

  const stranger = registered.find((server) => !memberOf(config, server.id))
  if (stranger && config.members.length < MEMBERS_MAX) {
    const members = [...config.members, { ...addressOf(stranger), voter: false }]
    return { change: { ...config, members }, why: `server ${stranger.id} joins as a learner` }
  }

  const voterCount = voterIds(config).length
  const learners = config.members.filter((member) => !member.voter)
  if (learners.length === 0) return { change: null, why: 'every server is a voter' }
  if (voterCount >= VOTERS_MAX) {
    return { change: null, why: `${VOTERS_MAX} voters are enough; the rest stand by` }
  }
  const isHere = (id: ServerId) => registered.some((server) => server.id === id)
  const ready = learners.find(({ id }) => isHere(id) && health.isCaughtUp(id))
  if (!ready) return { change: null, why: 'learners are catching up' }
  const members = config.members.map((member) =>
    member.id === ready.id ? { ...member, voter: true } : member,
  )
  const floor = Math.max(config.floor, Math.min(voterCount + 1, FLOOR_MAX))
  return { change: { members, floor }, why: `server ${ready.id} has caught up and becomes a voter` }
}

function addressOf({ id, cip, cport, sip, sport }: ServerAddress): Omit<Member, 'voter'> {
  return { id, cip, cport, sip, sport }
}

function isSameAddress(a: ServerAddress, b: ServerAddress): boolean {
  return a.cip === b.cip && a.cport === b.cport && a.sip === b.sip && a.sport === b.sport
}
