/**
 * A simulated network: datagrams that are lost, late, doubled and out of order;
 * streams that keep their order and may stall or break; links that are cut,
 * each direction for itself.
 *
 * A cut stalls streams, as TCP does; nobody is told. A process that dies tells
 * its peers (its kernel closes the connections), a machine that dies does not:
 * who sends to it learns when it is back.
 */
import type {
  Address,
  DatagramSocket,
  Listener,
  Network,
  Stream,
  StreamHandler,
} from '../../src/io/io.ts'
import type { Host } from './host.ts'
import type { World } from './world.ts'

const RETRY_MS = 120
/** What is sent into a cut is tried again ever later, as TCP does. */
const RETRY_MS_MAX = 4_000
const DRAIN_BYTES = 64 * 1024

/** How bad the network is. */
export interface Weather {
  lossRatio: number
  doubleRatio: number
  delayMsMin: number
  delayMsMax: number
  /** A message now and then takes so long. */
  spikeRatio: number
  spikeMs: number
  /** What candidates ask and are answered takes up to so long besides. */
  voteDelayMs: number
}

interface Binding {
  readonly host: Host
  readonly epoch: number
}

interface DatagramBinding extends Binding {
  readonly onDatagram: (bytes: Buffer, from: Address) => void
}

interface ListenerBinding extends Binding {
  readonly hasSharedReads: boolean
  readonly onStream: (stream: Stream) => void
}

export class SimNetwork {
  readonly weather: Weather = {
    lossRatio: 0,
    doubleRatio: 0,
    delayMsMin: 0.1,
    delayMsMax: 1,
    spikeRatio: 0,
    spikeMs: 0,
    voteDelayMs: 0,
  }
  /** `from>to` for each direction that is cut. */
  readonly cuts = new Set<string>()
  /** Datagrams to these hosts take so much longer. */
  readonly slowTo = new Map<string, number>()
  readonly streams = new Set<SimStream>()
  /** Sees every datagram that is sent, lost or not. @returns whether it is about a vote. */
  onDatagram: (from: Host, bytes: Uint8Array) => boolean = () => false
  bufferedBytesMax = 0
  readonly world: World
  readonly #hosts = new Map<string, Host>()
  readonly #sockets = new Map<string, DatagramBinding>()
  readonly #listeners = new Map<string, ListenerBinding>()

  constructor(world: World) {
    this.world = world
  }

  addHost(host: Host): void {
    this.#hosts.set(host.name, host)
  }

  delayMs(): number {
    const { delayMsMin, delayMsMax, spikeRatio, spikeMs } = this.weather
    const spike =
      spikeRatio > 0 && this.world.chance(spikeRatio) ? this.world.between(0, spikeMs) : 0
    return this.world.between(delayMsMin, delayMsMax) + spike
  }

  isCut(from: string, to: string): boolean {
    return this.cuts.has(`${from}>${to}`)
  }

