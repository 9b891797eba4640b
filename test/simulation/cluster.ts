/**
 * The processes of a simulated cluster: the servers and load balancers that are
 * shipped, each on a host of its own, started again when they end.
 */
import type { Logger } from '../../src/io/logger.ts'
import { type CoordinatorTiming, DEFAULT_COORDINATOR_TIMING } from '../../src/lb/coordinator.ts'
import { Balancer } from '../../src/lb/lb.ts'
import type { Limits, SlownessRules } from '../../src/server/admission.ts'
import type { Node } from '../../src/server/node.ts'
import type { RaftTiming } from '../../src/server/raft/raft.ts'
import { Server } from '../../src/server/server.ts'
import type { CrashPolicy } from '../io/memory-disk.ts'
import { Host } from './host.ts'
import type { SimNetwork } from './network.ts'
import type { World } from './world.ts'

export const CLIENT_PORT = 7001
const PEER_PORT = 6001
export const BALANCER_CLIENT_PORT = 5002
const BALANCER_PORT = 5001
export const DATA = 'data'
export const REQUEST_TIMEOUT_MS = 2_000

/** Slower than real ones, to see more of a minute in less time; what they are to each other stays. */
const TIMING: Omit<RaftTiming, 'gatherBytes'> = {
  heartbeatMs: 400,
  electionTimeoutMs: 1_200,
  quorumTimeoutMs: 2_000,
  campaignTimeoutMs: 300,
  closedLeaderDelayMs: 80,
  roundPatienceMs: 20,
  commitDelayMs: 4,
}

const BALANCER_TIMING: CoordinatorTiming = {
  ...DEFAULT_COORDINATOR_TIMING,
  heartbeatMs: 500,
  suspectMs: 1_200,
  askMs: 200,
  campaignMs: 1_200,
  offerMs: 2_000,
}

/** Quicker than real ones, to see it often in a minute with few writes. */
const SLOWNESS: SlownessRules = { lateMs: 50, slowMs: 250, graceMs: 1_000, againMs: 4_000 }

/** Far more than the log of a run, so that the reserve is never used up. */
export const DISK_RESERVE_BYTES = 1024 * 1024

/** Thrown by checkers; ends the run. */
export class Violation extends Error {}

/** Something that runs as a process on a host. */
export abstract class Process {
  readonly host: Host
  readonly world: World
  /** Why it ended by itself, if it did. */
  lastFailure = ''
  /** When it may start again. */
  #restartAtMs = 0

  constructor(world: World, network: SimNetwork, name: string) {
    this.world = world
    this.host = new Host(world, network, name)
  }

  /** What a supervisor does: starts it again after so long, unless it is lost. */
  startAfter(delayMs: number): void {
    this.#restartAtMs = this.world.nowMs + delayMs
    this.world.after(delayMs, () => this.#maybeStart())
  }

  #maybeStart(): void {
    const { host, world } = this
    if (host.isUp || world.nowMs < this.#restartAtMs) return
    this.world.trace(host.name, () => 'starts')
    const io = host.boot()
    const { epoch } = host
    host.onCrash = (error) => this.#failed(epoch, error)
    world.hasPromises = true
    this.start(io, (error) => this.#failed(epoch, error)).catch((error) =>
      this.#failed(epoch, error),
    )
  }

  kill(downMs: number): void {
    this.world.trace(this.host.name, () => `killed, down ${downMs.toFixed(0)} ms`)
    this.#end(downMs)
    this.host.kill()
  }

  losePower(policy: CrashPolicy, downMs: number): void {
    this.world.trace(this.host.name, () => `loses power (${policy.contents}, ${policy.names})`)
    this.#end(downMs)
    this.host.losePower(policy)
  }

  #failed(epoch: number, error: Error): void {
    if (this.host.epoch !== epoch || !this.host.isUp) return
    this.lastFailure = error.message
    this.world.trace(this.host.name, () => `ends by itself: ${error.message}`)
    this.#end(this.world.between(200, 1_500))
    this.host.kill()
    this.onFailure(error)
  }

  #end(downMs: number): void {
    this.startAfter(downMs)
    this.stopped()
  }

  abstract start(io: ReturnType<Host['boot']>, onFailure: (error: Error) => void): Promise<void>
  abstract stopped(): void
  abstract onFailure(error: Error): void

  protected logger(): Logger {
    const say = (fields: object, message: string) =>
      this.world.trace(this.host.name, () => `${message} ${JSON.stringify(fields)}`)
    return { info: say, warn: say, error: say }
  }
}

