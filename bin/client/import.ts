/**
 * `client import`: sets the items of a file, a line each, many at a time.
 *
 * In: a file of lines as item-line.ts has them. Out: how many were stored. Two lines with one
 * key take effect in their order. A set is repeated while the cluster has no leader, for
 * RETRY_MS: to set an item twice is to set it. But where nobody knows what became of the first,
 * it may come second, at any time: a later line of that key is not set by the same command.
 *
 * It may be ended at any line, by a signal, an error or a kill: up to where every line is
 * stored is in a checkpoint, written at first, each CHECKPOINT_MS and at the end, and the same
 * command goes on from there. Lines behind it may have been stored as well; they are set again.
 */
import { crc32 } from 'node:zlib'
import type { Client } from '../../src/client/api.ts'
import { type ErrorCode, StoreError } from '../../src/client/errors.ts'
import { SECONDS_MAX } from '../../src/client/requests.ts'
import type { DiskFile, Io } from '../../src/io/io.ts'
import { explain } from '../run.ts'
import { type Checkpoint, CheckpointFile } from './checkpoint.ts'
import { parseItemLine, type TransferItem } from './item-line.ts'
import { type FileLine, readLines } from './line-reader.ts'
import { FileError } from './outcome.ts'
import { textOf } from './reply.ts'

type ReadFile = Pick<DiskFile, 'read' | 'size' | 'close'>

const IN_FLIGHT_MAX = 256
const IN_FLIGHT_BYTES_MAX = 8 * 1024 * 1024
const CHECKPOINT_MS = 250
const RETRY_MS = 30_000
const RETRY_PAUSE_MS = 200
/** Lines that may take effect again, at most. */
const DOUBTFUL_MAX = 100_000
/** May be gone a moment later. */
const PASSING: readonly ErrorCode[] = ['unknown', 'timeout', 'notStored', 'unreachable']

export interface ImportTask {
  readonly client: Client
  readonly io: Io
  readonly path: string
  /** Of the cluster. */
  readonly cluster: string | null
  readonly timeoutMs?: number | undefined
  /** Ends it in order: what is on its way is waited for. */
  readonly signal: AbortSignal
  readonly onBegin: (from: Checkpoint, totalBytes: number) => void
  readonly onBytes: (byteCount: number) => void
}

export interface Imported extends Checkpoint {
  /** Not where it was interrupted. */
  readonly isWhole: boolean
}

/** @throws Error, one line that names the line of the file, once the checkpoint is written. */
export async function importFile(task: ImportTask): Promise<Imported> {
  const { io, path } = task
  const cantRead = (error: NodeJS.ErrnoException) => {
    const why = error.code === 'ENOENT' ? 'is not there' : `can't be read (${error.code})`
    throw new FileError(`${path} ${why}`)
  }
  const opened = await io.disk.open(path, { create: false, readOnly: true }).catch(cantRead)
  const file: ReadFile = {
    read: (offset, length) => opened.read(offset, length).catch(cantRead),
    size: () => opened.size(),
    close: () => opened.close(),
  }
  try {
    await file.read(0, 1) // before anything is written: it may be a directory
    const checkpointFile = new CheckpointFile(io.disk, path)
    const found = await checkpointFile.read(task.cluster, file)
    const from = found ?? { cluster: task.cluster, lines: 0, bytes: 0, crc: 0, expired: 0 }
    await checkpointFile.write(from) // where that fails, it does before anything is stored
    task.onBegin(from, await file.size())
    return await new Import(task, checkpointFile, from).run(file)
  } finally {
    await file.close()
  }
}

/** A line of the file, from when it is begun until all up to it are done. */
interface Begun {
  readonly number: number
  readonly endOffset: number
  readonly crc: number
  /** null where nothing is stored for it. */
  readonly item: TransferItem | null
  readonly isExpired: boolean
  isDone: boolean
}

class Import {
  readonly #task: ImportTask
  readonly #file: CheckpointFile
  #durable: Checkpoint
  /** In the order of the file; the first is not done, or all would be. */
  readonly #begun: Begun[] = []
  readonly #keysInFlight = new Set<string>()
  /** Sent again though the first may have happened, or may yet: the line of each key. */
  readonly #doubtful = new Map<string, number>()
  #bytesInFlight = 0
  #failure: Error | null = null
  #savedMs: number
  /** Something has changed of what is waited for. */
  #wake: () => void = () => {}

  constructor(task: ImportTask, file: CheckpointFile, from: Checkpoint) {
    this.#task = task
    this.#file = file
    this.#durable = from
    this.#savedMs = task.io.clock.monotonicMs()
  }

