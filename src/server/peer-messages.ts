/**
 * Messages between servers, to bytes and back.
 *
 * Votes and heartbeats go as datagrams, so that they never queue behind bulk
 * data; everything else goes as frames on a stream. Both carry the same JSON
 * envelope: cluster, group, sender, receiver. What does not verify is null.
 */

import { parseCas } from '../protocol/cas-unique.ts'
import { encodeFrame, type Frame } from '../protocol/frames.ts'
import type { ItemReply } from '../protocol/replies.ts'
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
import { type Condition, ROOMS } from './admission.ts'
import { coalesce, type LogEntry, type RecordReader } from './log/record.ts'
import type { EntryId, Message, ServerId } from './raft/types.ts'

/** What this version speaks; with a peer that says an older one in its hello, that. */
export const PROTOCOL = 4

/** Frames that came with a later version than the first; to a peer of an earlier one they would be junk. */
const SINCE: Readonly<Record<string, number>> = { snap: 2, snapResp: 2 }

export function protocolOf({ type }: PeerMessage): number {
  return SINCE[type] ?? 1
}

/** What there is not enough of. */
const LACKS = ['disk', 'memory'] as const
export type Lack = (typeof LACKS)[number]

/** How a write ended, as one server tells another or a connection. */
export type WriteOutcome =
  | {
      readonly kind: 'applied'
      /** memcached's line of the classic command. */
      readonly reply: string
      readonly item?: ItemReply | undefined
      readonly index: number
    }
  /** It never will be. `why` is memcached's own line where the store `lacks` something. */
  | { readonly kind: 'notStored'; readonly why: string; readonly lacks?: Lack | undefined }
  /** It may be, or come to be. */
  | { readonly kind: 'unknown'; readonly why: string }
  /** Not even proposed: the server asked does not lead in that term. */
  | { readonly kind: 'refused'; readonly why: string }

/** First on every stream: who speaks, to whom, and where the speaker is reached. */
export interface Hello {
  readonly type: 'hello'
  readonly from: ServerId
  readonly to: ServerId
  readonly protocol: number
  readonly sip: string
  readonly sport: number
  /** Of the speaker's process, and of the stream among all it has opened: an older one may arrive later. */
  readonly life: string
  readonly stream: number
}

/** Writes that a follower's clients sent. The commands are the payload, one behind the other. */
export interface Forward {
  readonly type: 'forward'
  readonly from: ServerId
  readonly to: ServerId
  /** The term in which the receiver leads, as far as the sender knows; in another all are refused. */
  readonly term: number
  readonly requests: readonly { readonly id: number; readonly command: Buffer }[]
}

/** Of the items that replies tell of only what is about them: the value the receiver has itself. */
export interface ForwardResp {
  readonly type: 'forwardResp'
  readonly from: ServerId
  readonly to: ServerId
  readonly results: readonly { readonly id: number; readonly outcome: WriteOutcome }[]
}

/** From a leader to a server that was removed on purpose: it shall stop. */
export interface Leave {
  readonly type: 'leave'
  readonly from: ServerId
  readonly to: ServerId
}

/** A piece of the leader's keystore file, the payload; an empty one is an offer. */
export interface Snap {
  readonly type: 'snap'
  readonly from: ServerId
  readonly to: ServerId
  readonly term: number
  /** Of this transfer. */
  readonly id: string
  /** Of the whole file, in bytes. */
  readonly size: number
  readonly offset: number
  readonly piece: Buffer
}

/** `more`: from `offset` on. `done`: all is there, and installed. `damaged`: all is there, and not whole. */
export interface SnapResp {
  readonly type: 'snapResp'
  readonly from: ServerId
  readonly to: ServerId
  readonly term: number
  readonly id: string
  readonly state: 'more' | 'done' | 'damaged'
  readonly offset: number
}

/** From a follower to its leader, every second: how its disk is. */
export interface ConditionReport extends Condition {
  readonly type: 'condition'
  readonly from: ServerId
  readonly to: ServerId
}

export type PeerMessage =
  | Message<LogEntry>
  | Hello
  | Forward
  | ForwardResp
  | Leave
  | Snap
  | SnapResp
  | ConditionReport

const FORWARDS_MAX = 100_000

const ENTRY_ID: Shape = { term: isCount, index: isCount }

/** An item as JSON: its cas unique may be larger than a number there. */
interface EncodedItem extends Omit<ItemReply, 'casUnique' | 'value'> {
  readonly casUnique: string
}

