/**
 * One sequence against one server, over real connections.
 *
 * In: a sequence. Out: what was answered, batch by batch, made even. Every wait is
 * bounded: a server that neither answers nor closes is `silent`.
 */
import net from 'node:net'
import { OWED_BYTES_MAX, PREFIX, type Request, render, textOf, wordsOf } from '../fuzz/request.ts'
import { REMOVE_ALL_KEYS } from '../fuzz/words.ts'
import { Evener } from './even.ts'
import type { Batch, Sequence } from './sequence.ts'

const SILENCE_MS = 10_000
/**
 * Ends the wait for a block: memcached forgets replies it has not sent if that does not end.
 * Then an item is set, to use up the unique that memcached gives to the next one after an
 * ms with a bad block, be it on another connection.
 */
const WHAT_IS_OWED = `${'mn\r\n'.repeat(OWED_BYTES_MAX / 2)}set ${PREFIX}! 0 0 0 noreply\r\n\r\n`

export interface Endpoint {
  readonly host: string
  readonly port: number
  readonly isMemcached: boolean
}

export interface Answer {
  readonly lines: readonly string[]
  readonly end: 'answered' | 'closed' | 'silent'
}

/** @param prefix of all keys; six characters, never used before */
export async function converse(
  endpoint: Endpoint,
  { batches }: Sequence,
  prefix: string,
): Promise<Answer[]> {
  const evener = new Evener()
  const answers: Answer[] = []
  let wire: Wire | null = null
  for (const batch of batches) {
    wire ??= await Wire.open(endpoint)
    const { newestUnique, earlierUnique } = evener
    const texts = batch.requests.map((request) => textFor(endpoint, request))
    const isLoose = batch.requests.some(({ framing }) => framing === 'loose')
    const text = texts.join('') + (isLoose ? WHAT_IS_OWED : '')
    await wire.send(render(text, { prefix, newestUnique, earlierUnique }), batch)
    const end = await wire.answered(batch.ends ? null : `${prefix}${answers.length}`)
    answers.push({ lines: evener.take(wire.take()), end })
    if (end !== 'answered') wire = null
  }
  wire?.close()
  return answers
}

/**
 * memcached's flush_all may leave out what was read in the same second. Its keys are
 * removed behind it, so that what it means is what is compared.
 */
function textFor({ isMemcached }: Endpoint, request: Request): string {
  const text = textOf(request)
  return isMemcached && flushesNow(request) ? text + REMOVE_ALL_KEYS : text
}

function flushesNow(request: Request): boolean {
  const [verb, when = '0', ...others] = wordsOf(request)
  const isNow = /^(?:\+?0+|-\d+)$/.test(when) || (when === 'noreply' && others.length === 0)
  return verb === 'flush_all' && isNow && request.line.startsWith(verb)
}

class Wire {
  readonly #socket: net.Socket
  #text = ''
  #isClosed = false
  #onChange = () => {}

  private constructor(socket: net.Socket) {
    this.#socket = socket
    socket.setEncoding('latin1')
    socket.on('data', (chunk) => {
      this.#text += chunk
      this.#onChange()
    })
    socket.on('error', () => {}) // 'close' follows
    socket.on('close', () => {
      this.#isClosed = true
      this.#onChange()
    })
  }

  static open({ host, port }: Endpoint): Promise<Wire> {
    return new Promise((resolve, reject) => {
      const socket = net.connect({ host, port, noDelay: true })
      const onError = (error: Error) => reject(new Error(`${host}:${port}: ${error.message}`))
      socket.once('error', onError)
      socket.once('connect', () => {
        socket.off('error', onError)
        resolve(new Wire(socket))
      })
    })
  }

  async send(text: string, { cuts, ends }: Batch): Promise<void> {
    let start = 0
    for (const cut of cuts) {
      const end = Math.floor(cut * text.length)
      if (end > start) this.#socket.write(text.slice(start, end), 'latin1')
      start = Math.max(start, end)
      await new Promise(setImmediate)
    }
    const last = text.slice(start)
    if (ends) this.#socket.end(last, 'latin1')
    else this.#socket.write(last, 'latin1')
  }

  /** Waits until all is answered that was sent; without a name, until the connection ends. */
  async answered(name: string | null): Promise<Answer['end']> {
    if (name !== null) this.#socket.write(`mg ${name}! O${name}\r\n`, 'latin1')
    const last = `EN O${name}\r\n`
    const end = await new Promise<Answer['end']>((resolve) => {
      const timer = setTimeout(() => resolve('silent'), SILENCE_MS)
      this.#onChange = () => {
        const isAnswered = name !== null && this.#text.endsWith(last)
        if (!isAnswered && !this.#isClosed) return
        clearTimeout(timer)
        resolve(isAnswered ? 'answered' : 'closed')
      }
      this.#onChange()
    })
    if (end === 'answered') this.#text = this.#text.slice(0, -last.length)
    else this.close()
    return end
  }

  take(): string {
    const text = this.#text
    this.#text = ''
    return text
  }

  close(): void {
    this.#socket.destroy()
  }
}