  async run(file: ReadFile): Promise<Imported> {
    const { signal } = this.#task
    const wake = () => this.#wake()
    signal.addEventListener('abort', wake)
    try {
      await this.#sendAll(file)
    } catch (error) {
      this.#fail(error)
    }
    // All of them have their answer before the checkpoint says how far it came.
    while (this.#keysInFlight.size > 0) await this.#change()
    signal.removeEventListener('abort', wake)
    const isWhole = !this.#isEnding
    if (isWhole) await this.#file.remove()
    else await this.#file.write(this.#durable)
    if (this.#failure) throw this.#failure
    return { ...this.#durable, isWhole }
  }

  async #sendAll(file: ReadFile): Promise<void> {
    let number = this.#durable.lines
    let crc = this.#durable.crc
    for await (const line of readLines(file, this.#durable.bytes)) {
      number++
      crc = crc32(line.raw, crc)
      const begun = this.#read(line, number, crc)
      while (!this.#hasRoomFor(begun) && !this.#isEnding) await this.#change()
      if (this.#isEnding) return
      this.#begun.push(begun)
      if (begun.item) void this.#send(begun.item, begun)
      else this.#finish(begun)
      await this.#maybeSave()
    }
  }

  #read(line: FileLine, number: number, crc: number): Begun {
    const { io, path } = this.#task
    let item: TransferItem | null
    try {
      const text = textOf(line.bytes)?.trim()
      if (text === undefined) throw new Error('it is not UTF-8; a value may be in base64')
      item = text === '' ? null : parseItemLine(text)
    } catch (error) {
      throw new FileError(`${path}: line ${number}: ${explain(error)}`)
    }
    const expiresAtMs = item?.expiresAtMs ?? 0
    const isExpired = expiresAtMs !== 0 && expiresAtMs <= io.clock.wallMs()
    if (isExpired) item = null
    return { number, endOffset: line.endOffset, crc, item, isExpired, isDone: false }
  }

  #hasRoomFor({ item }: Begun): boolean {
    if (this.#begun.length >= IN_FLIGHT_MAX) return false
    if (!item) return true
    if (this.#keysInFlight.has(item.key)) return false // its turn is after that one's
    const isAlone = this.#bytesInFlight === 0
    return isAlone || this.#bytesInFlight + item.value.length <= IN_FLIGHT_BYTES_MAX
  }

  /** @returns once it is stored, or never will be by this command; `#begun` says which. */
  async #send(item: TransferItem, begun: Begun): Promise<void> {
    this.#keysInFlight.add(item.key)
    this.#bytesInFlight += item.value.length
    try {
      this.#assertInOrder(item)
      await this.#store(item, begun.number)
      this.#finish(begun)
    } catch (error) {
      this.#fail(atLine(this.#task.path, begun.number, error))
    }
    this.#keysInFlight.delete(item.key)
    this.#bytesInFlight -= item.value.length
    this.#wake()
  }

  /** @throws StoreError where a line before it may take effect behind it. */
  #assertInOrder({ key }: TransferItem): void {
    const number = this.#doubtful.get(key)
    const isFull = this.#doubtful.size >= DOUBTFUL_MAX
    if (number === undefined && !isFull) return
    const what =
      number === undefined
        ? `${DOUBTFUL_MAX} lines were sent again`
        : `line ${number} has the same key and was sent again`
    const why = 'without knowing what became of the first time, which may take effect yet'
    const advice = 'once no server hangs, as store status says, the same command goes on'
    throw new StoreError('unknown', `not set: ${what} ${why}: ${advice}`)
  }

  async #store(item: TransferItem, number: number): Promise<void> {
    const { client, io, timeoutMs } = this.#task
    const { key, value, flags, expiresAtMs } = item
    const untilMs = io.clock.monotonicMs() + RETRY_MS
    for (;;) {
      const expiresInS = Math.ceil((expiresAtMs - io.clock.wallMs()) / 1000)
      try {
        await client.set(key, value, {
          flags,
          ...(expiresAtMs === 0 ? {} : { expiresInS: clamp(expiresInS) }),
          ...(timeoutMs === undefined ? {} : { timeoutMs }),
        })
        return
      } catch (error) {
        const isPassing = error instanceof StoreError && PASSING.includes(error.code)
        const isOver = !isPassing || this.#isEnding || io.clock.monotonicMs() > untilMs
        if (isOver) throw this.#doubtful.has(key) ? asUnknown(error) : error
        if (!error.definite) this.#doubtful.set(key, number)
        await new Promise<void>((resolve) => io.timers.after(RETRY_PAUSE_MS, resolve))
      }
    }
  }

  #finish(begun: Begun): void {
    begun.isDone = true
    for (let first = this.#begun[0]; first?.isDone; first = this.#begun[0]) {
      this.#begun.shift()
      const { lines, bytes, expired, cluster } = this.#durable
      this.#task.onBytes(first.endOffset - bytes)
      this.#durable = {
        cluster,
        lines: lines + 1,
        bytes: first.endOffset,
        crc: first.crc,
        expired: expired + (first.isExpired ? 1 : 0),
      }
    }
  }

  get #isEnding(): boolean {
    return this.#failure !== null || this.#task.signal.aborted
  }

  #fail(error: unknown): void {
    this.#failure ??= error instanceof Error ? error : new Error(String(error))
    this.#wake()
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve
    })
  }

  async #maybeSave(): Promise<void> {
    const nowMs = this.#task.io.clock.monotonicMs()
    if (nowMs - this.#savedMs < CHECKPOINT_MS) return
    this.#savedMs = nowMs
    await this.#file.write(this.#durable)
  }
}

/** A library's calls take no more than a hundred years; that is as good as for ever. */
function clamp(expiresInS: number): number {
  return Math.min(Math.max(1, expiresInS), SECONDS_MAX)
}

/** What failed for certain in the end may have happened before. */
function asUnknown(error: unknown): unknown {
  if (!(error instanceof StoreError && error.definite)) return error
  return new StoreError('unknown', `${error.message}; before that it may have happened`)
}

function atLine(path: string, number: number, error: unknown): Error {
  const message = `${path}: line ${number}: ${explain(error)}`
  if (error instanceof StoreError) return new StoreError(error.code, message, error.definite)
  return new Error(message)
}
