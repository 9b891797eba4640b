/**
 * The load generator: one process of its own, so that what it costs is measured apart from
 * what it asks. Forked by the bench; a job comes as a message, and messages say how far it
 * is (job.ts).
 *
 * Cheap, or it would be what is measured: requests are made before, all that go out
 * together on a connection are one write, all connections read into one buffer, replies are
 * counted without making strings, and latencies into buckets.
 *
 * Closed loop: a reply makes room for the next request, and a latency is from the write of
 * a request to the read of its reply. Open loop: requests have their time, whatever became
 * of those before, and latencies count from that time, so that a pause of the server is seen
 * by all that should have been sent meanwhile. (See Gil Tene on "coordinated omission".)
 */
import net from 'node:net'
import { Histogram } from './histogram.ts'
import type { Endpoint, Job, LoadMessage, LoadResult } from './job.ts'
import { type ProtocolOfJob, protocolOf } from './protocols.ts'
import { createDice, createScript, type Script } from './script.ts'
import type { Session } from './session.ts'

/** Shared by all: what is in it has been looked at when the callback returns. */
const received = Buffer.allocUnsafe(256 * 1024)

/** Requests of one connection from the oldest that is unanswered on; powers of two. */
const CLOSED_LOOP_MAX = 4_096
const OPEN_LOOP_MAX = 65_536
/** How often the open loop sends what is due. Timers are no finer. */
const PACE_MS = 1
/** How long the last replies may take. */
const DRAIN_MS = 10_000

class Load {
  readonly #job: Job
  readonly #script: Script
  readonly #protocol: ProtocolOfJob
  readonly #connections: Connection[] = []
  readonly latencies = new Histogram()
  readonly #done: Promise<void>
  isCounting = false
  isOver = false
  #count = 0
  #totalCount = 0
  #totalWriteCount = 0
  #errorCount = 0
  #firstError: string | null = null
  #finish = (): void => {}

