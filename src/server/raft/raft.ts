/**
 * Raft core: a state machine over messages and time.
 *
 * In:  tick, step, propose, proposeConfig, campaign, readIndex, stable,
 *      entriesRead, peerLost, peerClosed, compact, snapshotMoved, snapshotFailed,
 *      snapshotReceived.   Out: takeReady.
 *
 * Owns elections (PreVote, CheckQuorum), replication, the commit rule,
 * configuration changes of one server at a time, handing over leadership,
 * ReadIndex, and reads under a lease. Owns no socket,
 * file, timer, clock or dice: the driver supplies time and randomness, so equal
 * inputs in equal order give equal outputs.
 *
 * Driver's duty: carry out each Ready in the order that its type says. A vote
 * sent before it is durable and lost in a crash can be cast twice, giving one
 * term two leaders.
 *
 * Time is given in milliseconds with every tick instead of counted in ticks, so
 * that a process that was stopped for a while knows it at its first step: a
 * leader that slept steps down before it serves anybody. So the driver ticks before
 * every step, campaign, readIndex and peerClosed, with clocks that it reads then.
 *
 * Source: Ongaro's thesis, 3 (core), 4.1 (membership), 6.4 (reads), 9.6
 * (PreVote), 10.2.1 (the leader's disk in parallel); etcd's raft for flow
 * control and for the hints in rejections.
 */
import {
  EMPTY_CONFIG,
  isQuorum,
  isSingleChange,
  memberOf,
  quorumSize,
  quorumValue,
  voterCount,
  voterIds,
} from './config.ts'
import { Lease } from './lease.ts'
import { Progress } from './progress.ts'
import { RaftLog, type RaftLogState } from './raft-log.ts'
import { type PendingRead, ReadRounds } from './read-rounds.ts'
import type {
  Append,
  AppendResp,
  Config,
  Entry,
  EntryId,
  HardState,
  HeartbeatResp,
  LogRead,
  Message,
  Payload,
  PreVote,
  ReadIndex,
  ReadState,
  Ready,
  Role,
  ServerId,
  Snapshot,
  Vote,
} from './types.ts'

export interface RaftTiming {
  /** Between heartbeats of an idle leader. */
  readonly heartbeatMs: number
  /** Votes are withheld this long after word from a leader; elections wait one to two of it. */
  readonly electionTimeoutMs: number
  /** A leader that has not heard from a quorum for so long steps down. */
  readonly quorumTimeoutMs: number
  /** After a failed campaign, one to two of it until the next. */
  readonly campaignTimeoutMs: number
  /** After the leader's connection closed, up to this until the election. */
  readonly closedLeaderDelayMs: number
  /** Voters that were asked whether this server still leads have so long, before all are asked. */
  readonly roundPatienceMs: number
  /** So long the news that entries are committed waits for others to ride on. */
  readonly commitDelayMs: number
  /** While an append is on its way to a peer, less than this gathers for the next. */
  readonly gatherBytes: number
}

export const DEFAULT_TIMING: RaftTiming = {
  heartbeatMs: 50,
  electionTimeoutMs: 600,
  quorumTimeoutMs: 1_000,
  campaignTimeoutMs: 150,
  closedLeaderDelayMs: 50,
  roundPatienceMs: 5,
  commitDelayMs: 2,
  gatherBytes: 32 * 1024,
}

const APPEND_BYTES_MAX = 1024 * 1024
const PROBE_BYTES_MAX = 64 * 1024
const APPLY_BYTES_MAX = 4 * 1024 * 1024
/** Proposals are refused while more than this is proposed and not yet applied. */
const UNAPPLIED_BYTES_MAX = 64 * 1024 * 1024
/** An entry has one time: commands that come later than this behind it are the next one's. */
const JOIN_MS = 10
/** Entries kept in memory for followers that lag. */
const TAIL_BYTES_MAX = 64 * 1024 * 1024

export interface RaftOptions<E extends Entry> {
  readonly id: ServerId
  readonly hardState: HardState
  readonly log: RaftLogState<E>
  readonly nowMs: number
  readonly wallMs: number
  /** Uniform in [0, 1). */
  readonly random: () => number
  /** Makes the driver's entry for a payload. */
  readonly createEntry: (id: EntryId, timeMs: number, payload: Payload) => E
  /**
   * Has `count` more commands join the newest entry, which nobody has seen yet; false where they can't.
   * Absent: each command is an entry. `closeEntry`: it is about to be seen.
   */
  readonly extendEntry?: (entry: E, command: Uint8Array, count: number) => boolean
  readonly closeEntry?: (entry: E) => void
  readonly timing?: RaftTiming
}

export interface Refusal {
  readonly refused:
    | 'notLeader'
    | 'handingOver'
    | 'tooFewVoters'
    | 'busy'
    | 'configPending'
    | 'notSingleChange'
}

export class Raft<E extends Entry> {
  readonly id: ServerId
  readonly log: RaftLog<E>
  readonly #timing: RaftTiming
  readonly #random: () => number
  readonly #createEntry: RaftOptions<E>['createEntry']
  readonly #extendEntry: RaftOptions<E>['extendEntry']
  readonly #closeEntry: RaftOptions<E>['closeEntry']

  #role: Role = 'follower'
  #term: number
  #vote: ServerId
  #leaderId: ServerId | null = null
  #nowMs: number
  #wallMs: number

