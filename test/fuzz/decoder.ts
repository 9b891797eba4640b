/**
 * Fuzzes the decoder, in this process.
 *
 * For each input: nothing throws; however it is cut, the same requests come out, and as
 * many as went in where that is known; behind it, a request is recognised, unless the
 * connection was to be closed or a data block is still to come. Streams without end take
 * no more memory than one request may.
 */
import { isDeepStrictEqual } from 'node:util'
import { RequestDecoder } from '../../src/protocol/memcached.ts'
import type { Request } from '../../src/protocol/requests.ts'
import { Dice } from './dice.ts'
import { type Input, randomInput } from './inputs.ts'
import { LINE_BYTES_MAX } from './request.ts'

const SENTINEL = 'version\r\n'
/** A block longer than this is announced by a number of four digits. */
const OWED_BYTES_MAX = 999 + 2

/** @throws Error with the input, where one shows a fault. */
export function fuzzDecoder(
  firstSeed: number,
  count: number,
  onProgress: (done: number) => void = () => {},
): void {
  for (let done = 0; done < count; done++) {
    const seed = firstSeed + done
    const dice = new Dice(seed)
    const input = randomInput(dice)
    const fault = findFault(input, dice)
    if (fault !== null) {
      const smaller = shrink(input, (text) => findFault({ text, count: null }, new Dice(seed)))
      throw new Error(`decoder, seed ${seed}: ${fault}\n${JSON.stringify(smaller)}`)
    }
    if ((done + 1) % 1_000_000 === 0) onProgress(done + 1)
  }
}

/** What is wrong with the requests of one input, or null. */
export function findFault({ text, count }: Input, dice: Dice): string | null {
  try {
    const whole = new Decoding()
    whole.push(Buffer.from(text, 'latin1'))
    const cut = new Decoding()
    for (const piece of pieces(Buffer.from(text, 'latin1'), dice)) cut.push(piece)
    // Whether a line is too long is asked when it is not whole, so there the cuts count.
    const mustEqual = count !== null || !hasLongLine(text)
    if (mustEqual && !isDeepStrictEqual(whole.requests, cut.requests)) {
      return `cut into pieces it gives ${JSON.stringify(cut.requests)}, whole ${JSON.stringify(whole.requests)}`
    }
    if (count !== null && whole.requests.length !== count) {
      return `${count} requests became ${JSON.stringify(whole.requests)}`
    }
    return whole.isInStepBehind(text, count !== null) ? null : 'out of step behind it'
  } catch (error) {
    return error instanceof Error ? (error.stack ?? error.message) : String(error)
  }
}

function hasLongLine(text: string): boolean {
  if (text.length < LINE_BYTES_MAX) return false
  return text.split('\n').some((line) => line.length >= LINE_BYTES_MAX)
}

class Decoding {
  readonly requests: Request[] = []
  readonly #decoder = new RequestDecoder()

  push(chunk: Buffer): void {
    this.#decoder.push(chunk)
    for (let next = this.#decoder.next(); next; next = this.#decoder.next()) {
      this.requests.push(next)
    }
  }

  isInStepBehind(text: string, isSure: boolean): boolean {
    const count = this.requests.length
    this.push(Buffer.from(isSure ? SENTINEL : `\r\n${SENTINEL}`))
    const isRecognised = this.requests.length > count && isVersion(this.requests.at(-1))
    if (isRecognised || isSure) return isRecognised
    const isClosed = this.requests.at(-1)?.kind === 'quit'
    if (isClosed || /\d{4}/.test(text)) return true
    this.push(Buffer.from(SENTINEL.repeat(OWED_BYTES_MAX / 8)))
    const last = this.requests.at(-1)
    return isVersion(last) || last?.kind === 'quit'
  }
}

function isVersion(request: Request | undefined): boolean {
  return request?.kind === 'answer' && request.line.startsWith('VERSION ')
}

function pieces(bytes: Buffer, dice: Dice): Buffer[] {
  if (bytes.length <= 200 && dice.chance(0.1)) return [...bytes].map((byte) => Buffer.of(byte))
  const count = dice.integer(1, 4)
  const cuts = Array.from({ length: count }, () => dice.integer(0, bytes.length))
  const offsets = [0, ...cuts.sort((a, b) => a - b), bytes.length]
  return offsets.slice(1).map((end, at) => Buffer.from(bytes.subarray(offsets[at], end)))
}

/** The shortest text found that shows a fault still. */
function shrink({ text }: Input, find: (text: string) => string | null): string {
  let best = text
  for (let size = best.length >> 1; size >= 1; size >>= 1) {
    for (let at = 0; at < best.length; ) {
      const smaller = best.slice(0, at) + best.slice(at + size)
      if (find(smaller) !== null) best = smaller
      else at += size
    }
  }
  return best
}

const CHUNK_BYTES = 64 * 1024
/** A line of a get and a value of the largest kind, and room to grow into. */
const HELD_BYTES_MAX = 32 * 1024 * 1024

/** What begins a stream that has no end, and what it goes on with. */
const ENDLESS: readonly (readonly [string, string])[] = [
  ['', 'x'],
  ['', ' '],
  ['', 'get a\r\n'],
  ['get', ' a'],
  ['get ', ' '],
  ['mg a', ' v'],
  ['set a 0 0 2147483645\r\n', 'x'],
  ['ms a 2147483645\r\n', 'x'],
  ['', 'set a 0 0 100000\r\n'],
]

/** @returns the most memory that a decoder held of a stream without end. @throws beyond the bound. */
export function fuzzEndlessStreams(bytes: number): number {
  let most = 0
  for (const [begin, more] of ENDLESS) {
    const before = process.memoryUsage().arrayBuffers
    const decoder = new RequestDecoder()
    decoder.push(Buffer.from(begin))
    const piece = Buffer.from(more.repeat(CHUNK_BYTES / more.length))
    for (let sent = 0; sent < bytes; sent += piece.length) {
      decoder.push(Buffer.from(piece))
      while (decoder.next());
      if ((sent / piece.length) % 16 !== 0) continue
      globalThis.gc?.()
      const held = process.memoryUsage().arrayBuffers - before
      most = Math.max(most, held)
      if (held > HELD_BYTES_MAX) throw new Error(`${held} bytes held of: ${begin}${more}...`)
    }
  }
  return most
}
