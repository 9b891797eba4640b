/**
 * Three members of etcd with its default settings, except that the database may grow to
 * 8 GiB, which it recommends not to exceed: rows of large values write more than the 2 GiB
 * after which it takes no more by default.
 */
import { freePorts } from '../../test/e2e/cluster.ts'
import type { Endpoint } from '../load/job.ts'
import { findProgram, Programs } from './programs.ts'
import { type NamedProcess, type System, UnavailableError } from './system.ts'

const QUOTA_BYTES = 8 * 1024 ** 3
const HOST = '127.0.0.1'

interface Member {
  readonly name: string
  readonly port: number
  readonly peerUrl: string
}

export async function startEtcd(): Promise<System> {
  const path = findProgram('etcd')
  if (path === null) throw new UnavailableError('etcd is not installed')
  const firstPort = await freePorts(6)
  const members = [0, 1, 2].map((k): Member => {
    const port = firstPort + 2 * k
    return { name: `etcd-${k}`, port, peerUrl: `http://${HOST}:${port + 1}` }
  })
  const programs = new Programs()
  const etcd = new Etcd(programs, members)
  const initial = members.map(({ name, peerUrl }) => `${name}=${peerUrl}`).join(',')
  try {
    for (const { name, port, peerUrl } of members) {
      const clientUrl = `http://${HOST}:${port}`
      programs.start(name, path, (directory) => [
        ...['--name', name, '--data-dir', `${directory}/data`],
        ...['--listen-client-urls', clientUrl, '--advertise-client-urls', clientUrl],
        ...['--listen-peer-urls', peerUrl, '--initial-advertise-peer-urls', peerUrl],
        ...['--initial-cluster', initial, '--initial-cluster-state', 'new'],
        ...['--quota-backend-bytes', QUOTA_BYTES],
      ])
    }
    await programs.ready('three members of etcd that are well', () => etcd.isHealthy())
    return etcd
  } catch (error) {
    await programs.stop()
    throw error
  }
}

class Etcd implements System {
  readonly name = 'etcd'
  readonly protocol = 'etcd'
  readonly #programs: Programs
  readonly #members: readonly Member[]

  constructor(programs: Programs, members: readonly Member[]) {
    this.#programs = programs
    this.#members = members
  }

  async isHealthy(): Promise<boolean> {
    const answers = await Promise.all(
      this.#members.map(async ({ port }) => (await fetch(`http://${HOST}:${port}/health`)).json()),
    )
    return answers.every((answer) => (answer as { health?: string }).health === 'true')
  }

  async leader(): Promise<Endpoint> {
    return { host: HOST, port: (await this.#leader()).port }
  }

  everyone(): readonly Endpoint[] {
    return this.#members.map(({ port }) => ({ host: HOST, port }))
  }

  async processes(): Promise<readonly NamedProcess[]> {
    const leader = await this.#leader()
    return [leader, ...this.#members.filter((member) => member !== leader)].map((member) => ({
      role: member === leader ? 'leader' : 'follower',
      pid: this.#programs.pidOf(member.name),
    }))
  }

  /** Of the write-ahead logs; the databases are synced ten times a second besides. */
  async syncCount(): Promise<number | null> {
    let sum = 0
    for (const { port } of this.#members) {
      const text = await (await fetch(`http://${HOST}:${port}/metrics`)).text()
      const count = /^etcd_disk_wal_fsync_duration_seconds_count (\S+)$/m.exec(text)?.[1]
      if (count === undefined) return null
      sum += Number(count)
    }
    return sum
  }

  stop(): Promise<void> {
    return this.#programs.stop()
  }

  async #leader(): Promise<Member> {
    for (const member of this.#members) {
      const url = `http://${HOST}:${member.port}/v3/maintenance/status`
      const status = await (await fetch(url, { method: 'POST', body: '{}' })).json()
      const { leader, header } = status as { leader: string; header: { member_id: string } }
      if (leader === header.member_id) return member
    }
    throw new Error('none of the members of etcd leads')
  }
}