  constructor(job: Job) {
    this.#job = job
    this.#protocol = protocolOf(job)
    this.#script = createScript(job, this.#protocol.format)
    this.#done = new Promise((resolve) => {
      this.#finish = resolve
    })
  }

  async run(say: (message: LoadMessage) => void): Promise<void> {
    const { warmUpMs, measureMs, isFill } = this.#job
    await this.#connect()
    const startMs = performance.now()
    let [beginMs, endMs] = [startMs, startMs]
    this.#start()
    if (isFill) {
      await this.#done
    } else {
      await Promise.race([delay(warmUpMs), this.#done])
      say({ type: 'begun' })
      beginMs = performance.now()
      this.isCounting = true
      await Promise.race([delay(measureMs), this.#done])
      this.isCounting = false
      endMs = performance.now()
      say({ type: 'ended' })
    }
    this.isOver = true
    await this.#drain()
    say({ type: 'result', result: this.#result(endMs - beginMs) })
  }

  #result(ms: number): LoadResult {
    return {
      ...{ ms, count: this.#count, totalCount: this.#totalCount },
      ...{ totalWriteCount: this.#totalWriteCount },
      ...{ errorCount: this.#errorCount, firstError: this.#firstError },
      latencies: Array.from(this.latencies.counts),
    }
  }

  async #connect(): Promise<void> {
    const { connectionCount, endpoints, seed } = this.#job
    const dice = createDice(seed + 1)
    for (let at = 0; at < connectionCount; at++) {
      const endpoint = endpoints[at % endpoints.length]
      if (!endpoint) throw new Error('nothing to connect to')
      const startAt = this.#job.isFill ? 0 : dice(this.#script.length)
      this.#connections.push(
        new Connection(this, this.#protocol, this.#script, startAt, endpoint, this.#job),
      )
    }
    await Promise.race([Promise.all(this.#connections.map(({ ready }) => ready)), this.#done])
  }

  #start(): void {
    const { ratePerS, inFlight } = this.#job
    if (ratePerS !== null) return this.#pace(ratePerS)
    for (const connection of this.#connections) connection.request(inFlight)
  }

  #pace(ratePerS: number): void {
    const startMs = performance.now()
    const { inFlight } = this.#job
    const intervalMs = (1_000 * inFlight) / ratePerS
    const { length } = this.#connections
    let sent = 0
    const timer = setInterval(() => {
      if (this.isOver) return clearInterval(timer)
      const due = Math.floor((performance.now() - startMs) / intervalMs)
      for (; sent < due; sent++) {
        this.#connections[sent % length]?.schedule(startMs + (sent + 1) * intervalMs, inFlight)
      }
      for (const connection of this.#connections) connection.requestScheduled()
    }, PACE_MS)
  }

  replied(ms: number, scriptAt: number): void {
    this.#totalCount++
    if (this.#script.writes[scriptAt % this.#script.length] === 1) this.#totalWriteCount++
    if (this.isCounting) {
      this.#count++
      this.latencies.record(ms)
    }
    if (this.#job.isFill && this.#totalCount === this.#script.length) this.#finish()
  }

  failed(what: string): void {
    if (this.isOver) return
    this.#errorCount++
    this.#firstError ??= what
    // An error is no figure: there is nothing to wait for.
    this.#finish()
  }

  async #drain(): Promise<void> {
    const endMs = performance.now() + DRAIN_MS
    while (this.#errorCount === 0 && this.#connections.some(({ isBusy }) => isBusy)) {
      if (performance.now() > endMs) {
        this.#errorCount++
        this.#firstError ??= `replies are missing after ${DRAIN_MS} ms`
      }
      await delay(5)
    }
    for (const connection of this.#connections) connection.close()
  }
}

class Connection {
  readonly ready: Promise<void>
  readonly #load: Load
  readonly #job: Job
  readonly #startAt: number
  readonly #socket: net.Socket
  readonly #session: Session
  /** When the requests were sent, or should have been, by their numbers. */
  readonly #sentMs: Float64Array
  readonly #mask: number
  #sentCount = 0
  #repliedCount = 0
  /** Replies of this read, and when it was; scheduled requests not sent yet. */
  #freed = 0
  #nowMs = 0
  #scheduled = 0
  #isReady = (): void => {}

  constructor(
    load: Load,
    protocol: ProtocolOfJob,
    script: Script,
    startAt: number,
    { host, port }: Endpoint,
    job: Job,
  ) {
    this.#load = load
    this.#job = job
    this.#startAt = startAt
    const slots = job.ratePerS === null ? CLOSED_LOOP_MAX : OPEN_LOOP_MAX
    this.#sentMs = new Float64Array(slots)
    this.#mask = slots - 1
    this.ready = new Promise((resolve) => {
      this.#isReady = resolve
    })
    this.#session = protocol.createSession(script, startAt, {
      send: (bytes) => this.#socket.write(bytes),
      onReady: () => this.#isReady(),
      onReply: (number) => this.#replied(number),
      onError: (what) => load.failed(what),
    })
    this.#socket = net.connect({
      ...{ host, port, noDelay: true },
      onread: {
        buffer: received,
        callback: (length: number, bytes: Uint8Array): boolean => {
          this.#received(bytes as Buffer, length)
          return true
        },
      },
    })
    this.#socket.on('connect', () => this.#session.open())
    this.#socket.on('error', (error) => load.failed(`${host}:${port}: ${error.message}`))
    this.#socket.on('close', () => load.failed(`${host}:${port} closed the connection`))
  }

  get isBusy(): boolean {
    return this.#repliedCount < this.#sentCount
  }

  request(wanted: number): void {
    const count = this.#job.isFill ? Math.min(wanted, this.#job.keyCount - this.#sentCount) : wanted
    if (count === 0) return
    const nowMs = performance.now()
    for (let left = count; left > 0; left--) this.#sentMs[this.#sentCount++ & this.#mask] = nowMs
    this.#session.request(count)
  }

  schedule(atMs: number, count: number): void {
    if (this.#sentCount + count - this.#repliedCount > OPEN_LOOP_MAX) {
      return this.#load.failed('the store is too slow for this rate')
    }
    for (let left = count; left > 0; left--) this.#sentMs[this.#sentCount++ & this.#mask] = atMs
    this.#scheduled += count
  }

  requestScheduled(): void {
    if (this.#scheduled === 0) return
    this.#session.request(this.#scheduled)
    this.#scheduled = 0
  }

  close(): void {
    this.#socket.destroy()
  }

  #received(bytes: Buffer, length: number): void {
    this.#nowMs = performance.now()
    this.#session.receive(bytes, length)
    const freed = this.#freed
    this.#freed = 0
    if (this.#load.isOver || this.#job.ratePerS !== null) return
    this.request(freed)
  }

  #replied(number: number): void {
    this.#repliedCount++
    this.#freed++
    this.#load.replied(
      this.#nowMs - (this.#sentMs[number & this.#mask] ?? 0),
      this.#startAt + number,
    )
  }
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

// Whoever asked for it has the result, or is gone.
process.once('disconnect', () => process.exit())
process.once('message', async (job: Job) => {
  const say = (message: LoadMessage) => process.send?.(message)
  await new Load(job).run(say)
})