  /** What `host` sees in its present life. */
  endpoint(host: Host): Network {
    const { epoch } = host
    return {
      bindDatagrams: async (local, onDatagram) => {
        const key = keyOf(local)
        const binding = { host, epoch, onDatagram }
        this.#sockets.set(key, binding)
        const socket: DatagramSocket = {
          send: (bytes, to) => {
            if (host.epoch === epoch) this.#sendDatagram(host, local, bytes, to)
          },
          close: async () => {
            if (this.#sockets.get(key) === binding) this.#sockets.delete(key)
          },
        }
        return socket
      },
      listen: async (local, onStream, hasSharedReads = false) => {
        const key = keyOf(local)
        const binding = { host, epoch, onStream, hasSharedReads }
        this.#listeners.set(key, binding)
        const listener: Listener = {
          close: async () => {
            if (this.#listeners.get(key) === binding) this.#listeners.delete(key)
          },
        }
        return listener
      },
      connect: (remote, handler) => this.#connect(host, remote, handler),
    }
  }

  #sendDatagram(from: Host, local: Address, bytes: Uint8Array, to: Address): void {
    const { world, weather } = this
    const isVote = this.onDatagram(from, bytes)
    const copies = weather.doubleRatio > 0 && world.chance(weather.doubleRatio) ? 2 : 1
    for (let copy = 0; copy < copies; copy++) {
      if (weather.lossRatio > 0 && world.chance(weather.lossRatio)) continue
      const arrived = Buffer.from(bytes)
      const lateMs = isVote ? world.between(0, weather.voteDelayMs) : 0
      const slowMs = this.slowTo.get(to.host) ?? 0
      world.after(this.delayMs() + lateMs + slowMs, () => {
        const binding = this.#sockets.get(keyOf(to))
        if (!binding || this.isCut(from.name, to.host)) return
        binding.host.run(binding.epoch, () => binding.onDatagram(arrived, local))
      })
    }
  }

  #connect(host: Host, remote: Address, handler: StreamHandler): Stream {
    const near = new SimStream(this, host, remote)
    near.handle(handler)
    this.streams.add(near)
    const tryToOpen = () => {
      if (near.isClosed) return
      const there = this.#hosts.get(remote.host)
      const isCut = this.isCut(host.name, remote.host) || this.isCut(remote.host, host.name)
      if (isCut || (there && !there.isUp && there.isSilent)) {
        this.world.after(RETRY_MS, tryToOpen)
        return
      }
      const binding = this.#listeners.get(keyOf(remote))
      if (!binding || binding.host.epoch !== binding.epoch) {
        near.closeWith(new Error('connect ECONNREFUSED'))
        return
      }
      const far = new SimStream(this, binding.host, { host: host.name, port: 0 })
      near.peer = far
      far.accepted(near, binding.hasSharedReads)
      this.streams.add(far)
      binding.host.run(binding.epoch, () => binding.onStream(far))
      near.opened()
    }
    this.world.after(this.delayMs(), tryToOpen)
    return near
  }

  /** A connection breaks: both ends learn, each in its time. */
  breakStream(stream: SimStream): void {
    const error = new Error('read ECONNRESET')
    stream.closeWith(error)
    stream.peer?.closeWith(error)
  }

  /** All streams of a process that ended: their peers hear of it, if the machine still runs. */
  hostDied(host: Host, isSilent: boolean): void {
    for (const stream of this.streams) {
      if (stream.host !== host) continue
      stream.abandon()
      if (!isSilent) stream.tellPeer()
    }
  }
}

/** One end of a connection. */
export class SimStream implements Stream {
  readonly remote: Address
  readonly host: Host
  readonly epoch: number
  peer: SimStream | null = null
  isClosed = false
  /** Nothing of this end's leaves while it is set. */
  isStalled = false
  readonly #network: SimNetwork
  #handler: StreamHandler | null = null
  #isOpen = false
  #hasSharedReads = false
  #isPaused = false
  #isSending = false
  #isEnding = false
  #wantsDrain = false
  #queue: Buffer[] = []
  #queuedBytes = 0
  #retryMs = RETRY_MS

  constructor(network: SimNetwork, host: Host, remote: Address) {
    this.#network = network
    this.host = host
    this.epoch = host.epoch
    this.remote = remote
  }

  handle(handler: StreamHandler): void {
    this.#handler = handler
  }

  /** This is the end that was connected to. */
  accepted(peer: SimStream, hasSharedReads: boolean): void {
    this.peer = peer
    this.#isOpen = true
    this.#hasSharedReads = hasSharedReads
  }

