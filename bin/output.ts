/**
 * Much text to standard output, no faster than it is taken, and what is going on
 * to a person at a terminal meanwhile.
 */
import type { Writable } from 'node:stream'
import type { Clock } from '../src/io/io.ts'

const CHUNK_CHARACTERS = 256 * 1024
const PROGRESS_AFTER_MS = 1_000
const PROGRESS_EVERY_MS = 200
const MIB = 1024 * 1024

/** Whoever read this output has enough: `| head`. */
class ReaderGoneError extends Error {}

/** Lines on their way out. */
export class Output {
  readonly #stream: Writable
  #lines: string[] = []
  #characters = 0

  constructor(stream: Writable) {
    this.#stream = stream
  }

  get isEmpty(): boolean {
    return this.#lines.length === 0
  }

  /** To be followed by `maybeFlush` or `flush` now and then. */
  line(text: string): void {
    this.#lines.push(text, '\n')
    this.#characters += text.length + 1
  }

  /** Writes where much is waiting. */
  async maybeFlush(): Promise<void> {
    if (this.#characters >= CHUNK_CHARACTERS) await this.flush()
  }

  /** Writes all, and resolves once it has left. */
  async flush(): Promise<void> {
    if (this.isEmpty) return
    const text = this.#lines.join('')
    this.#lines = []
    this.#characters = 0
    await new Promise<void>((resolve, reject) => {
      this.#stream.write(text, (error) => (error ? reject(whyUnwritten(error)) : resolve()))
    })
  }
}

function whyUnwritten({ code }: NodeJS.ErrnoException): Error {
  const isGone = code === 'EPIPE' || code === 'ERR_STREAM_DESTROYED'
  return isGone ? new ReaderGoneError() : new Error(`standard output can't be written (${code})`)
}

/**
 * For commands that do something: it is done, and they end, or go on, as they would, whoever
 * hears of it. What can only print does so by `printing`.
 */
export function ignoreUnwritten(): void {
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})
}

/** Runs what prints; that nobody reads on is no failure, and all else is one. */
export async function printing(print: (out: Output) => Promise<void>): Promise<void> {
  const out = new Output(process.stdout)
  try {
    // What was found before a failure is printed as well.
    await print(out).finally(() => out.flush())
  } catch (error) {
    if (!(error instanceof ReaderGoneError)) throw error
  }
}

const BAR_CHARACTERS = 24

/** How far one is, on a terminal, from the second second on. */
export class Progress {
  readonly #clock: Clock
  #startMs: number
  #total: number | null = null
  #bytes = 0
  #shownMs = 0
  #isShown = false

  constructor(clock: Clock) {
    this.#clock = clock
    this.#startMs = clock.monotonicMs()
  }

  /** It begins now, and so much is to come. */
  begin(totalBytes: number): void {
    this.#total = totalBytes
    this.#startMs = this.#clock.monotonicMs()
  }

  add(byteCount: number): void {
    this.#bytes += byteCount
    if (!process.stderr.isTTY) return
    const nowMs = this.#clock.monotonicMs()
    const elapsedMs = nowMs - this.#startMs
    if (elapsedMs < PROGRESS_AFTER_MS || nowMs - this.#shownMs < PROGRESS_EVERY_MS) return
    this.#shownMs = nowMs
    this.#isShown = true
    process.stderr.write(`\r${describeProgress(this.#bytes, this.#total, elapsedMs)}\x1b[K`)
  }

  /** Makes room for lines. */
  clear(): void {
    if (this.#isShown) process.stderr.write('\r\x1b[K')
    this.#isShown = false
  }
}

/** @param total null where nobody knows how much it will be. */
export function describeProgress(bytes: number, total: number | null, elapsedMs: number): string {
  const seconds = elapsedMs / 1000
  if (total === null) return `${Math.floor(bytes / MIB)} MiB read, ${Math.floor(seconds)} s`
  const part = total === 0 ? 1 : bytes / total
  const bar = '#'.repeat(Math.floor(part * BAR_CHARACTERS)).padEnd(BAR_CHARACTERS, '.')
  const rate = (bytes / 1e6 / Math.max(seconds, 0.001)).toFixed(1)
  const percent = Math.floor(100 * part)
  return `[${bar}] ${percent}%  ${bytes} of ${total} bytes  ${rate} MB/s`
}
