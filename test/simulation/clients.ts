/**
 * Clients of a simulated cluster: plain memcached text over a stream, one
 * connection at a time, sometimes several requests in one write. Everything
 * they send and hear goes into the history.
 */
import type { Stream } from '../../src/io/io.ts'
import { CLIENT_PORT, REQUEST_TIMEOUT_MS, type ServerProcess } from './cluster.ts'
import { Host } from './host.ts'
import type { HistoryEntry, Operation } from './linearizability.ts'
import type { SimNetwork } from './network.ts'
import { describe, encode } from './operation.ts'
import type { World } from './world.ts'

/** Longer than a server takes to answer at all. */
const PATIENCE_MS = REQUEST_TIMEOUT_MS + 2_000
const BATCH_MAX = 6

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

  constructor(
    world: World,
    network: SimNetwork,
    name: string,
    servers: readonly ServerProcess[],
    keys: readonly string[],
    history: HistoryEntry[],
    stats: ClientStats,
    thinkMs: number,
  ) {
    this.#world = world
    this.host = new Host(world, network, name)
    this.#io = this.host.boot()
    this.#servers = servers
    this.#keys = keys
    this.#history = history
    this.#stats = stats
    this.#thinkMs = thinkMs
    this.#think()
  }

  #think(): void {
    if (this.isStopped) return
    const delayMs = -Math.log(1 - this.#world.random()) * this.#thinkMs
    this.#world.after(delayMs, () => this.#act())
  }

  #act(): void {
    if (this.isStopped || this.#waiting.length > 0) return
    if (!this.#stream || this.#world.chance(0.1)) this.#connect()
    const count = this.#world.chance(0.3) ? this.#world.integer(2, BATCH_MAX) : 1
    let bytes = ''
    for (let sent = 0; sent < count; sent++) bytes += this.#begin()
    this.#stream?.write(bytes)
    const generation = ++this.#generation
    this.#world.after(PATIENCE_MS, () => {
      if (generation === this.#generation && this.#waiting.length > 0) this.#giveUp('no answer')
    })
  }

  #connect(): void {
    this.#stream?.destroy()
    this.#text = ''
    this.#hit = null
    const server = this.#world.pick(this.#servers)
    const stream = this.#io.network.connect(
      { host: server.host.name, port: CLIENT_PORT },
      {
        onData: (chunk) => {
          if (this.#stream !== stream) return
          this.#text += chunk.toString('latin1')
          this.#takeReplies()
        },
        onEnd: () => this.#stream === stream && this.#giveUp('ended'),
        onClose: () => this.#stream === stream && this.#giveUp('closed'),
      },
    )
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
    const dice = this.#world.random()
    const value = `${this.host.name}.${++this.#valueCount}`
    const unique = this.#uniques.get(key)
    if (dice < 0.3) return { kind: 'get' }
    if (dice < 0.45) return { kind: 'gets' }
    if (dice < 0.72) return { kind: 'set', value }
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
