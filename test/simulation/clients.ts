/**
 * Clients of a simulated cluster: plain memcached text over a stream, one
 * connection at a time, sometimes several requests in one write. Everything
 * they send and hear goes into the history.
 */
import { askBalancers } from '../../src/client/balancer-client.ts'
import type { Address, Stream } from '../../src/io/io.ts'
import {
  BALANCER_CLIENT_PORT,
  CLIENT_PORT,
  REQUEST_TIMEOUT_MS,
  type ServerProcess,
} from './cluster.ts'
import { Host } from './host.ts'
import type { HistoryEntry } from './linearizability.ts'
import type { SimNetwork } from './network.ts'
import { describe, encode } from './operation.ts'
import { ReplyReader, settle, type WireReply } from './replies.ts'
import { type Mix, Workload } from './workload.ts'
import type { World } from './world.ts'

/** Some give up before a server does, some long after. */
const PATIENCE_MS = [REQUEST_TIMEOUT_MS / 2, 2 * REQUEST_TIMEOUT_MS] as const
const BATCH_MAX = 6
/** Without waiting for answers, this many requests at the most. */
const PIPELINED_MAX = 24
/**
 * Right after a fault they act so much more often than later: nothing is found in quiet times. So
 * they do while they are behind in what a run owes.
 */
const HASTE = 4
const HASTE_MS = 1_500
const OPERATIONS_PER_MS = 290 / 60_000

export interface ClientStats {
  operationCount: number
  storedCount: number
  refusedCount: number
  unknownCount: number
  /** Replies that are none of memcached's, or not to that request. */
  readonly surprises: string[]
}

/** What was asked of one key or several, and not answered yet: one entry for each. */
type Request = readonly HistoryEntry[]

export class SimClient {
  readonly host: Host
  readonly #world: World
  readonly #servers: readonly ServerProcess[]
  readonly #balancers: readonly Address[]
  readonly #keys: readonly string[]
  readonly #history: HistoryEntry[]
  readonly #stats: ClientStats
  readonly #io: ReturnType<Host['boot']>
  readonly #workload: Workload
  #stream: Stream | null = null
  #replies = new ReplyReader()
  #waiting: Request[] = []
  #generation = 0
  isStopped = false
  readonly #thinkMs: number
  /** How often it does not wait for an answer before it asks again. */
  readonly #goOnRatio: number
  readonly #faultMs: () => number

  constructor(
    world: World,
    network: SimNetwork,
    name: string,
    servers: readonly ServerProcess[],
    balancerNames: readonly string[],
    keys: readonly string[],
    history: HistoryEntry[],
    stats: ClientStats,
    thinkMs: number,
    mix: Mix,
    /** Only reads: no write that waits keeps it from what a server says meanwhile. */
    isReader: boolean,
    faultMs: () => number,
  ) {
    this.#world = world
    this.host = new Host(world, network, name)
    this.#io = this.host.boot()
    this.#servers = servers
    this.#balancers = balancerNames.map((host) => ({ host, port: BALANCER_CLIENT_PORT }))
    this.#keys = keys
    this.#history = history
    this.#stats = stats
    this.#thinkMs = thinkMs
    this.#workload = new Workload(world.random, name, mix, isReader)
    this.#goOnRatio = world.pick([0.1, 0.3, 0.9])
    this.#faultMs = faultMs
    this.#think()
  }

