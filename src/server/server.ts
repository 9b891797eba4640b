/**
 * A server: its data directory, its sockets, and the node behind them.
 *
 * It opens its client port at once. Until it belongs to a cluster - the load
 * balancer names it one, or asks it to form one - requests wait, up to the
 * request timeout, and are then refused with the reason.
 */
import type { Address, Io, Listener, Lock, Stream, Timer } from '../io/io.ts'
import type { Logger } from '../io/logger.ts'
import type { Registration, Report, ServerAddress } from '../protocol/balancer.ts'
import { isSuccessor } from '../protocol/cluster-id.ts'
import { ITEM_SIZE_BOUNDS, ITEM_SIZE_MAX, type Options } from '../protocol/commands.ts'
import { type ClusterStatus, READ_MODES, type ReadMode } from '../protocol/status.ts'
import { DEFAULT_LIMITS, type Limits, type SlownessRules } from './admission.ts'
import { type Backup, Backups } from './backup.ts'
import { BalancerLink } from './balancer-link.ts'
import { Connection, endStream, type Store } from './connection.ts'
import { FlushQueue } from './flush-queue.ts'
import type { Item } from './keystore/arena.ts'
import { type Identity, loadIdentity, saveIdentity } from './log/identity.ts'
import { VoteDamagedError, VoteFile } from './log/vote-file.ts'
import type { MembershipRules } from './membership.ts'
import { type Lane, Node, type Waiter } from './node.ts'
import { PROTOCOL } from './peer-messages.ts'
import { Peers } from './peers.ts'
import { memberOf } from './raft/config.ts'
import type { RaftTiming } from './raft/raft.ts'
import { Stats } from './stats.ts'
import { type ItemFacts, type ServerFacts, statsReply } from './stats-reply.ts'

/** The only group so far. */
const GROUP = 0
export const CONNECTIONS_MAX = 10_000
/** So many, besides, hear why they are refused; each takes a file of this process until they close. */
const REFUSED_MAX = 32
/** A dump that looked at more items would keep other clients waiting. */
const DUMP_LOOKS_MAX = 10_000
/** How often connections are looked at that may have been left. */
const CHECK_MS = 1_000
/** How long a stop waits for requests that are under way. */
const DRAIN_MS = 1_000

export interface ServerOptions {
  readonly io: Io
  readonly log: Logger
  readonly directory: string
  /** Where clients connect. */
  readonly client: Address
  /** Where peers and the load balancer send to. */
  readonly peer: Address
  /** What others are told to reach it by, where that differs. */
  readonly advertiseCip: string
  readonly advertiseSip: string
  /** Load balancers; the first forms the cluster. */
  readonly balancers: readonly Address[]
  readonly requestTimeoutMs: number
  readonly timing?: RaftTiming
  readonly membership?: MembershipRules
  readonly segmentBytes?: number
  readonly snapshotPieceBytes?: number
  readonly scrubIntervalMs?: number
  /** Of peers' messages; an older one, to try an upgrade. */
  readonly protocol?: number
  readonly limits?: Limits
  readonly slowness?: SlownessRules
  /** Of clients, at the same time. */
  readonly connectionsMax?: number
  /** A connection over which nothing is asked for so long is closed; 0 for never. */
  readonly idleTimeoutMs?: number
  /** Who may use this server, and their passwords; absent: everybody. */
  readonly users?: ReadonlyMap<string, string>
  /** A client may end this process. Absent: none may. */
  readonly onShutdown?: () => void
  /** It was removed from the cluster: the process shall stop it. */
  readonly onLeave: () => void
  /** The disk failed; the process must end. */
  readonly onFailure: (error: Error) => void
}

export class Server implements Store {
  readonly #options: ServerOptions
  readonly #lock: Lock
  readonly #self: ServerAddress
  readonly #peers: Peers
  readonly #link: BalancerLink
  readonly #backups: Backups
  #identity: Identity
  #registered: readonly Registration[] = []
  #node: Node | null = null
  #joining: Promise<void> | null = null
  #listener: Listener | null = null
  readonly #connections = new Set<Connection>()
  readonly #flushes: FlushQueue
  #refusedCount = 0
  #checkTimer: Timer | null = null
  /** Requests that came before this server belonged to a cluster. */
  readonly #early = new Set<() => void>()
  /** Before, nobody may tell this server what to do: it does not know itself who it is. */
  #isListening = false
  #isStopped = false
  #lastState = ''
  readonly stats = new Stats()
  readonly #startedMs: number
  #verbosity = 0
  /** As a client has set it, for as long as this process lives. */
  #memoryLimitBytes: number

