/**
 * The client library: finds a server through the load balancer and speaks
 * memcached's text protocol to it, over one connection, requests pipelined.
 *
 *     const client = await connect({ host: '127.0.0.1', port: 5002 })
 *     await client.set('greeting', 'hello')
 *     const value = await client.get('greeting') // a Buffer, or null
 *     client.close()
 */
import type { Address, Io, Stream } from '../io/io.ts'
import { createNodeIo } from '../io/node.ts'
import { findServer } from './balancer-client.ts'
import { type Login, LoginError, withLogin } from './login.ts'

const TIMEOUT_MS = 5_000
const KEY_BYTES_MAX = 250

/** The store answered with an error, or not at all. */
export class StoreError extends Error {
  /** Whether the request certainly had no effect. */
  readonly definite: boolean

  constructor(message: string, definite: boolean) {
    super(message)
    this.name = 'StoreError'
    this.definite = definite
  }
}

export interface Client {
  /** @throws StoreError; `definite` tells whether the value certainly was not stored. */
  set(key: string, value: Buffer | string): Promise<void>
  /** @returns the value, or null where there is none. */
  get(key: string): Promise<Buffer | null>
  close(): void
}

export interface ConnectOptions {
  /** Where the servers were given an --auth-file. */
  readonly login?: Login | null
  readonly io?: Io
}

/** @param balancers Where load balancers answer clients: one, or several to ask in turn. */
export async function connect(
  balancers: Address | readonly Address[],
  { login = null, io = createNodeIo() }: ConnectOptions = {},
): Promise<Client> {
  const list = 'host' in balancers ? [balancers] : balancers
  return new LineClient(withLogin(io, login), await findServer(io, list))
}

/** A reply: its first line, and for a get the value. */
interface Reply {
  readonly line: string
  readonly value: Buffer | null
}

interface Waiting {
  readonly resolve: (reply: Reply) => void
  readonly reject: (error: StoreError) => void
  readonly timer: { cancel(): void }
}

class LineClient implements Client {
  readonly #io: Io
  readonly #server: string
  readonly #stream: Stream
  readonly #waiting: Waiting[] = []
  #bytes = Buffer.alloc(0)
  #failure: StoreError | null = null

  constructor(io: Io, server: Address) {
    this.#io = io
    this.#server = `server ${server.host}:${server.port}`
    this.#stream = io.network.connect(server, {
      onData: (chunk) => {
        this.#bytes = Buffer.concat([this.#bytes, chunk])
        this.#takeReplies()
      },
      onEnd: () => this.#fail('closed the connection'),
      onClose: (error) =>
        this.#fail(error ? error.message : 'closed the connection', error instanceof LoginError),
    })
  }

  async set(key: string, value: Buffer | string): Promise<void> {
    const bytes = Buffer.from(value as string)
    const line = Buffer.from(`set ${checkedKey(key)} 0 0 ${bytes.length}\r\n`)
    const reply = await this.#request(Buffer.concat([line, bytes, Buffer.from('\r\n')]))
    if (reply.line !== 'STORED') throw storeError(reply.line)
  }

  async get(key: string): Promise<Buffer | null> {
    const reply = await this.#request(Buffer.from(`get ${checkedKey(key)}\r\n`))
    if (reply.line === 'END') return reply.value
    throw storeError(reply.line)
  }

  close(): void {
    this.#fail('closed')
  }

  #request(bytes: Buffer): Promise<Reply> {
    if (this.#failure) return Promise.reject(new StoreError(this.#failure.message, true))
    return new Promise((resolve, reject) => {
      const timer = this.#io.timers.after(TIMEOUT_MS, () =>
        this.#fail(`did not answer within ${TIMEOUT_MS} ms`),
      )
      this.#waiting.push({ resolve, reject, timer })
      this.#stream.write(bytes)
    })
  }

  /** Whoever waits does not learn what became of the request, unless that is definite. */
  #fail(why: string, definite = false): void {
    this.#failure ??= new StoreError(`${this.#server}: ${why}`, definite)
    this.#stream.destroy()
    for (const { reject, timer } of this.#waiting.splice(0)) {
      timer.cancel()
      reject(this.#failure)
    }
  }

  #takeReplies(): void {
    for (let reply = this.#takeReply(); reply; reply = this.#takeReply()) {
      const first = this.#waiting.shift()
      if (!first) return this.#fail('sent a reply that nobody waits for')
      first.timer.cancel()
      first.resolve(reply)
    }
  }

  #takeReply(): Reply | null {
    const lineEnd = this.#bytes.indexOf('\r\n')
    if (lineEnd === -1) return null
    const line = this.#bytes.toString('latin1', 0, lineEnd)
    const length = /^VALUE \S+ \d+ (\d+)$/.exec(line)?.[1]
    if (length === undefined) {
      this.#bytes = this.#bytes.subarray(lineEnd + 2)
      return { line, value: null }
    }
    const valueEnd = lineEnd + 2 + Number(length)
    const tail = '\r\nEND\r\n'
    if (this.#bytes.length < valueEnd + tail.length) return null
    const value = Buffer.from(this.#bytes.subarray(lineEnd + 2, valueEnd))
    this.#bytes = this.#bytes.subarray(valueEnd + tail.length)
    return { line: 'END', value }
  }
}

function checkedKey(key: string): string {
  const bytes = Buffer.byteLength(key)
  if (bytes < 1 || bytes > KEY_BYTES_MAX || /[ \r\n]/.test(key)) {
    throw new StoreError(
      `a key has 1 to ${KEY_BYTES_MAX} bytes, without spaces and line ends: ${JSON.stringify(key)}`,
      true,
    )
  }
  return key
}

function storeError(line: string): StoreError {
  return new StoreError(line, !line.startsWith('SERVER_ERROR outcome unknown'))
}
