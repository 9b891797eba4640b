/**
 * A real cluster for tests: real processes, on loopback unless told otherwise,
 * and real files in a directory of its own. It ends only processes that it
 * started, by pid.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { changeThroughLeader } from '../../bin/ask-leader.ts'
import { fetchStatus } from '../../bin/status.ts'
import type { Io } from '../../src/io/io.ts'
import { createNodeIo } from '../../src/io/node.ts'
import type { ClusterStatus, ReadMode } from '../../src/protocol/status.ts'

/** Of what the processes wrote, this much is kept. */
const LOG_CHARACTERS_MAX = 8 * 1024 * 1024

export const io = createNodeIo()

/** The path of a built command. */
export function commandPath(name: 'store' | 'client'): string {
  return join(projectRoot(), 'dist', 'bin', `${name}.js`)
}

/** This module may itself be built, one folder further down. */
function projectRoot(): string {
  let directory = import.meta.dirname
  while (!existsSync(join(directory, 'package.json'))) {
    const parent = dirname(directory)
    if (parent === directory) throw new Error(`no package.json above ${import.meta.dirname}`)
    directory = parent
  }
  return directory
}

export function makeDirectory(): string {
  return mkdtempSync(join(tmpdir(), 'raftcached-test-'))
}

/** Test files that run at the same time have ports of their own: those of a server that is down look free. */
const PORT_RANGES = 2
const PORT_RANGE = 10_000
const FIRST_PORT = 10_000 + PORT_RANGE * (Number(process.env.VITEST_POOL_ID ?? 1) % PORT_RANGES)

