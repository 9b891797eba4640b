/**
 * Messages between servers, to bytes and back.
 *
 * Votes and heartbeats go as datagrams, so that they never queue behind bulk
 * data; everything else goes as frames on a stream. Each carries the same JSON
 * envelope: cluster, group, sender, receiver. To peers that speak lines, what is sent
 * often goes as one (peer-lines.ts): behind the envelope's words in a datagram, and without
 * it in a frame, as the stream's hello has said all that. What does not verify is null.
 */
import { encodeFrame, type Frame } from '../protocol/frames.ts'
import {
  hasShape,
  isBoolean,
  isCount,
  isName,
  isPort,
  listOf,
  oneOf,
  optional,
  parseObject,
  type Shape,
  shaped,
} from '../protocol/shape.ts'
import { ROOMS } from './admission.ts'
import { coalesce, type LogEntry, type RecordReader } from './log/record.ts'
import { LINES_PROTOCOL, lineOf, messageIn, type Route } from './peer-lines.ts'
import type { PeerMessage } from './peer-messages.ts'
import { decodeOutcome, encodeOutcome } from './peer-outcomes.ts'
import type { Append } from './raft/types.ts'

const FORWARDS_MAX = 100_000

const ENTRY_ID: Shape = { term: isCount, index: isCount }

const DATAGRAMS: Readonly<Record<string, Shape>> = {
  preVote: { term: isCount, last: shaped(ENTRY_ID) },
  preVoteResp: { term: isCount, granted: isBoolean },
  vote: { term: isCount, last: shaped(ENTRY_ID), handover: isBoolean },
  voteResp: { term: isCount, granted: isBoolean, wallMs: isCount },
  heartbeat: { term: isCount, commitIndex: isCount, round: isCount },
  heartbeatResp: { term: isCount, round: isCount },
  condition: {
    room: oneOf(...ROOMS),
    freeBytes: isCount,
    keptBytes: isCount,
    slowForMs: isCount,
    owedIndex: isCount,
    mendedCount: isCount,
  },
}

const FRAMES: Readonly<Record<string, Shape>> = {
  hello: { protocol: isCount, sip: isName, sport: isPort, life: isName, stream: isCount },
  append: { term: isCount, prev: shaped(ENTRY_ID), commitIndex: isCount },
  appendResp: {
    term: isCount,
    matchIndex: isCount,
    reject: optional(shaped({ index: isCount, hint: shaped(ENTRY_ID) })),
  },
  timeoutNow: { term: isCount },
  leave: {},
  readIndex: { term: isCount, id: isCount },
  readIndexResp: { term: isCount, id: isCount, index: isCount },
  forward: {
    term: isCount,
    requests: listOf(shaped({ id: isCount, bytes: isCount }), FORWARDS_MAX),
  },
  snap: { term: isCount, id: isName, size: isCount, offset: isCount },
  snapResp: {
    term: isCount,
    id: isName,
    state: (state) => state === 'more' || state === 'done' || state === 'damaged',
    offset: isCount,
  },
  forwardResp: { results: listOf(shaped({ id: isCount }), FORWARDS_MAX) },
}

/** Whether a message goes as a datagram. */
export function isDatagram(message: PeerMessage): boolean {
  return Object.hasOwn(DATAGRAMS, message.type)
}

const NO_PAYLOAD = Buffer.alloc(0)
/** With which JSON begins, and no line does. */
const BRACE = '{'

export class PeerCodec {
  readonly #clusterId: string
  readonly #group: number
  readonly #records: RecordReader

  constructor(clusterId: string, group: number, records: RecordReader) {
    this.#clusterId = clusterId
    this.#group = group
    this.#records = records
  }

