/**
 * This store: a load balancer and three servers, each a process of the built commands, with
 * the settings and the durability they have by default.
 */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { commandPath, type ServerProcess, TestCluster } from '../../test/e2e/cluster.ts'
import { atEnd } from '../ending.ts'
import type { Endpoint } from '../load/job.ts'
import { ask, READY_MS } from './programs.ts'
import { type NamedProcess, type StartOptions, type System, UnavailableError } from './system.ts'

const run = promisify(execFile)

export async function startRaftcached({ reads }: StartOptions): Promise<System> {
  const cluster = await TestCluster.prepare(3)
  const raftcached = new Raftcached(cluster)
  try {
    cluster.startBalancer()
    for (const server of cluster.servers) cluster.startServer(server)
    await cluster.ready(READY_MS)
    if (reads === 'lease') await readUnderLease(cluster)
    return raftcached
  } catch (error) {
    await raftcached.stop()
    throw error
  }
}

export async function readUnderLease({ lbcport }: TestCluster): Promise<void> {
  const args = ['config', 'reads', 'lease', '--lb', `127.0.0.1:${lbcport}`]
  try {
    await run(process.execPath, [commandPath('store'), ...args])
  } catch (error) {
    const said = (error as { stderr?: string }).stderr?.trim().split('\n')[0]
    throw new UnavailableError(`store config reads lease: ${said || error}`)
  }
}

export class Raftcached implements System {
  readonly name = 'raftcached'
  readonly protocol = 'memcached'
  readonly stop: () => Promise<void>
  readonly #cluster: TestCluster

  constructor(cluster: TestCluster) {
    this.#cluster = cluster
    this.stop = atEnd(() => cluster.stop())
  }

  async leader(): Promise<Endpoint> {
    return endpointOf(await this.#cluster.leader())
  }

  everyone(): readonly Endpoint[] {
    return this.#cluster.servers.map(endpointOf)
  }

  async processes(): Promise<readonly NamedProcess[]> {
    const leader = await this.#cluster.leader()
    const { servers, balancer } = this.#cluster
    const followers = servers.filter((server) => server !== leader)
    return [
      { role: 'leader', pid: leader.process?.pid ?? 0 },
      ...followers.map(({ process }) => ({ role: 'follower', pid: process?.pid ?? 0 })),
      { role: 'balancer', pid: balancer?.pid ?? 0 },
    ]
  }

  async syncCount(): Promise<number | null> {
    let sum = 0
    for (const endpoint of this.everyone()) {
      const reply = await ask(endpoint, 'stats\r\n', /END\r\n$/)
      const count = /STAT log_syncs (\d+)/.exec(reply)?.[1]
      if (count === undefined) return null
      sum += Number(count)
    }
    return sum
  }
}

function endpointOf({ place, cport }: ServerProcess): Endpoint {
  return { host: place.cip, port: cport }
}
