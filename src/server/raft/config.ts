/** Quorum arithmetic over a configuration. Pure. */
import type { Config, Member, ServerId } from './types.ts'

export const EMPTY_CONFIG: Config = { members: [], floor: 2 }

/** What all members of a cluster speak that does not say it. */
const PROTOCOL_UNSAID = 2
/** What came with it are entries of several commands. */
const GROUPS_PROTOCOL = 5

export function configProtocol({ protocol = PROTOCOL_UNSAID }: Config): number {
  return protocol
}

/** Whether all members know entries of several commands. */
export function mayGroup(config: Config): boolean {
  return configProtocol(config) >= GROUPS_PROTOCOL
}

export function voterIds(config: Config): ServerId[] {
  return config.members.filter((member) => member.voter).map((member) => member.id)
}

export function voterCount({ members }: Config): number {
  let count = 0
  for (const { voter } of members) if (voter) count++
  return count
}

export function memberOf(config: Config, id: ServerId): Member | undefined {
  return config.members.find((member) => member.id === id)
}

export function quorumSize(voterCount: number): number {
  return Math.floor(voterCount / 2) + 1
}

/** The largest value that a quorum of the voters has reached. */
export function quorumValue(config: Config, reachedBy: (id: ServerId) => number): number {
  const { members } = config
  const needed = quorumSize(voterCount(config))
  // There are few voters and many calls: to compare all with all takes no arrays.
  let largest: number | null = null
  for (const { id, voter } of members) {
    if (!voter) continue
    const value = reachedBy(id)
    if (largest !== null && value <= largest) continue
    let count = 0
    for (const other of members) if (other.voter && reachedBy(other.id) >= value) count++
    if (count >= needed) largest = value
  }
  return largest ?? 0
}

/** Whether the voters for whom `test` holds are a quorum. */
export function isQuorum(config: Config, test: (id: ServerId) => boolean): boolean {
  let count = 0
  for (const { id, voter } of config.members) if (voter && test(id)) count++
  return count >= quorumSize(voterCount(config))
}

/**
 * Whether `next` may follow `current`: at most one server gains or loses its
 * vote, so that any two quorums meet (Ongaro's thesis, 4.1), neither the floor nor
 * the protocol sinks, and one voter remains.
 */
export function isSingleChange(current: Config, next: Config): boolean {
  const before = new Set(voterIds(current))
  const after = new Set(voterIds(next))
  const changed =
    [...before].filter((id) => !after.has(id)).length +
    [...after].filter((id) => !before.has(id)).length
  const ids = new Set(next.members.map((member) => member.id))
  return (
    changed <= 1 &&
    after.size > 0 &&
    next.floor >= current.floor &&
    configProtocol(next) >= configProtocol(current) &&
    ids.size === next.members.length
  )
}
