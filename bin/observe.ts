/**
 * Asks a cluster how it is: every load balancer, then at the same time the leader for its
 * `status` and every live member for its `stats`. Who does not answer soon costs a second
 * and leaves a gap; only without any `status` is there nothing to show.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { askBalancers } from '../src/client/balancer-client.ts'
import { LoginError } from '../src/client/login.ts'
import type { Address, Io } from '../src/io/io.ts'
import type { ClusterStatus, MemberStatus } from '../src/protocol/status.ts'
import type { Cluster } from './cluster.ts'
import { addressText, type BalancerAnswer, type Observation, type Sample } from './overview.ts'
import { fetchStatus } from './status.ts'

const PATIENCE_MS = 1_000
/** Between two samples; a shorter time says little of what a server does in a second. */
const SAMPLE_MS = 500

type Samples = ReadonlyMap<string, Sample>

/**
 * @param before Samples of the last time, to take rates from; without, a second sample is taken.
 * @throws Error where nobody that was to be asked tells.
 */
export async function observe(cluster: Cluster, before?: Samples): Promise<Observation> {
  const { status, balancers } = await askAll(cluster)
  const first = await askMembers(cluster, status)
  if (before) return { status, balancers, ...first, before }
  await delay(SAMPLE_MS)
  const told = status.members.filter(({ id }) => first.samples.has(id))
  const second = await sampleAll(cluster, told)
  return {
    ...{ status, balancers, leaderStatus: first.leaderStatus },
    samples: new Map([...first.samples, ...second.samples]),
    silences: new Map([...first.silences, ...second.silences]),
    before: first.samples,
  }
}

async function askAll({ asked, whom, io }: Cluster) {
  if (whom === 'server') return { status: await fetchStatus(io, asked, whom), balancers: [] }
  const patienceMs = asked.length > 1 ? PATIENCE_MS : undefined
  const answers = await Promise.all(asked.map((balancer) => askBalancer(io, balancer, patienceMs)))
  const status = answers.find((answer) => answer.status !== null)?.status
  const balancers = answers.map(({ balancer }) => balancer)
  if (status) return { status, balancers }
  throw new Error(balancers.map(({ failure }) => failure).join('; '))
}

async function askBalancer(io: Io, { host, port }: Address, patienceMs?: number) {
  const answer = (status: ClusterStatus | null, failure: string | null) => {
    const balancer: BalancerAnswer = { host, port, failure }
    return { status, balancer }
  }
  try {
    return answer(await fetchStatus(io, [{ host, port }], 'load balancer', patienceMs), null)
  } catch (error) {
    return answer(null, explain(error))
  }
}

async function askMembers(cluster: Cluster, status: ClusterStatus) {
  const leader = status.members.find(({ id }) => id === status.leader)
  const live = status.members.filter(({ alive }) => alive !== false)
  const [leaderStatus, rest] = await Promise.all([
    leader ? askLeader(cluster, leader) : null,
    sampleAll(cluster, live),
  ])
  return { leaderStatus, ...rest }
}

/** What is missing without it the overview says by itself; why, `stats` of the same server does. */
function askLeader({ servers }: Cluster, leader: MemberStatus): Promise<ClusterStatus | null> {
  return fetchStatus(servers, [addressOf(leader)], 'server', PATIENCE_MS).catch(() => null)
}

async function sampleAll({ servers }: Cluster, members: readonly MemberStatus[]) {
  const samples = new Map<string, Sample>()
  const silences = new Map<string, string>()
  await Promise.all(
    members.map(async (member) => {
      const address = addressOf(member)
      try {
        const stats = await askStats(servers, address)
        samples.set(member.id, { atMs: servers.clock.monotonicMs(), stats })
      } catch (error) {
        // The reason is the same for all that want a login: their names stand beside it.
        const why = explain(error)
        const name = `server ${addressText(address)} `
        const isLogin = error instanceof LoginError && why.startsWith(name)
        silences.set(member.id, isLogin ? why.slice(name.length) : why)
      }
    }),
  )
  return { samples, silences }
}

function askStats(io: Io, address: Address): Promise<ReadonlyMap<string, string>> {
  return askBalancers(io, [address], 'stats', readStats, 'server', PATIENCE_MS)
}

function readStats(lines: readonly string[]): ReadonlyMap<string, string> {
  const stats = new Map<string, string>()
  for (const line of lines) {
    const [, name, value] = /^STAT (\S+) (.*)$/.exec(line) ?? []
    if (name !== undefined && value !== undefined) stats.set(name, value)
  }
  if (stats.size === 0) throw new Error('it tells nothing')
  return stats
}

function addressOf({ cip, cport }: MemberStatus): Address {
  return { host: cip, port: cport }
}

function explain(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
