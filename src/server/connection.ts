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
import type { Clock, Stream, Timers } from '../io/io.ts'
import { canonicalGet, commandsIn, NO_OPTIONS, type Options } from '../protocol/commands.ts'
import { RequestDecoder, TOO_LARGE } from '../protocol/memcached.ts'
import {
  type MetaGet,
  type MetaRequest,
  metaDebugReply,
  metaGetReply,
  metaWriteReply,
  type Usage,
} from '../protocol/meta.ts'
import type { ItemReply } from '../protocol/replies.ts'
import type { Request } from '../protocol/requests.ts'
import { type Backup, BackupReply } from './backup.ts'
import type { FlushQueue } from './flush-queue.ts'
import { END_REPLY, GET_REPLY_BYTES_MAX, isShort, TOO_MUCH_REPLY, Values } from './get-reply.ts'
import type { FoundItem, Item, StoredItem } from './keystore/arena.ts'
import type { GetResult } from './keystore/get.ts'
import { itemBytes } from './keystore/item-store.ts'
import { createLane, type Lane, type Waiter } from './node.ts'
import type { WriteOutcome } from './peer-messages.ts'
import type { Piece } from './reply-buffer.ts'
import type { Stats, WriteKind } from './stats.ts'
import type { ConnectionFacts } from './stats-reply.ts'

/** What a connection needs of the server. */
export interface Store {
  readonly stats: Stats
  /** The length above which a value is refused. */
  readonly itemSizeMax: number
  /** @param command Good for as long as the call. */
  write(lane: Lane, command: Buffer, waiter: Waiter): void
  /**
   * @param commands Plain sets, one behind the other; good for as long as the call.
   * @returns false where they can't be written as one; then nothing happened.
   */
  writeSets(lane: Lane, commands: Buffer, count: number, waiter: Waiter): boolean
  /** Calls back when reads here are linearizable, or with the reason why not. */
  barrier(done: (failure: string | null) => void, lane: Lane): void
  /** Whether they are already, until more input is taken in. */
  canReadNow(): boolean
  /** Why not even what was here some time ago can be read; null where it can. */
  readonly whyNothingHere: string | null
  /** @param nowS Notes that it was read. */
  get(key: string, nowS?: number): StoredItem | undefined
  /** Where it is, for who reads it at once: one object for all, good until the next call or change. */
  find(key: string, nowS: number): FoundItem | null
  /** What a get with these options would do to this item, or where there is none. */
  preview(item: Item | undefined, options: Options): GetResult
  /** The whole reply. */
  statsReply(words: readonly string[]): string
  /** Only said again in `stats settings`: what is logged does not depend on it. */
  setVerbosity(level: number): void
  setMemoryLimit(bytes: number): void
  readonly mayShutDown: boolean
  /** The process is going to end. */
  shutDown(): void
  /** Whether clients have to say who they are. */
  readonly needsAuth: boolean
  isKnown(user: string, password: string): boolean
  /** Lines about the cluster, the last one `end`. */
  answer(question: 'get-servers' | 'status'): string
  /** Somebody wants a server out of the cluster: lines, the last one `end`. */
  remove(server: string): string
  /** Somebody wants another limit for values: lines, the last one `end`. */
  changeItemSizeMax(bytes: number): string
  /** Somebody wants reads confirmed in another way: lines, the last one `end`. */
  changeReadMode(mode: string): string
  /** @throws Error with the reason why not, in one line. */
  openBackup(): Promise<Backup>
}

/** With so many requests unanswered, no more are taken; plain sets that came together may pass it. */
const IN_FLIGHT_MAX = 1_024
const SETS_MAX = 64
const IN_FLIGHT_BYTES_MAX = 8 * 1024 * 1024
/** What a key that is waited for counts of that. */
const KEY_BYTES = 64
/** With more than this unsent, no more requests are taken and no more replies made. */
const UNSENT_BYTES_MAX = 1024 * 1024
/** A client that takes nothing of what waits for it for so long is gone. */
const STALLED_MS = 60_000
/** How long a client has to close once it has taken its last replies, about. */
const LINGER_MS = 5_000
type Reply = string | readonly Piece[]

