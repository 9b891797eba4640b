/**
 * What goes wrong in a simulated minute, drawn from the seed. Each kind begins
 * something and, where it lasts, ends it; `stop` ends all of it.
 */
import { EMPTY_CONFIG, voterIds } from '../../src/server/raft/config.ts'
import type { Config } from '../../src/server/raft/types.ts'
import { CRASH_POLICIES } from '../io/memory-disk.ts'
import { type BalancerProcess, DATA, type Process, type ServerProcess } from './cluster.ts'
import type { Host } from './host.ts'
import type { SimNetwork } from './network.ts'
import type { Turn } from './turns.ts'
import type { World } from './world.ts'

export type FaultKind =
  | 'kill'
  | 'clean stop'
  | 'power loss'
  | 'kill all'
  | 'power loss of all'
  | 'pause'
  | 'pause leader'
  | 'kill leader'
  | 'partition'
  | 'isolate'
  | 'hidden leader'
  | 'forsaken leader'
  | 'unheard handover'
  | 'late answers'
  | 'one-way cut'
  | 'loss'
  | 'delay'
  | 'doubling'
  | 'stream break'
  | 'stream stall'
  | 'sync failure'
  | 'write failure'
  | 'disk full'
  | 'out of room'
  | 'slow disk'
  | 'bit flip'
  | 'disk swap'
  | 'upgrade'
  | 'clock drift'
  | 'wall clock jump'
  | 'balancer kill'
  | 'balancer pause'
  | 'balancer absent'
  | 'balancer replaced'
  | 'late votes'
  | 'crash at a turn'
  | 'removal'
  | 'read mode'

/** Of them at the most in a run, or nothing else would happen. */
const TURN_CRASHES_MAX = 30
/** A run owes so many; where few could be carried out the next ones come sooner. */
const FAULTS_PER_MS = 16 / 60_000

/** Clocks run faster or slower by so much; with leases no more than their margin allows for, both ways. */
const DRIFT_MAX = 0.1
const LEASE_DRIFT_MAX = 0.049
/** Longer than any machine is suspended, or a clock that is set back could hide that. */
const JUMP_MS = [10_000, 3_600_000] as const

/** Several things at once, to show that a lease lasts for too long; elsewhere they only keep all from working. */
const IN_COMPANY: readonly FaultKind[] = [
  'hidden leader',
  'forsaken leader',
  'unheard handover',
  'late answers',
]
/** Where there are leases, so many of the faults are one of these. */
const LEASE_KINDS = ['isolate', ...IN_COMPANY, 'pause leader', 'clock drift'] as const
const LEASE_KINDS_RATIO = 0.3

/** A removal that was asked for may take so long. */
const REMOVAL_MS = 6_000

export class Faults {
  readonly counts = new Map<FaultKind, number>()
  /** What servers keep free. */
  readonly #reserveBytes: number
  readonly #world: World
  readonly #network: SimNetwork
  readonly #servers: readonly ServerProcess[]
  readonly #balancers: readonly BalancerProcess[]
  readonly #hostNames: readonly string[]
  readonly #kinds: Readonly<Record<FaultKind, () => boolean>>
  readonly #meanMs: number
  #removalUntilMs = 0
  /** How many of the turns end in a crash. */
  readonly #turnRatio: number
  /** Whether reads are served under leases, some of the time. */
  readonly #hasLeases: boolean
  /** When the last one happened. */
  lastMs = 0
  #isStopped = false