  /** When this server last heard from a leader, and from which. */
  #leaderContactMs = Number.NEGATIVE_INFINITY
  #leaderContactId: ServerId | null = null
  #electionDeadlineMs: number
  /** Answers to this server's campaign; `wallMs` from those who voted for it. */
  #votes = new Map<ServerId, { readonly granted: boolean; readonly wallMs: number }>()

  /** Follower: up to here the log is known to be the leader's. */
  #matchedIndex = 0
  /** Follower: an acknowledgement is owed once everything matched is durable. */
  #ackOwed = false
  #ackedIndex = 0

  /** Leader: every other member. */
  #progress = new Map<ServerId, Progress>()
  #heartbeatDueMs = 0
  /** When all were sent a heartbeat. */
  #broadcastMs = 0
  #reads = new ReadRounds()
  /** Leader: its first entry in this term. */
  #firstIndex = 0
  readonly #lease: Lease
  #unappliedBytes = 0
  #appendedBytes = 0
  #mayWait = false
  #isWaiting = false
  /** Leader: who shall take over, and until when that must have happened. */
  #handover: { readonly to: ServerId; readonly untilMs: number; isAsked: boolean } | null = null
  /** Leader: log time is `baseMs` at `sinceMs` of the monotonic clock. */
  #logTime = { baseMs: 0, sinceMs: 0 }

  #hardStateDirty = false
  #newEntries: E[] = []
  /** The last of them, while commands may join it. */
  #openEntry: E | null = null
  #messages: Message<E>[] = []
  #readStates: ReadState[] = []
  #logReads: LogRead[] = []
  #snapshots: ServerId[] = []
  #install: Snapshot | null = null

  constructor(options: RaftOptions<E>) {
    this.id = options.id
    this.log = new RaftLog(options.log)
    this.#timing = options.timing ?? DEFAULT_TIMING
    this.#random = options.random
    this.#createEntry = options.createEntry
    this.#extendEntry = options.extendEntry
    this.#closeEntry = options.closeEntry
    // The log's last term was voted in. Where the hard state does not know of it, no vote is left
    // to give in that term: a vote for itself stands for the unknown one.
    const lastTerm = this.log.last.term
    this.#term = Math.max(options.hardState.term, lastTerm)
    this.#vote = options.hardState.term >= lastTerm ? options.hardState.vote : this.id
    this.#nowMs = options.nowMs
    this.#wallMs = options.wallMs
    this.#lease = new Lease(this.#timing.electionTimeoutMs)
    // What it promised before it stopped it may have promised just now.
    if (this.#keepsPromises) this.#leaderContactMs = options.nowMs
    this.#electionDeadlineMs = this.#after(this.#timing.electionTimeoutMs)
  }

  get role(): Role {
    return this.#role
  }

  get term(): number {
    return this.#term
  }

  get leaderId(): ServerId | null {
    return this.#leaderId
  }

  get config(): Config {
    return this.log.config?.config ?? EMPTY_CONFIG
  }

  get isVoter(): boolean {
    return memberOf(this.config, this.id)?.voter === true
  }

  /** A voter that has lost entries to damage votes, but does not lead. */
  get #mayLead(): boolean {
    return this.isVoter && !this.log.isOwing
  }

  /** What the leader knows of a peer; undefined elsewhere. */
  progressOf(id: ServerId): Readonly<Progress> | undefined {
    return this.#progress.get(id)
  }

  /** Bytes of entries that are proposed and not handed out to be applied yet. */
  get unappliedBytes(): number {
    return this.#unappliedBytes
  }

  /** Whether entries were not sent only because more was said to come. */
  get isWaiting(): boolean {
    return this.#isWaiting
  }

  get isHandingOver(): boolean {
    return this.#handover !== null
  }

