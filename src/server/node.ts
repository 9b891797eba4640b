/**
 * One Raft group on this server: the loop that persists, sends and applies what
 * the core decides, and answers the writes and reads of this server's clients.
 *
 * Writes. Each is proposed once: here when this server leads, else by one
 * forward to the leader. While nobody leads it waits. Its outcome is `applied`
 * after it is durable on a majority and applied by whoever proposed it;
 * `notStored` when it never will be; `unknown` when the request timeout or a
 * lost leader leaves its fate open. It is never sent again unless it certainly
 * was not proposed.
 *
 * Reads. `barrier` calls back when what was committed before the call can be
 * read here (ReadIndex, or the leader's lease). Under a lease `canReadNow` says
 * the same at once, for a call that comes right behind it.
 */
import type { Address, Io, Timer } from '../io/io.ts'
import type { Logger } from '../io/logger.ts'
import type { Registration, Report, ServerAddress } from '../protocol/balancer.ts'
import { ITEM_SIZE_MAX, isCanonical, isKnownBefore } from '../protocol/commands.ts'
import type { ClusterStatus, MemberStatus, ReadMode } from '../protocol/status.ts'
import {
  type Condition,
  DEFAULT_LIMITS,
  DEFAULT_SLOWNESS,
  describeCondition,
  isWell,
  Lag,
  type Limits,
  lacksMemory,
  lacksQuorum,
  type SlownessRules,
  surelyFit,
} from './admission.ts'
import { DiskWatch } from './disk-watch.ts'
import { createVisits, Gathering, type Visits } from './gathering.ts'
import { GetValues } from './get-values.ts'
import { itemBytes, SMALL_BYTES_MAX } from './keystore/item-store.ts'
import { formatFor, type KeystoreHeader, writeKeystore } from './keystore/keystore-file.ts'
import type { StateMachine } from './keystore/state-machine.ts'
import { groupDirectory } from './log/group-directory.ts'
import { LogDamagedError, LogStore, SEGMENT_BYTES } from './log/log-store.ts'
import { type LogEntry, RecordWriter } from './log/record.ts'
import { VoteFile } from './log/vote-file.ts'
import {
  DEFAULT_RULES,
  type Decision,
  type Health,
  type MembershipRules,
  nextConfig,
} from './membership.ts'
import {
  type Forward,
  type Lack,
  type PeerMessage,
  PROTOCOL,
  type Snap,
  type WriteOutcome,
} from './peer-messages.ts'
import { configProtocol, mayGroup, memberOf, quorumValue, voterIds } from './raft/config.ts'
import { IndexRing } from './raft/index-ring.ts'
import { DEFAULT_TIMING, Raft, type RaftTiming, type Refusal } from './raft/raft.ts'
import type { Config, EntryId, HardState, LogRead, Role, ServerId, Snapshot } from './raft/types.ts'
import { adoptSnapshot, KEYSTORE, type Restored, restore, SNAPSHOT } from './restore.ts'
import { SCRUB_INTERVAL_MS, Scrubber } from './scrub.ts'
import {
  type ReceivedSnapshot,
  SNAPSHOT_PIECE_BYTES,
  SnapshotReceiver,
  SnapshotSender,
} from './snapshots.ts'
import type { DiskFacts } from './stats-reply.ts'

/** Sending refused writes again. */
const RETRY_MS = 20
/** Asking again for a read index whose answer seems lost. */
const READ_RETRY_MS = 250
const MEMBERSHIP_MS = 100
/** While items can expire the leader appends the time so often. */
const TIME_ENTRY_MS = 1_000
/** Writes that wait for a leader; more are refused. */
const WAITING_MAX = 65_536
const WAITING_BYTES_MAX = 64 * 1024 * 1024
/** What one message to another server carries at the most. */
const FRAME_ITEMS_MAX = 1_000
const FRAME_BYTES_MAX = 4 * 1024 * 1024
/** Learners this close behind have caught up. */
const CAUGHT_UP_ENTRIES = 1_000
/** A member silent for longer shows as dead. */
const ALIVE_MS = 3_000
/** A follower says so often how its disk is, and is believed for longer. */
const CONDITION_MS = 1_000
const CONDITION_KEPT_MS = 3_000
/** How often a leader looks whether another one's disk is better. */
const DISK_CHECK_MS = 100
/** A request to remove a server is forgotten unless it is made again. */
const LEAVING_MS = 2_500
/** Of values that gets with the leader may have read. */
const GET_VALUES_BYTES_MAX = 64 * 1024 * 1024
const LACKS_ROOM = 'this server is running out of disk space'
const LOWER_G = 103
const NOTHING = Buffer.alloc(0)
/** What came with it are all commands but set, add, cas and delete. */
const COMMANDS_PROTOCOL = 3
/** Members that speak less would not keep what a lease rests on. */
const LEASE_PROTOCOL = 4

export interface NodeOptions {
  readonly io: Io
  readonly log: Logger
  /** The server's data directory; the group's files are in `groups/<group>`. */
  readonly directory: string
  readonly group: number
  readonly clusterId: string
  readonly self: ServerAddress
  readonly requestTimeoutMs: number
  readonly timing?: RaftTiming
  readonly membership?: MembershipRules
  /** Of a segment of the log; the keystore file is written when the log has grown by this, or by its own size. */
  readonly segmentBytes?: number
  readonly snapshotPieceBytes?: number
  readonly scrubIntervalMs?: number
  readonly limits?: Limits
  readonly slowness?: SlownessRules
  /** Of peers' messages, where this server speaks an older one than it could. */
  readonly protocol?: number
  /** What a peer speaks; null where it has not said so. */
  readonly protocolOf?: (id: ServerId) => number | null
  /** @returns the stream the message leaves on; null where it certainly does not leave. */
  readonly send: (message: PeerMessage) => number | null
  /** This server was removed from the cluster, on purpose. */
  readonly onLeave: () => void
  /** Role, leader or members changed. */
  readonly onChange: () => void
  /** What was sent may leave: more would only come after other work. */
  readonly flush?: () => void
  /** What could be done by now is done, and answered. */
  readonly onSettled?: () => void
  /** The disk failed: nothing may be acknowledged any more. */
  readonly onFailure: (error: Error) => void
}

/**
 * The writes of one connection, which take effect in order. One that was
 * refused is sent again, so none may overtake it: those behind it wait with
 * it, and a new leader gets none while answers of an older one are due.
 */
export interface Lane {
  waitingCount: number
  forwardedCount: number
  /** The term in which they were forwarded. */
  term: number
  readonly visits: Visits
}

export function createLane(): Lane {
  return { waitingCount: 0, forwardedCount: 0, term: 0, visits: createVisits() }
}

/** Hears what became of a write: an object, as a function for each would be one more. */
export interface Waiter {
  done(outcome: WriteOutcome): void
}

interface Write {
  /** They are counted, from the start of this server. */
  readonly number: number
  /** Under which it is forwarded, each time anew. */
  id: number
  readonly lane: Lane
  /** Its bytes may be somebody else's until it is proposed or kept. */
  command: Buffer
  readonly deadlineMs: number
  readonly waiter: Waiter
  /** Why it waits, where it was not proposed yet. */
  waitsFor: string | null
  /** Whether the leader has it, or will with the next frame. */
  isForwarded: boolean
  /** The leader it was forwarded to, and on which stream. */
  sentTo: ServerId | null
  stream: number
  /** Its reply has a value. */
  readonly isGet: boolean
  /** How many commands these are. */
  readonly count: number
  /** By this server itself, which leads. */
  isProposed: boolean
  /** It has its outcome. */
  isDone: boolean
}

/** A write that another server sent, as it is proposed here. */
interface RemoteWrite {
  readonly from: ServerId
  readonly id: number
  readonly count: 1
}

/** The writes whose commands are in an entry, in order. */
interface Proposed {
  readonly term: number
  readonly writes: (Write | RemoteWrite)[]
  /** How many commands these are. */
  commandCount: number
}

/** What a leader said of a write, without the value that goes with it. */
interface Valueless {
  readonly write: Write
  readonly outcome: Extract<WriteOutcome, { kind: 'applied' }>
}

interface Read {
  readonly visits: Visits
  readonly deadlineMs: number
  readonly done: (failure: string | null) => void
}

interface AskedReads {
  reads: Read[]
  /** The last time. */
  askedMs: number
  readonly ids: number[]
}

/** What others were told of last. */
interface Announced {
  readonly role: Role
  readonly term: number
  readonly leaderId: ServerId | null
  readonly configIndex: number
}

/** Whether a setting is so and will stay so, and else why not yet. */
interface Changed {
  readonly isDone: boolean
  readonly why: string
}