/** A reply's place in the order; null until it is known. */
interface Slot {
  reply: Reply | null
  readonly bytes: number
  /** Of how many requests. */
  readonly count: number
}

/** That of a write, which hears of its outcome: the one object that a write takes here. */
class WriteSlot implements Slot, Waiter {
  reply: Reply | null = null
  readonly bytes: number
  readonly count = 1
  readonly kind: WriteKind
  readonly noreply: boolean
  readonly meta: MetaRequest | undefined
  readonly #connection: Connection

  constructor(
    connection: Connection,
    bytes: number,
    kind: WriteKind,
    noreply: boolean,
    meta: MetaRequest | undefined,
  ) {
    this.#connection = connection
    this.bytes = bytes
    this.kind = kind
    this.noreply = noreply
    this.meta = meta
  }

  done(outcome: WriteOutcome): void {
    this.#connection.settle(this, outcome)
  }
}

/** That of plain sets that came together. */
class SetsSlot implements Slot, Waiter {
  reply: Reply | null = null
  readonly bytes: number
  readonly count: number
  readonly #connection: Connection

  constructor(connection: Connection, bytes: number, count: number) {
    this.#connection = connection
    this.bytes = bytes
    this.count = count
  }

  done(outcome: WriteOutcome): void {
    this.#connection.settleSets(this, outcome)
  }
}

/** A read that is to be made once it and those before it may be. */
interface Read {
  readonly slot: Slot
  /** @returns the reply, or null where something has to be logged first: then it is set later. */
  readonly make: (slot: Slot) => Reply | null
}

/** Reads that came together: they are confirmed together. */
interface ReadBatch {
  readonly reads: Read[]
  /** How many of them are made. */
  madeCount: number
  isConfirmed: boolean
  failure: string | null
  /** How often it was asked whether they may be made. */
  askCount: number
}

/** Nobody was asked, and nobody has to be. */
function isLocal({ isConfirmed, askCount }: ReadBatch): boolean {
  return isConfirmed && askCount === 0
}

/** One key of a read that may change something. */
interface Part {
  readonly key: string
  reply: ItemReply | null
  /** What is to be logged; null where nothing changes. */
  readonly change: Buffer | null
}

export class Connection {
  readonly #stream: Stream
  readonly #store: Store
  readonly #timers: Timers
  readonly #clock: Clock
  readonly #flushes: FlushQueue
  readonly #onClose: () => void
  readonly #decoder: RequestDecoder
  readonly #lane = createLane()
  #slots: Slot[] = []
  #countInFlight = 0
  #bytesInFlight = 0
  #batches: ReadBatch[] = []
  /** Those of the input that is being taken. */
  #newBatch: ReadBatch | null = null
  /** Whether reads of that input need no confirmation; null where it was not asked yet. */
  #canReadNow: boolean | null = null
  #writesInFlight = 0
  /** What a read has to change is being logged: those behind it wait. */
  #isChanging = false
  /** Of replies that are made and not written yet. */
  #madeBytes = 0
  #writtenBytes = 0
  /** When it last sent something or waited for an answer, and how much of the replies it had taken when it last took any. */
  #activeMs: number
  #taken: { bytes: number; atMs: number }
  /** A request that waits for those before it. */
  #held: Request | null = null
  /** Nothing else is answered, and no request taken, while it is on its way. */
  #backup: BackupReply | null = null
  #isEnded = false
  #isPaused = false
  #isFlushDue = false
  /** Input is being taken: at its end, replies are written. */
  #isTaking = false
  #isClosed = false
  #onDrained: (() => void) | null = null

