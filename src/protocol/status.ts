/**
 * What `status` answers, from a load balancer or from a server, as one JSON
 * line. A server knows less of the others than a balancer that hears them all:
 * what it does not know is null.
 */
import type { Report, ServerAddress } from './balancer.ts'

/** Who confirms a read: a quorum each time, or a leader alone while it has a lease. */
export const READ_MODES = ['quorum', 'lease'] as const
export type ReadMode = (typeof READ_MODES)[number]

export interface ClusterStatus {
  readonly cluster: string | null
  /** Id of the server that leads; null when none does. */
  readonly leader: string | null
  readonly whyNoLeader: string | null
  /** What the leader is doing about members, or why nothing. */
  readonly membership: string | null
  /** As whoever answers knows it. */
  readonly reads: ReadMode | null
  readonly members: readonly MemberStatus[]
}

export interface MemberStatus extends ServerAddress {
  readonly cluster: string | null
  readonly role: Report['role'] | null
  readonly voter: boolean
  readonly term: number | null
  readonly lastTerm: number | null
  readonly lastIndex: number | null
  readonly commitIndex: number | null
  readonly appliedIndex: number | null
  readonly lastHeardMsAgo: number | null
  readonly alive: boolean | null
  /** What the leader says of it; null for a voter that is well. */
  readonly note: string | null
}