  #deliver(chunk: Buffer): void {
    this.#tell((handler) => {
      handler.onData(chunk)
      if (this.#hasSharedReads) chunk.fill(0xee) // as if another stream had read into it
    })
  }

  /** The connecting end hears that it is open; what its process wrote leaves then and not sooner. */
  opened(): void {
    this.#network.world.after(this.#network.delayMs(), () => {
      this.#tell((handler) => {
        if (this.isClosed) return
        this.#isOpen = true
        handler.onOpen?.()
        this.#send()
      })
    })
  }

  write(chunk: Uint8Array | string): boolean {
    return this.writeAll([typeof chunk === 'string' ? Buffer.from(chunk, 'latin1') : chunk])
  }

  writeAll(chunks: readonly Uint8Array[]): boolean {
    if (this.isClosed || this.#isEnding || this.host.epoch !== this.epoch) return true
    for (const chunk of chunks) {
      this.#queue.push(Buffer.from(chunk)) // what is sent may be changed afterwards
      this.#queuedBytes += chunk.length
    }
    this.#network.bufferedBytesMax = Math.max(this.#network.bufferedBytesMax, this.#queuedBytes)
    this.#send()
    this.#wantsDrain = this.#queuedBytes > DRAIN_BYTES
    return !this.#wantsDrain
  }

  get bufferedBytes(): number {
    return this.#queuedBytes
  }

  pause(): void {
    this.#isPaused = true
  }

  resume(): void {
    if (!this.#isPaused) return
    this.#isPaused = false
    this.peer?.wake()
  }

  wake(): void {
    this.#send()
  }

  end(): void {
    if (this.#isEnding) return
    this.#isEnding = true
    this.#send()
  }

  destroy(): void {
    if (this.isClosed) return
    this.closeWith(null)
    this.tellPeer()
  }

  /** This end closes and its handler hears of it. */
  closeWith(error: Error | null): void {
    if (this.isClosed) return
    this.abandon()
    this.#network.world.after(0, () => this.#tell((handler) => handler.onClose(error)))
  }

  /** This end is gone, without a word to anybody. */
  abandon(): void {
    this.isClosed = true
    this.#queue = []
    this.#queuedBytes = 0
    this.#network.streams.delete(this)
  }

  /** The other end hears that this one is gone, as soon as the link lets it. */
  tellPeer(): void {
    const { peer } = this
    if (!peer || peer.isClosed) return
    const { world } = this.#network
    const arrive = () => {
      if (peer.isClosed) return
      if (this.#network.isCut(this.host.name, peer.host.name)) world.after(RETRY_MS, arrive)
      else peer.closeWith(new Error('read ECONNRESET'))
    }
    world.after(this.#network.delayMs(), arrive)
  }

  #tell(what: (handler: StreamHandler) => void): void {
    this.#network.world.hasPromises = true // those of a stream of lines, and of who waits for one
    this.host.run(this.epoch, () => {
      if (this.#handler) what(this.#handler)
    })
  }

  #send(): void {
    const isIdle = this.#queue.length === 0 && !this.#isEnding
    if (this.#isSending || isIdle || this.isClosed || !this.#isOpen) return
    this.#isSending = true
    this.#network.world.after(this.#network.delayMs(), () => this.#arrive())
  }

  /** What is queued reaches the other end, or has to wait. */
  #arrive(): void {
    this.#isSending = false
    const { peer } = this
    const { world } = this.#network
    if (this.isClosed || !peer) return
    const isDead = peer.host.epoch !== peer.epoch || peer.isClosed
    if (isDead && peer.host.isUp) {
      this.closeWith(new Error('write EPIPE'))
      return
    }
    if (
      isDead ||
      !peer.#isOpen ||
      this.isStalled ||
      this.#network.isCut(this.host.name, peer.host.name)
    ) {
      this.#isSending = true
      world.after(this.#retryMs, () => this.#arrive())
      this.#retryMs = Math.min(2 * this.#retryMs, RETRY_MS_MAX)
      return
    }
    this.#retryMs = RETRY_MS
    if (peer.#isPaused) return // its resume wakes this end
    const all = Buffer.concat(this.#queue)
    const cut = all.length > 1 && world.chance(0.1) ? world.integer(1, all.length - 1) : all.length
    this.#queue = cut < all.length ? [all.subarray(cut)] : []
    this.#queuedBytes = all.length - cut
    if (cut > 0) peer.#deliver(all.subarray(0, cut))
    if (this.#queue.length > 0) return this.#send()
    if (this.#isEnding) {
      this.#isEnding = false
      peer.#tell((handler) => handler.onEnd())
    }
    if (this.#wantsDrain) {
      this.#wantsDrain = false
      this.#tell((handler) => handler.onDrain?.())
    }
  }
}

function keyOf({ host, port }: Address): string {
  return `${host}:${port}`
}