  /** @param protocol What the peer speaks. */
  encodeDatagram(message: PeerMessage, protocol: number): Buffer {
    const line = protocol >= LINES_PROTOCOL ? lineOf(message) : null
    if (line === null) return Buffer.from(JSON.stringify(this.#envelope(message)))
    return Buffer.from(
      `${this.#clusterId} ${this.#group} ${message.from} ${message.to} ${line}`,
      'latin1',
    )
  }

  /** @param protocol What the peer speaks. */
  encodeFrame(message: PeerMessage, protocol: number): Buffer[] {
    const line = protocol >= LINES_PROTOCOL ? lineOf(message) : null
    const header = line ?? JSON.stringify(this.#envelope(withoutPayload(message)))
    return encodeFrame(header, payloadOf(message))
  }

  decodeDatagram(text: string): PeerMessage | null {
    return text.startsWith(BRACE)
      ? (this.#decode(parseObject(text), DATAGRAMS) as PeerMessage | null)
      : this.#decodeDatagramLine(text)
  }

  /** @param route Between whom the stream is, once its hello has said that. */
  decodeFrame({ header, payload }: Frame, route: Route | null): PeerMessage | null {
    const message = header.startsWith(BRACE)
      ? this.#decodeFrameObject(header, payload)
      : route && messageIn(header, route, payload)
    if (message === null || isDatagram(message)) return null
    return message.type === 'append' ? this.#withEntries(message, payload) : message
  }

  #decodeDatagramLine(text: string): PeerMessage | null {
    const words = text.split(' ', 4)
    const [cluster, group, from = '', to = ''] = words
    if (cluster !== this.#clusterId || group !== String(this.#group)) return null
    if (!isName(from) || !isName(to)) return null
    const line = text.slice(words.join(' ').length + 1)
    const message = messageIn(line, { from, to }, NO_PAYLOAD)
    return message && isDatagram(message) ? message : null
  }

  #decodeFrameObject(header: string, payload: Buffer): PeerMessage | null {
    const object = this.#decode(parseObject(header), FRAMES)
    if (object?.type === 'append') return { ...object, entries: [] } as unknown as PeerMessage
    if (object?.type === 'snap') return { ...object, piece: payload } as unknown as PeerMessage
    if (object?.type === 'forwardResp') {
      const encoded = object.results as { id: number; outcome: unknown }[]
      const results = encoded.map(({ id, outcome }) => ({ id, outcome: decodeOutcome(outcome) }))
      const isWhole = results.every(({ outcome }) => outcome !== null)
      return isWhole ? ({ ...object, results } as unknown as PeerMessage) : null
    }
    if (object?.type === 'forward') {
      let offset = 0
      const lengths = object.requests as { id: number; bytes: number }[]
      const requests = lengths.map(({ id, bytes }) => {
        offset += bytes
        return { id, command: payload.subarray(offset - bytes, offset) }
      })
      return offset === payload.length ? ({ ...object, requests } as unknown as PeerMessage) : null
    }
    return object as PeerMessage | null
  }

  #withEntries(message: Append<LogEntry>, payload: Buffer): PeerMessage | null {
    const entries = this.#records.readAll(payload)
    const first = message.prev.index + 1
    const isInOrder = entries?.every((entry, at) => entry.index === first + at)
    return entries && isInOrder ? { ...message, entries } : null
  }

  #envelope(message: object) {
    return { cluster: this.#clusterId, group: this.#group, ...message }
  }

  #decode(
    object: Record<string, unknown> | null,
    shapes: Readonly<Record<string, Shape>>,
  ): Record<string, unknown> | null {
    if (object?.cluster !== this.#clusterId || object.group !== this.#group) return null
    const { type } = object
    if (typeof type !== 'string' || !Object.hasOwn(shapes, type)) return null
    const isWhole = isName(object.from) && isName(object.to) && hasShape(object, shapes[type] ?? {})
    return isWhole ? object : null
  }
}

function payloadOf(message: PeerMessage): Buffer[] {
  switch (message.type) {
    case 'append':
      return coalesce(message.entries)
    case 'forward':
      return [Buffer.concat(message.requests.map(({ command }) => command))]
    case 'snap':
      return [message.piece]
  }
  return []
}

/** What of it goes into JSON. */
function withoutPayload(message: PeerMessage): object {
  switch (message.type) {
    case 'append':
      return { ...message, entries: undefined }
    case 'forward':
      return {
        ...message,
        requests: message.requests.map(({ id, command }) => ({ id, bytes: command.length })),
      }
    case 'forwardResp':
      return {
        ...message,
        results: message.results.map(({ id, outcome }) => ({
          id,
          outcome: encodeOutcome(outcome),
        })),
      }
    case 'snap':
      return { ...message, piece: undefined }
  }
  return message
}
