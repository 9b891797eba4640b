/**
 * The real `Io`: Node's own clock, dice, timers, files and sockets.
 *
 * Files are opened without O_APPEND and written at explicit offsets; durability
 * is fdatasync or O_DSYNC for contents and fsync of the directory for names. Sockets have
 * allowHalfOpen, because Node's default drops replies to a client that has
 * ended its half, and noDelay.
 */
import { randomBytes } from 'node:crypto'
import dgram from 'node:dgram'
import { lookup } from 'node:dns'
import fs from 'node:fs'
import { mkdir, open, readdir, readFile, rename, statfs, unlink } from 'node:fs/promises'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { performance } from 'node:perf_hooks'
import { promisify } from 'node:util'
import { tryLock } from 'fs-native-extensions'
import type {
  Address,
  DatagramSocket,
  Disk,
  DiskFile,
  Io,
  Network,
  Stream,
  StreamHandler,
} from './io.ts'

/** How long the address of a host name is kept before it is looked up again. */
const HOST_LOOKUP_TTL_MS = 5_000
const HOST_CACHE_MAX = 1_000
/** Of what a socket of a client has, at most this is read at once. */
const READ_BYTES = 64 * 1024
/** Node takes more for none at all. */
const DELAY_MS_MAX = 2 ** 31 - 1

export function createNodeIo(): Io {
  return {
    clock: { monotonicMs: () => performance.now(), wallMs: () => Date.now() },
    random: {
      float: () => Math.random(),
      hex: (byteCount) => randomBytes(byteCount).toString('hex'),
    },
    timers: {
      after(delayMs, fn) {
        const timer = setTimeout(fn, Math.min(delayMs, DELAY_MS_MAX))
        return { cancel: () => clearTimeout(timer) }
      },
      soon: (fn) => void setImmediate(fn),
    },
    disk: nodeDisk,
    network: nodeNetwork,
    process: {
      pid: process.pid,
      cpuMs() {
        const { user, system } = process.cpuUsage()
        return { user: user / 1000, system: system / 1000 }
      },
    },
  }
}

const nodeDisk: Disk = {
  async makeDirectory(directory) {
    const first = await mkdir(directory, { recursive: true })
    if (first === undefined) return
    // Every directory on the way that was made is a new name in its parent.
    for (let made = path.resolve(directory); ; made = path.dirname(made)) {
      await nodeDisk.syncDirectory(path.dirname(made))
      if (made === path.resolve(first)) return
    }
  },

  async list(directory) {
    try {
      return (await readdir(directory)).sort()
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return []
      throw error
    }
  },

  async readFile(file) {
    try {
      return await readFile(file)
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return null
      throw error
    }
  },

  async open(file, { create, readOnly = false, isDurable = false }) {
    const { O_RDONLY, O_RDWR, O_CREAT, O_TRUNC, O_DSYNC } = fs.constants
    const flags =
      (readOnly ? O_RDONLY : O_RDWR) |
      (create ? O_CREAT | O_TRUNC : 0) |
      (isDurable && HAS_DURABLE_WRITES ? O_DSYNC : 0)
    const mustSync = isDurable && !HAS_DURABLE_WRITES
    return new NodeFile(await promisify(fs.open)(file, flags, 0o644), mustSync)
  },

  rename,
  remove: unlink,

  async syncDirectory(directory) {
    const handle = await open(directory, 'r')
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  },

  async freeBytes(path) {
    const { bavail, bsize } = await statfs(path)
    return Math.min(bavail * bsize, Number.MAX_SAFE_INTEGER)
  },

  async sizeBytes(path) {
    const { blocks, bsize } = await statfs(path)
    return Math.min(blocks * bsize, Number.MAX_SAFE_INTEGER)
  },

  async lock(file) {
    const handle = await open(file, 'a+')
    if (!tryLock(handle.fd)) {
      await handle.close()
      return null
    }
    return { release: () => handle.close() }
  },
}

/** With O_DSYNC a write and its sync are one call, and one wait in place of two. Linux promises that. */
const HAS_DURABLE_WRITES = process.platform === 'linux'

class NodeFile implements DiskFile {
  readonly #fd: number
  /** Each write is followed by a sync. */
  readonly #mustSync: boolean

  constructor(fd: number, mustSync: boolean) {
    this.#fd = fd
    this.#mustSync = mustSync
  }

