/**
 * Clients: each has one connection at a time, to a server drawn at random, and
 * sends one request or several in one write. Values are unique.
 *
 * Histories must stay short, because to check one can take time exponential in
 * its length: the clients share a few keys and move on to fresh ones, to some of
 * them soon, to others after longer than a server is ever stopped for.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { ServerProcess } from '../e2e/cluster.ts'
import { describeReply, encode } from '../simulation/operation.ts'
import { Workload } from '../simulation/workload.ts'
import { Connection } from './connection.ts'
import { chance, draw, pick } from './dice.ts'
import type { History, Recorded } from './history.ts'

const CLIENT_COUNT = 12
/** Besides, some that only read: no write that waits keeps them from what a server says meanwhile. */
const READER_COUNT = 4
/** On average, between an answer and the next requests. */
const THINK_MS = 65
const BATCH_MAX = 6
/** A client waits that long for an answer: some give up before a server does, some long after. */
const PATIENCE_MS = [1_000, 7_000] as const
/** Lives of the keys in use at the same time: 20 keys in 10 s. */
const KEY_LIVES_MS = [2_500, 2_500, 2_500, 2_500, 10_000, 10_000, 10_000, 10_000]

/** One entry for each key. */
interface Request {
  readonly text: string
  readonly entries: readonly Recorded[]
}

/** Of the keys in use at the same time, one in so many holds numbers. */
const NUMBERS_EVERY = 4

export class Clients {
  readonly #servers: readonly ServerProcess[]
  readonly #history: History
  readonly #running: Promise<void>[]
  #isStopping = false

  constructor(servers: readonly ServerProcess[], history: History) {
    this.#servers = servers
    this.#history = history
    this.#running = [
      ...Array.from({ length: CLIENT_COUNT }, (_, at) => this.#run(`c${at + 1}`, false)),
      ...Array.from({ length: READER_COUNT }, (_, at) => this.#run(`r${at + 1}`, true)),
    ]
  }

  /** Ends when the last request was answered or given up. */
  async stop(): Promise<void> {
    this.#isStopping = true
    await Promise.all(this.#running)
  }

  async #run(name: string, isReader: boolean): Promise<void> {
    let server = pick(this.#servers)
    let connection: Connection | null = null
    const workload = new Workload(Math.random, name, 'all', isReader)
    /** Seen just now, so that a cas has a chance. */
    let seenKey: string | null = null

    while (!this.#isStopping) {
      await delay(-Math.log(1 - Math.random()) * THINK_MS)
      if (!connection || connection.isClosed || chance(0.07)) {
        connection?.close()
        server = pick(this.#servers)
        connection = await Connection.open(server)
        if (!connection) continue
      }
      const count = chance(0.3) ? 2 + Math.floor(Math.random() * (BATCH_MAX - 1)) : 1
      const oneKey = seenKey ?? (chance(0.5) ? currentKey() : null)
      const requests: Request[] = []
      for (let k = 0; k < count; k++) {
        const key = oneKey ?? currentKey()
        const isCas = k === 0 && seenKey !== null
        const operation = isCas ? workload.compare(key) : workload.draw(key)
        const isOnAll = operation.kind === 'flush_all'
        const keys = isOnAll ? ['*'] : workload.keysFor(operation, key, currentKey)
        let after = requests.at(-1)?.entries.at(-1)
        const entries = keys.map((key) => {
          after = this.#history.begin({
            key,
            client: name,
            server: String(server.cport),
            operation,
            startMs: performance.now(),
            after,
          })
          return after
        })
        requests.push({ text: encode(keys, operation), entries })
      }
      await this.#send(connection, requests)
      seenKey = null
      for (const { key, reply } of requests.flatMap(({ entries }) => entries)) {
        if (reply?.unique === undefined) continue
        workload.saw(key, reply.unique)
        if (!isReader && chance(0.5)) seenKey = key
      }
    }
    connection?.close()
  }

  /** Until all are answered, or the connection is closed. */
  async #send(connection: Connection, requests: readonly Request[]): Promise<void> {
    let why = 'connection lost'
    const timer = setTimeout(
      () => {
        why = 'no answer'
        connection.close()
      },
      draw(...PATIENCE_MS),
    )
    await new Promise<void>((resolve) => {
      let left = requests.length
      connection.send(
        requests.map(({ text, entries }) => ({
          text,
          onReply: (reply) => {
            this.#history.end(entries, reply, why)
            if (--left === 0) resolve()
          },
        })),
      )
    })
    clearTimeout(timer)
  }
}

/** One of the keys in use now. Those with longer lives are drawn less often. */
function currentKey(): string {
  const slot = Math.floor(Math.random() * KEY_LIVES_MS.length)
  const lifeMs = KEY_LIVES_MS[slot] ?? 1
  if (lifeMs > 5_000 && chance(0.4)) return currentKey()
  const nowMs = performance.now() + (slot * lifeMs) / KEY_LIVES_MS.length
  const kind = slot % NUMBERS_EVERY === 0 ? 'n' : 'k'
  return `${kind}${slot}-${Math.floor(nowMs / lifeMs)}`
}

/**
 * Reads every key through this server, for the history as well.
 * @returns value and cas unique by key.
 * @throws where it does not answer all of them.
 */
export async function readAll(
  server: ServerProcess,
  keys: readonly string[],
  history: History,
): Promise<Map<string, string>> {
  const connection = await Connection.open(server)
  if (!connection) throw new Error(`nobody listens on ${server.place.cip}:${server.cport}`)
  const found = new Map<string, string>()
  const timer = setTimeout(() => connection.close(), 10_000)
  try {
    for (const key of keys) {
      const entry = history.begin({
        key,
        client: 'final',
        server: String(server.cport),
        operation: { kind: 'gets' },
        startMs: performance.now(),
      })
      await new Promise<void>((resolve) => {
        const onReply: Parameters<typeof connection.send>[0][number]['onReply'] = (reply) => {
          history.end([entry], reply)
          resolve()
        }
        connection.send([{ text: encode([key], entry.operation), onReply }])
      })
      if (entry.reply === undefined) {
        throw new Error(`gets ${key} on ${server.place.cip}:${server.cport}: ${entry.line}`)
      }
      found.set(key, describeReply(entry.reply))
    }
  } finally {
    clearTimeout(timer)
    connection.close()
  }
  return found
}
