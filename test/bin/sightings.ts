/** What a test says was heard of a cluster; the rest is that of three servers that are well. */
import type { Observation, Sample } from '../../bin/overview.ts'
import type { ClusterStatus, MemberStatus } from '../../src/protocol/status.ts'

export function member(at: number, differs: Partial<MemberStatus> = {}): MemberStatus {
  return {
    ...{ id: `0000000${at}`, cip: '10.0.0.1', cport: 7000 + at, sip: '10.0.0.1', sport: 6000 + at },
    ...{ cluster: 'c1', role: at === 1 ? 'leader' : 'follower', voter: true },
    ...{ term: 3, lastTerm: 3, lastIndex: 1_000, commitIndex: 1_000, appliedIndex: 1_000 },
    ...{ lastHeardMsAgo: 100, alive: true, note: null },
    ...differs,
  }
}

export function status(differs: Partial<ClusterStatus> = {}): ClusterStatus {
  return {
    ...{ cluster: 'c1', leader: '00000001', whyNoLeader: null },
    ...{ membership: 'every server is a voter', reads: 'quorum' },
    members: [member(1), member(2), member(3)],
    ...differs,
  }
}

export function sample(atMs: number, stats: Readonly<Record<string, number>> = {}): Sample {
  const all = { pid: 1, cmd_get: 0, cmd_set: 0, curr_items: 0, bytes: 0, limit_maxbytes: 0 }
  const texts = Object.entries({ ...all, ...stats }).map(
    ([name, value]) => [name, String(value)] as const,
  )
  return { atMs, stats: new Map(texts) }
}

export function observation(differs: Partial<Observation> = {}): Observation {
  return {
    ...{ status: status(), leaderStatus: null },
    balancers: [{ host: '10.0.0.9', port: 5002, failure: null }],
    ...{ samples: new Map(), before: new Map(), silences: new Map() },
    ...differs,
  }
}
