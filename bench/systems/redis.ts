/**
 * Redis that syncs every write (appendfsync always), with two replicas, which get writes
 * after they were acknowledged and do the same. No snapshots; everything else by default,
 * but for a delay of seconds before replicas get their first copy.
 */
import { freePorts } from '../../test/e2e/cluster.ts'
import type { Endpoint } from '../load/job.ts'
import { ask, findProgram, Programs } from './programs.ts'
import { traceSyncs } from './strace.ts'
import { type NamedProcess, type System, UnavailableError } from './system.ts'

const HOST = '127.0.0.1'
const NAMES = ['master', 'replica-1', 'replica-2']

export async function startRedis(): Promise<System> {
  const path = findProgram('redis-server')
  if (path === null) throw new UnavailableError('redis-server is not installed')
  const firstPort = await freePorts(NAMES.length)
  const programs = new Programs()
  try {
    for (const [k, name] of NAMES.entries()) {
      programs.start(name, path, (directory) => [
        ...['--bind', HOST, '--port', firstPort + k, '--dir', directory, '--save', ''],
        ...['--appendonly', 'yes', '--appendfsync', 'always', '--repl-diskless-sync-delay', 0],
        ...(k === 0 ? [] : ['--replicaof', `${HOST} ${firstPort}`]),
      ])
    }
    const redis = new Redis(programs, firstPort)
    await programs.ready('Redis and two replicas', () => redis.isReady())
    return redis
  } catch (error) {
    await programs.stop()
    throw error
  }
}

class Redis implements System {
  readonly name = 'redis'
  readonly protocol = 'redis'
  readonly #programs: Programs
  readonly #firstPort: number

  constructor(programs: Programs, firstPort: number) {
    this.#programs = programs
    this.#firstPort = firstPort
  }

  async isReady(): Promise<boolean> {
    const replicas = this.everyone().slice(1)
    const info = 'INFO replication\r\n'
    const answers = await Promise.all(
      replicas.map((replica) => ask(replica, info, /histlen:\d+\r\n/)),
    )
    return answers.every((answer) => answer.includes('master_link_status:up'))
  }

  async leader(): Promise<Endpoint> {
    return { host: HOST, port: this.#firstPort }
  }

  everyone(): readonly Endpoint[] {
    return NAMES.map((_, k) => ({ host: HOST, port: this.#firstPort + k }))
  }

  async processes(): Promise<readonly NamedProcess[]> {
    return NAMES.map((name, k) => ({
      role: k === 0 ? 'master' : 'replica',
      pid: this.#programs.pidOf(name),
    }))
  }

  async syncCount(): Promise<number | null> {
    return null
  }

  async traceSyncs(): Promise<() => Promise<number | null>> {
    return traceSyncs((await this.processes()).map(({ pid }) => pid))
  }

  stop(): Promise<void> {
    return this.#programs.stop()
  }
}
