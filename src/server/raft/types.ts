/**
 * The values the Raft core takes and returns: entries, configurations,
 * messages, and the `Ready` that a driver owes.
 */

export type ServerId = string

/** A position in the log and the term that wrote it; `0/0` is before the first entry. */
export interface EntryId {
  readonly term: number
  readonly index: number
}

/**
 * One log entry. The core looks only at these fields; a driver's own entries
 * carry the bytes as well (see `RaftOptions.createEntry`).
 */
export interface Entry extends EntryId {
  /** Log time in Unix milliseconds; never less than the entry's before. */
  readonly timeMs: number
  /** Size in bytes, for bounds on memory and messages. */
  readonly bytes: number
  /** The cluster's configuration from this entry on, in the entries that change it. */
  readonly config?: Config | undefined
}

/** What an entry says; `command` is the state machine's, the others are the core's. */
export type Payload =
  /** One, or `count` of them, one behind the other. */
  | { readonly kind: 'command'; readonly command: Uint8Array; readonly count?: number }
  | { readonly kind: 'config'; readonly config: Config }
  | { readonly kind: 'noop' }
  | { readonly kind: 'time' }

export interface Member {
  readonly id: ServerId
  /** A voter counts toward quorums; a learner only receives entries. */
  readonly voter: boolean
  /** Where clients reach it. */
  readonly cip: string
  readonly cport: number
  /** Where peers reach it. */
  readonly sip: string
  readonly sport: number
}

export interface Config {
  readonly members: readonly Member[]
  /** The number of voters below which none is removed; never sinks. */
  readonly floor: number
  /** What all members speak, so that the log may have what came with it; never sinks. Absent: 2. */
  readonly protocol?: number
  /** The length in bytes above which a value is refused. Absent: the default. */
  readonly itemSizeMax?: number
  /** Leaders may serve reads under a lease, and voters back it. Absent: a quorum confirms each round of reads. */
  readonly reads?: 'lease'
}

/** Must be durable before the messages beside it leave. */
export interface HardState {
  readonly term: number
  /** Who got this server's vote in `term`; empty for nobody. */
  readonly vote: ServerId
}

export type Role = 'follower' | 'preCandidate' | 'candidate' | 'leader'

interface Envelope {
  readonly from: ServerId
  readonly to: ServerId
  readonly term: number
}

export interface PreVote extends Envelope {
  readonly type: 'preVote'
  readonly last: EntryId
}

/** `term` is the one asked for where granted, else the voter's own. */
export interface PreVoteResp extends Envelope {
  readonly type: 'preVoteResp'
  readonly granted: boolean
}

export interface Vote extends Envelope {
  readonly type: 'vote'
  readonly last: EntryId
  /** The leader itself asked for this election: nobody protects it. */
  readonly handover: boolean
}

/** From a leader to the voter that shall take over, which has all of its log. */
export interface TimeoutNow extends Envelope {
  readonly type: 'timeoutNow'
}

export interface VoteResp extends Envelope {
  readonly type: 'voteResp'
  readonly granted: boolean
  /** The voter's wall clock: a new leader starts log time from the median. */
  readonly wallMs: number
}

export interface Heartbeat extends Envelope {
  readonly type: 'heartbeat'
  readonly commitIndex: number
  /** The newest ReadIndex round; an answer confirms it and all before it. */
  readonly round: number
}

export interface HeartbeatResp extends Envelope {
  readonly type: 'heartbeatResp'
  readonly round: number
}

export interface Append<E extends Entry> extends Envelope {
  readonly type: 'append'
  readonly prev: EntryId
  readonly commitIndex: number
  readonly entries: readonly E[]
}

export interface AppendResp extends Envelope {
  readonly type: 'appendResp'
  /** Everything up to here is the leader's and durable on the sender. */
  readonly matchIndex: number
  /** Set when `prev` did not fit: its index, and the best guess where logs may agree. */
  readonly reject?: { readonly index: number; readonly hint: EntryId } | undefined
}

export interface ReadIndex extends Envelope {
  readonly type: 'readIndex'
  readonly id: number
}

export interface ReadIndexResp extends Envelope {
  readonly type: 'readIndexResp'
  readonly id: number
  readonly index: number
}

export type Message<E extends Entry> =
  | PreVote
  | PreVoteResp
  | TimeoutNow
  | Vote
  | VoteResp
  | Heartbeat
  | HeartbeatResp
  | Append<E>
  | AppendResp
  | ReadIndex
  | ReadIndexResp

/** A read may be served once this server has applied up to `index`. */
export interface ReadState {
  readonly id: number
  readonly index: number
}

/** Entries of the durable log that a peer needs and memory no longer holds. */
export interface LogRead {
  readonly to: ServerId
  readonly firstIndex: number
  readonly bytesMax: number
}

/** Everything up to and with `last`, in whatever form the driver keeps it. */
export interface Snapshot {
  readonly last: EntryId
  /** The configuration in force at `last`. */
  readonly config: Config
  /** Log time of `last`. */
  readonly timeMs: number
}

/**
 * One batch of work the driver owes, in this order: start to make `entries`
 * durable (an entry may replace ones at its index and after); make `hardState`
 * durable; send `messages`; apply `committed`; serve `readStates`; answer `reads`;
 * bring a snapshot to each of `snapshots`. Before all of it, where `install` is set:
 * make that snapshot, which the driver had received, the start of the log and the
 * state machine's state, durably.
 */
export interface Ready<E extends Entry> {
  readonly hardState: HardState | null
  readonly entries: readonly E[]
  readonly messages: readonly Message<E>[]
  readonly committed: readonly E[]
  readonly readStates: readonly ReadState[]
  readonly reads: readonly LogRead[]
  /** Peers that lack what is not in the log any more. */
  readonly snapshots: readonly ServerId[]
  readonly install: Snapshot | null
}
