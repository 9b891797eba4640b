/**
 * One memcached client: requests in, replies out, in the order of the requests.
 *
 * Writes overlap with writes and reads with reads; a read waits for the writes
 * before it on this connection and a write for the reads before it, so that a
 * client sees its own requests take effect in order; reads that overlap are made
 * in order too, so that none sees less than the one before it. What a client may have in
 * flight is bounded, and one that does not read its replies is not read from.
 * A client that has ended its half still gets every reply.
 */
import type { Stream, Timers } from '../io/io.ts'
import { PROTOCOL_VERSION, type Request, RequestDecoder } from '../protocol/memcached.ts'
import { type Backup, BackupReply } from './backup.ts'
import type { Item } from './keystore/item-store.ts'
import { createLane, type Lane } from './node.ts'
import type { WriteOutcome } from './peer-messages.ts'

/** What a connection needs of the server. */
export interface Store {
  write(lane: Lane, command: Buffer, done: (outcome: WriteOutcome) => void): void
  /** Calls back when reads here are linearizable, or with the reason why not. */
  barrier(done: (failure: string | null) => void): void
  get(key: string): Item | undefined
  /** Lines about the cluster, the last one `end`. */
  answer(question: 'get-servers' | 'status'): string
  /** Somebody wants a server out of the cluster: lines, the last one `end`. */
  remove(server: string): string
  /** @throws Error with the reason why not, in one line. */
  openBackup(): Promise<Backup>
}

const IN_FLIGHT_MAX = 1_024
const IN_FLIGHT_BYTES_MAX = 8 * 1024 * 1024
/** With more than this unsent, no more requests are taken. */
const UNSENT_BYTES_MAX = 1024 * 1024
/** How long a client has to take its last replies and to close. */
const LINGER_MS = 5_000
/** One get answers no more than this. */
const GET_REPLY_BYTES_MAX = 64 * 1024 * 1024
/** Replies up to this size are worth copying into one piece. */
const JOIN_BYTES_MAX = 64 * 1024

/** A reply's place in the order; null until it is known. */
interface Slot {
  reply: string | Buffer[] | null
  readonly bytes: number
}

/** A get that is to be made once it and those before it may be. */
interface Read {
  readonly slot: Slot
  readonly keys: readonly string[]
  readonly withCas: boolean
  isConfirmed: boolean
}

export class Connection {
  readonly #stream: Stream
  readonly #store: Store
  readonly #timers: Timers
  readonly #onClose: () => void
  readonly #decoder = new RequestDecoder()
  readonly #lane = createLane()
  #slots: Slot[] = []
  #bytesInFlight = 0
  #reads: Read[] = []
  #writesInFlight = 0
  /** A request that waits for those before it. */
  #held: Request | null = null
  /** Nothing else is answered, and no request taken, while it is on its way. */
  #backup: BackupReply | null = null
  #isEnded = false
  #isPaused = false
  #isFlushDue = false
  #isClosed = false
  #onDrained: (() => void) | null = null

  constructor(stream: Stream, store: Store, timers: Timers, onClose: () => void) {
    this.#stream = stream
    this.#store = store
    this.#timers = timers
    this.#onClose = onClose
    stream.handle({
      onData: (chunk) => {
        if (this.#onDrained) return
        this.#decoder.push(chunk)
        this.#takeRequests()
      },
      onEnd: () => {
        this.#isEnded = true
        this.#scheduleFlush()
      },
      onDrain: () => {
        this.#backup?.drained()
        this.#takeRequests()
      },
      onClose: () => {
        this.#isClosed = true
        this.#backup?.closed()
        this.#onDrained?.()
        this.#onClose()
      },
    })
  }

  /** Takes no more requests, and ends when those it has are answered. */
  drain(): Promise<void> {
    return new Promise((resolve) => {
      this.#onDrained = resolve
      this.#held = null
      this.#isEnded = true
      if (this.#isPaused) this.#stream.resume() // to hear of its end
      this.#scheduleFlush()
    })
  }

  destroy(): void {
    this.#stream.destroy()
  }

  #takeRequests(): void {
    if (this.#onDrained) return
    while (!this.#isClosed && this.#hasRoom) {
      const request = this.#held ?? this.#decoder.next()
      this.#held = request
      if (!request || this.#mustWait(request)) break
      this.#held = null
      this.#take(request)
    }
    const shouldPause = !this.#hasRoom || this.#held !== null
    if (shouldPause !== this.#isPaused) {
      this.#isPaused = shouldPause
      if (shouldPause) this.#stream.pause()
      else this.#stream.resume()
    }
  }

  get #hasRoom(): boolean {
    return (
      this.#backup === null &&
      this.#slots.length < IN_FLIGHT_MAX &&
      this.#bytesInFlight < IN_FLIGHT_BYTES_MAX &&
      this.#stream.bufferedBytes < UNSENT_BYTES_MAX
    )
  }

  #mustWait(request: Request): boolean {
    if (request.kind === 'get') return this.#writesInFlight > 0
    if (request.kind === 'write') return this.#reads.length > 0
    if (request.kind === 'backup') return this.#slots.length > 0
    return false
  }

  #take(request: Request): void {
    switch (request.kind) {
      case 'get':
        return this.#get(request.keys, request.withCas)
      case 'write':
        return this.#write(request.command, request.noreply)
      case 'version':
        return this.#answer(`VERSION ${PROTOCOL_VERSION}\r\n`)
      case 'cluster':
        return this.#answer(this.#store.answer(request.question))
      case 'remove':
        return this.#answer(this.#store.remove(request.server))
      case 'backup':
        return this.#sendBackup()
      case 'error':
        return this.#answer(request.line === '' ? '' : `${request.line}\r\n`)
      case 'quit':
        this.#isEnded = true
        return this.#scheduleFlush()
    }
  }

