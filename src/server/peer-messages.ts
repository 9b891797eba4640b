/**
 * What servers say to each other, besides the messages of Raft. How it goes over the network
 * is in peer-codec.ts.
 */
import type { ItemReply } from '../protocol/replies.ts'
import type { Condition } from './admission.ts'
import type { LogEntry } from './log/record.ts'
import type { Message, ServerId } from './raft/types.ts'

/** What this version speaks; with a peer that says an older one in its hello, that. */
export const PROTOCOL = 5

/** Frames that came with a later version than the first; to a peer of an earlier one they would be junk. */
const SINCE: Readonly<Record<string, number>> = { snap: 2, snapResp: 2 }

export function protocolOf({ type }: PeerMessage): number {
  return SINCE[type] ?? 1
}

/** What there is not enough of. */
export const LACKS = ['disk', 'memory'] as const
export type Lack = (typeof LACKS)[number]

/** How a write ended, as one server tells another or a connection. */
export type WriteOutcome =
  | {
      readonly kind: 'applied'
      /** memcached's line of the classic command. */
      readonly reply: string
      readonly item?: ItemReply | undefined
      /** Its place in the log: the CAS unique that it gives. */
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
