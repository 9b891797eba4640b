/**
 * A connection whose replies come in the order of the requests and have a known length:
 * memcached's text protocol and Redis's.
 *
 * Replies are recognized by how they begin and end and counted by their length, whole and
 * at any cut, without a string or a copy of them. Anything else is an error, which goes to
 * the end of its line.
 */

import type { RequestFormat, Script } from './script.ts'
import { pieceOf, type Session, type SessionEvents } from './session.ts'

export interface ReplyShape {
  readonly bytes: number
  readonly head: Buffer
  readonly tail: Buffer
}

export interface TextProtocol extends RequestFormat {
  /** What a read of a value of this length is answered with. */
  readShape(key: string, valueBytes: number): ReplyShape
  readonly writeShape: ReplyShape
}

const LINE_END = 10
const ERROR_CHARACTERS_MAX = 500

export class TextSession implements Session {
  readonly #script: Script
  readonly #events: SessionEvents
  readonly #shapes: readonly [ReplyShape, ReplyShape]
  /** Where in the script the connection is with its requests, and with its replies. */
  #requestAt: number
  #replyAt: number
  /** Of the next reply. */
  #number = 0
  /** What there is of the reply that is under way. */
  #have = 0
  #error: string | null = null

  /** @param shapes of replies to reads and to writes */
  constructor(
    script: Script,
    startAt: number,
    shapes: readonly [ReplyShape, ReplyShape],
    events: SessionEvents,
  ) {
    this.#script = script
    this.#requestAt = startAt
    this.#replyAt = startAt
    this.#shapes = shapes
    this.#events = events
  }

  open(): void {
    this.#events.onReady()
  }

  request(count: number): void {
    const at = this.#requestAt
    const over = at + count - this.#script.length
    this.#events.send(pieceOf(this.#script, at, count))
    if (over > 0) this.#events.send(pieceOf(this.#script, 0, over))
    this.#requestAt = over >= 0 ? over : at + count
  }

  receive(bytes: Buffer, length: number): void {
    let position = 0
    while (position < length) {
      if (this.#error !== null) {
        position = this.#readError(bytes, position, length)
        continue
      }
      const shape = this.#shapes[this.#script.writes[this.#replyAt] === 1 ? 1 : 0]
      const taken = Math.min(shape.bytes - this.#have, length - position)
      if (!this.#fits(shape, bytes, position, taken)) {
        // What was taken for this reply before is not at hand any more, and was as expected.
        this.#error = shape.head.toString('latin1', 0, Math.min(this.#have, shape.head.length))
        continue
      }
      position += taken
      this.#have += taken
      if (this.#have === shape.bytes) this.#replied()
    }
  }

  /** Whether these bytes are what the reply has there, as far as that is known. */
  #fits({ bytes: size, head, tail }: ReplyShape, bytes: Buffer, from: number, count: number) {
    const have = this.#have
    const headEnd = Math.min(head.length, have + count)
    for (let at = have; at < headEnd; at++) {
      if (bytes[from + at - have] !== head[at]) return false
    }
    const tailStart = size - tail.length
    for (let at = Math.max(have, tailStart); at < have + count; at++) {
      if (bytes[from + at - have] !== tail[at - tailStart]) return false
    }
    return true
  }

  #readError(bytes: Buffer, position: number, length: number): number {
    const lineEnd = bytes.subarray(position, length).indexOf(LINE_END)
    const end = lineEnd === -1 ? length : position + lineEnd + 1
    const text = (this.#error ?? '') + bytes.toString('latin1', position, end)
    if (lineEnd === -1) {
      this.#error = text.slice(0, ERROR_CHARACTERS_MAX)
    } else {
      this.#error = null
      this.#events.onError(text.slice(0, ERROR_CHARACTERS_MAX).trim())
      this.#replied()
    }
    return end
  }

  #replied(): void {
    this.#have = 0
    this.#replyAt = this.#replyAt + 1 === this.#script.length ? 0 : this.#replyAt + 1
    this.#events.onReply(this.#number++)
  }
}