  /**
   * Whether what is committed here is all that is committed anywhere, by a lease: then a read
   * that had arrived when the clocks were read may be served at the commit index.
   */
  holdsLease(monotonicMs: number, wallMs: number): boolean {
    // Who was asked to stand is protected from nobody, in whatever way the asking ends.
    if (this.#role !== 'leader' || this.#handover) return false
    return this.#lease.holds(monotonicMs, wallMs)
  }

  /** When the next tick has something to do. */
  get deadlineMs(): number {
    if (this.#role !== 'leader') return this.#electionDeadlineMs
    let deadlineMs = this.#heartbeatDueMs
    if (this.#handover) deadlineMs = Math.min(deadlineMs, this.#handover.untilMs)
    for (const { newsDueMs } of this.#progress.values()) {
      if (newsDueMs !== null) deadlineMs = Math.min(deadlineMs, newsDueMs)
    }
    return deadlineMs
  }

  // ---------------------------------------------------------------- inputs

  tick(nowMs: number, wallMs: number): void {
    this.#nowMs = Math.max(this.#nowMs, nowMs)
    this.#wallMs = wallMs
    if (this.#role === 'leader') {
      const isOverdue = this.#handover !== null && this.#nowMs >= this.#handover.untilMs
      if (isOverdue || !this.#hasQuorumContact()) {
        this.#becomeFollower(this.#term, null)
      } else if (this.#nowMs >= this.#heartbeatDueMs) {
        this.#broadcastHeartbeat()
      }
    } else if (this.#nowMs >= this.#electionDeadlineMs) {
      if (this.#mayLead) this.campaign()
      else this.#becomeFollower(this.#term, null)
    }
  }

  /**
   * Seeks election, by PreVote first; where it has promised a leader not to, as soon as that is
   * over. Does nothing on a leader, a learner, or a damaged log.
   */
  campaign(): void {
    if (this.#role === 'leader' || !this.#mayLead) return
    if (this.#keepsPromises && this.#isWithholding) {
      this.#electionDeadlineMs = this.#withheldUntilMs
      return
    }
    this.#role = 'preCandidate'
    this.#leaderId = null
    this.#startPoll(this.#term + 1)
  }

  /**
   * Appends commands: as an entry, or to those of the newest one, whose id is returned again.
   * It is committed when that comes out in `Ready.committed`
   * with the same term, and never will be when another term's entry does.
   */
  propose(payload: Payload): EntryId | Refusal {
    if (this.#role !== 'leader') return { refused: 'notLeader' }
    if (this.#handover) return { refused: 'handingOver' }
    if (payload.kind === 'command' && voterCount(this.config) < this.#votersMin) {
      return { refused: 'tooFewVoters' }
    }
    if (this.#unappliedBytes > UNAPPLIED_BYTES_MAX) return { refused: 'busy' }
    return this.#appendAsLeader(payload)
  }

  /** One server alone would lose what it acknowledged with its disk; a floor of 1 allows it. */
  get #votersMin(): number {
    return Math.min(2, this.config.floor)
  }

  /** Proposes the next configuration, which counts from the moment it is in the log. */
  proposeConfig(config: Config): EntryId | Refusal {
    if (this.#role !== 'leader') return { refused: 'notLeader' }
    if (this.#handover) return { refused: 'handingOver' }
    const currentIndex = this.log.config?.index ?? 0
    if (!this.#hasCommittedOwn || currentIndex > this.log.commitIndex)
      return { refused: 'configPending' }
    if (!isSingleChange(this.config, config)) return { refused: 'notSingleChange' }
    return this.#appendAsLeader({ kind: 'config', config })
  }

  /**
   * Hands leadership to the live voter that has most of the log (thesis 3.10).
   * From now on nothing is proposed here in this term, whether that succeeds or
   * not: where it takes too long, this server just stops to lead. So what was
   * refused in a term is never overtaken in it.
   * @param isFit Who may take over.
   * @returns false where nobody can take over.
   */
  handOver(isFit: (id: ServerId) => boolean = () => true): boolean {
    if (this.#role !== 'leader') return false
    if (this.#handover) return true
    const voters = new Set(voterIds(this.config))
    const { electionTimeoutMs } = this.#timing
    const [best] = [...this.#progress]
      .filter(([id, progress]) => voters.has(id) && progress.isLive(this.#nowMs, electionTimeoutMs))
      .filter(([id]) => isFit(id))
      .sort(([, a], [, b]) => b.matchIndex - a.matchIndex)
    if (!best) return false
    const untilMs = this.#nowMs + electionTimeoutMs
    this.#handover = { to: best[0], untilMs, isAsked: false }
    return true
  }

  /**
   * Asks for the index at which a read is linearizable; it comes out in
   * `Ready.readStates` under `id`, or never where leadership moved meanwhile.
   * @returns false where no leader is known.
   */
  readIndex(id: number): boolean {
    const from = this.id
    const to = this.#leaderId
    if (this.#role === 'leader') this.#reads.add({ from, id })
    else if (to === null) return false
    else this.#send({ type: 'readIndex', from, to, term: this.#term, id })
    return true
  }

  /**
   * Everything up to `id` is durable here. Not to be called for an entry that one
   * still being written replaces, even if the same entry is written again behind that.
   */
  stable(id: EntryId): void {
    if (id.index <= this.log.stableIndex || this.log.termAt(id.index) !== id.term) return
    // What the driver has not been given yet may replace what it speaks of, and bring it back.
    const [unwritten] = this.#newEntries
    if (unwritten && id.index >= unwritten.index) return
    this.log.stableIndex = id.index
    if (this.#role === 'leader') this.#maybeCommit()
    else if (this.#ackIndex > this.#ackedIndex) this.#ackOwed = true
  }

  /** Entries that a `LogRead` of a Ready asked for; empty where they could not be read. Each is owed an answer. */
  entriesRead(read: LogRead, entries: readonly E[]): void {
    const { to } = read
    const progress = this.#progress.get(to)
    if (progress?.logRead !== read) return // the peer was lost meanwhile, or is nobody's any more
    progress.logRead = null
    if (progress.nextIndex <= this.log.base.index) return // cut meanwhile
    if (entries[0]?.index === progress.nextIndex) return this.#sendAppend(to, progress, entries)
    // Not at once again: it waits like a probe that is not answered.
    progress.becomeProbe(progress.nextIndex)
    progress.probeSentMs = this.#nowMs
  }

  /** What was sent to a peer may be lost. It is probed again when it answers a heartbeat. */
  peerLost(id: ServerId): void {
    const progress = this.#progress.get(id)
    if (!progress || progress.state === 'snapshot') return
    progress.becomeProbe()
    progress.probeSentMs = this.#nowMs
  }

  /** The driver keeps a snapshot of everything up to `index`, and the log may go. */
  compact(index: number): void {
    this.log.compactTo(index)
  }

  /** A peer took a piece of a snapshot: it is alive. */
  snapshotMoved(to: ServerId): void {
    const progress = this.#progress.get(to)
    if (progress?.state === 'snapshot') progress.contactMs = this.#nowMs
  }

  /** The driver could not bring a snapshot; it is asked again when the peer is heard. */
  snapshotFailed(to: ServerId): void {
    const progress = this.#progress.get(to)
    if (progress?.state !== 'snapshot') return
    progress.becomeProbe()
    progress.probeSentMs = this.#nowMs
  }

  /**
   * The driver holds a whole snapshot that its leader sent.
   * @returns whether it is news; then it comes back in `Ready.install`.
   */
  snapshotReceived(snapshot: Snapshot): boolean {
    const { last, config, timeMs } = snapshot
    if (this.#role === 'leader') return false
    this.#ackOwed = true
    const isHere = this.log.termAt(last.index) === last.term && this.log.stableIndex >= last.index
    if (isHere || last.index <= this.log.commitIndex) {
      // What is committed every leader has: the log goes on from there.
      this.#commitTo(last.index)
      this.#matchedIndex = Math.max(this.#matchedIndex, last.index)
      return false
    }
    // Votes asked for with the log that goes count for nothing.
    if (this.#role !== 'follower') this.#becomeFollower(this.#term, null)
    this.log.reset(last, config, timeMs)
    this.#newEntries = []
    this.#ackOwed = true
    this.#matchedIndex = last.index
    this.#install = snapshot
    return true
  }

  /**
   * A peer's connection closed. If it leads, that is evidence that it died:
   * stop withholding votes and stand for election soon. It is no proof, so that
   * what a lease may rest on is withheld to its end, and the election follows then.
   */
  peerClosed(id: ServerId): void {
    this.peerLost(id)
    if (id === this.#leaderContactId && !this.#keepsPromises) {
      this.#leaderContactMs = Number.NEGATIVE_INFINITY
    }
    if (this.#role !== 'follower' || id !== this.#leaderId) return
    this.#leaderId = null
    const delayMs = this.#random() * this.#timing.closedLeaderDelayMs
    const freeMs = Math.max(this.#nowMs, this.#withheldUntilMs)
    this.#electionDeadlineMs = Math.min(this.#electionDeadlineMs, freeMs + delayMs)
  }

  step(message: Message<E>): void {
    if (message.term > this.#term) {
      if (message.type === 'vote' && !message.handover && this.#isWithholding) return
      const keepsTerm =
        message.type === 'preVote' || (message.type === 'preVoteResp' && message.granted)
      if (!keepsTerm) this.#becomeFollower(message.term, null)
    } else if (message.term < this.#term) {
      this.#answerStale(message)
      return
    }
    switch (message.type) {
      case 'preVote':
        return this.#handlePreVote(message)
      case 'vote':
        return this.#handleVote(message)
      case 'timeoutNow':
        if (this.#role === 'follower' && this.#mayLead) this.#becomeCandidate(true)
        return
      case 'preVoteResp':
        if (this.#role !== 'preCandidate') return
        if (message.granted && message.term !== this.#term + 1) return
        return this.#handlePollAnswer(message.from, message.granted, 0)
      case 'voteResp':
        if (this.#role !== 'candidate') return
        return this.#handlePollAnswer(message.from, message.granted, message.wallMs)
      case 'append':
        if (this.#role === 'leader') return // no term has two leaders: not from a server of this cluster
        this.#hearLeader(message.from)
        return this.#handleAppend(message)
      case 'heartbeat':
        if (this.#role === 'leader') return
        this.#hearLeader(message.from)
        this.#commitTo(Math.min(message.commitIndex, this.#matchedIndex))
        return this.#answerHeartbeat(message.from, message.round)
      case 'appendResp':
        return this.#handleAppendResp(message)
      case 'heartbeatResp':
        return this.#handleHeartbeatResp(message)
      case 'readIndex':
        if (this.#role === 'leader') this.#handleReadIndex(message)
        return
      case 'readIndexResp':
        this.#commitTo(Math.min(message.index, this.#matchedIndex))
        this.#readStates.push({ id: message.id, index: message.index })
        return
    }
  }

  // ---------------------------------------------------------------- output

  /**
   * Drains one batch of work; null when there is none.
   * @param mayWait More is about to be proposed: what was just now gathers with it (`isWaiting`).
   */
  takeReady(mayWait = false): Ready<E> | null {
    this.#mayWait = mayWait
    this.#isWaiting = false
    if (this.#role === 'leader') {
      if (this.#hasCommittedOwn) {
        if (this.holdsLease(this.#nowMs, this.#wallMs)) {
          this.#answerReads(this.#reads.takeWaiting(), this.log.commitIndex)
        }
        if (this.#reads.maybeStart(this.log.commitIndex)) this.#sendRound()
        this.#confirmReads()
      }
      for (const [id, progress] of this.#progress) this.#replicate(id, progress)
      this.#askSuccessor()
    } else if (this.#ackOwed && this.#leaderId !== null) {
      this.#ackOwed = false
      this.#ackedIndex = this.#ackIndex
      this.#send({
        type: 'appendResp',
        from: this.id,
        to: this.#leaderId,
        term: this.#term,
        matchIndex: this.#ackedIndex,
      })
    }

    const committed = this.#takeCommitted()
    const entries = this.#isGathering ? [] : this.#newEntries
    const isEmpty =
      !this.#hardStateDirty &&
      entries.length === 0 &&
      this.#messages.length === 0 &&
      committed.length === 0 &&
      this.#readStates.length === 0 &&
      this.#logReads.length === 0 &&
      this.#snapshots.length === 0 &&
      this.#install === null
    if (isEmpty) return null

    const ready: Ready<E> = {
      hardState: this.#hardStateDirty ? { term: this.#term, vote: this.#vote } : null,
      entries,
      messages: this.#messages,
      committed,
      readStates: this.#readStates,
      reads: this.#logReads,
      snapshots: this.#snapshots,
      install: this.#install,
    }
    this.#hardStateDirty = false
    if (entries.length > 0) {
      this.#newEntries = []
      this.#close()
    }
    this.#messages = []
    this.#readStates = []
    this.#logReads = []
    this.#snapshots = []
    this.#install = null
    return ready
  }

  /**
   * A leader's entries that every voter's next append waits for gather for its own disk too:
   * a sync for few of them would cost as much, and commit nothing sooner.
   */
  get #isGathering(): boolean {
    const [first] = this.#newEntries
    if (this.#role !== 'leader' || !first) return false
    let isGathering = false
    for (const [id, progress] of this.#progress) {
      if (progress.state !== 'replicate' || !memberOf(this.config, id)?.voter) continue
      if (progress.nextIndex > first.index) return false
      isGathering ||= this.#mustGather(progress)
    }
    return isGathering
  }

  #mustGather(progress: Progress): boolean {
    const { gatherBytes } = this.#timing
    if (progress.mustGather(this.#appendedBytes, gatherBytes)) return true
    if (!this.#mayWait || !progress.isLittle(this.#appendedBytes, gatherBytes)) return false
    this.#isWaiting = true
    return true
  }

  /** Committed, durable here, and not handed out yet. */
  #takeCommitted(): E[] {
    const to = Math.min(this.log.commitIndex, this.log.stableIndex)
    if (to <= this.log.appliedIndex) return []
    const entries = this.log.slice(this.log.appliedIndex + 1, to, APPLY_BYTES_MAX)
    this.log.appliedIndex = entries.at(-1)?.index ?? this.log.appliedIndex
    if (this.#role === 'leader') for (const entry of entries) this.#unappliedBytes -= entry.bytes
    this.log.trim(TAIL_BYTES_MAX)
    return entries
  }

  // ---------------------------------------------------------------- roles

  #becomeFollower(term: number, leaderId: ServerId | null): void {
    if (term > this.#term) {
      this.#term = term
      this.#vote = ''
      this.#hardStateDirty = true
    }
    if (this.#role === 'leader') {
      this.#progress.clear()
      this.#handover = null
      this.#reads.clear()
      this.#lease.end()
      this.#leaderContactMs = Number.NEGATIVE_INFINITY
    }
    this.#role = 'follower'
    this.#votes.clear()
    this.#follow(leaderId)
    this.#electionDeadlineMs = this.#after(this.#timing.electionTimeoutMs)
  }

  #follow(leaderId: ServerId | null): void {
    this.#leaderId = leaderId
    this.#matchedIndex = 0
    this.#ackedIndex = 0
    this.#ackOwed = false
  }

  #becomeCandidate(handover = false): void {
    this.#role = 'candidate'
    this.#leaderId = null
    this.#term++
    this.#vote = this.id
    this.#hardStateDirty = true
    this.#startPoll(this.#term, handover)
  }

  #becomeLeader(): void {
    const wallClocks = [...this.#votes.values()]
      .filter((vote) => vote.granted)
      .map((vote) => vote.wallMs)
      .sort((a, b) => a - b)
    const medianMs = wallClocks[Math.floor((wallClocks.length - 1) / 2)] ?? this.#wallMs
    this.#logTime = {
      baseMs: Math.max(this.log.lastTimeMs, medianMs),
      sinceMs: this.#nowMs,
    }
    this.#role = 'leader'
    this.#follow(this.id)
    this.#votes.clear()
    this.#reads = new ReadRounds()
    this.#progress.clear()
    this.#updateProgress()
    this.#firstIndex = this.log.lastIndex + 1
    this.#unappliedBytes = 0
    for (const entry of this.log.slice(this.log.appliedIndex + 1, this.log.lastIndex, Infinity)) {
      this.#unappliedBytes += entry.bytes
    }
    this.#appendAsLeader({ kind: 'noop' })
    this.#broadcastHeartbeat()
  }

  /** Every member but this one has a Progress, and nobody else. */
  #updateProgress(): void {
    const others = this.config.members.filter((member) => member.id !== this.id)
    for (const { id } of others) {
      if (!this.#progress.has(id)) {
        this.#progress.set(id, new Progress(this.log.lastIndex + 1, this.#nowMs))
      }
    }
    for (const id of this.#progress.keys()) {
      if (!memberOf(this.config, id)) this.#progress.delete(id)
    }
  }

  // ---------------------------------------------------------------- elections

  /** Asks every other voter, for a PreVote or a vote as the role says. */
  #startPoll(term: number, handover = false): void {
    this.#electionDeadlineMs = this.#after(this.#timing.campaignTimeoutMs)
    this.#votes.clear()
    const { last } = this.log
    for (const to of voterIds(this.config)) {
      if (to === this.id) continue
      const poll = { from: this.id, to, term, last }
      if (this.#role === 'preCandidate') this.#send({ type: 'preVote', ...poll })
      else this.#send({ type: 'vote', ...poll, handover })
    }
    this.#handlePollAnswer(this.id, true, this.#wallMs)
  }

  #handlePollAnswer(from: ServerId, granted: boolean, wallMs: number): void {
    this.#votes.set(from, { granted, wallMs })
    if (isQuorum(this.config, (id) => this.#votes.get(id)?.granted === true)) {
      if (this.#role === 'preCandidate') this.#becomeCandidate()
      else this.#becomeLeader()
    } else if (isQuorum(this.config, (id) => this.#votes.get(id)?.granted === false)) {
      const retryMs = this.#electionDeadlineMs
      this.#becomeFollower(this.#term, null)
      this.#electionDeadlineMs = retryMs // lost, and still nobody leads: soon again
    }
  }

  /** A live leader protects its term from servers that lost touch with it (thesis 9.6, 4.2.3). */
  get #isWithholding(): boolean {
    return this.#role === 'leader' || this.#nowMs < this.#withheldUntilMs
  }

  get #withheldUntilMs(): number {
    return this.#leaderContactMs + this.#timing.electionTimeoutMs
  }

  /**
   * Whether a leader's lease may rest on it that this server withholds its vote, and does not
   * stand itself: whatever happens, unless that leader asks for an election. A log that damage
   * cut short cannot say that it is not so.
   */
  get #keepsPromises(): boolean {
    return this.config.reads === 'lease' || this.log.isOwing
  }

  #handlePreVote(message: PreVote): void {
    const granted =
      message.term > this.#term && !this.#isWithholding && this.log.isUpToDate(message.last)
    const term = granted ? message.term : this.#term
    this.#send({ type: 'preVoteResp', from: this.id, to: message.from, term, granted })
    if (granted && this.#role === 'preCandidate' && this.#yieldsTo(message)) {
      this.#becomeFollower(this.#term, null)
      this.#electionDeadlineMs = this.#after(this.#timing.campaignTimeoutMs)
    }
  }

  /** Of two that stand at once, as when a leader's connections close, one gives way: else both lose. */
  #yieldsTo({ from, last }: PreVote): boolean {
    const own = this.log.last
    const isEqual = last.term === own.term && last.index === own.index
    return !isEqual || from < this.id
  }

  #handleVote(message: Vote): void {
    const free = this.#vote === '' || this.#vote === message.from
    // Other messages may have brought it to this term since it promised a leader of an earlier one.
    const isPromised = this.#keepsPromises && this.#isWithholding && !message.handover
    const granted = free && !isPromised && this.log.isUpToDate(message.last)
    if (granted) {
      if (this.#vote === '') this.#hardStateDirty = true
      this.#vote = message.from
      if (this.#role === 'preCandidate') this.#becomeFollower(this.#term, null)
      this.#electionDeadlineMs = this.#after(this.#timing.electionTimeoutMs)
    }
    this.#answerVote(message.from, granted)
  }

  #answerVote(to: ServerId, granted: boolean): void {
    const from = this.id
    this.#send({ type: 'voteResp', from, to, term: this.#term, granted, wallMs: this.#wallMs })
  }

  /** A sender whose term is over hears of the newer one. */
  #answerStale(message: Message<E>): void {
    const to = message.from
    switch (message.type) {
      case 'preVote':
        this.#send({ type: 'preVoteResp', from: this.id, to, term: this.#term, granted: false })
        return
      case 'vote':
        return this.#answerVote(to, false)
      case 'append':
      case 'heartbeat':
        return this.#answerHeartbeat(to, 0)
    }
  }

  #answerHeartbeat(to: ServerId, round: number): void {
    this.#send({ type: 'heartbeatResp', from: this.id, to, term: this.#term, round })
  }

  #hearLeader(from: ServerId): void {
    if (this.#role !== 'follower') this.#becomeFollower(this.#term, from)
    if (this.#leaderId !== from) this.#follow(from)
    this.#leaderContactMs = this.#nowMs
    this.#leaderContactId = from
    this.#electionDeadlineMs = this.#after(this.#timing.electionTimeoutMs)
  }

  // ---------------------------------------------------------------- follower

  get #ackIndex(): number {
    return Math.min(this.#matchedIndex, this.log.stableIndex)
  }

  #handleAppend(message: Append<E>): void {
    const { prev, entries } = message
    if (!this.log.matches(prev)) {
      const hint = this.log.findHint(prev)
      this.#send({
        type: 'appendResp',
        from: this.id,
        to: message.from,
        term: this.#term,
        matchIndex: this.#ackIndex,
        reject: { index: prev.index, hint },
      })
      return
    }
    for (const entry of entries) {
      if (entry.index <= this.log.base.index) continue
      if (entry.index <= this.log.lastIndex) {
        if (this.log.termAt(entry.index) === entry.term) continue
        this.#truncateFrom(entry.index)
      }
      this.log.append(entry)
      this.#newEntries.push(entry)
    }
    const lastNew = entries.at(-1)?.index ?? prev.index
    this.#matchedIndex = Math.max(this.#matchedIndex, lastNew)
    this.#commitTo(Math.min(message.commitIndex, this.#matchedIndex))
    // Entries on their way to the disk are acknowledged by `stable`.
    if (this.#matchedIndex <= this.log.stableIndex) this.#ackOwed = true
  }

  #truncateFrom(index: number): void {
    this.log.truncateFrom(index)
    this.#newEntries = this.#newEntries.filter((entry) => entry.index < index)
  }

  #commitTo(index: number): void {
    if (index > this.log.commitIndex) this.log.commitIndex = index
  }

  // ---------------------------------------------------------------- leader

  #appendAsLeader(payload: Payload): EntryId {
    const joined =
      payload.kind === 'command' ? this.#join(payload.command, payload.count ?? 1) : null
    if (joined) return joined
    this.#close()
    const id = { term: this.#term, index: this.log.lastIndex + 1 }
    const entry = this.#createEntry(id, this.#logTimeMs, payload)
    this.log.append(entry)
    this.#newEntries.push(entry)
    this.#openEntry = payload.kind === 'command' ? entry : null
    this.#unappliedBytes += entry.bytes
    this.#appendedBytes += entry.bytes
    if (entry.config) {
      this.#updateProgress()
      this.#lease.end() // answers until now came from voters who knew another configuration
    }
    return id
  }

  /** The log's time now. */
  get #logTimeMs(): number {
    const { baseMs, sinceMs } = this.#logTime
    return Math.max(this.log.lastTimeMs, Math.floor(baseMs + (this.#nowMs - sinceMs)))
  }

  /** The command becomes a part of the newest entry, where that has not been seen yet. */
  #join(command: Uint8Array, count: number): EntryId | null {
    const entry = this.#openEntry
    if (!entry || entry.term !== this.#term || entry.index !== this.log.lastIndex) return null
    if (this.#logTimeMs - entry.timeMs > JOIN_MS) return null
    const bytes = entry.bytes
    if (!this.#extendEntry?.(entry, command, count)) return null
    const addedBytes = entry.bytes - bytes
    this.log.lastGrew(addedBytes)
    this.#unappliedBytes += addedBytes
    this.#appendedBytes += addedBytes
    return { term: entry.term, index: entry.index }
  }

  /** Nothing joins the newest entry any more. */
  #close(): void {
    if (this.#openEntry) this.#closeEntry?.(this.#openEntry)
    this.#openEntry = null
  }

  /** Sends a peer what it lacks, as far as flow control allows. */
  #replicate(id: ServerId, progress: Progress): void {
    // What else is sent brings the news: they are no reason of their own to wake up then.
    const isOwn = !progress.isPaused && progress.nextIndex > this.log.lastIndex
    if (!isOwn) progress.newsDueMs = null
    while (!progress.isPaused) {
      const first = progress.nextIndex
      if (first <= this.log.base.index) {
        progress.becomeSnapshot()
        this.#snapshots.push(id)
        return
      }
      const hasEntries = first <= this.log.lastIndex
      if (progress.state === 'replicate') {
        if (hasEntries ? this.#mustGather(progress) : !this.#isNewsDue(progress)) return
      }
      const bytesMax = progress.state === 'probe' ? PROBE_BYTES_MAX : APPEND_BYTES_MAX
      if (hasEntries && first < this.log.tailFirst) {
        progress.logRead = { to: id, firstIndex: first, bytesMax }
        this.#logReads.push(progress.logRead)
        return
      }
      this.#sendAppend(id, progress, this.log.slice(first, this.log.lastIndex, bytesMax))
    }
  }

  /** What is committed a follower may hear a little later, with the entries that come next. */
  #isNewsDue(progress: Progress): boolean {
    if (progress.commitSent >= this.log.commitIndex) return false
    progress.newsDueMs ??= this.#nowMs + this.#timing.commitDelayMs
    return this.#nowMs >= progress.newsDueMs
  }

  /** Once the successor has everything, it may stand. */
  #askSuccessor(): void {
    const handover = this.#handover
    if (!handover || handover.isAsked) return
    if (this.#progress.get(handover.to)?.matchIndex !== this.log.lastIndex) return
    handover.isAsked = true
    this.#send({ type: 'timeoutNow', from: this.id, to: handover.to, term: this.#term })
  }

  #sendAppend(to: ServerId, progress: Progress, entries: readonly E[]): void {
    if (entries.at(-1) === this.#openEntry) this.#close()
    const prevIndex = progress.nextIndex - 1
    this.#send({
      type: 'append',
      from: this.id,
      to,
      term: this.#term,
      prev: { term: this.log.termAt(prevIndex), index: prevIndex },
      commitIndex: this.log.commitIndex,
      entries,
    })
    const bytes = entries.reduce((sum, entry) => sum + entry.bytes, 0)
    const lastIndex = prevIndex + entries.length
    progress.sent(lastIndex, bytes, this.#nowMs)
    const isAll = lastIndex === this.log.lastIndex
    progress.sentBytes = isAll ? this.#appendedBytes : progress.sentBytes + bytes
    progress.commitSent = this.log.commitIndex
    progress.newsDueMs = null
  }

  #handleAppendResp(message: AppendResp): void {
    const progress = this.#progress.get(message.from)
    if (this.#role !== 'leader' || !progress) return
    const { reject } = message
    const { base } = this.log
    if (progress.state === 'snapshot' && (reject || message.matchIndex < base.index)) return
    if (!reject) {
      if (progress.maybeMatch(message.matchIndex)) {
        progress.contactMs = this.#nowMs
        this.#maybeCommit()
      }
      return
    }
    const isStale =
      progress.state === 'probe'
        ? reject.index !== progress.nextIndex - 1
        : reject.index <= progress.matchIndex
    if (isStale) return
    progress.contactMs = this.#nowMs
    const agreed = Math.min(this.log.findHint(reject.hint).index, reject.index - 1)
    // What it rejects it may have had and lost to damage since.
    if (reject.index <= progress.matchIndex) progress.matchIndex = agreed
    progress.becomeProbe(Math.max(agreed, progress.matchIndex) + 1)
  }

  #handleHeartbeatResp(message: HeartbeatResp): void {
    const progress = this.#progress.get(message.from)
    if (this.#role !== 'leader' || !progress) return
    progress.round = Math.max(progress.round, message.round)
    this.#renewLease()
    if (progress.state === 'snapshot') return
    const isUpToDate = progress.matchIndex >= this.log.lastIndex
    // While entries are outstanding only their acknowledgement shows a live follower: one whose
    // disk hangs goes on answering heartbeats.
    if (isUpToDate || progress.logRead !== null) progress.contactMs = this.#nowMs
    if (progress.logRead !== null) return // it is this server's disk that takes its time
    const silentMs = this.#nowMs - (progress.probeSentMs ?? progress.contactMs)
    const patienceMs =
      progress.state === 'probe' ? 2 * this.#timing.heartbeatMs : this.#timing.electionTimeoutMs
    // A probe is owed to a peer that lacks nothing too: only what an append matched is committed there.
    const isOwed = progress.state === 'probe' || !isUpToDate
    if (isOwed && silentMs > patienceMs) progress.becomeProbe()
  }

  /** An entry of this term on a majority commits, and all before it (thesis 3.6.2). */
  #maybeCommit(): void {
    const index = quorumValue(this.config, (id) =>
      id === this.id ? this.log.stableIndex : (this.#progress.get(id)?.matchIndex ?? 0),
    )
    if (index <= this.log.commitIndex || this.log.termAt(index) !== this.#term) return
    this.log.commitIndex = index
    const configIndex = this.log.config?.index ?? 0
    if (!this.isVoter && configIndex <= index) this.#becomeFollower(this.#term, null)
  }

  /**
   * Asks as few voters as are a quorum with this server: those that answered last. All are asked
   * where they take too long.
   */
  #sendRound(): void {
    if (this.config.reads === 'lease') return this.#broadcastHeartbeat()
    const voters = voterIds(this.config)
    const peers = [...this.#progress]
      .filter(([id]) => voters.includes(id))
      .sort(([, a], [, b]) => b.round - a.round || b.contactMs - a.contactMs)
    for (const [to, progress] of peers.slice(0, quorumSize(voters.length) - 1)) {
      this.#sendHeartbeat(to, progress)
    }
    const patientUntilMs = this.#nowMs + this.#timing.roundPatienceMs
    this.#heartbeatDueMs = Math.min(this.#heartbeatDueMs, patientUntilMs)
  }

  /** Where leases count, each is a round of its own. */
  #broadcastHeartbeat(): void {
    this.#broadcastMs = this.#nowMs
    this.#heartbeatDueMs = this.#nowMs + this.#timing.heartbeatMs
    if (this.config.reads === 'lease') {
      this.#lease.sent(this.#reads.begin(), this.#nowMs, this.#wallMs)
      this.#renewLease() // where this server is a quorum by itself
    }
    for (const [to, progress] of this.#progress) this.#sendHeartbeat(to, progress)
  }

  #sendHeartbeat(to: ServerId, progress: Progress): void {
    const commitIndex = Math.min(this.log.commitIndex, progress.matchIndex)
    const { round } = this.#reads
    this.#send({ type: 'heartbeat', from: this.id, to, term: this.#term, commitIndex, round })
  }

  /** CheckQuorum: a leader that a quorum does not hear leads nobody (thesis 6.2). */
  #hasQuorumContact(): boolean {
    const contactMs = quorumValue(this.config, (id) =>
      id === this.id ? this.#nowMs : (this.#progress.get(id)?.contactMs ?? 0),
    )
    return this.#nowMs - contactMs <= this.#timing.quorumTimeoutMs
  }

  #confirmReads(): void {
    if (!this.#reads.isUnderWay) return
    const round = quorumValue(this.config, (id) =>
      id === this.id ? this.#reads.round : (this.#progress.get(id)?.round ?? 0),
    )
    const done = this.#reads.confirm(round)
    if (!done) return
    this.#answerReads(done.reads, done.index)
    this.#heartbeatDueMs = this.#broadcastMs + this.#timing.heartbeatMs
    if (this.#reads.maybeStart(this.log.commitIndex)) this.#sendRound()
  }

  /**
   * Who asks says with it that it followed this leader when its reads were there already. Where
   * the two are a quorum, as among three voters, that is all that a round could confirm.
   */
  #handleReadIndex({ from, id }: ReadIndex): void {
    const read = { from, id }
    const isConfirmed = isQuorum(this.config, (voter) => voter === this.id || voter === from)
    if (isConfirmed && this.#hasCommittedOwn) this.#answerReads([read], this.log.commitIndex)
    else this.#reads.add(read)
  }

  /** Before it has committed an entry of its own term, a leader may not know all that is. */
  get #hasCommittedOwn(): boolean {
    return this.log.termAt(this.log.commitIndex) === this.#term
  }

  #answerReads(reads: readonly PendingRead[], index: number): void {
    for (const { from: to, id } of reads) {
      if (to === this.id) this.#readStates.push({ id, index })
      else this.#send({ type: 'readIndexResp', from: this.id, to, term: this.#term, id, index })
    }
  }

  /**
   * A round counts for the lease once a quorum has answered it whose log is this leader's up to
   * its first entry and the configuration that says `lease`, durably: they know what they have
   * promised, and know it after a start too. What holds here, holds as long as this server leads
   * and appends no configuration.
   */
  #renewLease(): void {
    const { config, log } = this
    if (config.reads !== 'lease') return
    const configIndex = log.config?.index ?? 0
    if (!this.#hasCommittedOwn || configIndex > log.commitIndex) return
    const neededIndex = Math.max(this.#firstIndex, configIndex)
    const round = quorumValue(config, (id) => {
      if (id === this.id) return this.#reads.round
      const progress = this.#progress.get(id)
      return progress && progress.matchIndex >= neededIndex ? progress.round : 0
    })
    this.#lease.confirmed(round)
  }

  // ---------------------------------------------------------------- helpers

  /** Whole: copies with fields added cost a busy server more than the message does. */
  #send(message: Message<E>): void {
    this.#messages.push(message)
  }

  /** A moment one to two of `timeoutMs` from now. */
  #after(timeoutMs: number): number {
    return this.#nowMs + timeoutMs * (1 + this.#random())
  }
}