  #think(): void {
    if (this.isStopped) return
    const world = this.#world
    const isBehind = this.#stats.operationCount < world.nowMs * OPERATIONS_PER_MS
    const isHasty = isBehind || world.nowMs - this.#faultMs() < HASTE_MS
    const delayMs =
      -Math.log(1 - world.random()) * (isHasty ? this.#thinkMs / HASTE : this.#thinkMs)
    world.after(delayMs, () => this.#act())
  }

  #act(): void {
    if (this.isStopped || this.#waiting.length > 0) return
    const isMoving = !this.#stream || this.#world.chance(0.1)
    if (isMoving && this.#world.chance(0.2)) return this.#askBalancers()
    if (isMoving) this.#connect(this.#chooseServer())
    this.#ask()
  }

  /** Asks which server to use; where no balancer can tell, it tries any. */
  #askBalancers(): void {
    const go = (server: Address) => {
      if (this.isStopped || this.#waiting.length > 0) return
      this.#connect(server)
      this.#ask()
    }
    askBalancers(this.#io, this.#balancers, 'get-servers', readServer).then(go, () =>
      go(this.#chooseServer()),
    )
  }

  #ask(): void {
    const count = this.#world.chance(0.3) ? this.#world.integer(2, BATCH_MAX) : 1
    let bytes = ''
    for (let sent = 0; sent < count; sent++) bytes += this.#begin()
    this.#stream?.write(bytes)
    const generation = ++this.#generation
    this.#world.after(this.#world.between(...PATIENCE_MS), () => {
      if (generation === this.#generation && this.#waiting.length > 0) this.#giveUp('no answer')
    })
    this.#maybeGoOn(generation)
  }

  #maybeGoOn(generation: number): void {
    const world = this.#world
    if (!world.chance(this.#goOnRatio)) return
    world.after(world.between(0, world.chance(0.7) ? 40 : 600), () => {
      const count = this.#waiting.length
      if (generation !== this.#generation || count === 0 || count >= PIPELINED_MAX) return
      this.#stream?.write(this.#begin())
      this.#maybeGoOn(generation)
    })
  }

  /** Mostly one that runs: a refused connection teaches nothing. */
  #chooseServer(): Address {
    const running = this.#servers.filter(({ host }) => host.isUp)
    const isAny = running.length === 0 || this.#world.chance(0.1)
    const { host } = this.#world.pick(isAny ? this.#servers : running)
    return { host: host.name, port: CLIENT_PORT }
  }

  #connect(server: Address): void {
    this.#stream?.destroy()
    this.#replies = new ReplyReader()
    const stream = this.#io.network.connect(server, {
      onData: (chunk) => {
        if (this.#stream !== stream) return
        this.#replies.push(chunk)
        for (let reply = this.#replies.next(); reply; reply = this.#replies.next()) {
          this.#reply(reply)
        }
      },
      onEnd: () => this.#stream === stream && this.#giveUp('ended'),
      onClose: () => this.#stream === stream && this.#giveUp('closed'),
    })
    this.#stream = stream
  }

  /** The rest of what was sent stays unknown. */
  #giveUp(why: string): void {
    for (const [entry] of this.#waiting as [HistoryEntry][]) {
      this.#stats.unknownCount++
      this.#world.trace(this.host.name, () => `${describe(entry)} -> unknown (${why})`)
    }
    const hadWaiting = this.#waiting.length > 0
    this.#waiting = []
    this.#stream?.destroy()
    this.#stream = null
    if (hadWaiting) this.#think()
  }

  #begin(): string {
    const world = this.#world
    const pickKey = () => world.pick(this.#keys)
    const key = pickKey()
    const operation = this.#workload.draw(key)
    const isOnAll = operation.kind === 'flush_all'
    const keys = isOnAll ? ['*'] : this.#workload.keysFor(operation, key, pickKey)
    let after = this.#waiting.at(-1)?.at(-1)
    const request = keys.map((key) => {
      const entry: HistoryEntry = {
        key,
        client: this.host.name,
        operation,
        reply: undefined,
        startMs: world.nowMs,
        endMs: Number.POSITIVE_INFINITY,
        after,
      }
      after = entry
      return entry
    })
    this.#waiting.push(request)
    this.#history.push(...request)
    this.#stats.operationCount++
    const bytes = encode(keys, operation)
    world.trace(this.host.name, () => `${forTrace(bytes)} to ${this.#stream?.remote.host}`)
    return bytes
  }

  #reply(reply: WireReply): void {
    const request = this.#waiting.shift()
    if (!request) return
    const { line, hits, value = '' } = reply
    const [{ operation }] = request as [HistoryEntry]
    const asked = forTrace(
      encode(
        request.map(({ key }) => key),
        operation,
      ),
    )
    const heard = `${line} ${hits.map((hit) => hit.value).join(' ')}${value}`
    this.#world.trace(this.host.name, () => `${asked} -> ${heard}`)
    switch (settle(request, reply, this.#world.nowMs)) {
      case 'answered':
        for (const { key, reply } of request) {
          if (reply?.unique !== undefined) this.#workload.saw(key, reply.unique)
          if (reply?.status === 'STORED' || reply?.status === 'HD') this.#stats.storedCount++
        }
        break
      case 'refused':
        this.#stats.refusedCount++
        this.#history.splice(this.#history.lastIndexOf(request[0] as HistoryEntry), request.length)
        break
      case 'unknown':
        this.#stats.unknownCount++
        break
      case 'surprise':
        this.#stats.surprises.push(`${asked} -> ${heard}`)
    }
    if (this.#waiting.length === 0) this.#think()
  }
}

function forTrace(bytes: string): string {
  return bytes.trimEnd().replace('\r\n', ' ')
}

/** The first that a load balancer names. */
function readServer([line = '']: readonly string[]): Address {
  const [, host, port] = /^(.+):(\d+)$/.exec(line) ?? []
  if (!host || line.startsWith('SERVER_ERROR')) throw new Error(line)
  return { host, port: Number(port) }
}
