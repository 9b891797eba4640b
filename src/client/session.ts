/**
 * One connection to one server: requests out, pipelined, and their replies in order.
 *
 * In: calls. Out, to its owner: each call with its reply; and when the connection closes, the
 * calls that were never written, which certainly did not happen, apart from those that were.
 * Nothing is written before the server has let this client in.
 *
 * All requests of one turn of the event loop leave in one write. While the socket is full the
 * rest waits here, and still can be taken back.
 *
 * A call may leave before its reply came (its time is over, or it is tried elsewhere): then
 * that reply is for nobody. A call is therefore known by its place in the order of writing.
 */
import type { Address, Io, Stream } from '../io/io.ts'
import type { Call } from './call.ts'
import { LoginError } from './login.ts'
import { ProtocolError, type RawItem, ReplyParser } from './reply-parser.ts'

export interface SessionOwner {
  onOpen(): void
  /** @returns whether that is a reply to it: otherwise nothing that follows can be believed. */
  onReply(
    call: Call,
    line: string,
    items: readonly RawItem[],
    statistics: readonly string[],
  ): boolean
  /** It answers again after it had stalled, or takes calls again after it was full. */
  onRoom(): void
  /**
   * The connection has gone, or is of no use.
   * @param why In the words that follow `server 10.0.0.8:7001`.
   */
  onLost(why: string, isLoginRefused: boolean, unsent: Call[], sent: Call[]): void
  /** Nothing of it is left. */
  onClosed(): void
}

/** Not much more is given to the socket at once, so that what does not fit can be taken back. */
const WRITE_BYTES = 256 * 1024
/** So many replies may be owed, also to calls that have left. */
const OWED_MAX = 100_000
/** Places of replies that came are kept until there are so many. */
const SLACK_MAX = 4_096
const LINE_END = Buffer.from('\r\n')

export class Session {
  readonly server: string
  readonly startedMs: number
  readonly #io: Io
  readonly #owner: SessionOwner
  readonly #stream: Stream
  readonly #parser: ReplyParser
  /** Not written yet. */
  #queue: Call[] = []
  /** Written, in order; those before `#head` have their replies. */
  #sent: (Call | undefined)[] = []
  #head = 0
  /** The place of the first of `#sent`. */
  #firstSeq = 0
  /** Of the calls that were written, how many still wait. */
  #waitingCount = 0
  #isOpen = false
  #isLost = false
  #hasRoom = true
  #isFlushDue = false
  #wasFull = false
  #progressMs: number
  /** It has owed replies for too long, and not one came. */
  isStalled = false

