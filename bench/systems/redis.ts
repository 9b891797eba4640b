/**
 * Redis that syncs every write (appendfsync always), with two replicas, which get writes
 * after they were acknowledged and do the same. No snapshots; everything else by default,
 * but for a delay of seconds before replicas get their first copy.
 */
import { freePorts } from '../../test/e2e/cluster.ts'
import type { Endpoint } from '../load/job.ts'
import { SyncingSystem } from './fixed-system.ts'
import { ask, findProgram, Programs } from './programs.ts'
import { type System, UnavailableError } from './system.ts'

const HOST = '127.0.0.1'
const ROLES = { master: 'master', 'replica-1': 'replica', 'replica-2': 'replica' }
const NAMES = Object.keys(ROLES)

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
    const master = { host: HOST, port: firstPort }
    const replicas = [1, 2].map((k) => ({ host: HOST, port: firstPort + k }))
    await programs.ready('Redis and two replicas', () => areFollowing(replicas))
    return new SyncingSystem({
      ...{ name: 'redis', protocol: 'redis', programs, endpoints: [master, ...replicas] },
      roles: ROLES,
    })
  } catch (error) {
    await programs.stop()
    throw error
  }
}

async function areFollowing(replicas: readonly Endpoint[]): Promise<boolean> {
  const info = 'INFO replication\r\n'
  const answers = await Promise.all(
    replicas.map((replica) => ask(replica, info, /histlen:\d+\r\n/)),
  )
  return answers.every((answer) => answer.includes('master_link_status:up'))
}
