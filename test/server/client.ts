/**
 * The server's side of one client's connection, moving only when a test says so: a stream
 * that keeps what is written to it, a clock that stands, and a store of one replica whose
 * reads and writes wait until a test answers them, or lets everything happen.
 */
import type { Stream, StreamHandler, Timers } from '../../src/io/io.ts'
import { ITEM_SIZE_MAX, type Options } from '../../src/protocol/commands.ts'
import type { Backup } from '../../src/server/backup.ts'
import { Connection, type Store } from '../../src/server/connection.ts'
import { FlushQueue } from '../../src/server/flush-queue.ts'
import type { Item } from '../../src/server/keystore/item-store.ts'
import { StateMachine } from '../../src/server/keystore/state-machine.ts'
import type { Lane, Waiter } from '../../src/server/node.ts'
import type { WriteOutcome } from '../../src/server/peer-messages.ts'
import { Stats } from '../../src/server/stats.ts'
import { appliedEntry } from './keystore/applied-entry.ts'

export const START_MS = 1_795_167_038_000

interface PendingWrite {
  readonly command: Buffer
  readonly done: (outcome: WriteOutcome) => void
}

export class ReplicaStore implements Store {
  readonly stats = new Stats()
  readonly machine = new StateMachine()
  /** What is to become log time with the next entry. */
  timeMs = START_MS
  itemSizeMax = ITEM_SIZE_MAX
  /** Reads that wait to hear that they may be made. */
  readonly barriers: ((failure: string | null) => void)[] = []
  /** Writes that wait to be answered. */
  readonly writes: PendingWrite[] = []
  /** Commands that were applied: all that was logged. */
  readonly log: string[] = []
  /** Calls that are neither, in words. */
  readonly calls: string[] = []
  mayShutDown = false
  /** Whether reads may be made at once. */
  isLeased = false
  /** Whether plain sets that came together are one write. */
  takesSets = false
  users: ReadonlyMap<string, string> | null = null

  write(_lane: Lane, command: Buffer, waiter: Waiter): void {
    this.writes.push({ command: Buffer.from(command), done: (outcome) => waiter.done(outcome) })
  }

  writeSets(lane: Lane, commands: Buffer, count: number, waiter: Waiter): boolean {
    if (!this.takesSets) return false
    const lineCount = commands.toString('latin1').split('\r\n').length - 1
    if (lineCount !== 2 * count) throw new Error(`${lineCount} lines are not ${count} sets`)
    this.write(lane, commands, waiter)
    return true
  }

  barrier(done: (failure: string | null) => void): void {
    this.barriers.push(done)
  }

  whyNothingHere: string | null = null

  canReadNow(): boolean {
    return this.isLeased
  }

  get(key: string, nowS?: number) {
    return this.machine.get(key, nowS)
  }

  find(key: string, nowS: number) {
    return this.machine.find(key, nowS)
  }

  preview(item: Item | undefined, options: Options) {
    return this.machine.preview(item, options)
  }

  /** Somebody else's write, or the oldest that waits. */
  apply(command: string | Buffer): WriteOutcome {
    const body = typeof command === 'string' ? Buffer.from(command, 'latin1') : command
    const index = this.machine.appliedIndex + 1
    this.log.push(body.toString('latin1'))
    const { line, item } = this.machine.apply(appliedEntry(index, this.timeMs, body))
    return { kind: 'applied', reply: line, item, index }
  }

  /** The oldest write that waits has an outcome; without one, it is applied. */
  finishWrite(outcome?: WriteOutcome): void {
    const write = this.writes.shift()
    write?.done(outcome ?? this.apply(write.command))
  }

  confirm(failure: string | null = null): void {
    this.barriers.shift()?.(failure)
  }

  statsReply(words: readonly string[]): string {
    return `STATS ${words.join(' ')}\r\n`
  }

  setVerbosity(level: number): void {
    this.calls.push(`verbosity ${level}`)
  }

  setMemoryLimit(bytes: number): void {
    this.calls.push(`memory limit ${bytes}`)
  }

  shutDown(): void {
    this.calls.push('shut down')
  }

  get needsAuth(): boolean {
    return this.users !== null
  }

  isKnown(user: string, password: string): boolean {
    return this.users?.get(user) === password
  }

  answer(question: string): string {
    return `${question}\r\nend\r\n`
  }

