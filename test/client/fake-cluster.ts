/**
 * A cluster that a test plays: load balancers and servers by port, in one process, under a
 * clock that stands still until it is moved. Nothing here happens by itself: `settle` lets
 * everything happen that can without time, `advance` moves the clock as well.
 */

import type { Client, ConnectOptions } from '../../src/client/client.ts'
import { connect as connectClient } from '../../src/client/client.ts'
import type { Address, Io, Stream, StreamHandler, Timer } from '../../src/io/io.ts'

/** What becomes of somebody who connects. */
type Door = 'open' | 'refuses' | 'silent'

/** @returns what it answers, or null for nothing. */
export type Answer = (request: string, connection: FakeConnection) => string | null

const STORAGE = /^(?:set|add|replace|append|prepend|cas) \S+ \S+ \S+ (\d+)/

export class FakeCluster {
  nowMs = 1_000
  wallMs = 1_700_000_000_000
  /** What is drawn, again and again. */
  dice = 0.5
  readonly #nodes = new Map<number, FakeNode>()
  #events: (() => void)[] = []
  #timers: { readonly atMs: number; readonly fn: () => void }[] = []
  /** Streams that are not closed. */
  openCount = 0

  readonly io: Io = {
    clock: { monotonicMs: () => this.nowMs, wallMs: () => this.wallMs },
    random: { float: () => this.dice, hex: (count: number) => '0'.repeat(2 * count) },
    timers: {
      after: (delayMs: number, fn: () => void): Timer => {
        const timer = { atMs: this.nowMs + delayMs, fn }
        this.#timers.push(timer)
        return {
          cancel: () => {
            this.#timers = this.#timers.filter((other) => other !== timer)
          },
        }
      },
      soon: (fn: () => void) => this.happen(fn),
    },
    network: {
      connect: (address: Address, handler: StreamHandler) => this.#connect(address, handler),
    },
  } as unknown as Io

  get timerCount(): number {
    return this.#timers.length
  }

  /** A load balancer, or a server, that answers as `answer` says. */
  node(port: number, answer: Answer): FakeNode {
    const node = new FakeNode(this, port, answer)
    this.#nodes.set(port, node)
    return node
  }

  /** A load balancer that knows these servers. */
  balancer(port: number, ports: readonly number[], leader: number | null): FakeNode {
    return this.node(port, statusAnswer(ports, leader))
  }

  connect(cluster: Parameters<typeof connectClient>[0], options: ConnectOptions = {}) {
    return this.run(connectClient(cluster, { io: this.io, ...options }))
  }

  happen(fn: () => void): void {
    this.#events.push(fn)
  }

  async settle(): Promise<void> {
    do {
      const events = this.#events
      this.#events = []
      for (const event of events) event()
      await new Promise((resolve) => setImmediate(resolve))
    } while (this.#events.length > 0)
  }

  async advance(ms: number): Promise<void> {
    const endMs = this.nowMs + ms
    for (;;) {
      await this.settle()
      const [next] = this.#timers.sort((a, b) => a.atMs - b.atMs)
      if (!next || next.atMs > endMs) break
      this.#timers = this.#timers.filter((other) => other !== next)
      this.nowMs = Math.max(this.nowMs, next.atMs)
      next.fn()
    }
    this.nowMs = endMs
    await this.settle()
  }

  /** Settles, and hands on what the promise gives without time. @throws where it waits for time. */
  async run<T>(promise: Promise<T>): Promise<T> {
    let isOver = false
    const over = () => {
      isOver = true
    }
    promise.then(over, over)
    await this.settle()
    if (!isOver) throw new Error('it waits for something')
    return promise
  }

  #connect(address: Address, handler: StreamHandler): Stream {
    this.openCount++
    const connection = new FakeConnection(this, handler)
    const node = this.#nodes.get(address.port)
    if (node) this.happen(() => node.accept(connection))
    else connection.lose('ECONNREFUSED')
    return connection.stream(address)
  }
}

export function statusAnswer(ports: readonly number[], leader: number | null): Answer {
  const members = ports.map((port) => ({
    id: `s${port}`,
    cip: 'host',
    cport: port,
    cluster: 'c',
    alive: true,
  }))
  const id = leader === null ? null : `s${leader}`
  const line = JSON.stringify({ leader: id, whyNoLeader: 'nobody does', members })
  return (request) => (request === 'status' ? `${line}\r\nend\r\n` : 'ERROR\r\n')
}

