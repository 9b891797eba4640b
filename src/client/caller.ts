/**
 * Sees calls through: to a server, again where that is safe, until an answer or the end of
 * their time.
 *
 * In: requests. Out: for each what it returned, or a StoreError; `definite` there is true only
 * where no server can have it, or the one that had it said that it did nothing.
 *
 * - A read is repeated whatever happened.
 * - A write is repeated where it certainly did not happen: it was never written to a
 *   connection, or its server said `not stored`; but not with less time left than the server took
 *   to say so, as it would be cut off, and nobody knew any more.
 * - A write whose connection was lost, or whose server said `outcome unknown`, is not.
 *
 * Calls wait in one of three places: with a session, in `#unsent` until some server may be
 * tried, or in `#resting` after a failure that may pass. One timer serves them all.
 */
import type { Io } from '../io/io.ts'
import { Alarm } from './alarm.ts'
import { backoffMs } from './backoff.ts'
import { Call } from './call.ts'
import type { Directory } from './directory.ts'
import { StoreError } from './errors.ts'
import { errorOf, type Failure, refusalOf } from './failures.ts'
import { LoginError } from './login.ts'
import { onAbort } from './on-abort.ts'
import type { RawItem } from './reply-parser.ts'
import { type Request, UNEXPECTED } from './requests.ts'
import { LANES, type LaneName, laneOf, Servers } from './servers.ts'
import type { Session } from './session.ts'

/** What may wait at once; more fails with `busy`. */
export const CALLS_MAX = 100_000
export const CALL_BYTES_MAX = 256 * 1024 * 1024

const LOOK = 'it may have happened: read the key before you repeat it'

/** So long after an answer the directory is asked anew, at the latest and at the soonest. */
const LEARN_INTERVAL_MS = 10_000
const LEARN_PAUSE_MS = 100
/** While there are calls, connections are looked at this often. */
const WATCH_MS = 1_000

export class Caller {
  readonly #io: Io
  readonly #directory: Directory
  readonly #servers: Servers
  readonly #alarm: Alarm
  readonly #calls = new Set<Call>()
  #bytes = 0
  /** Of each lane, in the order of the calls; for none of them there is a server just now. */
  #unsent: Record<LaneName, Call[]> = { reads: [], writes: [] }
  #resting: Call[] = []
  /** Ends the question that the directory is asked just now. */
  #learning: AbortController | null = null
  /** How often in a row nobody could name a leader. */
  #learnFailureCount = 0
  #learnFromMs = 0
  #learnAtMs = 0
  /** The last reason why some server could not be used. */
  #trouble = 'none was ready for it'
  #isClosed = false
  #onIdle: (() => void) | null = null
  #onClosed: (() => void) | null = null