interface SettingChange {
  readonly isSo: () => boolean
  readonly is: string
  /** What all members have to speak. */
  readonly protocol: number
  readonly next: (config: Config) => Config
  /** For the log. */
  readonly news: string
}

export class Node {
  readonly raft: Raft<LogEntry>
  #machine: StateMachine
  readonly #options: NodeOptions
  readonly #io: Io
  readonly #groupDirectory: string
  readonly #store: LogStore
  readonly #disk: DiskWatch
  readonly #voteFile: VoteFile
  #isPumping = false
  #isPumpDue = false
  #pumping: Promise<void> = Promise.resolve()
  /** Input came while the loop waited for the disk. */
  #isPumpMissed = false
  #isStopped = false
  #timer: Timer | null = null
  #timerAtMs = Number.POSITIVE_INFINITY

  /**
   * Of what others are asked for: starts anywhere, so that a late answer to an earlier life of
   * this server matches nothing.
   */
  #nextId: number
  #writeCount = 0
  /** Every write without an outcome, by its number. */
  readonly #writes = new IndexRing<Write>()
  /** Those that wait to be proposed or forwarded. */
  #waiting: Write[] = []
  #waitingBytes = 0
  #retryAtMs = 0
  readonly #gathering = new Gathering()
  /** Who was answered in this turn of the loop. */
  #answered: Visits[] = []
  /** Until when some wait for more of them. */
  #gatherUntilMs = Number.POSITIVE_INFINITY
  #isGatherArmed = false
  readonly #forwards = new Map<ServerId, Write[]>()
  /** Those that are with the leader, or will be with the next frame. */
  readonly #forwarded = new Map<number, Write>()
  /** What this server proposed, by the index of the entry. */
  readonly #proposals = new IndexRing<Proposed>()
  /** How many commands these are. */
  #proposedCount = 0
  readonly #results = new Map<ServerId, { id: number; outcome: WriteOutcome }[]>()
  /** Gets that are with the leader, and the values of all gets applied meanwhile, by their place. */
  #forwardedGetCount = 0
  readonly #values = new GetValues(GET_VALUES_BYTES_MAX)
  /** Outcomes of gets that are not applied here yet. */
  #valueless: Valueless[] = []

  /** Reads that wait to be asked for, the oldest first. */
  #newReads: Read[] = []
  /** By each id under which they were asked for: the answer to any of them will do. */
  readonly #askedReads = new Map<number, AskedReads>()
  /** Reads whose index is known but not applied here yet. */
  #unappliedReads: { readonly index: number; readonly reads: Read[] }[] = []

  #registered: readonly Registration[] = []
  #registeredMs = 0
  #membershipAtMs = 0
  /** Servers that shall leave, and until when that counts. */
  readonly #leaving = new Map<ServerId, number>()
  #decision: Decision | null = null
  #timeEntryAtMs = 0
  #membershipWhy = ''
  /** How much the log has grown since the last keystore file, and how large that is. */
  #grownBytes = 0
  #keystoreBytes = 0
  /** Of the growth at which a file is due: drawn, or all servers would write theirs at once. */
  #keystoreShare: number
  /** The newest keystore file of this process has everything up to here. */
  #keystoreIndex = 0
  #keystoreWrite: Promise<void> | null = null
  /** Files written. */
  #keystoreCount = 0
  /** Places on the disk that had rotted. */
  #mendedCount = 0
  /** Up to here entries were given to the log. */
  #writtenIndex: number
  /** The log on this disk behind what it shall hold, and behind what a quorum of others holds. */
  readonly #ownLag: Lag
  readonly #leaderLag: Lag
  /** What others said of their disks, and when. */
  readonly #conditions = new Map<ServerId, { readonly said: Condition; readonly atMs: number }>()
  /** For lack of disk space nothing can be committed: no writes, or nothing at all. */
  #isQuorumShort = false
  #isQuorumFull = false
  #limits: Limits
  #conditionAtMs = 0
  #diskCheckAtMs = 0
  /** When it may hand over for a slow disk again, and for one without room. */
  #slowAgainAtMs = Number.NEGATIVE_INFINITY
  #fullAgainAtMs = Number.NEGATIVE_INFINITY
  /** When it did not lead the last time. */
  #followedMs = 0
  #announced: Announced | null = null
  #onDeposed = (): void => {}
  readonly #snapshotsOut: SnapshotSender
  readonly #snapshotsIn: SnapshotReceiver
  readonly #scrubber: Scrubber
  /** The last for which there was no room. */
  #refusedSnapshot = ''
  /** One that the core has taken over, or will with the next batch of work. */
  #received: { readonly snapshot: ReceivedSnapshot; readonly done: () => void } | null = null