  private constructor(options: ServerOptions, lock: Lock, identity: Identity) {
    this.#options = options
    this.#startedMs = options.io.clock.monotonicMs()
    this.#memoryLimitBytes = (options.limits ?? DEFAULT_LIMITS).memoryBytes
    this.#flushes = new FlushQueue(options.io.timers)
    this.#lock = lock
    this.#identity = identity
    this.#self = {
      id: identity.serverId,
      cip: options.advertiseCip,
      cport: options.client.port,
      sip: options.advertiseSip,
      sport: options.peer.port,
    }
    const { protocol = PROTOCOL } = options
    this.#peers = new Peers(
      options.io,
      options.peer,
      { ...this.#self, protocol },
      {
        onMessage: (message) => this.#node?.receive(message),
        onBalancer: (message, from) => {
          if (this.#isListening) this.#link.receive(message, from)
        },
        onPeerLost: (id) => this.#node?.peerLost(id),
        onUnheard: (id, stream) => this.#node?.unheard(id, stream),
        onPeerClosed: (id) => this.#node?.peerClosed(id),
      },
    )
    this.#backups = new Backups({
      disk: options.io.disk,
      barrier: (done) => this.barrier(done),
      writeKeystore: async () => {
        if (!this.#node) throw new Error('this server is stopping')
        return this.#node.writeKeystoreNow()
      },
    })
    this.#link = new BalancerLink({
      io: options.io,
      log: options.log,
      balancers: options.balancers,
      report: () => this.report(),
      send: (message, to) => this.#peers.sendToBalancer(message, to),
      onForm: (cluster) => this.#join(cluster, true),
      onCluster: (cluster, servers) => {
        this.#join(cluster, false)
        if (cluster === this.#identity.clusterId) this.#setRegistered(servers)
      },
      onCampaign: () => this.#node?.campaign(),
      onSuperseded: (why) => options.onFailure(new Error(why)),
    })
  }

  /** @throws Error where the directory is in use or damaged, or a port is taken. */
  static async start(options: ServerOptions): Promise<Server> {
    const { io, directory } = options
    await io.disk.makeDirectory(directory)
    // Names that are readable may not be durable, if the process before died in between.
    await io.disk.syncDirectory(directory)
    const lock = await io.disk.lock(`${directory}/lock`)
    if (!lock) throw new Error(`${directory} is in use by another process`)
    const identity = await identify(options).catch(async (error) => {
      await lock.release()
      throw error
    })
    const server = new Server(options, lock, identity)
    await server.#listen().catch(async (error) => {
      await server.stop()
      throw error
    })
    return server
  }

  get id(): string {
    return this.#self.id
  }

  get node(): Node | null {
    return this.#node
  }

  report(): Report {
    const { requestCount } = this.stats
    const { protocol = PROTOCOL } = this.#options
    if (this.#node) return { ...this.#node.report(), requestCount, protocol }
    return {
      requestCount,
      protocol,
      ...this.#self,
      cluster: this.#identity.clusterId,
      role: 'follower',
      voter: false,
      term: 0,
      leader: null,
      lastTerm: 0,
      lastIndex: 0,
      commitIndex: 0,
      appliedIndex: 0,
    }
  }

  // ---------------------------------------------------------------- requests

  write(lane: Lane, command: Buffer, waiter: Waiter): void {
    if (this.#node) return this.#node.write(lane, command, waiter)
    const kept = Buffer.from(command)
    this.#whenJoined(
      (node) => node.write(lane, kept, waiter),
      (why) => waiter.done({ kind: 'notStored', why }),
    )
  }

  writeSets(lane: Lane, commands: Buffer, count: number, waiter: Waiter): boolean {
    return this.#node?.writeSets(lane, commands, count, waiter) ?? false
  }

  barrier(done: (failure: string | null) => void, lane?: Lane): void {
    this.#whenJoined((node) => node.barrier(done, lane), done)
  }

  canReadNow(): boolean {
    return this.#node?.canReadNow() ?? false
  }

  get whyNothingHere(): string | null {
    return this.#node ? null : this.#whyNoNode
  }

  get(key: string, nowS?: number) {
    return this.#node?.machine.get(key, nowS)
  }

  find(key: string, nowS: number) {
    return this.#node?.machine.find(key, nowS) ?? null
  }

  preview(item: Item | undefined, options: Options) {
    return this.#node?.machine.preview(item, options) ?? { reply: null, after: undefined }
  }

  get itemSizeMax(): number {
    return this.#node?.itemSizeMax ?? ITEM_SIZE_MAX
  }

  changeItemSizeMax(bytes: number): string {
    const { min, max } = ITEM_SIZE_BOUNDS
    if (!(bytes >= min && bytes <= max)) {
      return `SERVER_ERROR the size of an item is at least ${min} and at most ${max} bytes\r\nend\r\n`
    }
    if (!this.#node) return `SERVER_ERROR ${this.#whyNoNode}\r\nend\r\n`
    const { isDone, why } = this.#node.changeItemSizeMax(bytes)
    return `${isDone ? 'done' : 'waiting'} ${why}\r\nend\r\n`
  }

  statsReply(words: readonly string[]): string {
    return statsReply(words, this.stats, this.#facts())
  }

  get #readMode(): ReadMode {
    return this.#node?.readMode ?? 'quorum'
  }

  changeReadMode(word: string): string {
    const mode = READ_MODES.find((known) => known === word)
    if (!mode) return `SERVER_ERROR the read mode is one of ${READ_MODES.join(', ')}\r\nend\r\n`
    if (!this.#node) return `SERVER_ERROR ${this.#whyNoNode}\r\nend\r\n`
    const { isDone, why } = this.#node.changeReadMode(mode)
    return `${isDone ? 'done' : 'waiting'} ${why}\r\nend\r\n`
  }

  setVerbosity(level: number): void {
    this.#verbosity = level
  }

  setMemoryLimit(bytes: number): void {
    this.#options.log.info({}, `a client set the memory limit to ${bytes} bytes`)
    this.#memoryLimitBytes = bytes
    if (this.#node) this.#node.memoryLimitBytes = bytes
  }

  get mayShutDown(): boolean {
    return this.#options.onShutdown !== undefined
  }

  shutDown(): void {
    this.#options.log.info({}, 'a client asked this server to shut down')
    this.#options.onShutdown?.()
  }

  get needsAuth(): boolean {
    return this.#options.users !== undefined
  }

  isKnown(user: string, password: string): boolean {
    const expected = this.#options.users?.get(user)
    return expected !== undefined && isSame(expected, password)
  }

  #facts(): ServerFacts {
    const { io, client, connectionsMax = CONNECTIONS_MAX, idleTimeoutMs = 0 } = this.#options
    const nowMs = io.clock.monotonicMs()
    const { user, system } = io.process.cpuMs()
    const items = this.#node?.machine.items
    return {
      ...{ pid: io.process.pid, userCpuMs: user, systemCpuMs: system },
      ...{ uptimeS: Math.floor((nowMs - this.#startedMs) / 1000), wallMs: io.clock.wallMs() },
      ...{ itemCount: items?.count ?? 0, itemBytes: items?.bytes ?? 0 },
      logSyncCount: this.#node?.logSyncCount ?? 0,
      disk: this.#node?.diskFacts ?? null,
      ...{ memoryLimitBytes: this.#memoryLimitBytes, itemSizeMax: this.itemSizeMax },
      readMode: this.#readMode,
      ...{ connectionsMax, idleTimeoutS: idleTimeoutMs / 1000, verbosity: this.#verbosity },
      ...{ client, isAuthNeeded: this.needsAuth, mayShutDown: this.mayShutDown },
      connections: [...this.#connections].map((connection) => connection.facts(nowMs)),
      items: () => this.#items(),
    }
  }

  answer(question: 'get-servers' | 'status'): string {
    const line = question === 'status' ? JSON.stringify(this.#status()) : this.#leaderLine()
    return `${line}\r\nend\r\n`
  }

  remove(server: string): string {
    if (!this.#node) return `SERVER_ERROR ${this.#whyNoNode}\r\nend\r\n`
    const { isOut, why } = this.#node.remove(server)
    return `${isOut ? 'removed' : 'waiting'} ${why}\r\nend\r\n`
  }

  openBackup(): Promise<Backup> {
    return this.#backups.open()
  }

  #leaderLine(): string {
    const leader = this.#node?.raft.leaderId ?? null
    const member =
      leader === null || !this.#node ? undefined : memberOf(this.#node.raft.config, leader)
    return member ? `${member.cip}:${member.cport}` : 'SERVER_ERROR no leader: none is known here'
  }

  #status(): ClusterStatus {
    if (this.#node) return this.#node.status()
    return {
      cluster: this.#identity.clusterId,
      leader: null,
      whyNoLeader: this.#whyNoNode,
      membership: null,
      reads: null,
      members: [],
    }
  }

  get #whyNoNode(): string {
    return this.#identity.clusterId === null
      ? 'this server has not joined a cluster yet: a new cluster needs a load balancer and two servers'
      : 'this server is starting: it reads its data'
  }

  #whenJoined(run: (node: Node) => void, refuse: (why: string) => void): void {
    if (this.#node) return run(this.#node)
    let isDone = false
    const tryNow = () => {
      if (isDone || !this.#node) return
      isDone = true
      timer.cancel()
      run(this.#node)
    }
    const timer = this.#options.io.timers.after(this.#options.requestTimeoutMs, () => {
      isDone = true
      this.#early.delete(tryNow)
      refuse(this.#whyNoNode)
    })
    this.#early.add(tryNow)
  }

  *#items(): Generator<ItemFacts> {
    for (const [key, { value, expiresAtMs }] of this.#node?.machine.liveItems(DUMP_LOOKS_MAX) ??
      []) {
      yield { key, valueBytes: value.length, expiresAtMs }
    }
  }

  // ---------------------------------------------------------------- cluster

  /** Becomes a member of `cluster`, or its first one; does nothing for a member of it. */
  #join(cluster: string, form: boolean): void {
    // A server that stopped after it had joined but before it had formed begins anew.
    // One without data may follow its cluster into a recovery that happened before it had any.
    const isOther = this.#identity.clusterId !== cluster
    const isBegun = this.#node && !(this.#isEmpty && (form || isOther))
    if (isBegun || this.#joining || this.#isStopped) return
    this.#joining = this.#open(cluster, form)
      .catch((error) => this.#options.onFailure(asError(error)))
      .finally(() => {
        this.#joining = null
      })
  }

  get #isEmpty(): boolean {
    const log = this.#node?.raft.log
    return log?.lastIndex === 0 && !log.isOwing
  }

  async #open(cluster: string, form: boolean): Promise<void> {
    const { io, directory, log, requestTimeoutMs, onLeave, onFailure } = this.#options
    const { timing, membership, segmentBytes, snapshotPieceBytes, scrubIntervalMs } = this.#options
    const { limits, slowness, protocol } = this.#options
    const { serverId, clusterId } = this.#identity
    const isMember = clusterId === cluster
    if (clusterId !== null && !isMember) {
      if (!this.#isEmpty || !isSuccessor(cluster, clusterId)) return
    }
    if (this.#node) {
      const node = this.#node
      this.#node = null
      await node.stop()
    }
    if (!isMember) {
      await VoteFile.create(io.disk, directory, serverId)
      // Before the identity: one without a log has lost it, and must not begin anew.
      await Node.createLog(io, directory, GROUP, cluster)
      this.#identity = { serverId, clusterId: cluster }
      await saveIdentity(io.disk, directory, this.#identity)
      log.info({}, `${form ? 'forming' : 'joining'} cluster ${cluster} as server ${serverId}`)
    }
    const node = await Node.open(
      {
        io,
        log,
        directory,
        group: GROUP,
        clusterId: cluster,
        self: this.#self,
        requestTimeoutMs,
        ...(timing ? { timing } : {}),
        ...(membership ? { membership } : {}),
        ...(segmentBytes ? { segmentBytes } : {}),
        ...(snapshotPieceBytes ? { snapshotPieceBytes } : {}),
        ...(scrubIntervalMs ? { scrubIntervalMs } : {}),
        ...(limits ? { limits } : {}),
        ...(slowness ? { slowness } : {}),
        ...(protocol ? { protocol } : {}),
        protocolOf: (id) => this.#peers.protocolOf(id),
        send: (message) => this.#peers.send(message),
        flush: () => this.#peers.flush(),
        onLeave,
        onSettled: () => this.#flushes.run(),
        onChange: () => this.#onNodeChange(),
        onFailure,
      },
      form,
    )
    if (this.#isStopped) return node.stop()
    this.#node = node
    node.memoryLimitBytes = this.#memoryLimitBytes
    node.setRegistered(this.#registered)
    this.#peers.join(cluster, GROUP)
    this.#peers.setAddresses(node.addresses())
    node.start()
    for (const early of this.#early) early()
    this.#early.clear()
    this.#link.register()
  }

  #setRegistered(servers: readonly Registration[]): void {
    this.#registered = servers
    if (!this.#node) return
    this.#node.setRegistered(servers)
    this.#peers.setAddresses(this.#node.addresses())
  }

  #onNodeChange(): void {
    const node = this.#node
    if (!node) return
    const { role, term, leaderId } = node.raft
    this.#peers.setAddresses(node.addresses())
    this.#link.register()
    const state = role === 'leader' ? 'this server leads' : `follows ${leaderId ?? 'nobody'}`
    if (state === this.#lastState) return
    this.#lastState = state
    this.#options.log.info({ term, role }, state)
  }

  // ---------------------------------------------------------------- sockets

  async #listen(): Promise<void> {
    const { io, client } = this.#options
    await this.#peers.start()
    const onStream = (stream: Stream) => {
      const { connectionsMax = CONNECTIONS_MAX } = this.#options
      if (this.#connections.size >= connectionsMax) {
        this.stats.add('rejected_connections')
        return this.#refuseConnection(stream)
      }
      this.stats.add('total_connections')
      const connection: Connection = new Connection(stream, this, io, this.#flushes, () =>
        this.#connections.delete(connection),
      )
      if (this.#connections.size === 0) this.#checkConnections()
      this.#connections.add(connection)
    }
    this.#listener = await io.network.listen(client, onStream, true)
    // A server with data needs nobody to tell it where it belongs.
    const { clusterId } = this.#identity
    if (clusterId !== null) await this.#open(clusterId, false)
    this.#isListening = true
    this.#link.register()
  }

  #refuseConnection(stream: Stream): void {
    if (this.#refusedCount >= REFUSED_MAX) return stream.destroy()
    this.#refusedCount++
    stream.handle({ onData: () => {}, onEnd: () => {}, onClose: () => void this.#refusedCount-- })
    stream.write('ERROR Too many open connections\r\n')
    endStream(stream, this.#options.io.timers)
  }

  /** Again and again while there are any. */
  #checkConnections(): void {
    const { io, idleTimeoutMs = 0 } = this.#options
    if (this.#checkTimer || this.#isStopped) return
    this.#checkTimer = io.timers.after(CHECK_MS, () => {
      this.#checkTimer = null
      const nowMs = io.clock.monotonicMs()
      for (const connection of this.#connections) connection.check(nowMs, idleTimeoutMs)
      if (this.#connections.size > 0) this.#checkConnections()
    })
  }

  /**
   * Hands over leadership, answers the requests that are here, finishes what is
   * on its way to the disk and leaves a clean end there.
   */
  async stop(): Promise<void> {
    if (this.#isStopped) return
    this.#isStopped = true
    this.#link.stop()
    this.#checkTimer?.cancel()
    await this.#listener?.close()
    await this.#joining?.catch(() => {})
    await this.#node?.handOver()
    await this.#drain()
    await this.#node?.stop()
    for (const connection of this.#connections) connection.destroy()
    await this.#peers.stop()
    await this.#lock.release()
  }

  #drain(): Promise<void> {
    return new Promise((resolve) => {
      const late = this.#options.io.timers.after(DRAIN_MS, resolve)
      const drained = [...this.#connections].map((connection) => connection.drain())
      void Promise.all(drained).then(() => {
        late.cancel()
        resolve()
      })
    })
  }
}

/** Who this server is; a new one, where its vote can't be read: it may have given it already. */
async function identify({ io, log, directory }: ServerOptions): Promise<Identity> {
  const { disk, random } = io
  const identity = await loadIdentity(disk, directory, random)
  if (identity.clusterId === null) return identity
  try {
    const { file } = await VoteFile.open(disk, directory, identity.serverId)
    await file.close()
    return identity
  } catch (error) {
    if (!(error instanceof VoteDamagedError)) throw error
    const renewed = { serverId: random.hex(4), clusterId: null }
    // What it had stays, out of the way.
    if ((await disk.list(`${directory}/groups`)).length > 0) {
      await disk.rename(`${directory}/groups`, `${directory}/groups-before-${renewed.serverId}`)
      await disk.syncDirectory(directory)
    }
    await saveIdentity(disk, directory, renewed)
    log.error(
      {},
      `${error.message}: server ${identity.serverId} may have voted and can't know for whom; it comes back as ${renewed.serverId}`,
    )
    return renewed
  }
}

/** Takes as long wherever they differ, so that nobody finds a password letter by letter. */
function isSame(expected: string, given: string): boolean {
  let difference = expected.length ^ given.length
  for (let at = 0; at < given.length; at++) {
    difference |= given.charCodeAt(at) ^ expected.charCodeAt(at % expected.length)
  }
  return difference === 0
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}