  constructor(
    stream: Stream,
    store: Store,
    { timers, clock }: { readonly timers: Timers; readonly clock: Clock },
    flushes: FlushQueue,
    onClose: () => void,
  ) {
    this.#stream = stream
    this.#store = store
    this.#timers = timers
    this.#clock = clock
    this.#flushes = flushes
    this.#onClose = onClose
    this.#activeMs = clock.monotonicMs()
    this.#taken = { bytes: 0, atMs: this.#activeMs }
    this.#decoder = new RequestDecoder({ itemSizeMax: () => store.itemSizeMax })
    this.#decoder.needsAuth = store.needsAuth
    stream.handle({
      onData: (chunk) => {
        if (this.#onDrained) return
        this.#activeMs = clock.monotonicMs()
        store.stats.bytesRead += chunk.length
        this.#isTaking = true
        this.#decoder.push(chunk)
        this.#takeRequests()
        this.#isTaking = false
        this.#held &&= withOwnBytes(this.#held)
        this.#decoder.settle()
        this.#writeBuffered()
        this.flush()
      },
      onEnd: () => {
        this.#isEnded = true
        this.#scheduleFlush()
      },
      onDrain: () => {
        this.#backup?.drained()
        this.#makeReads()
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

  facts(nowMs: number): ConnectionFacts {
    return { remote: this.#stream.remote, idleS: Math.floor((nowMs - this.#activeMs) / 1000) }
  }

  /**
   * To be called now and then: closes a client that does not take its replies, or
   * sends nothing any more.
   * @param idleMaxMs 0 for no such bound.
   */
  check(nowMs: number, idleMaxMs: number): void {
    const { bufferedBytes } = this.#stream
    const bytes = this.#writtenBytes - bufferedBytes
    // A backup does not count here, and looks after itself.
    if (bytes > this.#taken.bytes || bufferedBytes === 0 || this.#backup) {
      this.#taken = { bytes, atMs: nowMs }
    }
    if (this.#slots.length > 0 || bufferedBytes > 0 || this.#backup) this.#activeMs = nowMs
    const isIdle = idleMaxMs > 0 && nowMs - this.#activeMs > idleMaxMs
    if (isIdle) this.#store.stats.add('idle_kicks')
    if (isIdle || nowMs - this.#taken.atMs > STALLED_MS) this.destroy()
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
    this.#canReadNow = null
    while (!this.#isClosed && this.#hasRoom) {
      const request = this.#held ?? this.#decoder.next(SETS_MAX)
      this.#held = request
      if (!request || this.#mustWait(request)) break
      this.#held = null
      this.#take(request)
    }
    if (this.#newBatch) {
      this.#confirm(this.#newBatch)
      this.#newBatch = null
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
      this.#countInFlight < IN_FLIGHT_MAX &&
      this.#bytesInFlight < IN_FLIGHT_BYTES_MAX &&
      this.#hasRoomForReply
    )
  }

  #mustWait(request: Request): boolean {
    switch (request.kind) {
      case 'get':
      case 'getLocal':
      case 'gat':
      case 'metaGet':
      case 'metaDebug':
        return this.#writesInFlight > 0
      case 'write':
      case 'sets':
        return this.#batches.length > 0 || this.#isChanging
      case 'stats':
      case 'backup':
      case 'shutdown':
        return this.#slots.length > 0
      default:
        return false
    }
  }

  #take(request: Request): void {
    switch (request.kind) {
      case 'get':
        return this.#get(request.keys, request.withCas)
      case 'getLocal':
        return this.#readLocally(request.keys.length, () => this.#values(request.keys, true))
      case 'gat':
        return this.#gat(request.keys, request.options, request.withCas)
      case 'metaGet':
        return this.#metaGet(request.get)
      case 'metaDebug':
        return this.#read(1, () => this.#debug(request.key, request.keyText))
      case 'write':
        return this.#write(request.command, request.noreply, request.meta)
      case 'sets':
        return this.#writeSets(request.commands, request.count)
      case 'stats':
        return this.#answer(this.#store.statsReply(request.words))
      case 'verbosity':
        this.#store.setVerbosity(request.level)
        return this.#answer(request.noreply ? '' : 'OK\r\n')
      case 'memoryLimit':
        this.#store.setMemoryLimit(request.limitBytes)
        return this.#answer(request.noreply ? '' : 'OK\r\n')
      case 'auth':
        return this.#authenticate(request.user, request.password)
      case 'cluster':
        return this.#answer(this.#store.answer(request.question))
      case 'remove':
        return this.#answer(this.#store.remove(request.server))
      case 'itemSizeMax':
        return this.#answer(this.#store.changeItemSizeMax(request.bytes))
      case 'readMode':
        return this.#answer(this.#store.changeReadMode(request.mode))
      case 'backup':
        return this.#sendBackup()
      case 'answer':
        if (request.line === TOO_LARGE) this.#store.stats.add('store_too_large')
        return this.#answer(request.line === '' ? '' : `${request.line}\r\n`)
      case 'shutdown':
        return this.#shutDown(request.isValid, request.noreply)
      case 'quit':
        this.#isEnded = true
        return this.#scheduleFlush()
    }
  }

  #answer(reply: Reply): void {
    const { replies } = this.#flushes
    if (this.#isNext && typeof reply === 'string' && replies.hasRoomFor(reply)) {
      return replies.addText(reply)
    }
    const slot: Slot = { reply: null, bytes: 0, count: 1 }
    this.#push(slot)
    this.#setReply(slot, reply)
    this.#scheduleFlush()
  }

  /** Whether what is answered now is next to leave: it may stand in the buffer. */
  get #isNext(): boolean {
    return this.#isTaking && this.#slots.length === 0
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

  #authenticate(user: string, password: string): void {
    const { stats } = this.#store
    const isKnown = this.#store.isKnown(user, password)
    stats.add('auth_cmds')
    if (!isKnown) stats.add('auth_errors')
    this.#decoder.needsAuth = !isKnown
    this.#answer(isKnown ? 'STORED\r\n' : 'CLIENT_ERROR authentication failure\r\n')
  }

  #shutDown(isValid: boolean, noreply: boolean): void {
    const { mayShutDown } = this.#store
    if (!mayShutDown || !isValid) {
      const mode = 'CLIENT_ERROR invalid shutdown mode\r\n'
      const line = mayShutDown ? mode : 'SERVER_ERROR: shutdown not enabled\r\n'
      return this.#answer(noreply ? '' : line)
    }
    this.#isEnded = true
    this.#scheduleFlush()
    this.#store.shutDown()
  }

  // ---------------------------------------------------------------- reads

  #openSlot(keyCount: number): Slot {
    const bytes = this.#decoder.lineBytes + keyCount * KEY_BYTES
    const slot: Slot = { reply: null, bytes, count: 1 }
    this.#push(slot)
    this.#store.stats.requestCount++
    return slot
  }

  #push(slot: Slot): void {
    this.#slots.push(slot)
    this.#countInFlight += slot.count
    this.#bytesInFlight += slot.bytes
  }

  /** A read that nobody has to confirm; it only waits for the reads in front of it. */
  #readLocally(keyCount: number, make: (slot: Slot) => Reply | null): void {
    const reads = [{ slot: this.#openSlot(keyCount), make }]
    const { whyNothingHere: why } = this.#store
    const failure = why === null ? null : `SERVER_ERROR ${why}\r\n`
    this.#batches.push({ reads, madeCount: 0, isConfirmed: true, failure, askCount: 0 })
    this.#makeReads()
  }

  #get(keys: readonly string[], withCas: boolean): void {
    if (keys.length > 1 || !this.#isNext || !this.#mayReadNow) {
      return this.#read(keys.length, () => this.#values(keys, withCas))
    }
    this.#store.stats.requestCount++
    const key = keys[0] as string
    const found = this.#find(key, this.#nowS)
    const { replies, scratch } = this.#flushes
    if (found && !isShort(found)) {
      const values = new Values(scratch, withCas)
      this.#addTo(values, key, found)
      return this.#answer(values.take())
    }
    if (found) {
      if (!replies.hasRoomForItem(found)) this.#wrote(replies.writeTo(this.#stream))
      replies.addItem(key, found, withCas)
    }
    this.#answer(END_REPLY)
  }

  /** Whether a read that comes now may be made now. */
  get #mayReadNow(): boolean {
    if (this.#batches.length > 0 || this.#isChanging || !this.#hasRoomForReply) return false
    this.#canReadNow ??= this.#store.canReadNow()
    return this.#canReadNow
  }

  #read(keyCount: number, make: (slot: Slot) => Reply | null): void {
    const slot = this.#openSlot(keyCount)
    if (this.#mayReadNow) {
      const reply = make(slot)
      if (reply !== null) this.#setReply(slot, reply)
      this.#scheduleFlush()
      return
    }
    if (!this.#newBatch) {
      const reads: Read[] = []
      this.#newBatch = { reads, madeCount: 0, isConfirmed: false, failure: null, askCount: 0 }
      this.#batches.push(this.#newBatch)
    }
    this.#newBatch.reads.push({ slot, make })
  }

  #confirm(batch: ReadBatch): void {
    const count = ++batch.askCount
    batch.isConfirmed = false
    this.#store.barrier((failure) => {
      if (batch.askCount !== count) return // asked again since
      batch.isConfirmed = true
      batch.failure = failure === null ? null : `SERVER_ERROR ${failure}\r\n`
      this.#makeReads()
    }, this.#lane)
  }

  get #hasRoomForReply(): boolean {
    return this.#madeBytes + this.#stream.bufferedBytes < UNSENT_BYTES_MAX
  }

  /** As many as may be and as there is room for, in order. */
  #makeReads(): void {
    for (let batch = this.#batches[0]; batch?.isConfirmed; batch = this.#batches[0]) {
      while (batch.madeCount < batch.reads.length) {
        if (this.#isChanging || !this.#hasRoomForReply) return
        const { slot, make } = batch.reads[batch.madeCount++] as Read
        const reply = batch.failure ?? make(slot)
        if (reply !== null) this.#setReply(slot, reply)
        this.#scheduleFlush()
      }
      this.#batches.shift()
    }
  }

  #setReply(slot: Slot, reply: Reply): void {
    slot.reply = reply
    if (typeof reply === 'string') this.#madeBytes += reply.length
    else for (const { length } of reply) this.#madeBytes += length
  }

  get #nowS(): number {
    return Math.floor(this.#clock.wallMs() / 1000)
  }

  #values(keys: readonly string[], withCas: boolean): Reply {
    const nowS = this.#nowS
    const values = new Values(this.#flushes.scratch, withCas)
    for (const key of keys) {
      const found = this.#find(key, nowS)
      if (found) this.#addTo(values, key, found)
      if (values.isTooMuch) break
    }
    return values.take()
  }

  #addTo(values: Values, key: string, found: FoundItem): void {
    if (isShort(found)) return values.addShort(key, found)
    const item = this.#store.get(key)
    if (item) values.add(key, item, item.value)
  }

  #find(key: string, nowS: number): FoundItem | null {
    const found = this.#store.find(key, nowS)
    this.#store.stats.read(key, found !== null)
    return found
  }

  #gat(keys: readonly string[], options: Options, withCas: boolean): void {
    this.#read(keys.length, (slot) => {
      const nowS = this.#nowS
      let bytes = 0
      const parts: Part[] = []
      for (const key of keys) {
        const item = this.#store.get(key, nowS)
        this.#store.stats.touched(key, item !== undefined)
        const { reply, after } = this.#store.preview(item, options)
        bytes += reply?.valueBytes ?? 0
        if (bytes > GET_REPLY_BYTES_MAX) return TOO_MUCH_REPLY
        parts.push({ key, reply, change: after === undefined ? null : canonicalGet(key, options) })
      }
      return this.#afterChanges(slot, parts, () => {
        const values = new Values(this.#flushes.scratch, withCas)
        for (const { key, reply } of parts) {
          if (reply?.value) values.add(key, reply, reply.value)
        }
        return values.take()
      })
    })
  }

  #metaGet(get: MetaGet): void {
    const { meta, command, options, isUnnoticed } = get
    const { key } = meta
    this.#read(1, (slot) => {
      const nowS = this.#nowS
      const { stats } = this.#store
      const item = this.#store.get(key, isUnnoticed ? undefined : nowS)
      if (options.has('exptime')) stats.touched(key, item !== undefined)
      else stats.read(key, item !== undefined)
      const { reply, after } = this.#store.preview(item, options)
      const usage = usageOf(item, nowS)
      const part: Part = { key, reply, change: after === undefined ? null : command }
      return this.#afterChanges(slot, [part], () => {
        // One that was made has been read by that.
        if (!item && !isUnnoticed) this.#store.get(key, nowS)
        const { line, hasValue } = metaGetReply(get, part.reply, usage)
        const value = part.reply?.value
        return hasValue && value ? [line, value, '\r\n'] : line
      })
    })
  }

  /**
   * Logs what a read changes, and makes its reply of what came of that.
   * @returns the reply, where nothing is changed.
   */
  #afterChanges(slot: Slot, parts: readonly Part[], make: () => Reply): Reply | null {
    const changed = parts.filter(({ change }) => change !== null)
    if (changed.length === 0) return make()
    const outcomes: WriteOutcome[] = []
    this.#isChanging = true
    this.#writesInFlight++
    for (const part of changed) {
      const done = (outcome: WriteOutcome) => {
        if (outcome.kind === 'applied') part.reply = outcome.item ?? null
        if (outcomes.push(outcome) < changed.length) return
        this.#isChanging = false
        this.#writesInFlight--
        const failure = failureOf(outcomes)
        this.#setReply(slot, failure === null ? make() : `${failure}\r\n`)
        // What waits may have been confirmed before this took effect.
        for (const batch of this.#batches) if (!isLocal(batch)) this.#confirm(batch)
        this.#makeReads()
        this.#scheduleFlush()
      }
      this.#store.write(this.#lane, part.change as Buffer, { done })
    }
    return null
  }

  #debug(key: string, keyText: string): Reply {
    this.#store.stats.add('cmd_meta')
    const item = this.#store.get(key)
    const { reply } = this.#store.preview(item, NO_OPTIONS)
    const bytes = itemBytes(key.length, reply?.valueBytes ?? 0)
    return metaDebugReply(keyText, reply, usageOf(item, this.#nowS), bytes)
  }

  // ---------------------------------------------------------------- writes

  #write(command: Buffer, noreply: boolean, meta: MetaRequest | undefined): void {
    const { stats } = this.#store
    const bytes = this.#decoder.lineBytes + command.length
    const slot = new WriteSlot(this, bytes, stats.kindOf(command), noreply, meta)
    this.#push(slot)
    this.#writesInFlight++
    stats.requestCount++
    this.#store.write(this.#lane, command, slot)
  }

  #writeSets(commands: Buffer, count: number): void {
    const { stats } = this.#store
    const slot = new SetsSlot(this, commands.length, count)
    if (stats.isDetailed || !this.#store.writeSets(this.#lane, commands, count, slot)) {
      for (const command of commandsIn(commands)) this.#write(command, false, undefined)
      return
    }
    this.#push(slot)
    this.#writesInFlight++
    stats.requestCount += count
  }

  /** What became of them. */
  settleSets(slot: SetsSlot, outcome: WriteOutcome): void {
    this.#writesInFlight--
    const { count } = slot
    if (outcome.kind === 'applied') {
      this.#store.stats.set(count)
      slot.reply = storedReplies(count)
    } else slot.reply = `${replyLine(outcome)}\r\n`.repeat(count)
    this.#scheduleFlush()
  }

  /** What became of a write. */
  settle(slot: WriteSlot, outcome: WriteOutcome): void {
    const { kind, noreply, meta } = slot
    const { stats } = this.#store
    this.#writesInFlight--
    const line = replyLine(outcome)
    if (outcome.kind === 'applied') stats.wrote(kind, line)
    if (line === 'TOUCHED') this.#store.get(kind.key, this.#nowS) // counts as an access
    if (outcome.kind === 'notStored' && outcome.lacks) stats.add('store_no_memory')
    if (meta && outcome.kind === 'applied') {
      slot.reply = metaWriteReply(meta, line, outcome.item, outcome.index)
    } else if (noreply) slot.reply = ''
    else slot.reply = line === 'STORED' ? STORED_REPLY : `${line}\r\n`
    this.#scheduleFlush()
  }

  /** Replies that are known by then leave in one write. */
  #scheduleFlush(): void {
    if (this.#isFlushDue) return
    this.#isFlushDue = true
    if (!this.#isTaking) this.#flushes.add(this)
  }

  /** Writes what is due. */
  flush(): void {
    if (!this.#isFlushDue || this.#isClosed) return
    this.#isFlushDue = false
    this.#writeReplies()
    this.#makeReads()
    if (this.#isPaused || !this.#hasRoom) this.#takeRequests() // else all that came is taken
    if (this.#isEnded && this.#slots.length === 0 && this.#held === null && this.#backup === null) {
      endStream(this.#stream, this.#timers)
      if (this.#stream.bufferedBytes === 0) this.#onDrained?.() // else when it closes
    }
  }

  /** What was answered while requests were taken. */
  #writeBuffered(): void {
    const { replies } = this.#flushes
    if (replies.length === 0) return
    if (this.#isClosed) return replies.clear()
    this.#wrote(replies.writeTo(this.#stream))
  }

  #writeReplies(): void {
    if (this.#isTaking) this.#writeBuffered()
    let slotCount = 0
    let text = ''
    let pieces: Piece[] | null = null
    for (const { reply, bytes, count } of this.#slots) {
      if (reply === null) break
      slotCount++
      this.#countInFlight -= count
      this.#bytesInFlight -= bytes
      if (typeof reply === 'string') {
        text += reply
      } else {
        pieces ??= []
        if (text !== '') pieces.push(text)
        text = ''
        for (const piece of reply) pieces.push(piece)
      }
    }
    if (slotCount === 1)
      this.#slots.shift() // keeps its memory for the next
    else if (slotCount === this.#slots.length) this.#slots = []
    else if (slotCount > 0) this.#slots.splice(0, slotCount)
    this.#madeBytes = 0
    let bytes = text.length
    if (pieces !== null) {
      if (text !== '') pieces.push(text)
      bytes = this.#flushes.scratch.writePieces(this.#stream, pieces)
    } else if (bytes > 0) this.#stream.write(text)
    this.#wrote(bytes)
  }

  #wrote(bytes: number): void {
    this.#writtenBytes += bytes
    this.#store.stats.bytesWritten += bytes
  }
}

/**
 * Ends this half, and the other soon after all has left, whether the client does or not, or once it
 * takes nothing any more.
 */
export function endStream(stream: Stream, timers: Timers): void {
  stream.end()
  let leftBytes = Number.POSITIVE_INFINITY
  let stalledMs = 0
  const look = () => {
    const { bufferedBytes } = stream
    stalledMs = bufferedBytes < leftBytes ? 0 : stalledMs + LINGER_MS
    leftBytes = bufferedBytes
    if (leftBytes === 0 || stalledMs >= STALLED_MS) stream.destroy()
    else timers.after(LINGER_MS, look)
  }
  timers.after(LINGER_MS, look)
}

const STORED_REPLY = 'STORED\r\n'
/** By their number, as they were needed. */
const storedTexts: string[] = []

function storedReplies(count: number): string {
  storedTexts[count] ??= STORED_REPLY.repeat(count)
  return storedTexts[count]
}

/** The chunk it is a view of may go. */
function withOwnBytes(request: Request): Request {
  switch (request.kind) {
    case 'write':
      return { ...request, command: Buffer.from(request.command) }
    case 'sets':
      return { ...request, commands: Buffer.from(request.commands) }
  }
  return request
}

function replyLine(outcome: WriteOutcome): string {
  switch (outcome.kind) {
    case 'applied':
      return outcome.reply
    case 'unknown':
      return `SERVER_ERROR outcome unknown: ${outcome.why}`
    case 'notStored':
      if (outcome.lacks) return `SERVER_ERROR ${outcome.why}`
  }
  return `SERVER_ERROR not stored: ${outcome.why}`
}

/** The error line of a request of several writes; null where all were applied. */
function failureOf(outcomes: readonly WriteOutcome[]): string | null {
  const failures = outcomes.filter((outcome) => outcome.kind !== 'applied')
  const unknown = failures.find(({ kind }) => kind === 'unknown')
  const first = unknown ?? failures[0]
  if (!first) return null
  // One that happened in part must not be taken for one that never will.
  if (first === unknown || failures.length === outcomes.length) return replyLine(first)
  return `SERVER_ERROR outcome unknown: not all keys were touched: ${first.why}`
}

/** How an item was used before this request. */
function usageOf(item: StoredItem | undefined, nowS: number): Usage {
  if (!item) return { isFetched: false, idleS: 0 }
  return { isFetched: item.isFetched, idleS: Math.max(0, nowS - item.accessedS) }
}
