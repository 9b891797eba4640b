/**
 * The nemesis: kills, stops and restarts processes of a running cluster, and
 * sends it junk, one thing after the other and sometimes two at once. What it
 * breaks it mends before it ends.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { ServerProcess, TestCluster } from '../e2e/cluster.ts'
import { chance, draw, pick, shuffle } from './dice.ts'
import { openJunkStreams, sendJunkDatagrams } from './junk.ts'

export interface Fault {
  readonly name: string
  readonly weight: number
  /** Nothing else goes on meanwhile. */
  readonly isAlone?: boolean
  /** Breaks and mends. @returns false where there was nothing to break. */
  readonly run: () => Promise<boolean>
}

export interface FaultEvent {
  readonly name: string
  readonly startMs: number
  endMs: number
}

/** Past every timeout of servers, balancer and, mostly, clients. */
const STOPPED_MS = [3_000, 5_000] as const
const BETWEEN_MS = [100, 1_000] as const
const AT_ONCE_MAX = 2
const AT_ONCE_CHANCE = 0.4

export class Nemesis {
  readonly events: FaultEvent[] = []
  readonly #cluster: TestCluster
  readonly #faults: readonly Fault[]
  readonly #running = new Set<Promise<void>>()
  /** Servers, and the balancer, that something is being done to. */
  readonly #busy = new Set<unknown>()
  #failure: unknown = null
  isStopped = false

  constructor(cluster: TestCluster, createFaults: (nemesis: Nemesis) => readonly Fault[]) {
    this.#cluster = cluster
    this.#faults = createFaults(this)
  }

  /** Until `untilMs`, or until it is stopped; and then until everything is mended. */
  async run(untilMs: number): Promise<void> {
    while (!this.isStopped && performance.now() < untilMs) {
      await delay(draw(...BETWEEN_MS))
      if (performance.now() >= untilMs) break
      const fault = this.#draw()
      if (fault.isAlone) await this.#mended()
      this.#start(fault)
      const isFull = fault.isAlone || this.#running.size >= AT_ONCE_MAX
      if (isFull || !chance(AT_ONCE_CHANCE)) await this.#mended()
      if (this.#failure !== null) break
    }
    await this.#mended()
    if (this.#failure !== null) throw this.#failure
  }

  #draw(): Fault {
    let at = Math.random() * this.#faults.reduce((sum, { weight }) => sum + weight, 0)
    for (const fault of this.#faults) {
      at -= fault.weight
      if (at < 0) return fault
    }
    return pick(this.#faults)
  }

  #start(fault: Fault): void {
    const event = { name: fault.name, startMs: performance.now(), endMs: Infinity }
    const running = fault.run().then(
      (isDone) => {
        event.endMs = performance.now()
        if (!isDone) this.events.splice(this.events.indexOf(event), 1)
      },
      (error) => {
        this.#failure ??= error
      },
    )
    this.events.push(event)
    const whole = running.then(() => void this.#running.delete(whole))
    this.#running.add(whole)
  }

  async #mended(): Promise<void> {
    await Promise.all(this.#running)
  }

  // ---------------------------------------------------------------- for faults

  /** Does something to one of these that nothing else is done to. @returns false if there is none. */
  async with<T>(candidates: readonly T[], act: (one: T) => Promise<void>): Promise<boolean> {
    const free = candidates.filter((one) => !this.#busy.has(one))
    if (free.length === 0) return false
    const one = pick(free)
    this.#busy.add(one)
    try {
      await act(one)
    } finally {
      this.#busy.delete(one)
    }
    return true
  }

  /** The server that the load balancer says leads; none where it can't be asked. */
  async leaders(): Promise<ServerProcess[]> {
    try {
      const { leader, members } = await this.#cluster.status()
      const cport = members.find(({ id }) => id === leader)?.cport
      const cip = members.find(({ id }) => id === leader)?.cip
      return this.#cluster.servers.filter(
        (server) => server.cport === cport && server.place.cip === cip,
      )
    } catch {
      return []
    }
  }
}

/** Faults of processes, wherever they run. */
export function processFaults(cluster: TestCluster, nemesis: Nemesis): Fault[] {
  const { servers } = cluster
  const BALANCER = 'load balancer'

  const killAndRestart = async (server: ServerProcess) => {
    await cluster.killServer(server)
    await delay(draw(20, 1_500))
    cluster.startServer(server)
    // Sometimes again, while it starts.
    if (!chance(0.25)) return
    await delay(draw(0, 400))
    await cluster.killServer(server)
    await delay(draw(20, 500))
    cluster.startServer(server)
  }
  const stopAndContinue = async (server: ServerProcess) => {
    const { process } = server
    process?.kill('SIGSTOP')
    await delay(draw(...STOPPED_MS))
    process?.kill('SIGCONT')
  }

  return [
    {
      name: 'kill -9 of a server',
      weight: 5,
      run: () => nemesis.with(servers, killAndRestart),
    },
    {
      name: 'kill -9 of the leader',
      weight: 5,
      run: async () => nemesis.with(await nemesis.leaders(), killAndRestart),
    },
    {
      name: 'leader ended in order (SIGTERM)',
      weight: 4,
      run: async () =>
        nemesis.with(await nemesis.leaders(), async (server) => {
          await cluster.killServer(server, 'SIGTERM')
          await delay(draw(20, 1_500))
          cluster.startServer(server)
        }),
    },
    {
      name: 'leader stopped for 3 to 5 s',
      weight: 4,
      run: async () => nemesis.with(await nemesis.leaders(), stopAndContinue),
    },
    {
      name: 'server stopped for 3 to 5 s',
      weight: 1,
      run: () => nemesis.with(servers, stopAndContinue),
    },
    {
      name: 'kill -9 of the load balancer',
      weight: 3,
      run: () =>
        nemesis.with([BALANCER], async () => {
          await cluster.killBalancer()
          await delay(draw(20, 3_000))
          cluster.startBalancer()
        }),
    },
    {
      name: 'kill -9 of all servers at once',
      weight: 2,
      isAlone: true,
      run: async () => {
        const isBalancerToo = chance(0.3)
        await Promise.all([
          ...servers.map((server) => cluster.killServer(server)),
          ...(isBalancerToo ? [cluster.killBalancer()] : []),
        ])
        await delay(draw(0, 500))
        for (const server of shuffle(servers)) {
          cluster.startServer(server)
          await delay(draw(0, 400))
        }
        if (isBalancerToo) cluster.startBalancer()
        return true
      },
    },
  ]
}

/** Junk, for a cluster on loopback. */
export function junkFaults({ servers, lbcport, lbsport }: TestCluster): Fault[] {
  const peerPorts = servers.map(({ sport }) => sport)
  const clientPorts = servers.map(({ cport }) => cport)
  return [
    {
      name: 'junk datagrams',
      weight: 3,
      run: async () => {
        await sendJunkDatagrams([...peerPorts, lbsport], 500)
        return true
      },
    },
    {
      name: 'junk streams',
      weight: 3,
      run: async () => {
        await openJunkStreams([...peerPorts, ...clientPorts, lbcport], 40)
        return true
      },
    },
  ]
}