const ITEM: Shape = {
  flags: isCount,
  ttlBeforeS: isSeconds,
  ttlS: isSeconds,
  casUnique: (text) => typeof text === 'string' && parseCas(text) !== null,
  valueBytes: isCount,
  marks: isText,
}

const OUTCOME = (value: unknown): boolean =>
  hasShape(value, {
    kind: (kind) => kind === 'applied',
    reply: isText,
    item: optional(shaped(ITEM)),
    index: isCount,
  }) ||
  hasShape(value, {
    kind: (kind) => kind === 'notStored' || kind === 'unknown' || kind === 'refused',
    why: isText,
    lacks: optional(oneOf(...LACKS)),
  })

/** Or -1, for ever. */
function isSeconds(value: unknown): boolean {
  return value === -1 || isCount(value)
}

function isText(value: unknown): boolean {
  return typeof value === 'string'
}

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
  forwardResp: { results: listOf(shaped({ id: isCount, outcome: OUTCOME }), FORWARDS_MAX) },
}

/** Whether a message goes as a datagram. */
export function isDatagram(message: PeerMessage): boolean {
  return Object.hasOwn(DATAGRAMS, message.type)
}

export class PeerCodec {
  readonly #clusterId: string
  readonly #group: number
  readonly #records: RecordReader

  constructor(clusterId: string, group: number, records: RecordReader) {
    this.#clusterId = clusterId
    this.#group = group
    this.#records = records
  }

  encodeDatagram(message: PeerMessage): Buffer {
    return Buffer.from(JSON.stringify(this.#envelope(message)))
  }

  encodeFrame(message: PeerMessage): Buffer[] {
    switch (message.type) {
      case 'append': {
        const records = coalesce(message.entries)
        return encodeFrame(
          JSON.stringify({ ...this.#envelope(message), entries: undefined }),
          records,
        )
      }
      case 'forward': {
        const requests = message.requests.map(({ id, command }) => ({ id, bytes: command.length }))
        const header = JSON.stringify({ ...this.#envelope(message), requests })
        return encodeFrame(header, [Buffer.concat(message.requests.map(({ command }) => command))])
      }
      case 'forwardResp': {
        const results = message.results.map(({ id, outcome }) => ({
          id,
          outcome: encodeOutcome(outcome),
        }))
        return encodeFrame(JSON.stringify({ ...this.#envelope(message), results }))
      }
      case 'snap': {
        const header = JSON.stringify({ ...this.#envelope(message), piece: undefined })
        return encodeFrame(header, [message.piece])
      }
      default:
        return encodeFrame(JSON.stringify(this.#envelope(message)))
    }
  }

  /** @param object What `parseObject` made of a datagram. */
  decodeDatagram(object: Record<string, unknown> | null): PeerMessage | null {
    return this.#decode(object, DATAGRAMS) as PeerMessage | null
  }

  decodeFrame({ header, payload }: Frame): PeerMessage | null {
    const object = this.#decode(parseObject(header), FRAMES)
    if (object?.type === 'append') {
      const entries = this.#records.readAll(payload)
      const first = (object.prev as EntryId).index + 1
      const isInOrder = entries?.every((entry, at) => entry.index === first + at)
      return isInOrder ? ({ ...object, entries } as unknown as PeerMessage) : null
    }
    if (object?.type === 'snap') return { ...object, piece: payload } as unknown as PeerMessage
    if (object?.type === 'forwardResp') {
      const encoded = object.results as { id: number; outcome: EncodedOutcome }[]
      const results = encoded.map(({ id, outcome }) => ({ id, outcome: decodeOutcome(outcome) }))
      return { ...object, results } as unknown as PeerMessage
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

  #envelope(message: PeerMessage) {
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

type EncodedOutcome =
  | Exclude<WriteOutcome, { kind: 'applied' }>
  | (Omit<Extract<WriteOutcome, { kind: 'applied' }>, 'item'> & { readonly item?: EncodedItem })

function encodeOutcome(outcome: WriteOutcome): EncodedOutcome {
  if (outcome.kind !== 'applied') return outcome
  const { kind, reply, index, item } = outcome
  if (!item) return { kind, reply, index }
  const { value: _, casUnique, ...rest } = item
  return { kind, reply, index, item: { ...rest, casUnique: String(casUnique) } }
}

function decodeOutcome(outcome: EncodedOutcome): WriteOutcome {
  if (outcome.kind !== 'applied' || !outcome.item) return outcome as WriteOutcome
  const { casUnique, ...rest } = outcome.item
  return { ...outcome, item: { ...rest, casUnique: parseCas(casUnique) ?? 0 } }
}