  #answer(reply: string): void {
    this.#slots.push({ reply, bytes: 0 })
    this.#scheduleFlush()
  }

  #sendBackup(): void {
    const backup = new BackupReply(this.#stream, this.#timers)
    this.#backup = backup
    void backup
      .send(() => this.#store.openBackup())
      .then(() => {
        this.#backup = null
        this.#scheduleFlush()
      })
  }

  #get(keys: readonly string[], withCas: boolean): void {
    const slot: Slot = { reply: null, bytes: 0 }
    this.#slots.push(slot)
    const read: Read = { slot, keys, withCas, isConfirmed: false }
    this.#reads.push(read)
    this.#store.barrier((failure) => {
      read.isConfirmed = true
      if (failure !== null) slot.reply = `SERVER_ERROR ${failure}\r\n`
      this.#makeReads()
    })
  }

  #makeReads(): void {
    const pending = this.#reads.findIndex(({ isConfirmed }) => !isConfirmed)
    const due = this.#reads.splice(0, pending === -1 ? this.#reads.length : pending)
    for (const { slot, keys, withCas } of due) slot.reply ??= this.#values(keys, withCas)
    if (due.length > 0) this.#scheduleFlush()
  }

  #values(keys: readonly string[], withCas: boolean): string | Buffer[] {
    const pieces: Buffer[] = []
    let bytes = 0
    for (const key of keys) {
      const item = this.#store.get(key)
      if (!item) continue
      const cas = withCas ? ` ${item.casUnique}` : ''
      const line = `VALUE ${key} ${item.flags} ${item.value.length}${cas}\r\n`
      bytes += line.length + item.value.length
      if (bytes > GET_REPLY_BYTES_MAX) return TOO_LARGE_REPLY
      pieces.push(Buffer.from(line, 'latin1'), item.value, CRLF)
    }
    if (pieces.length === 0) return 'END\r\n'
    pieces.push(END)
    return pieces
  }

  #write(command: Buffer, noreply: boolean): void {
    const slot: Slot = { reply: null, bytes: command.length }
    this.#slots.push(slot)
    this.#bytesInFlight += slot.bytes
    this.#writesInFlight++
    this.#store.write(this.#lane, command, (outcome) => {
      this.#writesInFlight--
      slot.reply = noreply ? '' : `${replyLine(outcome)}\r\n`
      this.#scheduleFlush()
    })
  }

  /** Replies that are known by then leave in one write. */
  #scheduleFlush(): void {
    if (this.#isFlushDue) return
    this.#isFlushDue = true
    this.#timers.soon(() => {
      this.#isFlushDue = false
      if (!this.#isClosed) this.#flush()
    })
  }

  #flush(): void {
    let count = 0
    let text = ''
    const pieces: Buffer[] = []
    for (const slot of this.#slots) {
      if (slot.reply === null) break
      count++
      this.#bytesInFlight -= slot.bytes
      if (typeof slot.reply === 'string') {
        text += slot.reply
      } else {
        if (text !== '') pieces.push(Buffer.from(text, 'latin1'))
        text = ''
        for (const piece of slot.reply) pieces.push(piece)
      }
    }
    this.#slots = this.#slots.slice(count)
    if (pieces.length === 0) {
      if (text !== '') this.#stream.write(text)
    } else {
      if (text !== '') pieces.push(Buffer.from(text, 'latin1'))
      const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0)
      if (bytes <= JOIN_BYTES_MAX) this.#stream.write(Buffer.concat(pieces))
      else this.#stream.writeAll(pieces)
    }
    this.#takeRequests()
    if (this.#isEnded && this.#slots.length === 0 && this.#held === null && this.#backup === null) {
      endStream(this.#stream, this.#timers)
      if (this.#stream.bufferedBytes === 0) this.#onDrained?.() // else when it closes
    }
  }
}

/** Ends this half, and soon the other, whether the client does or not. */
export function endStream(stream: Stream, timers: Timers): void {
  stream.end()
  timers.after(LINGER_MS, () => stream.destroy())
}

const CRLF = Buffer.from('\r\n')
const END = Buffer.from('END\r\n')
const TOO_LARGE_REPLY = 'SERVER_ERROR out of memory writing get response\r\n'

function replyLine(outcome: WriteOutcome): string {
  switch (outcome.kind) {
    case 'applied':
      return outcome.reply
    case 'unknown':
      return `SERVER_ERROR outcome unknown: ${outcome.why}`
    case 'notStored':
      if (outcome.lacks) return `SERVER_ERROR ${outcome.why}`
      return `SERVER_ERROR not stored: ${outcome.why}`
    default:
      return `SERVER_ERROR not stored: ${outcome.why}`
  }
}
