/**
 * Clients of a simulated cluster: plain memcached text over a stream, one
 * connection at a time, sometimes several requests in one write. Everything
 * they send and hear goes into the history.
 */
import { findServer } from '../../src/client/balancer-client.ts'
import type { Address, Stream } from '../../src/io/io.ts'
import {
  BALANCER_CLIENT_PORT,
  CLIENT_PORT,
  REQUEST_TIMEOUT_MS,
  type ServerProcess,
} from './cluster.ts'
import { Host } from './host.ts'
import type { HistoryEntry, Operation } from './linearizability.ts'
import type { SimNetwork } from './network.ts'
import { describe, encode } from './operation.ts'
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
}

export class SimClient {
  readonly host: Host
  readonly #world: World
  readonly #servers: readonly ServerProcess[]
  readonly #balancers: readonly Address[]
  readonly #keys: readonly string[]
  readonly #history: HistoryEntry[]
  readonly #stats: ClientStats
  readonly #io: ReturnType<Host['boot']>
  /** Newest cas unique seen, by key. */
  readonly #uniques = new Map<string, string>()
  #stream: Stream | null = null
  #text = ''
  #waiting: HistoryEntry[] = []
  #hit: { value: string; unique?: string } | null = null
  #valueCount = 0
  #generation = 0
  isStopped = false
  readonly #thinkMs: number
  /** Only reads: no write that waits keeps it from what a server says meanwhile. */
  readonly #isReader: boolean
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
    this.#isReader = isReader
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

  /** As the library does; where no balancer can tell, it tries any server. */
  #askBalancers(): void {
    const go = (server: Address) => {
      if (this.isStopped || this.#waiting.length > 0) return
      this.#connect(server)
      this.#ask()
    }
    findServer(this.#io, this.#balancers).then(go, () => go(this.#chooseServer()))
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
    this.#text = ''
    this.#hit = null
    const stream = this.#io.network.connect(server, {
      onData: (chunk) => {
        if (this.#stream !== stream) return
        this.#text += chunk.toString('latin1')
        this.#takeReplies()
      },
      onEnd: () => this.#stream === stream && this.#giveUp('ended'),
      onClose: () => this.#stream === stream && this.#giveUp('closed'),
    })
    this.#stream = stream
  }

  /** The rest of what was sent stays unknown. */
  #giveUp(why: string): void {
    for (const entry of this.#waiting) {
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
    const key = this.#world.pick(this.#keys)
    const operation = this.#draw(key)
    const previous = this.#waiting.findLast((entry) => entry.key === key)
    const entry: HistoryEntry = {
      key,
      client: this.host.name,
      operation,
      reply: undefined,
      startMs: this.#world.nowMs,
      endMs: Number.POSITIVE_INFINITY,
      after: previous,
    }
    this.#waiting.push(entry)
    this.#history.push(entry)
    this.#stats.operationCount++
    this.#world.trace(this.host.name, () => `${describe(entry)} to ${this.#stream?.remote.host}`)
    return encode(key, operation)
  }

  #draw(key: string): Operation {
    const dice = this.#world.random() * (this.#isReader ? 0.45 : 1)
    const value = `${this.host.name}.${++this.#valueCount}`
    const unique = this.#uniques.get(key)
    if (dice < 0.3) return { kind: 'get' }
    if (dice < 0.45) return { kind: 'gets' }
    if (dice < 0.66) return { kind: 'set', value }
    if (dice < 0.72) {
      this.#history.push(expiry(key, value, this.#world.nowMs))
      return { kind: 'set', value, exptime: this.#world.integer(1, 3) }
    }
    if (dice < 0.8) return { kind: 'add', value }
    if (dice < 0.92) return { kind: 'cas', value, unique: unique ?? '1' }
    return { kind: 'delete' }
  }

  #takeReplies(): void {
    for (;;) {
      const end = this.#text.indexOf('\r\n')
      if (end === -1) return
      const line = this.#text.slice(0, end)
      if (line.startsWith('VALUE ')) {
        const [, , , length, unique] = line.split(' ')
        const valueEnd = end + 2 + Number(length)
        if (this.#text.length < valueEnd + 2) return
        const value = this.#text.slice(end + 2, valueEnd)
        this.#hit = unique === undefined ? { value } : { value, unique }
        this.#text = this.#text.slice(valueEnd + 2)
        continue
      }
      this.#text = this.#text.slice(end + 2)
      this.#reply(line)
    }
  }

  #reply(line: string): void {
    const entry = this.#waiting.shift()
    if (!entry) return
    const hit = this.#hit
    this.#hit = null
    this.#world.trace(this.host.name, () => `${describe(entry)} -> ${line} ${hit?.value ?? ''}`)
    if (line.startsWith('SERVER_ERROR')) {
      if (line.startsWith('SERVER_ERROR outcome unknown')) this.#stats.unknownCount++
      else {
        // It never happens: as if it had never been asked for.
        this.#stats.refusedCount++
        const at = this.#history.lastIndexOf(entry)
        if (at !== -1) this.#history.splice(at, 1)
      }
    } else {
      entry.endMs = this.#world.nowMs
      if (line === 'END') {
        entry.reply = hit ? hit.value : null
        if (hit?.unique !== undefined) {
          entry.unique = hit.unique
          this.#uniques.set(entry.key, hit.unique)
        }
      } else {
        entry.reply = line
        if (line === 'STORED') this.#stats.storedCount++
      }
    }
    if (this.#waiting.length === 0) this.#think()
  }
}

/** The clock that decides is the log's, which a new leader may set forward: so it is at any later time. */
function expiry(key: string, value: string, startMs: number): HistoryEntry {
  return {
    key,
    client: '-',
    operation: { kind: 'expire', value },
    reply: undefined,
    startMs,
    endMs: Number.POSITIVE_INFINITY,
  }
}
