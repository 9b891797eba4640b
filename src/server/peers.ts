/**
 * The network between servers: one datagram socket and one stream listener on
 * the same port, and a stream of its own to each peer.
 *
 * A stream carries messages one way, from the server that opened it; answers
 * come back on the other's. Nothing is sent twice; what may be lost with a
 * stream is reported (`onPeerLost`). Datagrams that are not from this
 * cluster or not for this server are dropped and counted, and streams that
 * begin like that are closed.
 *
 * Both sides say in their hello which version of the protocol they speak; messages that
 * came with a later one than the lower of the two do not leave, so servers of two
 * versions can be in one cluster while it is upgraded, one server at a time.
 *
 * A stream to a peer that was silent and is heard again is replaced: after a cut
 * TCP waits ever longer before it tries again, for seconds after datagrams pass.
 * The peer drops the old one when the new one says hello, and one whose hello
 * comes later than that of a newer one, so nothing on the old is taken after
 * anything on the new.
 */
import type { Address, DatagramSocket, Io, Listener, Stream } from '../io/io.ts'
import {
  decodeToServer,
  encodeDatagram,
  type ToBalancer,
  type ToServer,
} from '../protocol/balancer.ts'
import {
  HEADER_BYTES_MAX as FRAME_HEADER_BYTES_MAX,
  PAYLOAD_BYTES_MAX as FRAME_PAYLOAD_BYTES_MAX,
  FrameDecoder,
} from '../protocol/frames.ts'
import { parseObject } from '../protocol/shape.ts'
import { RecordReader } from './log/record.ts'
import { isDatagram, PeerCodec } from './peer-codec.ts'
import type { Route } from './peer-lines.ts'
import { type Hello, type PeerMessage, protocolOf } from './peer-messages.ts'
import type { ServerId } from './raft/types.ts'

/** More than this waiting for a peer, and what comes is dropped: it is not reading. */
const STREAM_BYTES_MAX = 64 * 1024 * 1024
const RECONNECT_MS = 50
/** Incoming streams that have not said who they are yet. */
const STRANGERS_MAX = 128
const HELLO_BYTES_MAX = 4 * 1024
/** How long a connection may take to open, and then to say who it is. */
const CONNECT_MS = 1_000
/** Heard again after so long, a peer gets a new stream if something was sent meanwhile. */
const SILENT_MS = 1_000
const HELLO_MS = 1_000

export interface PeersHandler {
  onMessage(message: PeerMessage): void
  onBalancer(message: ToServer, from: Address): void
  /** What was sent to this peer may be lost. */
  onPeerLost(id: ServerId): void
  /** Nothing of what was sent to this peer on this stream can have arrived. */
  onUnheard(id: ServerId, stream: number): void
  /** The peer's own stream to this server closed: it may be dead. */
  onPeerClosed(id: ServerId): void
}

/** What a server's hello says of it. */
export interface Speaker {
  readonly id: ServerId
  readonly sip: string
  readonly sport: number
  readonly protocol: number
}

interface Outgoing {
  /** Never used again, so that what was sent on it can be told apart. */
  readonly number: number
  readonly stream: Stream
  isOpen: boolean
  writtenMs: number
  /** Messages that leave together, with the next `flush`. */
  pending: Uint8Array[]
  pendingBytes: number
}

export class Peers {
  /** Datagrams and streams that were not for this server. */
  droppedCount = 0
  readonly #io: Io
  readonly #bind: Address
  readonly #advertised: Speaker
  readonly #handler: PeersHandler
  #codec: PeerCodec | null = null
  #socket: DatagramSocket | null = null
  #listener: Listener | null = null
  #addresses = new Map<ServerId, Address>()
  /** Where peers say they are, for those nobody else has told of yet. */
  readonly #introduced = new Map<ServerId, Address>()
  #lastStream = 0
  readonly #outgoing = new Map<ServerId, Outgoing>()
  readonly #retryAtMs = new Map<ServerId, number>()
  /** When a datagram came from each peer. */
  readonly #heardMs = new Map<ServerId, number>()
  readonly #incoming = new Map<ServerId, Stream>()
  /** The newest stream that each peer's process has opened, as far as is known. */
  readonly #newest = new Map<ServerId, { readonly life: string; readonly stream: number }>()
  /** What each peer speaks, as its hello said. */
  readonly #protocols = new Map<ServerId, number>()
  readonly #life: string
  readonly #strangers = new Set<Stream>()
  #isFlushDue = false
  #isStopped = false