/** What all servers of a run are started with. */
export interface Settings {
  readonly evictAfterMs: number
  /** Small ones are cut all the time, and peers need snapshots. */
  readonly segmentBytes: number
  readonly snapshotPieceBytes: number
  readonly scrubIntervalMs: number
  /** So many of the servers are of a version before, until they are upgraded, and speak that. */
  readonly oldRatio: number
  readonly oldProtocol: number
  readonly limits: Limits
  /** See RaftTiming; with little, appends overlap. */
  readonly gatherBytes: number
}

export class ServerProcess extends Process {
  server: Server | null = null
  /** Something of its rotted, and is not repaired yet. */
  isDamaged = false
  /** Ids of those whose disk it was before. */
  readonly lostIds = new Set<string>()
  #id: string | null = null
  readonly #balancerHosts: readonly string[]
  readonly #settings: Settings
  /** It speaks the peers' protocol of a version before. */
  #isOld: boolean
  readonly #onFailure: (process: ServerProcess, error: Error) => void

  constructor(
    world: World,
    network: SimNetwork,
    name: string,
    balancerHosts: readonly string[],
    settings: Settings,
    onFailure: (process: ServerProcess, error: Error) => void,
  ) {
    super(world, network, name)
    this.#balancerHosts = balancerHosts
    this.#settings = settings
    this.#isOld = world.chance(settings.oldRatio)
    this.#onFailure = onFailure
  }

  /** The id it was last known by; null before its first start. */
  get id(): string | null {
    return this.#id
  }

  get node(): Node | null {
    return this.host.isUp ? (this.server?.node ?? null) : null
  }

  /** The old version runs no more; the next start is one of the new. */
  upgrade(): void {
    if (!this.#isOld) return
    this.#isOld = false
    const downMs = this.world.between(50, 500)
    if (this.server) this.stopCleanly(downMs)
    else if (this.host.isUp) this.kill(downMs)
  }

  /** A new disk is a new server. */
  swapDisk(downMs: number): void {
    this.world.trace(this.host.name, () => 'gets an empty disk')
    if (this.#id !== null) this.lostIds.add(this.#id)
    this.#id = null
    this.kill(downMs)
    this.host.disk = this.host.disk.emptied()
  }

  async start(io: ReturnType<Host['boot']>, onFailure: (error: Error) => void): Promise<void> {
    const { name } = this.host
    const { epoch } = this.host
    const { evictAfterMs, segmentBytes, snapshotPieceBytes, scrubIntervalMs } = this.#settings
    const { limits, oldProtocol, gatherBytes } = this.#settings
    const server = await Server.start({
      io,
      log: this.logger(),
      directory: DATA,
      client: { host: name, port: CLIENT_PORT },
      peer: { host: name, port: PEER_PORT },
      advertiseCip: name,
      advertiseSip: name,
      balancers: this.#balancerHosts.map((host) => ({ host, port: BALANCER_PORT })),
      requestTimeoutMs: REQUEST_TIMEOUT_MS,
      timing: { ...TIMING, gatherBytes },
      membership: { evictAfterMs, votersMax: 5 },
      ...(this.#isOld ? { protocol: oldProtocol } : {}),
      ...{ segmentBytes, snapshotPieceBytes, scrubIntervalMs },
      limits,
      slowness: SLOWNESS,
      onLeave: () => this.stopCleanly(this.world.between(100, 3_000)),
      onFailure,
    })
    if (this.host.epoch !== epoch) return
    this.server = server
    this.#id = server.id
    server.setMemoryLimit(limits.memoryBytes) // as it is by now
  }

  /** What SIGTERM does: it finishes what it is at, and ends. */
  stopCleanly(downMs: number): void {
    const { server, host, world } = this
    if (!server) return
    const { epoch } = host
    world.trace(host.name, () => 'is asked to stop')
    world.hasPromises = true
    const end = () => {
      if (host.epoch === epoch && host.isUp) this.kill(downMs)
    }
    server.stop().then(end, end)
  }

  stopped(): void {
    this.server = null
  }

  onFailure(error: Error): void {
    this.#onFailure(this, error)
  }
}

export class BalancerProcess extends Process {
  async start(io: ReturnType<Host['boot']>, onFailure: (error: Error) => void): Promise<void> {
    await Balancer.start({
      io,
      log: this.logger(),
      client: { host: this.host.name, port: BALANCER_CLIENT_PORT },
      server: { host: this.host.name, port: BALANCER_PORT },
      directory: DATA,
      timing: BALANCER_TIMING,
      onFailure,
    })
  }

  /** Its next start finds an empty disk. */
  forgetDisk(): void {
    this.host.disk = this.host.disk.emptied()
  }

  stopped(): void {}
  onFailure(): void {}
}
