/**
 * One seed: a cluster, its clients, a minute of faults, and then a while without
 * any in which everything has to come right.
 *
 * Phase one is about safety: checkers speak at the first violation. In phase two
 * the faults stop and progress is owed: every server answers
 * writes and reads, all replicas hold the same, and what clients were told is
 * linearizable.
 */

import { PROTOCOL } from '../../src/server/peer-messages.ts'
import { Checkers, fail, voteIn } from './checkers.ts'
import { type ClientStats, SimClient } from './clients.ts'
import {
  BalancerProcess,
  CLIENT_PORT,
  DISK_RESERVE_BYTES,
  ServerProcess,
  type Settings,
  Violation,
} from './cluster.ts'
import { type FaultKind, Faults } from './faults.ts'
import { Filler } from './filler.ts'
import { Host } from './host.ts'
import { byKey, findViolation, type HistoryEntry, UndecidedError } from './linearizability.ts'
import { SimNetwork } from './network.ts'
import { describe, describeReply } from './operation.ts'
import { Turns } from './turns.ts'
import type { Mix } from './workload.ts'
import { World } from './world.ts'

const FAULTS_MS = 60_000
/** Mostly three, as in most places; more cost more time and find little more. */
const SERVER_COUNTS = [2, 3, 3, 3, 3, 4, 5, 5, 6, 7]
/** Within so long after the faults everything must work. */
const HEAL_MS = 30_000
/** Where nearly nothing worked under faults, clients go on for a while. */
const OPERATIONS_MIN = 200
/** Of so many seeds the clients ask for nothing but plain commands. */
const PLAIN_RATIO = 0.4
/** That a server of this version gets along with. */
const OLDEST_PROTOCOL = 2
/** Of so many seeds the clusters come to serve reads under leases. */
const LEASE_RATIO = 0.5
/** Of so many seeds somebody sends hundreds of sets at once. */
const FILLER_RATIO = 0.3
const FILLER_VALUE_BYTES = [1, 1, 2_000] as const
const STREAM_BYTES_MAX = 64 * 1024 * 1024

export interface SimulationResult {
  readonly seed: number
  readonly violation: string | null
  /** The search for a linearization was given up. */
  readonly isUndecided: boolean
  /** Where things stood at the violation. */
  readonly state: string
  readonly faults: ReadonlyMap<FaultKind, number>
  readonly stats: ClientStats
  readonly serverCount: number
  readonly eventCount: number
  /** At how many of the events a lease held. */
  readonly leaseCount: number
  readonly simulatedMs: number
}

export async function simulate(
  seed: number,
  onTrace: ((line: string) => void) | null = null,
): Promise<SimulationResult> {
  const simulation = new Simulation(seed, onTrace)
  return simulation.run()
}

