/**
 * What Node's sockets and files cost, and nothing else: for reads the server of
 * bare-server.ts, for writes the three of bare-log.ts.
 */
import { join } from 'node:path'
import { freePorts } from '../../test/e2e/cluster.ts'
import { memcachedProtocol } from '../load/memcached.ts'
import { keyOf, valueFor } from '../load/script.ts'
import { FixedSystem, SyncingSystem } from './fixed-system.ts'
import { ask, Programs } from './programs.ts'
import type { StartOptions, System } from './system.ts'

const HOST = '127.0.0.1'
const SERVER = join(import.meta.dirname, 'bare-server.js')
const LOG = join(import.meta.dirname, 'bare-log.js')
const FOLLOWERS = ['follower-1', 'follower-2'] as const
const FILE = 'log'
const NAMES = { name: 'bare', protocol: 'memcached' } as const

export async function startBare(options: StartOptions): Promise<System> {
  const programs = new Programs()
  try {
    return await (options.kind === 'read' ? startReads : startWrites)(programs, options)
  } catch (error) {
    await programs.stop()
    throw error
  }
}

async function startReads(programs: Programs, { valueBytes }: StartOptions): Promise<System> {
  const port = await freePorts(1)
  programs.start('bare', process.execPath, () => [SERVER, port, valueBytes])
  const answers = () => ask({ host: HOST, port }, 'get k\r\n', /END\r\n$/)
  await programs.ready('the bare server answers', answers)
  const endpoints = [{ host: HOST, port }] as const
  return new FixedSystem({ ...NAMES, programs, endpoints, roles: { bare: 'server' } })
}

async function startWrites(programs: Programs, { valueBytes }: StartOptions): Promise<System> {
  const port = await freePorts(1 + FOLLOWERS.length)
  for (const [k, name] of FOLLOWERS.entries()) {
    const followerPort = port + 1 + k
    const args = (directory: string) => [LOG, 'follower', join(directory, FILE), followerPort]
    programs.start(name, process.execPath, args)
    const syncs = () => ask({ host: HOST, port: followerPort }, 'x', /./s)
    await programs.ready('a follower of the bare log syncs', syncs)
  }
  const request = memcachedProtocol.write(keyOf(0), valueFor(0, valueBytes))
  programs.start('leader', process.execPath, (directory) => [
    ...[LOG, 'leader', join(directory, FILE), port, request.length, port + 1, port + 2],
  ])
  const leader = { host: HOST, port }
  const answers = () => ask(leader, request.toString('latin1'), /STORED\r\n$/)
  await programs.ready('the bare log answers', answers)
  const followers = Object.fromEntries(FOLLOWERS.map((name) => [name, 'follower']))
  const roles = { leader: 'leader', ...followers }
  return new SyncingSystem({ ...NAMES, programs, endpoints: [leader], roles })
}