  async read(offset: number, length: number): Promise<Buffer> {
    const buffer = Buffer.allocUnsafe(length)
    let filled = 0
    while (filled < length) {
      const count = await new Promise<number>((resolve, reject) => {
        fs.read(this.#fd, buffer, filled, length - filled, offset + filled, (error, bytesRead) =>
          error ? reject(error) : resolve(bytesRead),
        )
      })
      if (count === 0) break
      filled += count
    }
    return buffer.subarray(0, filled)
  }

  async write(chunks: readonly Uint8Array[], offset: number): Promise<void> {
    // The kernel takes at most IOV_MAX (1024) chunks a call, and may take fewer bytes than given.
    let position = offset
    for (let from = 0; from < chunks.length; from += 1024) {
      let rest = chunks.slice(from, from + 1024)
      while (rest.length > 0) {
        const written = await this.#writev(rest, position)
        position += written
        rest = dropBytes(rest, written)
      }
    }
    if (this.#mustSync) await this.datasync()
  }

  #writev(chunks: readonly Uint8Array[], position: number): Promise<number> {
    return new Promise((resolve, reject) => {
      fs.writev(this.#fd, chunks, position, (error, written) =>
        error ? reject(error) : resolve(written),
      )
    })
  }

  datasync(): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.fdatasync(this.#fd, (error) => (error ? reject(error) : resolve()))
    })
  }

  async size(): Promise<number> {
    return (await promisify(fs.fstat)(this.#fd)).size
  }

  close(): Promise<void> {
    return promisify(fs.close)(this.#fd)
  }
}

/** What is left of `chunks` without their first `count` bytes. */
function dropBytes(chunks: readonly Uint8Array[], count: number): Uint8Array[] {
  const rest: Uint8Array[] = []
  for (const chunk of chunks) {
    if (count >= chunk.length) count -= chunk.length
    else {
      rest.push(count > 0 ? chunk.subarray(count) : chunk)
      count = 0
    }
  }
  return rest
}

const nodeNetwork: Network = {
  async bindDatagrams(local, onDatagram) {
    const type = net.isIPv6(await resolveHost(local.host)) ? 'udp6' : 'udp4'
    const socket = dgram.createSocket({ type, lookup: lookupCached as typeof lookup })
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject)
      socket.bind(local.port, local.host, () => {
        socket.off('error', reject)
        resolve()
      })
    })
    socket.on('error', () => {}) // an unreachable receiver is a lost datagram
    socket.on('message', (bytes, from) =>
      onDatagram(bytes, { host: from.address, port: from.port }),
    )
    return nodeDatagramSocket(socket)
  },

  async listen(local, onStream, hasSharedReads = false) {
    const options = { allowHalfOpen: true, noDelay: true, pauseOnConnect: hasSharedReads }
    const server = net.createServer(options, (socket) => {
      const remote = { host: socket.remoteAddress ?? '?', port: socket.remotePort ?? 0 }
      onStream(
        hasSharedReads ? new SharedReadStream(socket, remote) : new NodeStream(socket, remote),
      )
    })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ host: local.host, port: local.port, backlog: 1024 }, () => {
        server.off('error', reject)
        resolve()
      })
    })
    server.on('error', () => {}) // a client that is gone before it was accepted
    // Node's own close would wait for the open streams too.
    return { close: async () => void server.close() }
  },

  connect(remote, handler) {
    const socket = net.connect({
      host: remote.host,
      port: remote.port,
      allowHalfOpen: true,
      noDelay: true,
    })
    const stream = new NodeStream(socket, remote)
    stream.handle(handler)
    return stream
  },
}

function nodeDatagramSocket(socket: dgram.Socket): DatagramSocket {
  let closed = false
  return {
    send(bytes, to) {
      if (closed) return
      try {
        socket.send(bytes, to.port, to.host, () => {}) // the callback swallows errors
      } catch {
        // an address that can't be one: lost like any other datagram
      }
    },
    close() {
      closed = true
      return new Promise((resolve) => socket.close(() => resolve()))
    },
  }
}

class NodeStream implements Stream {
  readonly remote: Address
  #socket: net.Socket

  constructor(socket: net.Socket, remote: Address) {
    this.#socket = socket
    this.remote = remote
  }