  /** @param serversIo Logs in. */
  constructor(io: Io, serversIo: Io, directory: Directory) {
    this.#io = io
    this.#directory = directory
    this.#alarm = new Alarm(io, (nowMs) => this.#ring(nowMs))
    this.#servers = new Servers(serversIo, {
      onReply: (session, ...reply) => this.#takeReply(session, ...reply),
      onRoom: () => this.#sendUnsent(),
      onLost: (session, ...loss) => this.#takeLoss(session, ...loss),
      onAllClosed: () => this.#onClosed?.(),
    })
  }

  /** Learns the servers for the first time. @throws StoreError `unreachable`, `login` */
  async start(): Promise<void> {
    const error = await this.#learn()
    if (!error) return
    const isLogin = error instanceof LoginError && error.isFinal
    throw new StoreError(isLogin ? 'login' : 'unreachable', `connect: ${error.message}`)
  }

  call<T>(request: Request, timeoutMs: number, signal: AbortSignal | undefined): Promise<T> {
    return new Promise<unknown>((resolve, reject) => {
      const nowMs = this.#io.clock.monotonicMs()
      const call = new Call(request, timeoutMs, nowMs, resolve, reject)
      if (signal?.aborted) {
        return reject(errorOf(request, { code: 'aborted', why: 'its signal had ended it' }, true))
      }
      if (this.#calls.size >= CALLS_MAX || this.#bytes + call.bytes > CALL_BYTES_MAX) {
        const why = `${this.#calls.size} calls of ${this.#bytes} bytes wait already: await some first`
        return reject(errorOf(request, { code: 'busy', why }))
      }
      this.#calls.add(call)
      this.#bytes += call.bytes
      if (signal) call.forgetSignal = onAbort(signal, () => this.#abort(call))
      this.#alarm.ringAt(Math.min(call.deadlineMs, nowMs + WATCH_MS), nowMs)
      this.#send(call, nowMs)
    }) as Promise<T>
  }

  /** Resolves when all calls have ended. */
  idle(): Promise<void> {
    if (this.#calls.size === 0) return Promise.resolve()
    return new Promise((resolve) => {
      this.#onIdle = resolve
    })
  }

  /** Drops all connections; resolves when nothing is left. Only without calls. */
  close(): Promise<void> {
    this.#isClosed = true
    this.#alarm.cancel()
    this.#learning?.abort()
    return new Promise((resolve) => {
      this.#onClosed = resolve
      this.#servers.close()
      if (this.#servers.openCount === 0) resolve()
    })
  }

  // ---------------------------------------------------------------- where it goes

  #send(call: Call, nowMs: number): void {
    if (this.#isTooLate(call, nowMs)) return
    const { isLocal } = call.request
    const lane = laneOf(call.request)
    // None that was never sent is overtaken, but by those that go over other connections.
    const isNext = isLocal || this.#unsent[lane].length === 0
    const session = isNext ? this.#servers.choose(call.request, nowMs) : null
    if (session) session.send(call)
    else this.#unsent[lane].push(call)
    if (isLocal ? session === null : !this.#servers.isLeader(session)) this.#learnSoon(nowMs)
    if (nowMs >= this.#learnAtMs) void this.#learn()
    if (!session) this.#alarm.ringAt(this.#servers.nextRetryMs(nowMs), nowMs)
  }

  /** Fails a write that would be cut off before it was refused once more. */
  #isTooLate(call: Call, nowMs: number): boolean {
    const { lastFailure, refusalMs, deadlineMs, timeoutMs } = call
    const leftMs = deadlineMs - nowMs
    if (!lastFailure || refusalMs === 0 || leftMs >= refusalMs) return false
    const triedMs = Math.round(timeoutMs - leftMs)
    const end = `tried for ${triedMs} of ${timeoutMs} ms: to be refused again takes longer`
    this.#fail(call, { code: lastFailure.code, why: `${lastFailure.why} (${end})` })
    return true
  }

  #sendUnsent(): void {
    const nowMs = this.#io.clock.monotonicMs()
    for (const lane of LANES) {
      const unsent = this.#unsent[lane]
      if (unsent.length === 0) continue
      this.#unsent[lane] = []
      for (const call of unsent) {
        if (this.#calls.has(call)) this.#send(call, nowMs)
      }
    }
  }

  /** @param calls Of one connection; they were called before those that wait already. */
  #takeBack(calls: readonly Call[]): void {
    const [first] = calls
    if (!first) return
    const lane = laneOf(first.request)
    this.#unsent[lane] = [...calls, ...this.#unsent[lane]]
  }

  /** Tries it again some time later. */
  #rest(call: Call, failure: Failure): void {
    const nowMs = this.#io.clock.monotonicMs()
    call.lastFailure = failure
    call.failureCount++
    call.dueMs = nowMs + backoffMs(call.failureCount, this.#io.random)
    this.#resting.push(call)
    this.#alarm.ringAt(call.dueMs, nowMs)
    this.#learnSoon(nowMs)
  }

  // ------------------------------------------------------------- what becomes of it

  #takeReply(
    session: Session,
    call: Call,
    line: string,
    items: readonly RawItem[],
    statistics: readonly string[],
  ): boolean {
    const result = call.request.readReply(line, items, statistics)
    if (result !== UNEXPECTED) {
      this.#end(call)
      call.resolve(result)
      return true
    }
    const refusal = refusalOf(line, call.request, session.server)
    if (refusal.isTransient) {
      // A read that is cut off did nothing.
      if (!call.request.isRead) call.refusalMs = this.#io.clock.monotonicMs() - call.writtenMs
      this.#rest(call, refusal)
    } else this.#fail(call, refusal)
    return refusal.code !== 'protocol' || line.startsWith('ERROR')
  }

  #takeLoss(
    session: Session,
    why: string,
    isLoginRefused: boolean,
    unsent: readonly Call[],
    sent: readonly Call[],
  ): void {
    const what = `server ${session.server} ${why}`
    this.#trouble = what
    const notRead: Failure = { code: 'notRead', why: what }
    const unknown: Failure = { code: 'unknown', why: `${what} after it was sent: ${LOOK}` }
    for (const call of sent) {
      if (call.request.isRead) this.#rest(call, notRead)
      else this.#fail(call, unknown)
    }
    const failure: Failure = { code: isLoginRefused ? 'login' : 'unreachable', why: what }
    for (const call of unsent) {
      if (isLoginRefused) this.#fail(call, failure)
      else call.lastFailure = failure
    }
    if (!isLoginRefused) this.#takeBack(unsent)
    if (this.#calls.size > 0) this.#learnSoon(this.#io.clock.monotonicMs())
    this.#sendUnsent()
  }

  /** A server owes answers and says nothing: reads go elsewhere, writes may be on their way. */
  #takeStall(session: Session): void {
    const failure: Failure = { code: 'notRead', why: `server ${session.server} does not answer` }
    this.#trouble = failure.why
    for (const call of session.written()) {
      if (!call.request.isRead) continue
      session.leave(call)
      this.#rest(call, failure)
    }
    this.#takeBack(session.takeUnsent())
    this.#sendUnsent()
    this.#learnSoon(this.#io.clock.monotonicMs())
  }

  #expire(call: Call): void {
    const { request, session, timeoutMs, lastFailure } = call
    if (session && call.isWritten) {
      const what = `server ${session.server} did not answer within ${timeoutMs} ms`
      const advice = request.isRead ? '' : `: ${LOOK}`
      const before = lastFailure ? `; before that: ${lastFailure.why}` : ''
      this.#fail(call, { code: 'timeout', why: `${what}${advice}${before}` })
    } else if (lastFailure) {
      const why = `${lastFailure.why} (tried for ${timeoutMs} ms)`
      this.#fail(call, { code: lastFailure.code, why })
    } else if (session) {
      const why = `server ${session.server} took no request within ${timeoutMs} ms`
      this.#fail(call, { code: 'timeout', why }, true)
    } else {
      const why = `no server took it within ${timeoutMs} ms: ${this.#trouble}`
      this.#fail(call, { code: 'unreachable', why })
    }
  }

  #abort(call: Call): void {
    const isUnknown = call.isWritten && !call.request.isRead
    const why = isUnknown ? `its signal ended it after it was sent: ${LOOK}` : 'its signal ended it'
    this.#fail(call, { code: 'aborted', why }, !isUnknown)
  }

  #fail(call: Call, failure: Failure, definite?: boolean): void {
    this.#end(call)
    call.reject(errorOf(call.request, failure, definite))
  }

  #end(call: Call): void {
    call.session?.leave(call)
    call.forgetSignal?.()
    this.#bytes -= call.bytes
    this.#calls.delete(call)
    if (this.#calls.size > 0) return
    this.#unsent = { reads: [], writes: [] }
    this.#resting = []
    this.#onIdle?.()
  }

  // --------------------------------------------------------------------------- time

  #ring(nowMs: number): void {
    let nextMs = nowMs + WATCH_MS
    for (const call of this.#calls) {
      if (call.deadlineMs <= nowMs) this.#expire(call)
      else nextMs = Math.min(nextMs, call.deadlineMs)
    }
    nextMs = Math.min(
      nextMs,
      this.#servers.check(nowMs, (session) => this.#takeStall(session)),
    )
    const resting = this.#resting
    this.#resting = []
    for (const call of resting) {
      if (!this.#calls.has(call)) continue
      if (call.dueMs <= nowMs) this.#send(call, nowMs)
      else {
        this.#resting.push(call)
        nextMs = Math.min(nextMs, call.dueMs)
      }
    }
    this.#sendUnsent()
    if (this.#calls.size === 0) return
    if (nowMs >= this.#learnAtMs) void this.#learn()
    else nextMs = Math.min(nextMs, this.#learnAtMs)
    this.#alarm.ringAt(nextMs, nowMs)
  }

  // -------------------------------------------------------------------- who they are

  #learnSoon(nowMs: number): void {
    this.#learnAtMs = Math.min(this.#learnAtMs, this.#learnFromMs)
    if (nowMs < this.#learnAtMs) this.#alarm.ringAt(this.#learnAtMs, nowMs)
    else void this.#learn()
  }

  /** @returns why nothing was learned. */
  async #learn(): Promise<Error | null> {
    if (this.#learning || this.#isClosed) return null
    const learning = new AbortController()
    this.#learning = learning
    this.#learnAtMs = Number.POSITIVE_INFINITY
    const learned = await this.#directory
      .learn(this.#servers.addresses, learning.signal)
      .catch((error: Error) => error)
    this.#learning = null
    if (this.#isClosed) return null
    const hasLeader = !(learned instanceof Error) && learned.leader !== null
    this.#learnFailureCount = hasLeader ? 0 : this.#learnFailureCount + 1
    const nowMs = this.#io.clock.monotonicMs()
    const pauseMs = hasLeader ? LEARN_PAUSE_MS : backoffMs(this.#learnFailureCount, this.#io.random)
    this.#learnFromMs = nowMs + pauseMs
    this.#learnAtMs = hasLeader ? nowMs + LEARN_INTERVAL_MS : this.#learnFromMs
    if (learned instanceof Error) this.#trouble = learned.message
    else this.#servers.learn(learned)
    this.#sendUnsent()
    if (this.#calls.size > 0) this.#alarm.ringAt(this.#learnAtMs, nowMs)
    return learned instanceof Error ? learned : null
  }
}
