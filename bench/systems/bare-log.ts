/**
 * What it takes Node to log and replicate, and nothing else: a leader that takes requests of
 * a known length, writes their bytes to a file and to two followers, who write them too, and
 * answers what it and one of them have synced. Nobody reads a key, keeps an item, verifies
 * anything or could be elected: the mark that writes to a store in Node are measured by. Syncs
 * and messages gather what comes meanwhile, as in the store.
 *
 *     node bare-log.js follower FILE PORT
 *     node bare-log.js leader FILE PORT REQUEST_BYTES FOLLOWER_PORT FOLLOWER_PORT
 */
import { fdatasync, openSync, writev } from 'node:fs'
import net from 'node:net'

const HOST = '127.0.0.1'
/** Then the file begins anew. */
const FILE_BYTES = 64 * 1024 * 1024
const CHUNKS_AT_ONCE = 1_000
const REPLY = 'STORED\r\n'
const COUNT_BYTES = 8
/** So long the leader waits at the most for what clients that were answered send next. */
const GATHER_MS = 2

/** A file that grows by what it is given. */
class Log {
  /** Of all bytes ever given, those that are synced. */
  syncedBytes = 0
  #queuedBytes = 0
  #queue: Buffer[] = []
  #isWriting = false
  #offset = 0
  readonly #fd: number
  readonly #onSynced: () => void

  constructor(path: string, onSynced: () => void) {
    this.#fd = openSync(path, 'w')
    this.#onSynced = onSynced
  }

  append(chunks: readonly Buffer[]): void {
    for (const chunk of chunks) {
      this.#queue.push(chunk)
      this.#queuedBytes += chunk.length
    }
    if (!this.#isWriting && this.#queue.length > 0) this.#writeQueue()
  }

  #writeQueue(): void {
    this.#isWriting = true
    const chunks = this.#queue.splice(0, CHUNKS_AT_ONCE)
    if (this.#offset > FILE_BYTES) this.#offset = 0
    writev(this.#fd, chunks, this.#offset, (error, written) => {
      if (error) throw error
      this.#offset += written
      if (this.#queue.length > 0) return this.#writeQueue()
      const bytes = this.#queuedBytes
      fdatasync(this.#fd, (failure) => {
        if (failure) throw failure
        this.syncedBytes = bytes
        this.#isWriting = false
        this.#onSynced()
        this.append([])
      })
    })
  }
}

/** Who connects has a file of its own, and hears how much of what it sent is synced. */
function follow(path: string, port: number): void {
  const server = net.createServer({ noDelay: true }, (socket) => {
    const log = new Log(path, () => {
      const count = Buffer.alloc(COUNT_BYTES)
      count.writeDoubleLE(log.syncedBytes)
      socket.write(count)
    })
    socket.on('error', () => socket.destroy())
    socket.on('data', (chunk) => log.append([chunk]))
  })
  server.listen(port, HOST)
}

interface Client {
  readonly socket: net.Socket
  /** What came of a request that is not complete. */
  partBytes: number
  /** Requests to answer in this turn. */
  dueCount: number
}

class Follower {
  sentBytes = 0
  syncedBytes = 0
  readonly #socket: net.Socket
  #rest: Buffer = Buffer.alloc(0)

  constructor(port: number, onSynced: () => void) {
    this.#socket = net.connect({ host: HOST, port, noDelay: true })
    this.#socket.on('data', (chunk) => {
      const bytes = Buffer.concat([this.#rest, chunk])
      const whole = bytes.length - (bytes.length % COUNT_BYTES)
      if (whole > 0) this.syncedBytes = bytes.readDoubleLE(whole - COUNT_BYTES)
      this.#rest = bytes.subarray(whole)
      onSynced()
    })
  }

  send(bytes: Buffer, allBytes: number): void {
    this.#socket.write(bytes)
    this.sentBytes = allBytes
  }
}

class Leader {
  readonly #requestBytes: number
  readonly #log: Log
  readonly #followers: readonly Follower[]
  /** What came and was not sent yet. */
  #gathered: Buffer[] = []
  #allBytes = 0
  /** Requests that wait for what is synced up to `endBytes`, in order. */
  #waiting: { readonly client: Client; readonly count: number; readonly endBytes: number }[] = []
  #isTurnDue = false
  /** Requests and replies since the last turn. */
  #activity = 0
  #gatheringSinceMs: number | null = null

  constructor(path: string, port: number, requestBytes: number, followerPorts: readonly number[]) {
    this.#requestBytes = requestBytes
    this.#log = new Log(path, () => this.#advance())
    this.#followers = followerPorts.map((each) => new Follower(each, () => this.#advance()))
    net.createServer({ noDelay: true }, (socket) => this.#serve(socket)).listen(port, HOST)
  }

  #serve(socket: net.Socket): void {
    const client: Client = { socket, partBytes: 0, dueCount: 0 }
    socket.on('error', () => socket.destroy())
    socket.on('data', (chunk) => {
      const bytes = client.partBytes + chunk.length
      const count = Math.floor(bytes / this.#requestBytes)
      client.partBytes = bytes % this.#requestBytes
      this.#gathered.push(chunk)
      this.#allBytes += chunk.length
      this.#activity++
      if (count > 0) this.#waiting.push({ client, count, endBytes: this.#allBytes })
      this.#turnSoon()
    })
  }

  #turnSoon(): void {
    if (this.#isTurnDue) return
    this.#isTurnDue = true
    setImmediate(() => {
      this.#isTurnDue = false
      this.#gatheringSinceMs ??= performance.now()
      const isBusy = this.#activity > 0
      this.#activity = 0
      if (isBusy && performance.now() - this.#gatheringSinceMs < GATHER_MS) this.#turnSoon()
      else this.#send()
    })
  }

  #send(): void {
    const mustGather = this.#followers.every((each) => each.sentBytes > each.syncedBytes)
    if (this.#gathered.length === 0 || mustGather) return
    const bytes = Buffer.concat(this.#gathered)
    this.#gathered = []
    this.#gatheringSinceMs = null
    for (const follower of this.#followers) follower.send(bytes, this.#allBytes)
    this.#log.append([bytes])
  }

  /** Answers what is on two of the three disks, its own among them. */
  #advance(): void {
    const followed = Math.max(...this.#followers.map(({ syncedBytes }) => syncedBytes))
    const syncedBytes = Math.min(this.#log.syncedBytes, followed)
    let done = 0
    const clients = new Set<Client>()
    for (const { client, count, endBytes } of this.#waiting) {
      if (endBytes > syncedBytes) break
      client.dueCount += count
      clients.add(client)
      done++
    }
    this.#waiting.splice(0, done)
    this.#activity += done
    for (const client of clients) {
      client.socket.write(REPLY.repeat(client.dueCount), 'latin1')
      client.dueCount = 0
    }
    if (this.#gathered.length > 0) this.#turnSoon()
  }
}

const [role, path = '', port, requestBytes, ...followerPorts] = process.argv.slice(2)
if (role === 'follower') follow(path, Number(port))
else new Leader(path, Number(port), Number(requestBytes), followerPorts.map(Number))
