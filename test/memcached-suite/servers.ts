/**
 * The servers that are tested: a cluster of three of ours, started anew whenever
 * a test wants other flags or a server has died, or one that runs already.
 */
import { spawnSync } from 'node:child_process'
import net from 'node:net'
import { commandPath, eventually, type ServerProcess, TestCluster } from '../e2e/cluster.ts'
import type { Wants } from './suite.ts'

const SERVER_COUNT = 3
const ANSWER_MS = 5_000

export interface Address {
  readonly host: string
  readonly port: number
}

export type Role = 'leader' | 'follower' | 'server'

/** Where the tests go. */
export interface Servers {
  readonly roles: readonly Role[]
  /** The server of this role, with no items and counters at zero. @throws if there is none. */
  prepare(role: Role, wants: Wants): Promise<Address>
  /** After a run: what became of the servers. */
  check(): Promise<Aftermath>
  stop(): Promise<void>
}

export interface Aftermath {
  /** What no test may do to them; null for nothing. */
  readonly problem: string | null
  /** What may happen, and is to be known. */
  readonly remark: string | null
}

const UNHARMED: Aftermath = { problem: null, remark: null }

export class GivenServer implements Servers {
  readonly roles = ['server'] as const
  readonly #address: Address

  constructor(address: Address) {
    this.#address = address
  }

  async prepare(): Promise<Address> {
    await reset(this.#address)
    return this.#address
  }

  async check(): Promise<Aftermath> {
    return UNHARMED
  }

  async stop(): Promise<void> {}
}

export class OwnCluster implements Servers {
  readonly roles = ['leader', 'follower'] as const
  #cluster: TestCluster | null = null
  /** What the cluster was started for. */
  #wanted = ''
  #leader: ServerProcess | null = null
  /** The server that was prepared last. */
  tested: ServerProcess | null = null
  /** What the servers wrote, those of clusters before among them. */
  log = ''

  async prepare(role: Role, wants: Wants): Promise<Address> {
    const cluster = await this.#clusterFor(wants)
    const leader = await cluster.leader()
    const others = cluster.servers.filter((server) => server !== leader)
    const server = role === 'leader' ? leader : (others[0] ?? leader)
    await reset(addressOf(server))
    this.#leader = leader
    this.tested = server
    return addressOf(server)
  }

  async check(): Promise<Aftermath> {
    const cluster = this.#cluster
    if (!cluster) return UNHARMED
    const dead = cluster.servers.filter(({ process }) => hasEnded(process))
    if (dead.length > 0) {
      await this.stop()
      return { problem: `servers died: ${dead.length}`, remark: null }
    }
    const leader = await cluster.leader().catch(() => null)
    if (leader === null) return { problem: 'nobody leads any more', remark: null }
    if (leader === this.#leader) return UNHARMED
    return { problem: null, remark: 'another server came to lead meanwhile' }
  }

  async stop(): Promise<void> {
    const cluster = this.#cluster
    this.#cluster = null
    if (!cluster) return
    await cluster.stop()
    this.log += cluster.log
  }

  async #clusterFor({ flags = [], setup }: Wants): Promise<TestCluster> {
    const wanted = [...flags, setup].join(' ')
    if (this.#cluster && this.#wanted === wanted) return this.#cluster
    await this.stop()
    assertKnown(flags)
    const cluster = await TestCluster.prepare(SERVER_COUNT, ...flags)
    this.#cluster = cluster
    this.#wanted = wanted
    try {
      await start(cluster)
      if (setup) await ask(addressOf(await cluster.leader()), [setup])
    } catch (error) {
      await this.stop()
      throw error
    }
    return cluster
  }
}

function addressOf({ place, cport }: ServerProcess): Address {
  return { host: place.cip, port: cport }
}

/** @throws if a server does not know these flags. */
function assertKnown(flags: readonly string[]): void {
  const help = spawnSync(process.execPath, [commandPath('store'), 'addsrv', '--help'])
  const unknown = flags.find((flag) => flag.startsWith('--') && !help.stdout.includes(`${flag} `))
  if (unknown) throw new Error(`a server has no ${unknown}`)
}

/** Waits for what the load balancer says: the servers themselves may want a login. */
async function start(cluster: TestCluster): Promise<void> {
  cluster.startBalancer()
  for (const server of cluster.servers) cluster.startServer(server)
  await eventually('every server a live voter', async () => {
    const { members } = await cluster.status()
    return members.filter(({ alive, voter }) => alive && voter).length === SERVER_COUNT
  })
}

function hasEnded(process: ServerProcess['process']): boolean {
  return process === null || process.exitCode !== null || process.signalCode !== null
}

/**
 * Removes all items and sets the counters to zero, as far as the server knows how
 * to: a refusal is an answer as well. @throws if it does not answer.
 */
function reset(address: Address): Promise<void> {
  return ask(address, ['flush_all', 'stats reset'])
}

/** Sends requests with an answer of one line each. @throws if none is answered. */
async function ask({ host, port }: Address, requests: readonly string[]): Promise<void> {
  const socket = net.connect({ host, port })
  socket.setTimeout(ANSWER_MS, () => socket.destroy(new Error(`no answer in ${ANSWER_MS} ms`)))
  try {
    await new Promise<void>((resolve, reject) => {
      let text = ''
      socket.on('data', (chunk) => {
        text += chunk
        if (text.split('\n').length > requests.length) resolve()
      })
      // One that wants a login may not come to the second request.
      const give = (error: Error) => (text === '' ? reject(error) : resolve())
      socket.on('error', give)
      socket.on('close', () => give(new Error('it closed the connection')))
      socket.write(requests.map((request) => `${request}\r\n`).join(''))
    })
  } catch (error) {
    const why = error instanceof Error ? error.message : error
    throw new Error(`${host}:${port} does not answer ${requests.join(', ')}: ${why}`)
  } finally {
    socket.destroy()
  }
}