class Simulation {
  readonly #seed: number
  readonly #world: World
  readonly #network: SimNetwork
  readonly #servers: ServerProcess[]
  readonly #balancers: readonly BalancerProcess[]
  readonly #clients: SimClient[]
  readonly #filler: Filler | null
  readonly #faults: Faults
  readonly #checkers: Checkers
  readonly #history: HistoryEntry[] = []
  #unexpected: string | null = null
  /** Those of memory are for phase one: probes need room. */
  readonly #limits = {
    memoryBytes: Number.POSITIVE_INFINITY,
    diskReserveBytes: DISK_RESERVE_BYTES,
  }
  readonly #stats: ClientStats = {
    operationCount: 0,
    storedCount: 0,
    refusedCount: 0,
    unknownCount: 0,
    surprises: [],
  }

  constructor(seed: number, onTrace: ((line: string) => void) | null) {
    this.#seed = seed
    const world = new World(seed)
    world.onTrace = onTrace
    this.#world = world
    this.#network = new SimNetwork(world)
    const serverCount = world.pick(SERVER_COUNTS)
    const balancerNames = world.chance(0.4) ? ['lb1', 'lb2'] : ['lb1']
    this.#balancers = balancerNames.map((name) => new BalancerProcess(world, this.#network, name))
    // Room for some of the two to six items.
    if (world.chance(0.2)) this.#limits.memoryBytes = world.integer(150, 500)
    const hasFiller = this.#limits.memoryBytes === Infinity && world.chance(FILLER_RATIO)
    const fillerBytes = world.pick(FILLER_VALUE_BYTES)
    // More than comes before a server looks at its disk again.
    if (hasFiller && fillerBytes > 1) this.#limits.diskReserveBytes *= 16
    const settings: Settings = {
      limits: this.#limits,
      evictAfterMs: world.pick([4_000, 8_000, 30_000]),
      segmentBytes: world.pick([1_000, 4_000, 16_000, 1_000_000]),
      snapshotPieceBytes: world.pick([100, 1_000, 100_000]),
      oldRatio: world.chance(0.2) ? 0.5 : 0,
      oldProtocol: world.integer(OLDEST_PROTOCOL, PROTOCOL - 1),
      scrubIntervalMs: world.pick([1_000, 10_000, 1_000_000]),
      gatherBytes: world.pick([0, 500, 256 * 1024]),
    }
    this.#servers = Array.from(
      { length: serverCount },
      (_, at) =>
        new ServerProcess(
          world,
          this.#network,
          `s${at + 1}`,
          balancerNames,
          settings,
          (process, error) => this.#serverFailed(process, error),
        ),
    )
    const mix: Mix = world.chance(PLAIN_RATIO) ? 'plain' : 'all'
    const countKeys = mix === 'all' ? world.integer(0, 1) : 0
    const keys = Array.from(
      { length: world.integer(2, 6) },
      (_, at) => `${at < countKeys ? 'n' : 'k'}${at + 1}`,
    )
    const clientNames = Array.from({ length: world.integer(3, 8) }, (_, at) => `c${at + 1}`)
    const thinkMs = (clientNames.length * FAULTS_MS) / world.integer(40, 100)
    this.#faults = new Faults(
      world,
      this.#network,
      this.#servers,
      this.#balancers,
      clientNames,
      world.chance(LEASE_RATIO),
      this.#limits.diskReserveBytes,
    )
    this.#clients = clientNames.map(
      (name) =>
        new SimClient(
          world,
          this.#network,
          name,
          this.#servers,
          balancerNames,
          keys,
          this.#history,
          this.#stats,
          thinkMs,
          mix,
          world.chance(0.25),
          () => this.#faults.lastMs,
        ),
    )
    const { surprises } = this.#stats
    this.#filler = hasFiller
      ? new Filler(world, this.#network, 'filler', this.#servers, surprises, fillerBytes)
      : null
    this.#checkers = new Checkers(this.#servers)
    const turns = new Turns(this.#servers, (server, turn) => this.#faults.atTurn(server, turn))
    this.#network.onDatagram = (from, bytes) => {
      const vote = voteIn(bytes)
      if (!vote) return false
      this.#checkers.checkVote(from, vote)
      const voter = this.#servers.find(({ host }) => host === from)
      if (voter) this.#faults.atTurn(voter, 'vote')
      return true
    }
    world.onEvent = () => {
      this.#checkers.check()
      turns.check()
      const overrun = this.#servers.find(({ host }) => host.disk.isOverrun)
      const [surprise] = this.#stats.surprises
      if (surprise) fail('every reply is one of memcached to its request', surprise)
      if (overrun) fail('the disk reserve is never used up', overrun.host.name)
      if (this.#unexpected) fail('no process ends by itself', this.#unexpected)
    }
  }

  async run(): Promise<SimulationResult> {
    let violation: string | null = null
    let isUndecided = false
    try {
      await this.#run()
    } catch (error) {
      if (error instanceof UndecidedError) isUndecided = true
      else if (error instanceof Violation) violation = error.message
      else throw error
    }
    return {
      seed: this.#seed,
      violation,
      isUndecided,
      state: this.#checkers.describe(),
      faults: this.#faults.counts,
      stats: this.#stats,
      serverCount: this.#servers.length,
      eventCount: this.#world.eventCount,
      leaseCount: this.#checkers.leaseCount,
      simulatedMs: this.#world.nowMs,
    }
  }

  async #run(): Promise<void> {
    const world = this.#world
    world.trace('!', () => `seed ${this.#seed}: ${this.#servers.length} servers`)
    // Some servers are there at once, some come later.
    for (const [at, server] of this.#servers.entries()) {
      const isEarly = at < 2 || world.chance(0.6)
      server.startAfter(isEarly ? world.between(0, 500) : world.between(0, 30_000))
    }
    for (const balancer of this.#balancers) balancer.startAfter(world.between(0, 500))
    this.#faults.start()
    await world.runUntil(FAULTS_MS)

    this.#faults.stop()
    if (this.#filler) this.#filler.isStopped = true
    this.#limits.memoryBytes = Number.POSITIVE_INFINITY
    for (const { server } of this.#servers) server?.setMemoryLimit(Number.POSITIVE_INFINITY)
    world.trace('!', () => 'faults stop')
    await this.#heal()
    for (const client of this.#clients) client.isStopped = true
    this.#checkHistory()
    if (this.#network.bufferedBytesMax > STREAM_BYTES_MAX) {
      fail('bounded queues', `a stream held ${this.#network.bufferedBytesMax} bytes`)
    }
  }

  /** A process may end by itself for a fault of its disk, and for nothing else. */
  #serverFailed(process: ServerProcess, error: Error): void {
    const isDiskFault = /EIO|ENOSPC/.test(error.message)
    if (isDiskFault) return
    this.#unexpected = `${process.host.name} ended by itself: ${error.stack}`
  }

  // ---------------------------------------------------------------- phase two

  async #heal(): Promise<void> {
    const world = this.#world
    const deadlineMs = world.nowMs + HEAL_MS
    const probes = this.#servers.map(
      (server, at) => new Probe(world, this.#network, `p${at + 1}`, server),
    )
    const isHealed = () =>
      this.#stats.operationCount >= OPERATIONS_MIN &&
      probes.every((probe) => probe.isDone) &&
      this.#isConverged()
    await world.runUntil(deadlineMs, isHealed)
    const stuck = probes.filter((probe) => !probe.isDone).map((probe) => probe.describe())
    if (stuck.length > 0) fail('progress once faults are over', stuck.join('; '))
    if (!this.#isConverged()) fail('replicas agree once faults are over', '')
    this.#checkers.checkConverged()
  }

  #isConverged(): boolean {
    const live = this.#servers
    const leader = live.find(({ node }) => node?.raft.role === 'leader')?.node
    if (!leader || live.some(({ node }) => !node)) return false
    const { commitIndex, lastIndex } = leader.raft.log
    const isLevel = live.every(({ node }) => node?.machine.appliedIndex === commitIndex)
    return isLevel && commitIndex === lastIndex
  }

  #checkHistory(): void {
    let undecided: UndecidedError | null = null
    for (const [key, entries] of byKey(this.#history)) {
      let left: HistoryEntry[] | null = null
      try {
        left = findViolation(entries)
      } catch (error) {
        if (!(error instanceof UndecidedError)) throw error
        undecided = error // the other keys may be easier
      }
      if (!left) continue
      const lines = left.slice(0, 12).map((entry) => {
        const { client, reply, startMs, endMs } = entry
        return `  ${client} ${describe(entry)} -> ${describeReply(reply)} [${startMs.toFixed(1)}, ${endMs.toFixed(1)}]`
      })
      fail('linearizable', `${key}, from here on:\n${lines.join('\n')}`)
    }
    if (undecided) throw undecided
  }
}

/** Writes and reads through one server until it has answered both. */
class Probe {
  isDone = false
  readonly #world: World
  readonly #server: ServerProcess
  readonly #io: ReturnType<Host['boot']>
  #lastReply = ''

  constructor(world: World, network: SimNetwork, name: string, server: ServerProcess) {
    this.#world = world
    this.#server = server
    this.#io = new Host(world, network, name).boot()
    this.#try()
  }

  describe(): string {
    return `${this.#server.host.name} answers ${JSON.stringify(this.#lastReply)}`
  }

  #try(): void {
    if (this.isDone) return
    const key = `probe-${this.#server.host.name}`
    const value = `${this.#world.nowMs}`
    let text = ''
    const stream = this.#io.network.connect(
      { host: this.#server.host.name, port: CLIENT_PORT },
      {
        onData: (chunk) => {
          text += chunk.toString()
          this.#lastReply = text
          const expected = `STORED\r\nVALUE ${key} 0 ${value.length}\r\n${value}\r\nEND\r\n`
          if (text === expected) this.isDone = true
        },
        onEnd: () => {},
        onClose: (error) => {
          if (error) this.#lastReply = error.message
        },
      },
    )
    stream.write(`set ${key} 0 0 ${value.length}\r\n${value}\r\nget ${key}\r\n`)
    this.#world.after(3_000, () => {
      stream.destroy()
      this.#try()
    })
  }
}
