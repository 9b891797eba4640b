/**
 * What Node's sockets and files cost, and nothing else: for reads the server of
 * bare-server.ts, for writes the three of bare-log.ts.
 */
import { join } from 'node:path'
import { freePorts } from '../../test/e2e/cluster.ts'
import type { Endpoint } from '../load/job.ts'
import { memcachedProtocol } from '../load/memcached.ts'
import { keyOf, valueFor } from '../load/script.ts'
import { ask, Programs } from './programs.ts'
import { SingleProcess } from './single-process.ts'
import { traceSyncs } from './strace.ts'
import type { NamedProcess, StartOptions, System } from './system.ts'

const HOST = '127.0.0.1'
const SERVER = join(import.meta.dirname, 'bare-server.js')
const LOG = join(import.meta.dirname, 'bare-log.js')
const FOLLOWERS = ['follower-1', 'follower-2'] as const
const FILE = 'log'

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
  return new SingleProcess('bare', programs, { host: HOST, port })
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
  return new BareLog(programs, leader)
}

class BareLog implements System {
  readonly name = 'bare'
  readonly protocol = 'memcached'
  readonly #programs: Programs
  readonly #leader: Endpoint

  constructor(programs: Programs, leader: Endpoint) {
    this.#programs = programs
    this.#leader = leader
  }

  async leader(): Promise<Endpoint> {
    return this.#leader
  }

  everyone(): readonly Endpoint[] {
    return [this.#leader]
  }

  async processes(): Promise<readonly NamedProcess[]> {
    const followers = FOLLOWERS.map((name) => ({
      role: 'follower',
      pid: this.#programs.pidOf(name),
    }))
    return [{ role: 'leader', pid: this.#programs.pidOf('leader') }, ...followers]
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