export class FakeNode {
  door: Door = 'open'
  answer: Answer
  /** What a server says to who comes in. */
  greeting = 'VERSION 1.6.45\r\n'
  /** All that was asked here, without greetings. */
  readonly requests: string[] = []
  readonly connections = new Set<FakeConnection>()
  connectCount = 0

  constructor(_: FakeCluster, _port: number, answer: Answer) {
    this.answer = answer
  }

  accept(connection: FakeConnection): void {
    this.connectCount++
    if (this.door === 'refuses') return connection.lose('ECONNREFUSED')
    if (this.door === 'silent') return
    this.connections.add(connection)
    connection.open(this)
  }

  /** The one connection that is open. */
  get connection(): FakeConnection {
    const open = [...this.connections].filter(({ isClosed }) => !isClosed)
    if (open.length !== 1) throw new Error(`${open.length} connections are open`)
    return open[0] as FakeConnection
  }
}

/** One stream; the client's side is `stream`, the test's the rest. */
export class FakeConnection {
  readonly #cluster: FakeCluster
  readonly #handler: StreamHandler
  #node: FakeNode | null = null
  #received = ''
  #writes: string[] = []
  isClosed = false
  /** What `write` returns from now on. */
  isRoomy = true

  constructor(cluster: FakeCluster, handler: StreamHandler) {
    this.#cluster = cluster
    this.#handler = handler
  }

  /** Each write of the client's, as it came. */
  get writes(): readonly string[] {
    return this.#writes
  }

  stream(remote: Address): Stream {
    const write = (chunk: Uint8Array | string) => {
      const text = typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString('latin1')
      this.#writes.push(text)
      this.#cluster.happen(() => this.#take(text))
      return this.isRoomy
    }
    return {
      remote,
      handle: () => {},
      write,
      writeAll: (chunks) => write(Buffer.concat(chunks)),
      bufferedBytes: 0,
      pause: () => {},
      resume: () => {},
      end: () => {},
      destroy: () => this.#close(null),
    }
  }

  open(node: FakeNode): void {
    if (this.isClosed) return
    this.#node = node
    this.#handler.onOpen?.()
    this.#take('')
  }

  send(text: string | Buffer): void {
    this.#cluster.happen(() => {
      if (!this.isClosed) this.#handler.onData(Buffer.from(text as string, 'latin1'))
    })
  }

  drain(): void {
    this.isRoomy = true
    this.#cluster.happen(() => this.#handler.onDrain?.())
  }

  end(): void {
    this.#cluster.happen(() => {
      if (!this.isClosed) this.#handler.onEnd()
    })
  }

  lose(code: string): void {
    this.#close(Object.assign(new Error(code), { code }))
  }

  #close(error: Error | null): void {
    if (this.isClosed) return
    this.isClosed = true
    this.#cluster.openCount--
    this.#cluster.happen(() => this.#handler.onClose(error))
  }

  #take(text: string): void {
    this.#received += text
    const node = this.#node
    if (!node || this.isClosed) return
    for (let end = this.#requestEnd(); end !== -1; end = this.#requestEnd()) {
      const request = this.#received.slice(0, end)
      this.#received = this.#received.slice(end + 2)
      if (request === 'version' || request.startsWith('set auth - -')) {
        this.send(node.greeting)
        continue
      }
      node.requests.push(request)
      const answer = node.answer(request, this)
      if (answer !== null) this.send(answer)
    }
  }

  /** Where the first whole request ends, but for its line end. */
  #requestEnd(): number {
    const lineEnd = this.#received.indexOf('\r\n')
    if (lineEnd === -1) return -1
    const line = this.#received.slice(0, lineEnd)
    const length = line.startsWith('set auth - -')
      ? line.slice('set auth - - '.length)
      : STORAGE.exec(line)?.[1]
    if (length === undefined) return lineEnd
    const end = lineEnd + 2 + Number(length)
    return this.#received.length >= end + 2 ? end : -1
  }
}

/** What a promise has come to by now. */
export function watch<T>(promise: Promise<T>): { value?: T; error?: unknown; isOver: boolean } {
  const watched: { value?: T; error?: unknown; isOver: boolean } = { isOver: false }
  promise.then(
    (value) => Object.assign(watched, { value, isOver: true }),
    (error) => Object.assign(watched, { error, isOver: true }),
  )
  return watched
}

export type { Client }