  handle(handler: StreamHandler): void {
    this.#socket = this.listenTo(this.#socket, (chunk) => handler.onData(chunk))
    const socket = this.#socket
    let failure: Error | null = null
    socket.on('connect', () => handler.onOpen?.())
    socket.on('end', () => handler.onEnd())
    socket.on('drain', () => handler.onDrain?.())
    socket.on('error', (error) => {
      failure = error
    })
    socket.on('close', () => handler.onClose(failure))
  }

  /** @returns the socket to go on with. */
  protected listenTo(socket: net.Socket, onData: (chunk: Buffer) => void): net.Socket {
    return socket.on('data', onData)
  }

  write(chunk: Uint8Array | string): boolean {
    if (!this.#socket.writable) return true
    return typeof chunk === 'string'
      ? this.#socket.write(chunk, 'latin1')
      : this.#socket.write(chunk)
  }

  writeAll(chunks: readonly Uint8Array[]): boolean {
    if (!this.#socket.writable) return true
    this.#socket.cork()
    let roomy = true
    for (const chunk of chunks) roomy = this.#socket.write(chunk)
    this.#socket.uncork()
    return roomy
  }

  get bufferedBytes(): number {
    return this.#socket.writableLength
  }

  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    this.#socket.resume()
  }

  end(): void {
    this.#socket.end()
  }

  destroy(): void {
    this.#socket.destroy()
  }
}

/**
 * Reads into one buffer for all streams, where Node would allocate one for each read.
 * `onread` is an option of sockets that connect; to have it on one that was accepted, a
 * socket that has not read yet leaves its handle to another.
 */
class SharedReadStream extends NodeStream {
  protected override listenTo(socket: net.Socket, onData: (chunk: Buffer) => void): net.Socket {
    const accepted = socket as unknown as { _handle?: object | null }
    const handle = accepted._handle
    if (!handle) return super.listenTo(socket, onData).resume() // gone already, or another Node
    accepted._handle = null
    const onread: net.OnReadOpts = {
      buffer: readBuffer,
      callback: (length) => {
        onData(startOfReadBuffer(length))
        return true
      },
    }
    const options = { handle, allowHalfOpen: true, onread }
    return new net.Socket(options as net.SocketConstructorOpts)
  }
}

const readBuffer = Buffer.allocUnsafeSlow(READ_BYTES)
let lastRead = readBuffer.subarray(0, 0)

/** Requests are often as long as the one before, which spares a view for each. */
function startOfReadBuffer(length: number): Buffer {
  if (lastRead.length !== length) lastRead = readBuffer.subarray(0, length)
  return lastRead
}

const hostCache = new Map<string, { address: string; family: number; untilMs: number }>()

type LookupCallback = (
  error: NodeJS.ErrnoException | null,
  address: string | { address: string; family: number }[],
  family?: number,
) => void

/** dns.lookup with a short memory: a datagram is sent far more often than a host moves. */
function lookupCached(
  host: string,
  options: number | { family?: number | string; all?: boolean },
  callback: LookupCallback,
): void {
  const family = typeof options === 'number' ? options : Number(options.family ?? 0)
  const literal = net.isIP(host)
  if (literal !== 0) return callback(null, host, literal)
  const key = `${family} ${host}`
  const cached = hostCache.get(key)
  if (cached && cached.untilMs > performance.now()) {
    return callback(null, cached.address, cached.family)
  }
  lookup(host, family, (error, address, foundFamily) => {
    if (!error) {
      if (hostCache.size >= HOST_CACHE_MAX) hostCache.clear()
      const untilMs = performance.now() + HOST_LOOKUP_TTL_MS
      hostCache.set(key, { address, family: foundFamily, untilMs })
    }
    callback(error, address, foundFamily)
  })
}

function resolveHost(host: string): Promise<string> {
  return new Promise((resolve, reject) => {
    lookup(host, (error, address) => (error ? reject(error) : resolve(address)))
  })
}

/** What the machine has, or the container this process runs in. */
export function machineMemoryBytes(): number {
  const constrained = process.constrainedMemory() ?? 0 // unknown, or more than there is, for none
  return constrained > 0 ? Math.min(os.totalmem(), constrained) : os.totalmem()
}

/** How many files and sockets this process may have open; null where the system does not say. */
export async function openFilesMax(): Promise<number | null> {
  const limits = await readFile('/proc/self/limits', 'latin1').catch(() => '')
  const count = /^Max open files +(\d+) /m.exec(limits)?.[1]
  return count === undefined ? null : Number(count)
}

export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined
}