  private constructor(
    options: NodeOptions,
    { machine, store, raftLog, grownBytes, keystoreBytes, keystoreIndex }: Restored,
    disk: DiskWatch,
    voteFile: VoteFile,
    hardState: HardState,
  ) {
    const { io, clusterId, self, timing, send } = options
    this.#options = options
    this.#limits = options.limits ?? DEFAULT_LIMITS
    this.#io = io
    this.#nextId = Math.floor(io.random.float() * 2 ** 52)
    this.#groupDirectory = directoryOf(options)
    this.#store = store
    this.#disk = disk
    this.#voteFile = voteFile
    this.#machine = machine
    this.#grownBytes = grownBytes
    this.#keystoreBytes = keystoreBytes
    this.#keystoreShare = drawShare(io)
    this.#keystoreIndex = keystoreIndex
    const writer = new RecordWriter(clusterId)
    this.raft = new Raft<LogEntry>({
      id: self.id,
      hardState,
      log: raftLog,
      nowMs: io.clock.monotonicMs(),
      wallMs: io.clock.wallMs(),
      random: () => io.random.float(),
      createEntry: writer.createEntry,
      extendEntry: (entry, command, count) =>
        mayGroup(this.raft.config) && writer.extendEntry(entry, command, count),
      closeEntry: writer.closeEntry,
      ...(timing ? { timing } : {}),
    })
    this.#writtenIndex = this.raft.log.lastIndex
    this.#ownLag = new Lag(this.#slowness)
    this.#leaderLag = new Lag(this.#slowness)
    disk.onChange = () => this.#roomChanged()
    store.onStable = (id) => {
      this.raft.stable(id)
      this.#wake()
    }
    store.onFailure = (error) => this.#fail(error)
    const signed = () => ({ from: self.id, term: this.raft.term })
    this.#snapshotsOut = new SnapshotSender({
      io,
      path: `${this.#groupDirectory}/${KEYSTORE}`,
      pieceBytes: options.snapshotPieceBytes ?? SNAPSHOT_PIECE_BYTES,
      send: (message) => void send({ ...message, ...signed() }),
      onMoved: (to) => this.raft.snapshotMoved(to),
      onEnded: (to) => {
        this.raft.snapshotFailed(to)
        this.#wake()
      },
      onDamaged: () => void this.#repair('the keystore file that a peer was to have is damaged'),
    })
    this.#snapshotsIn = new SnapshotReceiver({
      disk: io.disk,
      directory: this.#groupDirectory,
      clusterId,
      send: (message) => void send({ ...message, ...signed() }),
      onReceived: (snapshot) => this.#receiveSnapshot(snapshot),
      onKnown: ({ index, term, config, timeMs }) => {
        this.raft.snapshotReceived({ last: { index, term }, config, timeMs })
      },
      onFailure: (error) => this.#fail(asError(error)),
    })
    this.#scrubber = new Scrubber({
      ...{ timers: io.timers, disk: io.disk, store },
      path: `${this.#groupDirectory}/${KEYSTORE}`,
      intervalMs: options.scrubIntervalMs ?? SCRUB_INTERVAL_MS,
      onDamage: (what) => void this.#repair(what),
      onFailure: (error) => this.#fail(asError(error)),
    })
  }

  /** Begins an empty log, durably. */
  static async createLog(io: Io, directory: string, group: number, clusterId: string) {
    const at = `${groupDirectory(directory, group, clusterId)}/log`
    const { disk, timers } = io
    const { log } = await LogStore.open({ disk, timers, directory: at, clusterId, group })
    await log.close()
  }

  /**
   * Reads what is on disk and applies what is known to be committed.
   * @param formAlone Where the log is empty, begin it as the only member of a new cluster.
   */
  static async open(options: NodeOptions, formAlone: boolean): Promise<Node> {
    const { io, directory, self } = options
    if (!(await LogStore.exists(io.disk, `${directoryOf(options)}/log`))) {
      throw new Error(
        `${directoryOf(options)}/log is missing, though ${directory} is a member's: restore it, or move ${directory} away and start again as a new server`,
      )
    }
    const { file: voteFile, hardState } = await VoteFile.open(io.disk, directory, self.id)
    const open = () => restore(options)
    let restored = await open()
    if (formAlone && restored.summary.lastIndex === 0 && !restored.summary.damage) {
      await bootstrap(options, restored.store)
      await restored.store.close()
      restored = await open()
    }
    const spoken = restored.raftLog.configs.map(({ config }) => configProtocol(config))
    if (Math.max(...spoken, 0) > PROTOCOL) {
      await restored.store.close()
      throw new Error(
        `${directory} was written by a later version, which all members spoke: start that version again`,
      )
    }
    // What it holds changes with a snapshot.
    let dataBytes = () => restored.machine.items.bytes
    const reserveBytes = (options.limits ?? DEFAULT_LIMITS).diskReserveBytes
    const disk = await DiskWatch.open({ io, directory, reserveBytes, dataBytes: () => dataBytes() })
    const node = new Node(options, restored, disk, voteFile, hardState)
    dataBytes = () => node.machine.items.bytes
    return node
  }

  start(): void {
    this.#disk.start()
    if (this.#disk.room !== 'enough') this.#roomChanged()
    this.#wake()
  }

  get machine(): StateMachine {
    return this.#machine
  }

  // ---------------------------------------------------------------- clients

  /** @param command A canonical command; good for as long as the call. */
  write(lane: Lane, command: Buffer, waiter: Waiter): void {
    const write = this.#takeWrite(lane, command, 1, waiter)
    this.#dispatch(write)
    // What was proposed is in the log's memory; what was not is sent from here, later.
    write.command = write.isProposed ? NOTHING : Buffer.from(command)
  }

  /**
   * Plain sets that came together, as one write: their outcome is one.
   * @param commands One behind the other; good for as long as the call.
   * @returns false where this server can't propose them at once: then nothing happened.
   */
  writeSets(lane: Lane, commands: Buffer, count: number, waiter: Waiter): boolean {
    const { raft } = this
    if (raft.role !== 'leader' || this.#mustFollow(lane) || !mayGroup(raft.config)) return false
    if (this.#lacksDisk || !surelyFit(commands, count, this.#roomBytes)) return false
    const id = raft.propose({ kind: 'command', command: commands, count })
    if ('refused' in id) return false
    const write = this.#takeWrite(lane, NOTHING, count, waiter)
    write.isProposed = true
    this.#track(id, write)
    return true
  }

  #takeWrite(lane: Lane, command: Buffer, count: number, waiter: Waiter): Write {
    const nowMs = this.#nowMs
    this.#gathering.came(lane.visits, nowMs)
    const write: Write = {
      number: this.#writeCount++,
      id: 0,
      lane,
      command,
      // Whole numbers are not objects of their own.
      deadlineMs: Math.ceil(nowMs) + this.#options.requestTimeoutMs,
      waiter,
      waitsFor: null,
      isForwarded: false,
      sentTo: null,
      stream: 0,
      isGet: count === 1 && isGet(command), // no look past the end
      count,
      isProposed: false,
      isDone: false,
    }
    this.#writes.set(write.number, write)
    this.#wake()
    return write
  }

  /** @param lane Of the connection whose reads these are. */
  barrier(done: (failure: string | null) => void, { visits } = createLane()): void {
    const nowMs = this.#nowMs
    this.#gathering.came(visits, nowMs)
    this.#newReads.push({ visits, deadlineMs: nowMs + this.#options.requestTimeoutMs, done })
    this.#wake()
  }

  /**
   * Whether reads that are here already may be served from memory, without a barrier: this
   * leader's lease holds, by clocks that are read now, and all that is committed is applied.
   */
  canReadNow(): boolean {
    const { clock } = this.#io
    if (this.machine.appliedIndex < this.raft.log.commitIndex) return false
    return this.raft.holdsLease(clock.monotonicMs(), clock.wallMs())
  }

  // ---------------------------------------------------------------- peers, load balancer

  receive(message: PeerMessage): void {
    // As if lost on the way: its heartbeats still say that this server lives.
    if (message.type === 'append' && !this.#disk.takes(message.entries)) return
    switch (message.type) {
      case 'condition':
        this.#receiveCondition(message.from, message)
        break
      case 'hello':
        break
      case 'leave':
        this.#options.onLeave()
        break
      case 'forward':
        this.#receiveForward(message)
        break
      case 'forwardResp':
        for (const { id, outcome } of message.results) this.#receiveOutcome(id, outcome)
        break
      case 'snap':
        this.#tick()
        if (message.from !== this.raft.leaderId || message.term !== this.raft.term) break
        if (!this.#disk.hasRoomFor(message.size - message.offset)) {
          this.#refuseSnapshot(message)
          break
        }
        this.#disk.wrote(message.piece.length)
        this.#snapshotsIn.receive(message)
        break
      case 'snapResp':
        if (this.raft.role === 'leader') this.#snapshotsOut.answered(message)
        break
      default:
        this.#tick()
        this.raft.step(message)
    }
    this.#wake()
  }

  peerLost(id: ServerId): void {
    this.raft.peerLost(id)
    this.#wake()
  }

  /** Nothing that was sent on this stream arrived: its writes may be sent again. */
  unheard(id: ServerId, stream: number): void {
    for (const write of this.#sentTo(id)) {
      if (write.stream === stream) this.#wait(write, `server ${id} can't be reached`)
    }
    this.#wake()
  }

  peerClosed(id: ServerId): void {
    this.#tick()
    this.raft.peerClosed(id)
    // Outcomes would have come on that connection.
    const why = `the connection to the leader, server ${id}, was lost`
    for (const write of this.#sentTo(id)) this.#finish(write, { kind: 'unknown', why })
    this.#wake()
  }

  campaign(): void {
    this.#tick()
    this.raft.campaign()
    this.#wake()
  }

  /** The servers that the load balancer knows: where they are, and who wants to join. */
  setRegistered(servers: readonly Registration[]): void {
    this.#registered = servers
    this.#registeredMs = this.#nowMs
  }

  /**
   * Somebody wants a server out of the cluster. Counts for a while, on the leader.
   * @returns whether it is out already, and else why not yet.
   */
  remove(id: ServerId): { readonly isOut: boolean; readonly why: string } {
    this.#tick() // or a leader that slept would decide
    if (this.raft.role !== 'leader') {
      const leader = this.raft.leaderId
      return { isOut: false, why: leader ? `server ${leader} leads` : 'no leader is known' }
    }
    const { log } = this.raft
    const isMember = memberOf(this.raft.config, id) !== undefined
    if (isMember || this.#leaving.has(id)) this.#leaving.set(id, this.#nowMs + LEAVING_MS)
    if (!isMember && (log.config?.index ?? 0) > log.commitIndex) {
      return { isOut: false, why: 'the change is not committed yet' }
    }
    if (!isMember) {
      this.#options.send({ type: 'leave', from: this.raft.id, to: id })
      return { isOut: true, why: `server ${id} is no member` }
    }
    this.#changeMembership()
    this.#wake()
    const why = this.#decision?.notes.get(id) ?? this.#decision?.why ?? ''
    return { isOut: false, why }
  }

  /** The length above which a value is refused. */
  get itemSizeMax(): number {
    return this.raft.config.itemSizeMax ?? ITEM_SIZE_MAX
  }

  /**
   * Somebody wants another one, for the whole cluster.
   * @returns whether it is so and will stay so, and else why not yet.
   */
  changeItemSizeMax(bytes: number): Changed {
    return this.#changeSetting({
      isSo: () => this.itemSizeMax === bytes,
      is: `${bytes} bytes`,
      protocol: COMMANDS_PROTOCOL,
      next: (config) => ({ ...config, itemSizeMax: bytes }),
      news: `values may have ${bytes} bytes from now on`,
    })
  }

  get readMode(): ReadMode {
    return this.raft.config.reads ?? 'quorum'
  }

  /** As `changeItemSizeMax`. */
  changeReadMode(mode: ReadMode): Changed {
    return this.#changeSetting({
      isSo: () => this.readMode === mode,
      is: mode,
      protocol: LEASE_PROTOCOL,
      next: ({ reads: _, ...rest }) => (mode === 'lease' ? { ...rest, reads: mode } : rest),
      news: `the read mode is ${mode} from now on`,
    })
  }

  #changeSetting({ isSo, is, protocol, next, news }: SettingChange): Changed {
    this.#tick()
    const { raft } = this
    if (raft.role !== 'leader') {
      const why = raft.leaderId ? `server ${raft.leaderId} leads` : 'no leader is known'
      return { isDone: false, why }
    }
    const isCommitted = (raft.log.config?.index ?? 0) <= raft.log.commitIndex
    if (isSo()) return { isDone: isCommitted, why: isCommitted ? is : 'not committed yet' }
    if (configProtocol(raft.config) < protocol) return { isDone: false, why: WHY_OLDER }
    const proposed = raft.proposeConfig(next(raft.config))
    if (!('refused' in proposed)) this.#options.log.info({ term: raft.term }, news)
    this.#wake()
    const why = 'refused' in proposed ? refusalText(proposed.refused) : 'not committed yet'
    return { isDone: false, why }
  }

  /** See LogStore. */
  get logSyncCount(): number {
    return this.#store.syncCount
  }

  get diskFacts(): DiskFacts {
    const { freeBytes, keptBytes } = this.#disk
    return {
      freeBytes: keptBytes === 0 ? null : freeBytes,
      keptBytes,
      logBytes: this.#grownBytes,
      keystoreBytes: this.#keystoreBytes,
    }
  }

  get memoryLimitBytes(): number {
    return this.#limits.memoryBytes
  }

  set memoryLimitBytes(bytes: number) {
    this.#limits = { ...this.#limits, memoryBytes: bytes }
  }

  /** Where to reach everybody: the load balancer's news before what the log says. */
  addresses(): Map<ServerId, Address> {
    const addresses = new Map<ServerId, Address>()
    const fresh = this.#registeredNow().filter(({ silentMs }) => silentMs < ALIVE_MS)
    for (const { id, sip, sport } of [...this.raft.config.members, ...fresh]) {
      if (id !== this.#options.self.id) addresses.set(id, { host: sip, port: sport })
    }
    return addresses
  }

  report(): Omit<Report, 'requestCount'> {
    const { raft } = this
    const { term: lastTerm, index: lastIndex } = raft.log.last
    return {
      ...this.#options.self,
      cluster: this.#options.clusterId,
      role: raft.role,
      voter: raft.isVoter,
      term: raft.term,
      leader: raft.leaderId,
      lastTerm,
      lastIndex,
      commitIndex: raft.log.commitIndex,
      appliedIndex: this.machine.appliedIndex,
      ...(raft.role === 'leader' ? { reads: this.readMode, ...this.#membershipReport() } : {}),
    }
  }

  /** Where this server leads, another one takes over. Ends when that has happened, or can't. */
  async handOver(): Promise<void> {
    if (this.#isStopped || !this.#handOverToBest()) return
    this.#options.log.info({ term: this.raft.term }, 'handing over leadership')
    const deposed = new Promise<void>((resolve) => {
      this.#onDeposed = resolve
    })
    this.#wake()
    await deposed
  }

  /** What this server knows of its cluster. */
  status(): ClusterStatus {
    const { raft } = this
    const { leaderId } = raft
    const isLeader = raft.role === 'leader'
    const { lastTerm, ...self } = this.report()
    const members = raft.config.members.map((member): MemberStatus => {
      const { id, cip, cport, sip, sport, voter } = member
      const progress = raft.progressOf(id)
      const isSelf = id === raft.id
      return {
        ...{ id, cip, cport, sip, sport, voter },
        cluster: this.#options.clusterId,
        role: isSelf ? raft.role : id === leaderId ? 'leader' : null,
        term: isSelf ? raft.term : null,
        lastTerm: isSelf ? lastTerm : null,
        lastIndex: isSelf ? self.lastIndex : (progress?.matchIndex ?? null),
        commitIndex: isSelf ? self.commitIndex : null,
        appliedIndex: isSelf ? self.appliedIndex : null,
        lastHeardMsAgo: isSelf ? 0 : progress ? Math.round(this.#nowMs - progress.contactMs) : null,
        alive: isSelf ? true : progress ? this.#nowMs - progress.contactMs < ALIVE_MS : null,
        note: isLeader ? this.#noteOf(id) : isSelf ? describeCondition(this.#condition) : null,
      }
    })
    return {
      cluster: this.#options.clusterId,
      leader: leaderId,
      whyNoLeader: leaderId === null ? 'none is known here' : null,
      membership: isLeader ? (this.#decision?.why ?? null) : null,
      reads: this.readMode,
      members,
    }
  }

  /**
   * Writes a keystore file, where the newest lacks any of what is applied by now.
   * @returns its path; what is there is that file, or a newer one.
   */
  async writeKeystoreNow(): Promise<string> {
    const index = this.machine.appliedIndex
    while (this.#keystoreIndex < index) {
      if (this.#disk.room !== 'enough') throw new Error(LACKS_ROOM)
      const before = this.#keystoreCount
      this.#beginKeystore()
      if (this.#isStopped) throw new Error('this server is stopping')
      if (!this.#keystoreWrite) throw new Error('a snapshot is being installed here: ask again')
      await this.#keystoreWrite
      // What is applied may take more room by now than when that was judged.
      if (this.#keystoreCount === before) throw new Error(LACKS_ROOM)
    }
    return `${this.#groupDirectory}/${KEYSTORE}`
  }

  /** Ends everything that waits, writes the keystore and the log's last seal. */
  async stop(): Promise<void> {
    if (this.#isStopped) return
    this.#isStopped = true
    this.#timer?.cancel()
    this.#disk.stop()
    await this.#pumping
    const why = 'this server is stopping'
    for (let write = this.#oldestWrite; write; write = this.#oldestWrite) {
      this.#finish(write, { kind: write.waitsFor === null ? 'unknown' : 'notStored', why })
    }
    for (const read of this.#takeReads()) read.done(why)
    this.#snapshotsOut.stop()
    // A snapshot that is not installed yet is on the disk, and the next start's.
    const received = this.#received
    received?.done()
    await this.#snapshotsIn.stop()
    await this.#scrubber.stop()
    await this.#keystoreWrite
    await this.#store.close()
    if (this.#grownBytes > 0 && !received) await this.#writeKeystore()
    await this.#voteFile.close()
  }

  // ---------------------------------------------------------------- the loop

  get #nowMs(): number {
    return this.#io.clock.monotonicMs()
  }

  #tick(): void {
    this.raft.tick(this.#nowMs, this.#io.clock.wallMs())
  }

  /** Runs the loop once all input that is already here has been taken in. */
  #wake(): void {
    if (this.#isPumpDue) return
    this.#isPumpDue = true
    this.#io.timers.soon(() => {
      this.#isPumpDue = false
      if (this.#isStopped) return
      if (!this.#isPumping) this.#pumping = this.#pump()
      else {
        this.#isPumpMissed = true
        this.#keepDeadlines()
      }
    })
  }

  async #pump(): Promise<void> {
    this.#isPumping = true
    try {
      this.#tick()
      this.#runDue()
      this.#dispatchWaiting()
      const wait = this.#gathering.turn(this.#nowMs, this.#isAnyWaiting)
      const mayWait = wait !== null
      if (!mayWait) {
        this.#askReads()
        this.#sendForwards()
      }
      for (let ready = this.raft.takeReady(mayWait); ready; ready = this.raft.takeReady(mayWait)) {
        if (ready.install) await this.#install(ready.install)
        if (this.#isStopped) return
        // The log hears of entries at once, so that it never reports as durable what they replace;
        // nobody else hears of anything before the vote is durable.
        if (ready.entries.length > 0) this.#append(ready.entries)
        if (ready.hardState) await this.#voteFile.write(ready.hardState)
        if (this.#isStopped) return
        for (const message of ready.messages) {
          if (this.#options.send(message) === null) this.raft.peerLost(message.to)
        }
        this.#options.flush?.()
        this.#apply(ready.committed)
        for (const { id, index } of ready.readStates) this.#readIndexKnown(id, index)
        for (const read of ready.reads) void this.#readLog(read)
        for (const to of ready.snapshots) this.#snapshotsOut.start(to)
        this.#serveReads()
      }
      if (!mayWait) this.#sendForwards()
      this.#sendResults()
      this.#options.flush?.()
      this.#announceChange()
      this.#options.onSettled?.()
      this.#noteAnswered()
      this.#gatherUntilMs = wait === 'clients' ? this.#gathering.untilMs : Infinity
      this.#armGather()
      if (wait === 'turn' && this.#isAnyWaiting) this.#wake()
    } catch (error) {
      this.#fail(asError(error))
    }
    this.#isPumping = false
    if (this.#isPumpMissed) {
      this.#isPumpMissed = false
      this.#wake()
    }
    this.#arm()
  }

  #noteAnswered(): void {
    if (this.#answered.length === 0) return
    const nowMs = this.#nowMs
    for (const visits of this.#answered) this.#gathering.answered(visits, nowMs)
    this.#answered = []
  }

  /** Whether entries, reads or writes for the leader would leave at once if no more were expected. */
  get #isAnyWaiting(): boolean {
    if (this.raft.isWaiting || this.#forwards.size > 0) return true
    return this.#newReads.length > 0 && this.#askedReads.size === 0
  }

  #apply(entries: readonly LogEntry[]): void {
    for (const entry of entries) this.#applyEntry(entry)
    if (entries.length === 0) return
    // What is applied is committed and durable in its place; the core may know of more.
    this.#store.commitIndex = this.machine.appliedIndex
    this.#addValues()
    const { segmentBytes = SEGMENT_BYTES } = this.#options
    const enoughBytes = Math.max(segmentBytes, this.#keystoreBytes) * this.#keystoreShare
    if (this.#grownBytes > enoughBytes) this.#beginKeystore()
  }

  #applyEntry(entry: LogEntry): void {
    this.#grownBytes += entry.bytes
    const proposed = this.#takeProposed(entry.index)
    const isOurs = proposed?.term === entry.term
    let writeCount = 0
    let commandCount = 0
    this.machine.apply(entry, ({ line, item }, index) => {
      if (item?.value && this.#forwardedGetCount > 0) this.#values.add(index, item.value)
      const write = isOurs ? proposed.writes[writeCount] : undefined
      if (!write || ++commandCount < write.count) return
      writeCount++
      commandCount = 0
      this.#settle(write, { kind: 'applied', reply: line, item, index })
    })
    if (isOurs || !proposed) return
    const why = `another leader took over before it was replicated (term ${entry.term})`
    for (const write of proposed.writes) this.#settle(write, { kind: 'notStored', why })
  }

  /** Writes the keystore file while everything goes on, and cuts the log to it. */
  #beginKeystore(): void {
    if (this.#keystoreWrite || this.#received || this.#isStopped) return
    this.#keystoreWrite = this.#writeKeystore()
      .catch((error) => this.#fail(asError(error)))
      .finally(() => {
        this.#keystoreWrite = null
      })
  }

  /** While the loop waits for the disk: clients hear in time that what they asked for has no answer. */
  #keepDeadlines(): void {
    this.#expireRequests(this.#nowMs)
    this.#options.onSettled?.()
    this.#armFor(this.#requestsDueMs)
  }

  #expireRequests(nowMs: number): void {
    let isAnyLate = false
    for (let write = this.#oldestWrite; write; write = this.#oldestWrite) {
      if (write.deadlineMs > nowMs) break
      isAnyLate = true
      const { requestTimeoutMs } = this.#options
      if (write.waitsFor !== null) {
        const why = `${write.waitsFor}, waited ${requestTimeoutMs} ms`
        this.#finish(write, { kind: 'notStored', why })
      } else {
        const why = `no majority confirmed it within ${requestTimeoutMs} ms`
        this.#finish(write, { kind: 'unknown', why })
      }
    }
    if (isAnyLate) this.#waiting = this.#waiting.filter(({ isDone }) => !isDone)
    this.#expireReads(nowMs)
  }

  /** What is done now and then, and the requests whose time is over. */
  #runDue(): void {
    const nowMs = this.#nowMs
    this.#expireRequests(nowMs)
    this.#watchDisks(nowMs)
    if (this.raft.role !== 'leader') return
    if (nowMs >= this.#membershipAtMs) {
      this.#membershipAtMs = nowMs + MEMBERSHIP_MS
      this.#changeMembership()
    }
    const isStuck = this.#disk.room === 'none' || this.#isQuorumFull
    if (this.machine.hasExpiring && nowMs >= this.#timeEntryAtMs && !isStuck) {
      this.#timeEntryAtMs = nowMs + TIME_ENTRY_MS
      this.raft.propose({ kind: 'time' })
    }
  }

  /** Sets the timer to the next thing to do. */
  #arm(): void {
    if (this.#isStopped) return
    let atMs = Math.min(this.raft.deadlineMs, this.#requestsDueMs)
    if (this.#waiting.length > 0 && this.#knowsLeader) atMs = Math.min(atMs, this.#retryAtMs)
    this.#armFor(atMs)
  }

  /** When the time of a request is over. */
  get #requestsDueMs(): number {
    return Math.min(this.#oldestWrite?.deadlineMs ?? Infinity, this.#readsDueMs)
  }

  #armFor(atMs: number): void {
    if (atMs === Infinity) return
    if (this.#timerAtMs <= atMs && this.#timer) return
    this.#timer?.cancel()
    this.#timerAtMs = atMs
    this.#timer = this.#io.timers.after(Math.max(1, atMs - this.#nowMs), () => {
      this.#timer = null
      this.#wake()
    })
  }

  /** A timer of its own: most are over before it fires, and the next one goes on with it. */
  #armGather(): void {
    if (this.#isStopped || this.#isGatherArmed || this.#gatherUntilMs === Infinity) return
    this.#isGatherArmed = true
    this.#io.timers.after(Math.max(1, this.#gatherUntilMs - this.#nowMs), () => {
      this.#isGatherArmed = false
      if (this.#nowMs < this.#gatherUntilMs) this.#armGather()
      else this.#wake()
    })
  }

  #announceChange(): void {
    const { role, term, leaderId, log } = this.raft
    const configIndex = log.config?.index ?? 0
    const before = this.#announced
    if (
      before?.role === role &&
      before.term === term &&
      before.leaderId === leaderId &&
      before.configIndex === configIndex
    ) {
      return
    }
    this.#announced = { role, term, leaderId, configIndex }
    // Who was asked for a read index may not answer any more.
    const asked = [...new Set(this.#askedReads.values())].flatMap(({ reads }) => reads)
    this.#newReads = asked.concat(this.#newReads).sort((a, b) => a.deadlineMs - b.deadlineMs)
    this.#askedReads.clear()
    // Who leads now may take what the one before refused.
    this.#retryAtMs = 0
    this.#conditionAtMs = 0
    if (this.#newReads.length > 0 || this.#waiting.length > 0) this.#wake()
    if (role !== 'leader') {
      this.#snapshotsOut.stop()
      this.#onDeposed()
    }
    this.#options.onChange()
  }

  #fail(error: Error): void {
    if (this.#isStopped) return
    this.#isStopped = true
    this.#timer?.cancel()
    this.#disk.stop()
    this.#onDeposed()
    this.#options.onFailure(error)
  }

  // ---------------------------------------------------------------- writes

  #dispatch(write: Write): void {
    const { role, leaderId, term } = this.raft
    const { lane } = write
    if (this.#mustFollow(lane)) {
      this.#wait(write, 'writes before it on its connection wait for a leader')
    } else if (role === 'leader') {
      const id = this.#propose(write.command)
      if ('kind' in id) return this.#finish(write, id)
      if ('refused' in id) return this.#wait(write, refusalText(id.refused))
      write.isProposed = true
      this.#track(id, write)
    } else if (leaderId === null) {
      this.#wait(write, 'no leader is known')
    } else {
      lane.forwardedCount++
      lane.term = term
      write.isForwarded = true
      write.id = this.#nextId++
      this.#forwarded.set(write.id, write)
      if (write.isGet) this.#forwardedGetCount++
      const queue = this.#forwards.get(leaderId)
      if (queue) queue.push(write)
      else this.#forwards.set(leaderId, [write])
    }
  }

  /** Whether writes before it on its connection have to find their leader first. */
  #mustFollow({ waitingCount, forwardedCount, term }: Lane): boolean {
    return waitingCount > 0 || (forwardedCount > 0 && term !== this.raft.term)
  }

  #track({ index, term }: EntryId, write: Write | RemoteWrite): void {
    this.#proposedCount += write.count
    const before = this.#proposals.get(index)
    if (before?.term === term) {
      before.writes.push(write)
      before.commandCount += write.count
      return
    }
    // An entry of an earlier term of this leader at the same index may still be in another log.
    this.#giveUp(index)
    this.#proposals.set(index, { term, writes: [write], commandCount: write.count })
  }

  /** What became of the writes in the entry at `index` that was proposed here is not known. */
  #giveUp(index: number): void {
    const why = 'leadership changed before it was confirmed'
    const writes = this.#takeProposed(index)?.writes ?? []
    for (const write of writes) this.#settle(write, { kind: 'unknown', why })
  }

  #takeProposed(index: number): Proposed | undefined {
    const proposed = this.#proposals.get(index)
    if (!proposed) return undefined
    this.#proposals.delete(index)
    this.#proposedCount -= proposed.commandCount
    return proposed
  }

  #settle(proposal: Write | RemoteWrite, outcome: WriteOutcome): void {
    if ('lane' in proposal) this.#finish(proposal, outcome)
    else this.#answer(proposal.from, proposal.id, outcome)
  }

  #wait(write: Write, why: string): void {
    this.#leaveLane(write)
    if (this.#waiting.length >= WAITING_MAX || this.#waitingBytes >= WAITING_BYTES_MAX) {
      this.#finish(write, { kind: 'notStored', why: `${why}, and too many requests wait` })
      return
    }
    write.waitsFor = why
    write.lane.waitingCount++
    this.#waitingBytes += write.command.length
    // The first one that waits sets the time, and those that join it do not put it off.
    if (this.#waiting.length === 0 && this.#knowsLeader) {
      this.#retryAtMs = Math.max(this.#retryAtMs, this.#nowMs + RETRY_MS)
    }
    this.#waiting.push(write)
  }

  get #knowsLeader(): boolean {
    return this.raft.leaderId !== null
  }

  #dispatchWaiting(): void {
    if (this.#waiting.length === 0) return
    if (!this.#knowsLeader || this.#nowMs < this.#retryAtMs) return
    const waiting = this.#waiting.filter(({ isDone }) => !isDone)
    this.#waiting = []
    for (const write of waiting) this.#leaveLane(write)
    for (const write of waiting.sort((a, b) => a.number - b.number)) this.#dispatch(write)
  }

  #sent(write: Write, to: ServerId, stream: number): void {
    write.sentTo = to
    write.stream = stream
  }

  /** The write no longer waits, and no leader's answer to it is awaited. */
  #leaveLane(write: Write): void {
    if (write.waitsFor !== null) {
      write.lane.waitingCount--
      this.#waitingBytes -= write.command.length
    }
    if (write.isForwarded) {
      this.#forwarded.delete(write.id)
      write.lane.forwardedCount--
      if (write.isGet && --this.#forwardedGetCount === 0) this.#values.clear()
    }
    write.waitsFor = null
    write.isForwarded = false
    write.sentTo = null
  }

  #sentTo(id: ServerId): Write[] {
    return [...this.#forwarded.values()].filter((write) => write.sentTo === id)
  }

  #finish(write: Write, outcome: WriteOutcome): void {
    if (write.isDone) return
    write.isDone = true
    this.#writes.delete(write.number)
    this.#answered.push(write.lane.visits)
    this.#leaveLane(write)
    write.waiter.done(outcome)
  }

  get #oldestWrite(): Write | undefined {
    return this.#writes.get(this.#writes.first)
  }

  #sendForwards(): void {
    if (this.#forwards.size === 0) return
    const from = this.#options.self.id
    const { term } = this.raft
    for (const [to, writes] of this.#forwards) {
      const pending = writes.filter(({ isDone }) => !isDone)
      // Behind one that does not leave none does, or it would be overtaken.
      let isStuck = false
      for (const requests of inFrames(pending, ({ command }) => command.length)) {
        isStuck ||= requests.some(({ lane }) => lane.term !== term)
        const stream: number | null = isStuck
          ? null
          : this.#options.send({ type: 'forward', from, to, term, requests })
        isStuck = stream === null
        for (const write of requests) {
          if (stream === null) this.#wait(write, `server ${to} can't be reached`)
          else this.#sent(write, to, stream)
        }
      }
    }
    this.#forwards.clear()
  }

  #sendResults(): void {
    if (this.#results.size === 0) return
    const from = this.#options.self.id
    for (const [to, all] of this.#results) {
      for (const results of inFrames(all, () => 0)) {
        this.#options.send({ type: 'forwardResp', from, to, results })
      }
    }
    this.#results.clear()
  }

  /** To a server that sent a write; its items' values it has itself. */
  #answer(to: ServerId, id: number, answered: WriteOutcome): void {
    const outcome = withoutValue(answered)
    const results = this.#results.get(to)
    if (results) results.push({ id, outcome })
    else this.#results.set(to, [{ id, outcome }])
    this.#wake()
  }

  #receiveForward({ from, term, requests }: Forward): void {
    // Of one term either all are taken in order or, from some point on, none.
    const isLeader = this.raft.role === 'leader' && this.raft.term === term
    for (const { id, command } of requests) {
      if (!isLeader) {
        const why = 'the leader asked does not lead any more'
        this.#answer(from, id, { kind: 'refused', why })
      } else if (!isCanonical(command)) {
        this.#answer(from, id, { kind: 'notStored', why: 'not a command' })
      } else {
        const entry = this.#propose(command)
        if ('kind' in entry) this.#answer(from, id, entry)
        else if ('refused' in entry) {
          const why = refusalText(entry.refused)
          const kind = entry.refused === 'handingOver' ? 'refused' : 'notStored'
          this.#answer(from, id, { kind, why })
        } else this.#track(entry, { from, id, count: 1 })
      }
    }
  }

  #receiveOutcome(id: number, outcome: WriteOutcome): void {
    const write = this.#forwarded.get(id)
    if (!write || write.sentTo === null) return
    if (outcome.kind === 'refused') return this.#wait(write, outcome.why)
    // Outcomes come in the order of the log: no get before this one waits for its value.
    if (outcome.kind === 'applied') this.#values.forgetBefore(outcome.index)
    if (outcome.kind !== 'applied' || !outcome.item || !write.isGet) {
      return this.#finish(write, outcome)
    }
    write.sentTo = null // the leader may go: what became of it is known
    this.#valueless.push({ write, outcome })
    this.#addValues()
  }

  /** Finishes the gets that are applied here by now. */
  #addValues(): void {
    if (this.#valueless.length === 0) return
    const { appliedPlace } = this.machine
    const due = this.#valueless.filter(({ outcome }) => outcome.index <= appliedPlace)
    this.#valueless = this.#valueless.filter(({ outcome }) => outcome.index > appliedPlace)
    for (const { write, outcome } of due) {
      const value = this.#values.get(outcome.index)
      const { item } = outcome
      if (item && value) this.#finish(write, { ...outcome, item: { ...item, value } })
      else {
        const why = 'what it read came here with a snapshot, or is not kept any more'
        this.#finish(write, { kind: 'unknown', why })
      }
    }
  }

  // ---------------------------------------------------------------- reads

  /**
   * One request for a read index for all reads that came since the last; while that one is on
   * its way, what comes gathers for the next.
   */
  #askReads(): void {
    if (this.#newReads.length === 0 || this.#askedReads.size > 0) return
    const id = this.#nextId++
    if (!this.raft.readIndex(id)) return
    this.#askedReads.set(id, { reads: this.#newReads, askedMs: this.#nowMs, ids: [id] })
    this.#newReads = []
  }

  #readIndexKnown(id: number, index: number): void {
    const asked = this.#askedReads.get(id)
    if (!asked) return
    for (const each of asked.ids) this.#askedReads.delete(each)
    this.#unappliedReads.push({ index, reads: asked.reads })
    if (this.#newReads.length > 0) this.#wake()
  }

  #serveReads(): void {
    if (this.#unappliedReads.length === 0) return
    const { appliedIndex } = this.machine
    const served = this.#unappliedReads.filter(({ index }) => index <= appliedIndex)
    if (served.length === 0) return
    this.#unappliedReads = this.#unappliedReads.filter(({ index }) => index > appliedIndex)
    for (const { reads } of served) {
      for (const read of reads) {
        this.#answered.push(read.visits)
        read.done(null)
      }
    }
  }

  /** Fails reads whose time is over, and asks again where an answer seems lost. */
  #expireReads(nowMs: number): void {
    if (nowMs < this.#readsDueMs) return
    const { requestTimeoutMs } = this.#options
    const isBehind = this.#disk.room === 'scarce' || this.#disk.room === 'none'
    const why = isBehind
      ? 'this server is behind and out of disk space: ask another one'
      : `no leader confirmed the read within ${requestTimeoutMs} ms`
    const keep = (reads: Read[]): Read[] => {
      if (reads.every((read) => read.deadlineMs > nowMs)) return reads
      for (const read of reads) if (read.deadlineMs <= nowMs) read.done(why)
      return reads.filter((read) => read.deadlineMs > nowMs)
    }
    for (const asked of new Set(this.#askedReads.values())) {
      asked.reads = keep(asked.reads)
      if (asked.reads.length === 0) {
        for (const id of asked.ids) this.#askedReads.delete(id)
      } else if (nowMs - asked.askedMs >= READ_RETRY_MS) {
        const id = this.#nextId++
        asked.askedMs = nowMs
        if (!this.raft.readIndex(id)) continue
        asked.ids.push(id)
        this.#askedReads.set(id, asked)
      }
    }
    this.#newReads = keep(this.#newReads)
    if (this.#unappliedReads.length > 0) {
      this.#unappliedReads = this.#unappliedReads
        .map(({ index, reads }) => ({ index, reads: keep(reads) }))
        .filter(({ reads }) => reads.length > 0)
    }
  }

  /** When the oldest reads have to be asked for again, or fail. */
  get #readsDueMs(): number {
    const [asked] = this.#askedReads.values()
    const [unapplied] = this.#unappliedReads
    return Math.min(
      asked ? asked.askedMs + READ_RETRY_MS : Number.POSITIVE_INFINITY,
      asked?.reads[0]?.deadlineMs ?? Number.POSITIVE_INFINITY,
      this.#newReads[0]?.deadlineMs ?? Number.POSITIVE_INFINITY,
      unapplied?.reads[0]?.deadlineMs ?? Number.POSITIVE_INFINITY,
    )
  }

  #takeReads(): Read[] {
    const asked = [...new Set(this.#askedReads.values()), ...this.#unappliedReads]
    const reads = [...this.#newReads, ...asked.flatMap((batch) => batch.reads)]
    this.#newReads = []
    this.#askedReads.clear()
    this.#unappliedReads = []
    return reads
  }

  // ---------------------------------------------------------------- limits

  /** As if lost on the way: the leader offers it again. */
  #refuseSnapshot({ id, size }: Snap): void {
    if (id === this.#refusedSnapshot) return
    this.#refusedSnapshot = id
    const { freeBytes } = this.#disk
    this.#options.log.warn({ size, freeBytes }, 'no disk space for the snapshot that is offered')
  }

  /** What is proposed is stored: a lack is found here or nowhere. */
  #propose(command: Buffer): EntryId | Refusal | WriteOutcome {
    const { raft } = this
    if (configProtocol(raft.config) < COMMANDS_PROTOCOL && !isKnownBefore(command)) {
      return { kind: 'notStored', why: WHY_OLDER }
    }
    // One who is handing over refuses nothing for good: the next leader may have room.
    const lacks = raft.isHandingOver ? null : this.#lackFor(command)
    return lacks ? lackOutcome(lacks) : raft.propose({ kind: 'command', command })
  }

  #lackFor(command: Buffer): Lack | null {
    if (this.#lacksDisk) return 'disk'
    const roomBytes = this.#roomBytes
    if (surelyFit(command, 1, roomBytes)) return null
    const isLacking = lacksMemory(command, {
      roomBytes,
      isAnyInFlight: this.#inFlightBytes > 0,
      valueBytes: (key) => this.machine.get(key)?.value.length,
    })
    return isLacking ? 'memory' : null
  }

  get #lacksDisk(): boolean {
    return this.#disk.room !== 'enough' || this.#isQuorumShort
  }

  /** What the items that are held, and those proposed, leave in memory. */
  get #roomBytes(): number {
    const { bytes, smallBytes } = this.machine.items
    const roomBytes = Math.min(this.#limits.memoryBytes - bytes, SMALL_BYTES_MAX - smallBytes)
    return roomBytes - this.#inFlightBytes
  }

  /** What is proposed will take at the most. */
  get #inFlightBytes(): number {
    const { unappliedBytes, log } = this.raft
    // A record holds its key and value, and every command might be a new item.
    const commandCount = this.#proposedCount + log.lastIndex - this.machine.appliedIndex
    return unappliedBytes + commandCount * itemBytes(0, 0)
  }

  #append(entries: readonly LogEntry[]): void {
    this.#disk.wrote(entries.reduce((sum, { bytes }) => sum + bytes, 0))
    this.#writtenIndex = entries.at(-1)?.index ?? this.#writtenIndex
    this.#store.append(entries)
  }

  get #slowness(): SlownessRules {
    return this.#options.slowness ?? DEFAULT_SLOWNESS
  }

  /** How this server's own disk is. */
  get #condition(): Condition {
    const { room, freeBytes, keptBytes } = this.#disk
    const slowForMs = Math.round(this.#ownLag.slowForMs(this.#nowMs))
    const { owedIndex } = this.raft.log
    return { room, freeBytes, keptBytes, slowForMs, owedIndex, mendedCount: this.#mendedCount }
  }

  #conditionOf(id: ServerId): Condition | null {
    if (id === this.raft.id) return this.#condition
    const heard = this.#conditions.get(id)
    return heard && this.#nowMs - heard.atMs < CONDITION_KEPT_MS ? heard.said : null
  }

  #receiveCondition(from: ServerId, said: Condition): void {
    const isHeard = this.raft.role === 'leader' && memberOf(this.raft.config, from)
    if (isHeard) this.#conditions.set(from, { said, atMs: this.#nowMs })
  }

  #roomChanged(): void {
    const { room, freeBytes, keptBytes } = this.#disk
    const what = room === 'enough' ? 'there is disk space again' : 'running out of disk space'
    this.#options.log.warn({ room, freeBytes, keptBytes }, what)
    this.#conditionAtMs = 0
    this.#diskCheckAtMs = 0
    // A log that is cut leaves more.
    if (room === 'low' && this.#grownBytes > 0) this.#beginKeystore()
    this.#wake()
  }

  #watchDisks(nowMs: number): void {
    const { raft } = this
    const { stableIndex } = raft.log
    const isLeader = raft.role === 'leader'
    this.#ownLag.update(nowMs, this.#writtenIndex, stableIndex)
    if (isLeader) {
      // Nobody has more than there is.
      const isAllStable = stableIndex === raft.log.lastIndex
      this.#leaderLag.update(nowMs, isAllStable ? stableIndex : this.#othersIndex, stableIndex)
      if (nowMs < this.#diskCheckAtMs) return
      this.#diskCheckAtMs = nowMs + DISK_CHECK_MS
      this.#checkQuorumRoom(nowMs)
      this.#maybeYield(nowMs)
    } else {
      this.#leaderLag.reset()
      if (this.#conditions.size > 0) this.#conditions.clear()
      this.#followedMs = nowMs
      if (raft.leaderId === null || nowMs < this.#conditionAtMs) return
      this.#conditionAtMs = nowMs + CONDITION_MS
      const route = { from: raft.id, to: raft.leaderId }
      this.#options.send({ type: 'condition', ...route, ...this.#condition })
    }
  }

  /** What a quorum holds without this server. */
  get #othersIndex(): number {
    const { raft } = this
    return quorumValue(raft.config, (id) => raft.progressOf(id)?.matchIndex ?? 0)
  }

  #checkQuorumRoom(nowMs: number): void {
    const voters = voterIds(this.raft.config).map((id) => {
      const progress = this.raft.progressOf(id)
      const isLive = !progress || nowMs - progress.contactMs < ALIVE_MS
      return { room: this.#conditionOf(id)?.room ?? null, isLive }
    })
    this.#isQuorumShort = lacksQuorum(voters, ['low', 'scarce', 'none'])
    this.#isQuorumFull = lacksQuorum(voters, ['none'])
  }

  /** A leader whose own disk is what is wrong makes way for a voter whose disk is well. */
  #maybeYield(nowMs: number): void {
    const { raft } = this
    if (raft.isHandingOver) return
    const { room } = this.#disk
    const isFull = room !== 'enough' && !this.#isQuorumShort && nowMs >= this.#fullAgainAtMs
    const slowForMs = this.#leaderLag.slowForMs(nowMs)
    const { graceMs, againMs } = this.#slowness
    const mayJudge = nowMs >= this.#slowAgainAtMs && nowMs - this.#followedMs >= graceMs
    const isSlow = slowForMs > 0 && mayJudge
    if (!isFull && !isSlow) return
    const { stableIndex } = raft.log
    const isFit = (id: ServerId) => {
      if (!this.#hasGoodDisk(id)) return false
      return isFull || (raft.progressOf(id)?.matchIndex ?? 0) > stableIndex
    }
    if (!raft.handOver(isFit)) return
    if (isFull) this.#fullAgainAtMs = nowMs + graceMs
    else this.#slowAgainAtMs = nowMs + againMs
    const why = describeCondition(this.#condition) ?? `the log is ${slowForMs} ms behind`
    this.#options.log.warn({ term: raft.term }, `handing over leadership: ${why}`)
    this.#wake()
  }

  /** Only who said so, and lately. */
  #hasGoodDisk(id: ServerId): boolean {
    const condition = this.#conditionOf(id)
    return condition !== null && isWell(condition)
  }

  /** To somebody in any case. */
  #handOverToBest(): boolean {
    return this.raft.handOver((id) => this.#hasGoodDisk(id)) || this.raft.handOver()
  }

  #noteOf(id: ServerId): string | null {
    const condition = this.#conditionOf(id)
    const notes = [this.#decision?.notes.get(id), condition && describeCondition(condition)]
    return notes.filter(Boolean).join('; ') || null
  }

  // ---------------------------------------------------------------- the rest

  #changeMembership(): void {
    const { raft } = this
    const nowMs = this.#nowMs
    for (const [id, untilMs] of this.#leaving) if (nowMs > untilMs) this.#leaving.delete(id)
    const decision = nextConfig({
      config: raft.config,
      self: raft.id,
      registered: this.#registeredNow(),
      health: (id) => this.#healthOf(id),
      leaving: new Set(this.#leaving.keys()),
      rules: this.#options.membership ?? DEFAULT_RULES,
    })
    this.#decision = decision
    if (decision.handOver) this.#handOverToBest()
    const proposed = decision.change && !('refused' in raft.proposeConfig(decision.change))
    if (proposed && decision.why !== this.#membershipWhy) {
      this.#options.log.info({ term: raft.term }, `membership: ${decision.why}`)
    }
    this.#membershipWhy = decision.why
  }

  #registeredNow(): Registration[] {
    const ageMs = this.#nowMs - this.#registeredMs
    return this.#registered.map((server) => ({ ...server, silentMs: server.silentMs + ageMs }))
  }

  #membershipReport(): Pick<Report, 'membership' | 'members'> {
    if (!this.#decision) return {}
    const members = this.raft.config.members.map((member) => {
      return { ...member, note: this.#noteOf(member.id) }
    })
    return { membership: this.#decision.why, members }
  }

  #healthOf(id: ServerId): Health {
    const progress = this.raft.progressOf(id)
    const { protocol: own = PROTOCOL, protocolOf = () => own } = this.#options
    // This server itself.
    if (!progress) return { silentMs: 0, isLive: true, lag: 0, isCaughtUp: true, protocol: own }
    const lag = this.raft.log.lastIndex - progress.matchIndex
    const { electionTimeoutMs } = this.#options.timing ?? DEFAULT_TIMING
    return {
      silentMs: this.#nowMs - progress.contactMs,
      isLive: progress.isLive(this.#nowMs, electionTimeoutMs),
      lag,
      isCaughtUp: progress.state === 'replicate' && lag <= CAUGHT_UP_ENTRIES,
      protocol: protocolOf(id),
    }
  }

  /** Entries that a lagging peer needs and memory no longer holds. */
  async #readLog(read: LogRead): Promise<void> {
    const { firstIndex, bytesMax } = read
    try {
      const lastIndex = this.raft.log.tailFirst - 1
      const entries = await this.#store.read(firstIndex, lastIndex, bytesMax)
      if (this.#isStopped) return
      this.raft.entriesRead(read, entries)
    } catch (error) {
      if (!(error instanceof LogDamagedError)) return this.#fail(asError(error))
      await this.#repair(error.message)
      this.raft.entriesRead(read, []) // then a snapshot is what it gets
    }
    this.#wake()
  }

  /** What rotted is in memory still: once a keystore file holds it, the log's copy is needed no more. */
  async #repair(what: string): Promise<void> {
    this.#options.log.warn({}, `${what}; a new keystore file takes its place`)
    await this.#store.endSegment() // what is written from now on need not go with it
    await this.#keystoreWrite // one that is under way may not hold it all
    const before = this.#keystoreCount
    this.#beginKeystore()
    await this.#keystoreWrite
    if (this.#keystoreCount > before) this.#mendedCount++
    else
      this.#options.log.warn(
        {},
        'no keystore file could be written: tried again with the next scrub',
      )
  }

  async #writeKeystore(): Promise<void> {
    const { clusterId, group, io } = this.#options
    const { appliedIndex: index, config } = this.machine
    // A start without it reads more of the log; running out of space would end this process.
    if (index === 0 || !this.#disk.hasRoomFor(this.machine.items.bytes)) return
    const header: KeystoreHeader = {
      format: formatFor(config),
      clusterId,
      group,
      index,
      term: this.raft.log.termAt(index),
      timeMs: this.machine.timeMs,
      flushAtMs: this.machine.flushAtMs,
      config,
    }
    const view = this.machine.items.view()
    this.#grownBytes = 0
    this.#keystoreShare = drawShare(io)
    try {
      this.#keystoreBytes = await writeKeystore(io.disk, this.#groupDirectory, header, view)
    } finally {
      view.close()
    }
    this.#keystoreIndex = index
    this.#keystoreCount++
    if (!this.#isStopped) this.raft.compact(this.#store.cutTo(index))
  }

  // ---------------------------------------------------------------- snapshots

  /** A whole snapshot is here and loaded. Resolves when it is installed, or is not needed. */
  async #receiveSnapshot(snapshot: ReceivedSnapshot): Promise<void> {
    const { index, term, config, timeMs } = snapshot.header
    if (this.#isStopped) return
    const installed = new Promise<void>((resolve) => {
      this.#received = { snapshot, done: resolve } // from here on no keystore file is begun
    })
    // It would take the new one's name. The loop can't wait for it: heartbeats have to be answered.
    await this.#keystoreWrite
    if (this.#isStopped) return
    const isNews = this.raft.snapshotReceived({ last: { index, term }, config, timeMs })
    if (!isNews) this.#received = null
    this.#wake()
    await (isNews ? installed : this.#io.disk.remove(`${this.#groupDirectory}/${SNAPSHOT}`))
  }

  /** The snapshot becomes the log's start, the keystore and the state machine's state. */
  async #install({ last }: Snapshot): Promise<void> {
    const received = this.#received
    if (!received) throw new Error(`no snapshot of ${last.term}/${last.index} is here`)
    await this.#store.reset(last)
    await adoptSnapshot(this.#io.disk, this.#groupDirectory)
    this.#store.cutTo(last.index)
    this.#machine = received.snapshot.machine
    this.#keystoreBytes = received.snapshot.bytes
    this.#keystoreIndex = last.index
    this.#writtenIndex = last.index
    this.#grownBytes = 0
    this.#store.commitIndex = last.index
    this.#addValues()
    while (this.#proposals.count > 0 && this.#proposals.first <= last.index) {
      this.#giveUp(this.#proposals.first)
    }
    this.#options.log.info({}, `installed a snapshot as of entry ${last.index}`)
    this.#received = null // until here no keystore file may be begun
    received.done()
  }
}

/** No other command begins like it. */
function isGet(command: Buffer): boolean {
  return command[0] === LOWER_G
}

function drawShare({ random }: Io): number {
  return 1 - random.float() / 2
}

function withoutValue(outcome: WriteOutcome): WriteOutcome {
  if (outcome.kind !== 'applied' || !outcome.item) return outcome
  return { ...outcome, item: { ...outcome.item, value: undefined } }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}

function directoryOf({ directory, group, clusterId }: NodeOptions): string {
  return groupDirectory(directory, group, clusterId)
}

/** Cuts a list into pieces that fit a frame; each has at least one item. */
function* inFrames<T>(items: readonly T[], bytesOf: (item: T) => number): Generator<T[]> {
  let piece: T[] = []
  let bytes = 0
  for (const item of items) {
    bytes += bytesOf(item)
    if (piece.length > 0 && (piece.length >= FRAME_ITEMS_MAX || bytes > FRAME_BYTES_MAX)) {
      yield piece
      piece = []
      bytes = bytesOf(item)
    }
    piece.push(item)
  }
  if (piece.length > 0) yield piece
}

const WHY_OLDER =
  'the cluster has servers of an older version that do not know this: bring every server to this version'

/** Memcached's own lines. */
function lackOutcome(lacks: Lack): WriteOutcome {
  const why = lacks === 'disk' ? 'out of disk space' : 'out of memory storing object'
  return { kind: 'notStored', why, lacks }
}

function refusalText(refusal: string): string {
  switch (refusal) {
    case 'tooFewVoters':
      return 'the cluster has one voter and needs two: start another server'
    case 'handingOver':
      return 'the leader is handing over'
    case 'configPending':
      return 'another change of the configuration is under way'
    case 'busy':
      return 'too many writes are in flight'
    default:
      return 'the server asked does not lead'
  }
}

/** The first entry of a new cluster: a configuration with this server alone. */
async function bootstrap({ self, io, clusterId }: NodeOptions, store: LogStore): Promise<void> {
  const config: Config = { members: [{ ...self, voter: true }], floor: 2 }
  const id = { term: 1, index: 1 }
  const payload = { kind: 'config', config } as const
  const wallMs = Math.floor(io.clock.wallMs())
  const entry = new RecordWriter(clusterId).createEntry(id, wallMs, payload)
  await new Promise<void>((resolve, reject) => {
    store.onStable = () => resolve()
    store.onFailure = reject
    store.append([entry])
  })
}