  remove(server: string): string {
    return `remove ${server}\r\nend\r\n`
  }

  changeItemSizeMax(bytes: number): string {
    return `item size ${bytes}\r\nend\r\n`
  }

  changeReadMode(mode: string): string {
    return `read mode ${mode}\r\nend\r\n`
  }

  openBackup(): Promise<Backup> {
    return Promise.reject(new Error('none'))
  }
}

export class Client {
  readonly store: ReplicaStore
  readonly connection: Connection
  nowMs = 0
  /** Whether it takes what is written to it. */
  isReading = true
  /** What was written and it has not taken. */
  bufferedBytes = 0
  isPaused = false
  isEnded = false
  isDestroyed = false
  #sent: Buffer[] = []
  #soon: (() => void)[] = []
  #timed: { readonly atMs: number; readonly fn: () => void }[] = []
  #handler: StreamHandler | null = null

  /** @param flushes Shared with other clients of that store; its own otherwise. */
  constructor(store = new ReplicaStore(), flushes?: FlushQueue) {
    this.store = store
    const timers: Timers = {
      after: (delayMs, fn) => {
        this.#timed.push({ atMs: this.nowMs + delayMs, fn })
        return { cancel: () => {} }
      },
      soon: (fn) => void this.#soon.push(fn),
    }
    const clock = { monotonicMs: () => this.nowMs, wallMs: () => START_MS + this.nowMs }
    this.connection = new Connection(
      this.#stream(),
      store,
      { timers, clock },
      flushes ?? new FlushQueue(timers),
      () => {},
    )
  }

  receive(text: string | Buffer): void {
    const chunk = Buffer.from(text as string, 'latin1')
    this.#handler?.onData(chunk)
    chunk.fill(0xee) // as if another connection had read into it
  }

  /** It ends its half. */
  end(): void {
    this.#handler?.onEnd()
  }

  /** It takes all that waits for it, and goes on reading. */
  drain(): void {
    this.isReading = true
    this.bufferedBytes = 0
    this.#handler?.onDrain?.()
  }

  /** Time passes, a second at a time; before each it takes so much of what waits for it. */
  pass(seconds: number, takenBytes: number): void {
    for (; seconds > 0; seconds--) {
      this.bufferedBytes = Math.max(0, this.bufferedBytes - takenBytes)
      this.nowMs += 1_000
      const due = this.#timed.filter(({ atMs }) => atMs <= this.nowMs)
      this.#timed = this.#timed.filter((timer) => !due.includes(timer))
      for (const { fn } of due) fn()
    }
  }

  /** What was due soon has happened. @returns what was sent since the last call. */
  replies(): string {
    while (this.#soon.length > 0) for (const fn of this.#soon.splice(0)) fn()
    return Buffer.concat(this.#sent.splice(0)).toString('latin1')
  }

  /** @returns what was sent since the last call, without anything that was due soon. */
  repliesAtOnce(): string {
    return Buffer.concat(this.#sent.splice(0)).toString('latin1')
  }

  /** Everything happens that waits for no time. @returns what was sent since the last call. */
  settle(): string {
    let text = this.replies()
    const { barriers, writes } = this.store
    while (barriers.length > 0 || writes.length > 0) {
      this.store.confirm()
      this.store.finishWrite()
      text += this.replies()
    }
    return text
  }

  /** The whole answer to that. */
  say(text: string | Buffer): string {
    this.receive(text)
    return this.settle()
  }

  #write(bytes: Buffer): boolean {
    this.#sent.push(bytes)
    if (!this.isReading) this.bufferedBytes += bytes.length
    return this.isReading
  }

  #stream(): Stream {
    const buffered = () => this.bufferedBytes
    return {
      remote: { host: 'client', port: 1 },
      handle: (handler) => {
        this.#handler = handler
      },
      write: (chunk) => this.#write(Buffer.from(chunk as string, 'latin1')),
      writeAll: (chunks) => this.#write(Buffer.concat(chunks)),
      get bufferedBytes() {
        return buffered()
      },
      pause: () => {
        this.isPaused = true
      },
      resume: () => {
        this.isPaused = false
      },
      end: () => {
        this.isEnded = true
      },
      destroy: () => {
        if (this.isDestroyed) return
        this.isDestroyed = true
        this.#handler?.onClose(null)
      },
    }
  }
}