  constructor(
    world: World,
    network: SimNetwork,
    servers: readonly ServerProcess[],
    balancers: readonly BalancerProcess[],
    clientNames: readonly string[],
    hasLeases: boolean,
    reserveBytes: number,
  ) {
    this.#world = world
    this.#reserveBytes = reserveBytes
    this.#network = network
    this.#servers = servers
    this.#balancers = balancers
    this.#hasLeases = hasLeases
    this.#hostNames = [...servers, ...balancers].map(({ host }) => host.name).concat(clientNames)
    this.#meanMs = world.between(600, 2_500)
    this.#turnRatio = world.chance(0.4) ? 0 : world.between(0.01, 0.2)
    this.#kinds = {
      kill: () => this.#onRunning((server) => server.kill(this.#downMs())),
      'clean stop': () => this.#onRunning((server) => server.stopCleanly(this.#downMs())),
      'power loss': () =>
        this.#onRunning((server) => server.losePower(world.pick(CRASH_POLICIES), this.#downMs())),
      'kill all': () => this.#all((server) => server.kill(this.#downMs())),
      'power loss of all': () =>
        this.#all((server) => server.losePower(world.pick(CRASH_POLICIES), this.#downMs())),
      pause: () => this.#onRunning((server) => this.#pause(server)),
      'pause leader': () => this.#onLeader((server) => this.#pause(server)),
      'kill leader': () => this.#onLeader((server) => server.kill(this.#downMs())),
      partition: () => this.#partition(),
      isolate: () => this.#isolate(),
      'hidden leader': () => this.#hideLeader(),
      'forsaken leader': () => this.#forsakeLeader(),
      'unheard handover': () => this.#handOverUnheard(),
      'late answers': () => this.#delayAnswers(),
      'one-way cut': () => this.#oneWayCut(),
      loss: () => this.#weather({ lossRatio: world.between(0.02, 0.4) }, { lossRatio: 0 }),
      delay: () =>
        this.#weather(
          { spikeRatio: world.between(0.05, 0.4), spikeMs: world.between(20, 1_500) },
          { spikeRatio: 0 },
        ),
      doubling: () => this.#weather({ doubleRatio: world.between(0.05, 0.5) }, { doubleRatio: 0 }),
      'stream break': () => this.#onStream((stream) => network.breakStream(stream)),
      'stream stall': () =>
        this.#onStream((stream) => {
          stream.isStalled = true
          this.#later(() => {
            stream.isStalled = false
          })
        }),
      'sync failure': () => this.#onRunning(({ host }) => host.disk.fail('datasync')),
      'write failure': () => this.#onRunning(({ host }) => host.disk.fail('write', 1, 'EIO')),
      'disk full': () =>
        this.#onRunning(({ host }) => {
          host.disk.isFull = true
          this.#later(() => {
            host.disk.isFull = false
          })
        }),
      'out of room': () => this.#outOfRoom(),
      'slow disk': () => this.#onAny((server) => this.#slowDisk(server)),
      'bit flip': () => this.#flipBit(),
      'disk swap': () => this.#swapDisk(),
      upgrade: () => this.#onRunning((server) => server.upgrade()),
      'clock drift': () =>
        this.#onAny(({ host }) => {
          const driftMax = hasLeases ? LEASE_DRIFT_MAX : DRIFT_MAX
          const drift = world.chance(0.5) ? world.between(-1, 1) : world.pick([-1, 1])
          host.setClockRate(1 + drift * driftMax)
        }),
      'wall clock jump': () =>
        this.#onAny(({ host }) => {
          host.wallOffsetMs += world.between(...JUMP_MS) * (world.chance(0.5) ? 1 : -1)
        }),
      'balancer kill': () => this.#onBalancer((lb) => lb.kill(this.#downMs())),
      'balancer pause': () => this.#onBalancer((lb) => this.#pause(lb)),
      'balancer absent': () => this.#onBalancer((lb) => lb.kill(world.between(5_000, 20_000))),
      'balancer replaced': () => this.#replaceBalancer(),
      'late votes': () =>
        this.#weather({ voteDelayMs: world.between(10, 1_000) }, { voteDelayMs: 0 }),
      'crash at a turn': () => false, // comes with the turn
      removal: () => this.#remove(),
      'read mode': () => this.#changeReadMode(),
    }
  }

  start(): void {
    this.#world.after(this.#world.between(500, 4_000), () => this.#next())
    if (this.#hasLeases) this.#askForLeases()
  }

  /** No more faults, and an end to those that last. */
  stop(): void {
    this.#isStopped = true
    this.#network.cuts.clear()
    this.#network.slowTo.clear()
    Object.assign(this.#network.weather, {
      lossRatio: 0,
      doubleRatio: 0,
      spikeRatio: 0,
      voteDelayMs: 0,
    })
    for (const stream of this.#network.streams) stream.isStalled = false
    for (const { host } of [...this.#servers, ...this.#balancers]) {
      host.setClockRate(1)
      host.syncDelayMs = [0.2, 3]
      host.disk.forgetFailures()
      host.disk.isFull = false
      host.disk.roomBytes = Number.MAX_SAFE_INTEGER
      if (host.isPaused) host.resume()
    }
    for (const process of [...this.#servers, ...this.#balancers]) process.startAfter(0)
    for (const server of this.#servers) server.upgrade()
  }

  get count(): number {
    return [...this.counts.values()].reduce((sum, count) => sum + count, 0)
  }

  #next(): void {
    if (this.#isStopped) return
    const all = Object.keys(this.#kinds) as FaultKind[]
    const kinds = all.filter((kind) => this.#hasLeases || !IN_COMPANY.includes(kind))
    // Now and then two at once.
    for (let left = this.#world.chance(0.2) ? 2 : 1; left > 0; left--) {
      const isOfLeases = this.#hasLeases && this.#world.chance(LEASE_KINDS_RATIO)
      const kind = this.#world.pick(isOfLeases ? LEASE_KINDS : kinds)
      this.#world.trace('!', () => kind)
      if (this.#kinds[kind]()) this.#count(kind)
    }
    const isBehind = this.count < this.#world.nowMs * FAULTS_PER_MS
    const meanMs = isBehind ? this.#meanMs / 4 : this.#meanMs
    this.#world.after(-Math.log(1 - this.#world.random()) * meanMs, () => this.#next())
  }

  #count(kind: FaultKind): void {
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1)
    this.lastMs = this.#world.nowMs
  }

  /** A server is at one of the moments at which a crash hurts most. */
  atTurn(server: ServerProcess, turn: Turn): void {
    const world = this.#world
    if (this.#isStopped || this.#turnRatio === 0 || !world.chance(this.#turnRatio)) return
    const done = this.counts.get('crash at a turn') ?? 0
    if (done >= TURN_CRASHES_MAX) return
    const { host } = server
    const { epoch } = host
    // Now, while it is being written, when it has just left, or while a slow disk is still at it.
    world.after(world.between(0, world.pick([1, 8, 8, 500])), () => {
      if (host.epoch !== epoch || !host.isUp || this.#isStopped) return
      this.#count('crash at a turn')
      world.trace('!', () => `crash at a turn: ${turn}`)
      const downMs = world.chance(0.7) ? world.between(10, 300) : this.#downMs()
      if (world.chance(0.5)) server.kill(downMs)
      else server.losePower(world.pick(CRASH_POLICIES), downMs)
    })
  }

  // ---------------------------------------------------------------- on whom

  #onRunning(what: (server: ServerProcess) => void): boolean {
    const running = this.#servers.filter(({ host }) => host.isUp)
    if (running.length === 0) return false
    what(this.#world.pick(running))
    return true
  }

  #onAny(what: (server: ServerProcess) => void): boolean {
    what(this.#world.pick(this.#servers))
    return true
  }

  #onLeader(what: (server: ServerProcess) => void): boolean {
    const leader = this.#servers.find(({ node }) => node?.raft.role === 'leader')
    if (leader) what(leader)
    return leader !== undefined
  }

  #onBalancer(what: (balancer: BalancerProcess) => void): boolean {
    const running = this.#balancers.filter(({ host }) => host.isUp)
    if (running.length === 0) return false
    what(this.#world.pick(running))
    return true
  }

  #onStream(what: (stream: import('./network.ts').SimStream) => void): boolean {
    const streams = [...this.#network.streams]
    if (streams.length === 0) return false
    what(this.#world.pick(streams))
    return true
  }

  #all(what: (server: ServerProcess) => void): boolean {
    if (this.#world.chance(0.5)) return false // costly: it takes seconds to come back
    for (const server of this.#servers) if (server.host.isUp) what(server)
    return true
  }

  // ---------------------------------------------------------------- what

  #downMs(): number {
    return this.#world.chance(0.7)
      ? this.#world.between(50, 1_500)
      : this.#world.between(1_500, 8_000)
  }

  #lastingMs(): number {
    return this.#world.chance(0.75)
      ? this.#world.between(100, 2_000)
      : this.#world.between(2_000, 8_000)
  }

  #later(end: () => void, lastsMs = this.#lastingMs()): void {
    this.#world.after(lastsMs, () => {
      if (!this.#isStopped) end()
    })
  }

  /** Its process, or the whole machine: then its monotonic clock stands still. */
  #pause(process: Process): void {
    const { host } = process
    const { epoch } = host
    if (this.#world.chance(0.4)) host.suspend()
    else host.pause()
    this.#later(() => {
      if (host.epoch === epoch) host.resume()
    })
  }

  #cut(pairs: readonly (readonly [from: string, to: string])[], lastsMs?: number): void {
    const cuts = pairs.map(([from, to]) => `${from}>${to}`)
    for (const cut of cuts) this.#network.cuts.add(cut)
    this.#later(() => {
      for (const cut of cuts) this.#network.cuts.delete(cut)
    }, lastsMs)
  }

  #partition(): boolean {
    const names = this.#world.shuffle(this.#hostNames)
    const size = this.#world.integer(1, names.length - 1)
    const [left, right] = [names.slice(0, size), names.slice(size)]
    // Whole, or with some pairs spared.
    const sparedRatio = this.#world.chance(0.5) ? 0 : this.#world.between(0.1, 0.5)
    const pairs = left.flatMap((a) => right.map((b) => [a, b] as const))
    const cut = pairs.filter(() => !this.#world.chance(sparedRatio))
    this.#cut(
      cut.flatMap(([a, b]): [string, string][] => [
        [a, b],
        [b, a],
      ]),
    )
    return true
  }

  #isolate(): boolean {
    return this.#onLeader((server) => {
      const { host } = server
      if (this.#world.chance(0.3)) this.#slowDisk(server) // trouble comes in company
      this.#cut(bothWays(host, this.#othersThan(server)))
      // As a switch does that answers for whoever is gone.
      if (this.#world.chance(0.7)) return
      const streams = [...this.#network.streams].filter((stream) => stream.host === host)
      for (const stream of streams) this.#network.breakStream(stream)
    })
  }

  /** One server hears its leader no more, and stands. Now and then those restart whom it asks. */
  #hideLeader(): boolean {
    const world = this.#world
    return this.#onLeader((leader) => {
      const [blind, ...others] = world.shuffle(this.#othersThan(leader))
      if (!blind) return
      this.#cut(bothWays(leader.host, [blind]), world.between(1_500, 4_000))
      if (world.chance(0.5)) return
      for (const other of others) this.#restartSoon(other, world.between(1_200, 3_000))
    })
  }

  /** Load balancers hear the leader no more, and ask others to stand; then it is cut off, and those restart. */
  #forsakeLeader(): boolean {
    const world = this.#world
    return this.#onLeader((leader) => {
      const others = this.#othersThan(leader)
      this.#cut(bothWays(leader.host, this.#balancers), 4_000)
      const { epoch } = leader.host
      world.after(world.between(1_000, 2_500), () => {
        if (this.#isStopped || leader.host.epoch !== epoch) return
        this.#cut(bothWays(leader.host, others), 1_500)
        for (const other of others) this.#restartSoon(other, world.between(0, 300))
      })
    })
  }

  /** A leader hands over, and soon hears nothing more of what comes of it. */
  #handOverUnheard(): boolean {
    const world = this.#world
    return this.#onLeader((leader) => {
      const { host } = leader
      leader.stopCleanly(this.#downMs())
      world.after(world.between(0, 15), () => {
        if (this.#isStopped) return
        const pairs = this.#othersThan(leader).map((other) => [other.host.name, host.name] as const)
        this.#cut(pairs, 1_500)
      })
    })
  }

  /** What is sent to the leader comes late, and then what it sends comes no more. */
  #delayAnswers(): boolean {
    const world = this.#world
    return this.#onLeader((leader) => {
      const { name } = leader.host
      this.#network.slowTo.set(name, world.between(100, 1_000))
      this.#later(() => this.#network.slowTo.delete(name), 4_000)
      world.after(world.between(500, 2_000), () => {
        if (this.#isStopped) return
        const pairs = this.#othersThan(leader).map((other) => [name, other.host.name] as const)
        this.#cut(pairs, world.between(1_000, 3_000))
      })
    })
  }

  #othersThan(server: ServerProcess): ServerProcess[] {
    return this.#servers.filter((other) => other !== server)
  }

  #restartSoon(server: ServerProcess, afterMs: number): void {
    const { epoch } = server.host
    this.#world.after(afterMs, () => {
      if (this.#isStopped || server.host.epoch !== epoch || !server.host.isUp) return
      server.kill(this.#world.between(10, 200))
    })
  }

  #oneWayCut(): boolean {
    const from = this.#world.pick(this.#servers).host.name
    const others = this.#servers.map(({ host }) => host.name).filter((name) => name !== from)
    const cut = others.filter(() => this.#world.chance(0.6))
    const isOut = this.#world.chance(0.5)
    this.#cut(cut.map((name): [string, string] => (isOut ? [from, name] : [name, from])))
    return cut.length > 0
  }

  #weather(worse: Partial<SimNetwork['weather']>, better: Partial<SimNetwork['weather']>): boolean {
    Object.assign(this.#network.weather, worse)
    this.#later(() => Object.assign(this.#network.weather, better))
    return true
  }

  /** Something else fills disks, into what the servers keep free, and is removed again. */
  #outOfRoom(): boolean {
    const victims = this.#world.chance(0.3)
      ? this.#servers
      : this.#world.shuffle(this.#servers).slice(0, this.#world.integer(1, 2))
    for (const { host } of victims) {
      host.disk.roomBytes = Math.floor(this.#world.between(0.3, 0.95) * this.#reserveBytes)
      this.#later(() => {
        host.disk.roomBytes = Number.MAX_SAFE_INTEGER
      })
    }
    return true
  }

  #slowDisk({ host }: ServerProcess): void {
    const slowestMs = this.#world.between(50, this.#world.chance(0.7) ? 600 : 3_000)
    host.syncDelayMs = [this.#world.between(5, 50), slowestMs]
    this.#later(() => {
      host.syncDelayMs = [0.2, 3]
    })
  }

  /**
   * Whether one more voter may be without what it had: the others are a quorum that has it,
   * also if a voter less is wanted at this very moment.
   */
  get #mayLoseOne(): boolean {
    const configs = this.#servers.map(({ node }) => node?.raft.config ?? EMPTY_CONFIG)
    const isComplete = configs.some(({ members }) => members.length >= this.#servers.length)
    const voterCount = Math.min(...configs.map((config) => voterIds(config).length))
    const lostCount = this.#lostCount(configs)
    const isShrinking =
      this.#world.nowMs < this.#removalUntilMs || configs.some(({ floor }) => floor < 3)
    const isCalm = this.#servers.every(({ host }) => host.isUp && !host.isPaused)
    if (!isComplete || isShrinking || (lostCount > 0 && !isCalm)) return false
    return 2 * (lostCount + 1) < voterCount
  }

  /** Voters that are gone with their disk, and damaged ones. */
  #lostCount(configs: readonly Config[]): number {
    const running = new Set(this.#servers.map(({ id }) => id))
    const isGone = (id: string) => !running.has(id)
    const goneCount = Math.max(...configs.map((config) => voterIds(config).filter(isGone).length))
    return goneCount + this.#servers.filter(({ isDamaged }) => isDamaged).length
  }

  /** Rot: in the log before a seal, or it can't be told from a torn tail. */
  #flipBit(): boolean {
    if (!this.#mayLoseOne || !this.#world.chance(0.6)) return false
    const server = this.#world.pick(this.#servers.filter(({ isDamaged }) => !isDamaged))
    const { disk } = server.host
    const files = disk.files().filter((path) => path.startsWith(DATA) && !path.endsWith('/lock'))
    const logs = files.filter((path) => path.endsWith('.log'))
    const path = this.#world.pick(files)
    if (!path || logs.length === 0) return false
    let end = disk.bytes(path).length
    if (path === logs.at(-1)) end = disk.bytes(path).lastIndexOf('\nseal ')
    if (end < 1) return false
    const offset = this.#world.integer(0, end - 1)
    this.#world.trace('!', () => `a bit of ${server.host.name} ${path} at ${offset}`)
    disk.flipBit(path, offset, this.#world.integer(0, 7))
    server.isDamaged = true
    server.kill(this.#downMs())
    return true
  }

  /** Its data is gone for good, and it comes back as another server. */
  #swapDisk(): boolean {
    if (!this.#mayLoseOne || !this.#world.chance(0.6)) return false
    const server = this.#world.pick(this.#servers.filter(({ isDamaged }) => !isDamaged))
    server.swapDisk(this.#downMs())
    return true
  }

  /** Somebody takes a server out of the cluster; started again, it comes back. */
  #remove(): boolean {
    if (this.#lostCount(this.#servers.map(({ node }) => node?.raft.config ?? EMPTY_CONFIG)) > 0) {
      return false // enough are missing
    }
    const { id } = this.#world.pick(this.#servers)
    this.#removalUntilMs = this.#world.nowMs + REMOVAL_MS
    return this.#onLeader(({ node }) => {
      if (id !== null) node?.remove(id)
      this.#world.after(1_000, () => {
        const leader = this.#servers.find((server) => server.node?.raft.role === 'leader')
        if (id !== null) leader?.node?.remove(id)
      })
    })
  }

  /** Reads are confirmed by a quorum for a while. */
  #changeReadMode(): boolean {
    if (!this.#hasLeases) return false
    this.#later(() => this.#askForLeases())
    return this.#onLeader(({ node }) => node?.changeReadMode('quorum'))
  }

  /** Until it is done. */
  #askForLeases(): void {
    let isDone = this.#isStopped
    this.#onLeader(({ node }) => {
      isDone ||= node?.changeReadMode('lease').isDone ?? false
    })
    if (!isDone) this.#world.after(300, () => this.#askForLeases())
  }

  /** Its disk is gone with it; the servers tell the new one who they are. */
  #replaceBalancer(): boolean {
    const joined = this.#servers.filter(({ node }) => (node?.raft.log.lastIndex ?? 0) > 0)
    if (joined.length < this.#servers.length) return false
    return this.#onBalancer((balancer) => {
      balancer.kill(this.#downMs())
      balancer.forgetDisk()
    })
  }
}

function bothWays(host: Host, others: readonly Process[]): [from: string, to: string][] {
  return others.flatMap((other): [string, string][] => [
    [host.name, other.host.name],
    [other.host.name, host.name],
  ])
}