  constructor(io: Io, address: Address, owner: SessionOwner) {
    this.server = `${address.host}:${address.port}`
    this.#io = io
    this.#owner = owner
    this.startedMs = io.clock.monotonicMs()
    this.#progressMs = this.startedMs
    this.#parser = new ReplyParser((...reply) => this.#takeReply(...reply))
    this.#stream = io.network.connect(address, {
      onOpen: () => {
        this.#isOpen = true
        this.#owner.onOpen()
        this.#flush()
      },
      onData: (chunk) => this.#takeChunk(chunk),
      onDrain: () => {
        this.#hasRoom = true
        this.#progressMs = this.#io.clock.monotonicMs()
        this.#flush()
      },
      onEnd: () => this.lose('closed the connection'),
      onClose: (error) => {
        const code = error && 'code' in error ? ` (${error.code})` : ''
        if (error instanceof LoginError) this.lose(error.message, error.isFinal)
        else this.lose(this.#isOpen ? `was lost${code}` : `can't be reached${code}`)
        this.#owner.onClosed()
      },
    })
  }

  get isOpen(): boolean {
    return this.#isOpen
  }

  get isLost(): boolean {
    return this.#isLost
  }

  /** Whether another call may be sent here; where it is full, `onRoom` tells when it may. */
  takesCalls(): boolean {
    this.#wasFull = this.#sent.length - this.#head + this.#queue.length >= OWED_MAX
    return !this.#isLost && !this.isStalled && !this.#wasFull
  }

  /** Since when it owes an answer and said nothing; null where it owes none. */
  get silentSinceMs(): number | null {
    return this.#sent.length > this.#head ? this.#progressMs : null
  }

  get waitingCount(): number {
    return this.#waitingCount
  }

  get isIdle(): boolean {
    return this.#waitingCount === 0 && !this.#queue.some((call) => call.session === this)
  }

  send(call: Call): void {
    call.session = this
    call.seq = -1
    this.#queue.push(call)
    this.#scheduleFlush()
  }

  /** The call waits here no more. */
  leave(call: Call): void {
    if (call.seq >= 0) this.#waitingCount--
    call.session = null
    call.seq = -1
  }

  /** The calls that wait for a reply. */
  written(): Call[] {
    const calls: Call[] = []
    for (let at = this.#head; at < this.#sent.length; at++) {
      const call = this.#sent[at]
      if (call?.session === this && call.seq === this.#firstSeq + at) calls.push(call)
    }
    return calls
  }

  /** Takes back the calls that were not written. */
  takeUnsent(): Call[] {
    const calls = this.#queue.filter((call) => call.session === this)
    for (const call of calls) this.leave(call)
    this.#queue = []
    return calls
  }

  /** Gives it up. */
  lose(why: string, isLoginRefused = false): void {
    if (this.#isLost) return
    this.#isLost = true
    const sent = this.written()
    const unsent = this.takeUnsent()
    for (const call of sent) this.leave(call)
    this.#sent = []
    this.#head = 0
    this.#stream.destroy()
    this.#owner.onLost(why, isLoginRefused, unsent, sent)
  }

  #scheduleFlush(): void {
    if (this.#isFlushDue || !this.#isOpen) return
    this.#isFlushDue = true
    this.#io.timers.soon(() => {
      this.#isFlushDue = false
      this.#flush()
    })
  }

  #flush(): void {
    if (this.#isLost || !this.#hasRoom || this.#queue.length === 0) return
    const nowMs = this.#io.clock.monotonicMs()
    if (this.#sent.length === this.#head) this.#progressMs = nowMs
    const queue = this.#queue
    let at = 0
    while (at < queue.length && this.#hasRoom) at = this.#writeFrom(queue, at, nowMs)
    this.#queue = at === queue.length ? [] : queue.slice(at)
  }

  /** @returns where in the queue to go on. */
  #writeFrom(queue: readonly Call[], from: number, nowMs: number): number {
    let at = from
    let text = ''
    let chunks: Buffer[] | null = null
    for (let bytes = 0; at < queue.length && bytes < WRITE_BYTES; at++) {
      const call = queue[at] as Call
      if (call.session !== this) continue
      call.seq = this.#firstSeq + this.#sent.length
      call.writtenMs = nowMs
      this.#sent.push(call)
      this.#waitingCount++
      bytes += call.bytes
      text += call.request.text
      if (call.request.body) {
        chunks ??= []
        chunks.push(Buffer.from(text, 'latin1'), call.request.body, LINE_END)
        text = ''
      }
    }
    if (chunks) {
      if (text !== '') chunks.push(Buffer.from(text, 'latin1'))
      this.#hasRoom = this.#stream.writeAll(chunks)
    } else if (text !== '') {
      this.#hasRoom = this.#stream.write(text)
    }
    return at
  }

  #takeChunk(chunk: Buffer): void {
    if (this.#isLost) return
    this.#progressMs = this.#io.clock.monotonicMs()
    const wasBlocked = this.isStalled || this.#wasFull
    this.isStalled = false
    this.#wasFull = false
    try {
      this.#parser.push(chunk)
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error
      this.lose(`does not speak this protocol: ${error.message}`)
    }
    if (wasBlocked && !this.#isLost) this.#owner.onRoom()
  }

  #takeReply(line: string, items: readonly RawItem[], statistics: readonly string[]): void {
    if (this.#isLost) return
    if (this.#head === this.#sent.length) {
      throw new ProtocolError(`nobody waits for ${JSON.stringify(line.slice(0, 100))}`)
    }
    const call = this.#sent[this.#head] as Call
    const seq = this.#firstSeq + this.#head
    this.#sent[this.#head++] = undefined
    if (this.#head === this.#sent.length || this.#head > SLACK_MAX) {
      this.#firstSeq += this.#head
      this.#sent = this.#sent.slice(this.#head)
      this.#head = 0
    }
    if (call.session !== this || call.seq !== seq) return
    this.leave(call)
    if (!this.#owner.onReply(call, line, items, statistics)) {
      throw new ProtocolError('a reply is of another request')
    }
  }
}