  constructor(io: Io, bind: Address, advertised: Speaker, handler: PeersHandler) {
    this.#io = io
    this.#life = io.random.hex(4)
    this.#bind = bind
    this.#advertised = advertised
    this.#handler = handler
  }

  async start(): Promise<void> {
    this.#socket = await this.#io.network.bindDatagrams(this.#bind, (bytes, from) =>
      this.#onDatagram(bytes, from),
    )
    this.#listener = await this.#io.network.listen(
      this.#bind,
      (stream) => this.#accept(stream),
      true,
    )
  }

  /** From now on this server speaks and hears as a member of this cluster. */
  join(clusterId: string, group: number): void {
    this.#codec = new PeerCodec(clusterId, group, new RecordReader(clusterId))
  }

  setAddresses(addresses: ReadonlyMap<ServerId, Address>): void {
    for (const [id, { stream }] of this.#outgoing) {
      const known = this.#addresses.get(id)
      const now = addresses.get(id)
      if (now && (now.host !== known?.host || now.port !== known.port)) stream.destroy()
    }
    this.#addresses = new Map(addresses)
  }

  /** What this peer speaks; null where it has not said so. */
  protocolOf(id: ServerId): number | null {
    return this.#protocols.get(id) ?? null
  }

  /** @returns the number of the stream it left on, 0 for a datagram; null where it certainly does not leave. */
  send(message: PeerMessage): number | null {
    const { to } = message
    const address = this.#addresses.get(to) ?? this.#introduced.get(to)
    if (!this.#codec || this.#isStopped || !address) return null
    // Where it is not known what the peer speaks, its hello will come: it answers ours.
    const protocol = Math.min(this.#advertised.protocol, this.#protocols.get(to) ?? 1)
    if (isDatagram(message)) {
      this.#socket?.send(this.#codec.encodeDatagram(message, protocol), address)
      return 0
    }
    const outgoing = this.#outgoing.get(to) ?? this.#connect(to, address)
    if (protocolOf(message) > protocol) return null
    if (!outgoing) return null
    if (outgoing.stream.bufferedBytes + outgoing.pendingBytes > STREAM_BYTES_MAX) return null
    for (const piece of this.#codec.encodeFrame(message, protocol)) {
      outgoing.pending.push(piece)
      outgoing.pendingBytes += piece.length
    }
    if (!this.#isFlushDue) {
      this.#isFlushDue = true
      this.#io.timers.soon(() => this.flush())
    }
    return outgoing.number
  }

  /** What was given to `send` leaves now, and not soon: all to one peer in one write. */
  flush(): void {
    if (!this.#isFlushDue) return
    this.#isFlushDue = false
    for (const outgoing of this.#outgoing.values()) {
      if (outgoing.pending.length === 0) continue
      outgoing.stream.writeAll(outgoing.pending)
      outgoing.writtenMs = this.#io.clock.monotonicMs()
      outgoing.pending = []
      outgoing.pendingBytes = 0
    }
  }

  sendToBalancer(message: ToBalancer, to: Address): void {
    this.#socket?.send(encodeDatagram(message), to)
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    for (const { stream } of this.#outgoing.values()) stream.destroy()
    for (const stream of this.#incoming.values()) stream.destroy()
    for (const stream of this.#strangers) stream.destroy()
    await this.#listener?.close()
    await this.#socket?.close()
  }

  // ---------------------------------------------------------------- outgoing

  /** @param replaced The peer closes it at the new one's hello; here only where that fails. */
  #connect(id: ServerId, address: Address, replaced: Stream | null = null): Outgoing | null {
    this.flush() // or what waits for the stream that is replaced would be forgotten
    const nowMs = this.#io.clock.monotonicMs()
    if (nowMs < (this.#retryAtMs.get(id) ?? 0)) return null
    this.#retryAtMs.set(id, nowMs + RECONNECT_MS)
    const stream = this.#io.network.connect(address, {
      onOpen: () => {
        openTimer.cancel()
        outgoing.isOpen = true
        if (replaced) this.#io.timers.after(HELLO_MS, () => replaced.destroy())
      },
      onData: () => {}, // answers come on the peer's own stream
      onEnd: () => stream.destroy(),
      onClose: () => {
        openTimer.cancel()
        replaced?.destroy()
        if (this.#outgoing.get(id) === outgoing) this.#outgoing.delete(id)
        if (this.#isStopped) return
        if (!outgoing.isOpen) this.#handler.onUnheard(id, outgoing.number)
        this.#handler.onPeerLost(id)
      },
    })
    const openTimer = this.#io.timers.after(CONNECT_MS, () => stream.destroy())
    const number = ++this.#lastStream
    const outgoing: Outgoing = {
      number,
      stream,
      isOpen: false,
      writtenMs: nowMs,
      pending: [],
      pendingBytes: 0,
    }
    this.#outgoing.set(id, outgoing)
    const { id: from, sip, sport, protocol } = this.#advertised
    const hello: PeerMessage = {
      ...{ type: 'hello', from, to: id, protocol, sip, sport },
      ...{ life: this.#life, stream: number },
    }
    stream.writeAll(this.#codec?.encodeFrame(hello, protocol) ?? [])
    return outgoing
  }

  // ---------------------------------------------------------------- incoming

  #onDatagram(bytes: Buffer, from: Address): void {
    const text = bytes.toString()
    const message = this.#codec?.decodeDatagram(text)
    if (message && this.#isForMe(message)) {
      // One that has lost all it knew can answer, and is told the rest.
      if (!this.#introduced.has(message.from)) this.#introduced.set(message.from, from)
      this.#heard(message.from)
      return this.#handler.onMessage(message)
    }
    const fromBalancer = message ? null : decodeToServer(parseObject(text))
    if (fromBalancer) this.#handler.onBalancer(fromBalancer, from)
    else this.droppedCount++
  }

  #heard(id: ServerId): void {
    const outgoing = this.#outgoing.get(id)
    if (!outgoing) return
    const nowMs = this.#io.clock.monotonicMs()
    const beforeMs = this.#heardMs.get(id) ?? nowMs
    this.#heardMs.set(id, nowMs)
    if (nowMs - beforeMs < SILENT_MS || !outgoing.isOpen || outgoing.writtenMs <= beforeMs) return
    const address = this.#addresses.get(id) ?? this.#introduced.get(id)
    if (address) this.#connect(id, address, outgoing.stream)
  }

  #isForMe(message: PeerMessage): boolean {
    return message.to === this.#advertised.id && message.from !== this.#advertised.id
  }

  #accept(stream: Stream): void {
    const decoder = new FrameDecoder()
    decoder.headerBytesMax = HELLO_BYTES_MAX
    decoder.payloadBytesMax = 0
    /** The peer, and this server; null until its hello has come. */
    let route: Route | null = null
    const [oldest] = this.#strangers
    if (oldest && this.#strangers.size >= STRANGERS_MAX) oldest.destroy()
    this.#strangers.add(stream)
    const helloTimer = this.#io.timers.after(HELLO_MS, () => stream.destroy())

    /** The next message; null until more bytes come, or for good where it is not for this server. */
    const take = (): PeerMessage | null => {
      try {
        const frame = decoder.next()
        if (!frame) return null
        const message = this.#codec?.decodeFrame(frame, route)
        const isExpected = message && (route === null) === (message.type === 'hello')
        if (isExpected && this.#isForMe(message)) return message
      } catch {
        // lengths that can't be a peer's
      }
      this.droppedCount++
      stream.destroy()
      return null
    }
    stream.handle({
      onData: (chunk) => {
        decoder.push(chunk)
        for (let message = take(); message; message = take()) {
          if (message.type === 'hello') {
            helloTimer.cancel()
            if (!this.#welcome(message, stream)) return
            route = { from: message.from, to: message.to }
            decoder.headerBytesMax = FRAME_HEADER_BYTES_MAX
            decoder.payloadBytesMax = FRAME_PAYLOAD_BYTES_MAX
          } else if (message.from === route?.from) this.#handler.onMessage(message)
        }
      },
      onEnd: () => stream.destroy(),
      onClose: () => {
        helloTimer.cancel()
        this.#strangers.delete(stream)
        if (route === null || this.#incoming.get(route.from) !== stream) return
        this.#incoming.delete(route.from)
        if (!this.#isStopped) this.#handler.onPeerClosed(route.from)
      },
    })
  }

  /** @returns false where the peer has opened a newer one since. */
  #welcome(hello: Hello, stream: Stream): boolean {
    const { from, sip, sport, life, stream: number, protocol } = hello
    this.#strangers.delete(stream)
    const newest = this.#newest.get(from)
    if (newest?.life === life && newest.stream > number) {
      stream.destroy()
      return false
    }
    this.#newest.set(from, { life, stream: number })
    const before = this.#incoming.get(from)
    this.#incoming.set(from, stream)
    before?.destroy()
    this.#introduced.set(from, { host: sip, port: sport })
    this.#protocols.set(from, protocol)
    if (!this.#outgoing.has(from))
      this.#connect(from, this.#addresses.get(from) ?? { host: sip, port: sport })
    return true
  }
}
