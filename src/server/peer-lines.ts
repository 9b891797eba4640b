/**
 * The messages of which a busy cluster sends thousands a second, as one line of words each:
 *
 *     append <term> <prev term> <prev index> <commit index>            the records are the payload
 *     appendResp <term> <match index> [<index> <hint term> <hint index>]      with a rejection
 *     heartbeat <term> <commit index> <round>
 *     heartbeatResp <term> <round>
 *     readIndex <term> <id>
 *     readIndexResp <term> <id> <index>
 *     forward <term> [<id> <bytes>]…                                  the commands are the payload
 *     forwardResp, and a line for each: <id> <index> <reply>, or <id> <JSON of another outcome>
 *
 * JSON, which peers of an earlier version speak, would be a tenth of what a server does where
 * clients ask any server. Who speaks to whom the line does not say. What does not verify is null.
 */
import { parseObject } from '../protocol/shape.ts'
import type { Forward, ForwardResp, PeerMessage, WriteOutcome } from './peer-messages.ts'
import { decodeOutcome, encodeOutcome } from './peer-outcomes.ts'
import type { ServerId } from './raft/types.ts'

/** Peers that say this one, or a later, read lines. */
export const LINES_PROTOCOL = 5

/** Who speaks, and to whom. */
export interface Route {
  readonly from: ServerId
  readonly to: ServerId
}

const FORWARD_RESP = 'forwardResp'
const SPACE = 32
const ZERO = 48
const NINE = 57
const BRACE = 123

/** @returns null for a message that has no line. */
export function lineOf(message: PeerMessage): string | null {
  switch (message.type) {
    case 'append': {
      const { term, prev, commitIndex } = message
      return `append ${term} ${prev.term} ${prev.index} ${commitIndex}`
    }
    case 'appendResp': {
      const { term, matchIndex, reject } = message
      const line = `appendResp ${term} ${matchIndex}`
      return reject ? `${line} ${reject.index} ${reject.hint.term} ${reject.hint.index}` : line
    }
    case 'heartbeat':
      return `heartbeat ${message.term} ${message.commitIndex} ${message.round}`
    case 'heartbeatResp':
      return `heartbeatResp ${message.term} ${message.round}`
    case 'readIndex':
      return `readIndex ${message.term} ${message.id}`
    case 'readIndexResp':
      return `readIndexResp ${message.term} ${message.id} ${message.index}`
    case 'forward': {
      let line = `forward ${message.term}`
      for (const { id, command } of message.requests) line += ` ${id} ${command.length}`
      return line
    }
    case 'forwardResp': {
      let lines = FORWARD_RESP
      for (const { id, outcome } of message.results) {
        const isPlain = outcome.kind === 'applied' && outcome.item === undefined
        const rest = isPlain
          ? `${outcome.index} ${outcome.reply}`
          : JSON.stringify(encodeOutcome(outcome))
        lines += `\n${id} ${rest}`
      }
      return lines
    }
  }
  return null
}

/**
 * @param payload What came with it; of an append it is not looked at.
 * @returns null where it is no line of such a message; an append is without its entries.
 */
export function messageIn(line: string, { from, to }: Route, payload: Buffer): PeerMessage | null {
  if (line === FORWARD_RESP || line.startsWith(`${FORWARD_RESP}\n`)) {
    const results = readResults(line.slice(FORWARD_RESP.length + 1))
    return results && { type: 'forwardResp', from, to, results }
  }
  const words = new Words(line)
  const message = read(words, from, to, payload)
  return words.isWhole ? message : null
}

function read(words: Words, from: ServerId, to: ServerId, payload: Buffer): PeerMessage | null {
  const type = words.word()
  const term = words.count()
  switch (type) {
    case 'append': {
      const prev = { term: words.count(), index: words.count() }
      return { type, from, to, term, prev, commitIndex: words.count(), entries: [] }
    }
    case 'appendResp': {
      const matchIndex = words.count()
      if (words.isAtEnd) return { type, from, to, term, matchIndex }
      const index = words.count()
      const hint = { term: words.count(), index: words.count() }
      return { type, from, to, term, matchIndex, reject: { index, hint } }
    }
    case 'heartbeat':
      return { type, from, to, term, commitIndex: words.count(), round: words.count() }
    case 'heartbeatResp':
      return { type, from, to, term, round: words.count() }
    case 'readIndex':
      return { type, from, to, term, id: words.count() }
    case 'readIndexResp':
      return { type, from, to, term, id: words.count(), index: words.count() }
    case 'forward':
      return readForward(words, from, to, term, payload)
  }
  return null
}

function readForward(
  words: Words,
  from: ServerId,
  to: ServerId,
  term: number,
  payload: Buffer,
): Forward | null {
  const requests: { id: number; command: Buffer }[] = []
  let end = 0
  while (!words.isAtEnd) {
    const id = words.count()
    const start = end
    end += words.count()
    requests.push({ id, command: payload.subarray(start, end) })
  }
  return end === payload.length ? { type: 'forward', from, to, term, requests } : null
}

function readResults(lines: string): ForwardResp['results'] | null {
  const results: ForwardResp['results'][number][] = []
  if (lines === '') return results
  for (const line of lines.split('\n')) {
    const words = new Words(line)
    const id = words.count()
    const outcome: WriteOutcome | null = words.isAt(BRACE)
      ? decodeOutcome(parseObject(words.rest()))
      : { kind: 'applied', index: words.count(), reply: words.rest() }
    if (!outcome || !words.isWhole) return null
    results.push({ id, outcome })
  }
  return results
}

/** Words with a blank between them. Behind one that is not as it has to be none is. */
class Words {
  readonly #text: string
  #at = 0
  #isBad = false

  constructor(text: string) {
    this.#text = text
  }

  /** Nothing was missing, and nothing is left. */
  get isWhole(): boolean {
    return !this.#isBad && this.#at > this.#text.length
  }

  get isAtEnd(): boolean {
    return this.#isBad || this.#at > this.#text.length
  }

  isAt(code: number): boolean {
    return this.#text.charCodeAt(this.#at) === code
  }

  word(): string {
    const blank = this.#text.indexOf(' ', this.#at)
    return this.#upTo(blank === -1 ? this.#text.length : blank)
  }

  /** All that is left. */
  rest(): string {
    return this.#upTo(this.#text.length)
  }

  /** A whole number in decimal digits; 0 where there is none. */
  count(): number {
    const text = this.#text
    const start = this.#at
    let value = 0
    let code = text.charCodeAt(start)
    for (; code >= ZERO && code <= NINE; code = text.charCodeAt(this.#at)) {
      value = 10 * value + (code - ZERO)
      this.#at++
    }
    const isEnded = code === SPACE || this.#at === text.length
    if (this.#at === start || !isEnded || !Number.isSafeInteger(value)) this.#isBad = true
    this.#at++
    return value
  }

  #upTo(end: number): string {
    if (this.#at > end) this.#isBad = true
    const text = this.#text.slice(this.#at, end)
    this.#at = end + 1
    return text
  }
}