/** First of `count` ports in a row that are free now, below the range the system hands out itself. */
export async function freePorts(count: number): Promise<number> {
  for (;;) {
    const first = FIRST_PORT + Math.floor(Math.random() * (PORT_RANGE - count))
    const ports = Array.from({ length: count }, (_, at) => first + at)
    const free = await Promise.all(ports.map(isFree))
    if (free.every(Boolean)) return first
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = net.createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}

/** Waits until `test` gives something. @throws after `timeoutMs`. */
export async function eventually<T>(
  what: string,
  test: () => Promise<T | null | false | undefined> | T | null | false | undefined,
  timeoutMs = 15_000,
): Promise<T> {
  const deadlineMs = Date.now() + timeoutMs
  let lastError: unknown
  while (Date.now() < deadlineMs) {
    try {
      const found = await test()
      if (found) return found
    } catch (error) {
      lastError = error
    }
    await delay(20)
  }
  throw new Error(`not within ${timeoutMs} ms: ${what}${lastError ? ` (${lastError})` : ''}`)
}

/** Where a process runs. */
export interface Place {
  readonly cip: string
  readonly sip: string
  /** The beginning of a command line that runs the rest of it there. */
  readonly command: readonly string[]
  /** For Node itself. */
  readonly nodeFlags?: readonly string[]
}

export interface Places {
  readonly balancer: Place
  readonly servers: readonly Place[]
}

const LOOPBACK: Place = { cip: '127.0.0.1', sip: '127.0.0.1', command: [] }

export interface ServerProcess {
  readonly place: Place
  readonly cport: number
  readonly sport: number
  readonly directory: string
  process: ChildProcess | null
}

export class TestCluster {
  readonly directory = makeDirectory()
  readonly servers: ServerProcess[] = []
  readonly lbcport: number
  readonly lbsport: number
  readonly #balancerPlace: Place
  /** Of every server. */
  readonly #flags: readonly string[]
  #balancer: ChildProcess | null = null
  /** Reaches the servers; to be replaced where they want a login. */
  serversIo: Io = io
  /** What the processes wrote to standard error. */
  log = ''

  private constructor(firstPort: number, places: Places, flags: readonly string[]) {
    this.#flags = flags
    this.lbcport = firstPort
    this.lbsport = firstPort + 1
    this.#balancerPlace = places.balancer
    for (const [k, place] of places.servers.entries()) {
      this.servers.push({
        place,
        cport: firstPort + 2 + 2 * k,
        sport: firstPort + 3 + 2 * k,
        directory: join(this.directory, `srv-${k + 1}`),
        process: null,
      })
    }
  }

  /** Starts a load balancer and servers with these flags, and waits until all are voters. */
  static async start(serverCount = 3, ...flags: string[]): Promise<TestCluster> {
    const servers = Array.from({ length: serverCount }, () => LOOPBACK)
    const cluster = await TestCluster.launch({ balancer: LOOPBACK, servers }, ...flags)
    await cluster.ready().catch(async (error) => {
      await cluster.stop()
      throw error
    })
    return cluster
  }

  /** One more, on ports of its own; to be started. */
  async addServer(place = LOOPBACK): Promise<ServerProcess> {
    const cport = await freePorts(2)
    const directory = join(this.directory, `srv-${this.servers.length + 1}`)
    const server = { place, cport, sport: cport + 1, directory, process: null }
    this.servers.push(server)
    return server
  }

  /** Starts the processes, and waits for nothing. */
  static async launch(places: Places, ...flags: string[]): Promise<TestCluster> {
    const cluster = await TestCluster.#create(places, flags)
    cluster.startBalancer()
    for (const server of cluster.servers) cluster.startServer(server)
    return cluster
  }

  /** Ports and directories for so many servers; nothing is started. */
  static prepare(serverCount: number, ...flags: string[]): Promise<TestCluster> {
    const servers = Array.from({ length: serverCount }, () => LOOPBACK)
    return TestCluster.#create({ balancer: LOOPBACK, servers }, flags)
  }

  static async #create(places: Places, flags: readonly string[]): Promise<TestCluster> {
    return new TestCluster(await freePorts(2 + 2 * places.servers.length), places, flags)
  }

  /** null after it was killed. */
  get balancer(): ChildProcess | null {
    return this.#balancer
  }

  startBalancer(): void {
    const { cip, sip } = this.#balancerPlace
    this.#balancer = this.#spawn(this.#balancerPlace, [
      'addlb',
      ...['--cip', cip, '--cport', this.lbcport],
      ...['--sip', sip, '--sport', this.lbsport],
      ...['--data', join(this.directory, 'lb')],
    ])
  }

  startServer(server: ServerProcess, ...flags: string[]): void {
    const { cip, sip } = server.place
    server.process = this.#spawn(server.place, [
      'addsrv',
      ...['--cip', cip, '--cport', server.cport],
      ...['--sip', sip, '--sport', server.sport],
      ...['--lbip', this.#balancerPlace.sip, '--lbport', this.lbsport],
      ...['--data', server.directory, ...this.#flags, ...flags],
    ])
  }

  killBalancer(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#balancer
    this.#balancer = null
    return kill(child, signal)
  }

  killServer(server: ServerProcess, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = server.process
    server.process = null
    return kill(child, signal)
  }

  status(): Promise<ClusterStatus> {
    return fetchStatus(io, [{ host: this.#balancerPlace.cip, port: this.lbcport }])
  }

  /** As `store config reads` does. */
  async setReads(mode: ReadMode, timeoutMs = 20_000): Promise<void> {
    const asked = [{ host: this.#balancerPlace.cip, port: this.lbcport }]
    const cluster = { asked, whom: 'load balancer', io, servers: this.serversIo } as const
    await changeThroughLeader(cluster, `read-mode ${mode}`, timeoutMs)
  }

  /** The server that the load balancer says leads. */
  leader(): Promise<ServerProcess> {
    return eventually('a leader', async () => {
      const { leader, members } = await this.status()
      const cport = members.find((member) => member.id === leader)?.cport
      return this.servers.find((server) => server.cport === cport && server.process)
    })
  }

  /** Waits until all servers are live voters that have applied all that was committed by now. */
  async ready(timeoutMs = 20_000): Promise<void> {
    const committed = await eventually(
      'a leader',
      async () => {
        const { leader, members } = await this.status()
        return members.find((member) => member.id === leader)?.commitIndex
      },
      timeoutMs,
    )
    // Asked themselves: a load balancer takes a server that has just been killed for alive.
    const isReady = async ({ place, cport }: ServerProcess) => {
      const address = { host: place.cip, port: cport }
      const { members } = await fetchStatus(this.serversIo, [address], 'server')
      const self = members.find((member) => member.cport === cport)
      return self?.voter && (self.appliedIndex ?? 0) >= committed
    }
    await eventually(
      'every server a voter and up to date',
      async () => (await Promise.all(this.servers.map(isReady))).every(Boolean),
      timeoutMs,
    )
    await eventually(
      'the load balancer has heard of all of them',
      async () => {
        const { members } = await this.status()
        return members.filter(({ alive, voter }) => alive && voter).length === this.servers.length
      },
      timeoutMs,
    )
  }

  /** Ends all processes. */
  async killAll(): Promise<void> {
    await Promise.all(this.servers.map((server) => this.killServer(server)))
    await this.killBalancer()
  }

  /** Ends all processes and removes the data. */
  async stop(): Promise<void> {
    await this.killAll()
    rmSync(this.directory, { recursive: true, force: true })
  }

  #spawn(place: Place, args: (string | number)[]): ChildProcess {
    const node = [process.execPath, ...(place.nodeFlags ?? []), commandPath('store')]
    const command = [...place.command, ...node, ...args.map(String)]
    const child = spawn(command[0] ?? '', command.slice(1), {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    child.stderr?.on('data', (chunk) => {
      this.log += chunk
      if (this.log.length > LOG_CHARACTERS_MAX) this.log = this.log.slice(-LOG_CHARACTERS_MAX / 2)
    })
    return child
  }
}

export async function kill(
  child: ChildProcess | null,
  signal: NodeJS.Signals = 'SIGKILL',
): Promise<void> {
  if (!child || child.exitCode !== null || child.signalCode !== null) return
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  child.kill(signal)
  await exited
}
