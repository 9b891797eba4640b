/**
 * The load balancer process: sockets, a timer and one small file around the
 * coordinator.
 *
 * Servers speak to it over UDP (protocol/balancer.ts), clients over TCP in
 * lines, each answer ending with a line `end`:
 *
 *     get-servers    ip:port of servers to use, as the policy says, or
 *                    `SERVER_ERROR no leader: <why>`
 *     status         one JSON line about the cluster and its members
 *
 * On disk: `cluster`, one checked line: the cluster's id, and who may form it.
 */
import split2 from 'split2'
import type { Address, DatagramSocket, Io, Listener, Lock, Stream, Timer } from '../io/io.ts'
import type { Logger } from '../io/logger.ts'
import { replaceFile } from '../io/replace-file.ts'
import { decodeToBalancer, encodeDatagram } from '../protocol/balancer.ts'
import { checkedLine, readCheckedLine } from '../protocol/checked-line.ts'
import type { ClusterStatus } from '../protocol/status.ts'
import {
  type Action,
  type ClusterRecord,
  Coordinator,
  type CoordinatorTiming,
  DEFAULT_COORDINATOR_TIMING,
  type DiscoverPolicy,
} from './coordinator.ts'

/** The coordinator is asked what to do so many times a heartbeat. */
const TICKS_PER_HEARTBEAT = 5
const LINE_BYTES_MAX = 1_024
const CLIENTS_MAX = 4_096
/** With more than this unsent to a client, no more of its lines are answered. */
const UNSENT_BYTES_MAX = 64 * 1024
const CLIENT_IDLE_MS = 60_000

export interface BalancerOptions {
  readonly io: Io
  readonly log: Logger
  /** Where clients ask, TCP. */
  readonly client: Address
  /** Where servers register, UDP. */
  readonly server: Address
  readonly directory: string
  readonly discover?: DiscoverPolicy
  readonly timing?: CoordinatorTiming
  /** Its file can't be written; the process must end. */
  readonly onFailure: (error: Error) => void
}

export class Balancer {
  readonly #options: BalancerOptions
  readonly #coordinator: Coordinator
  readonly #lock: Lock
  #socket: DatagramSocket | null = null
  #listener: Listener | null = null
  #timer: Timer | null = null
  readonly #clients = new Set<Stream>()
  #lastLeader: string | null = null
  #saving: Promise<void> = Promise.resolve()

  private constructor(options: BalancerOptions, coordinator: Coordinator, lock: Lock) {
    this.#options = options
    this.#coordinator = coordinator
    this.#lock = lock
  }

  /** @throws Error where the directory is in use, or a port is taken. */
  static async start(options: BalancerOptions): Promise<Balancer> {
    const { io, directory } = options
    await io.disk.makeDirectory(directory)
    // A name that is readable may not be durable, if the process before died in between.
    await io.disk.syncDirectory(directory)
    const lock = await io.disk.lock(`${directory}/lock`)
    if (!lock) throw new Error(`${directory} is in use by another process`)
    const record = await loadRecord(options).catch(async (error) => {
      await lock.release()
      throw error
    })
    const coordinator = new Coordinator({
      nowMs: io.clock.monotonicMs(),
      record,
      random: () => io.random.float(),
      createClusterId: () => io.random.hex(8),
      timing: options.timing ?? DEFAULT_COORDINATOR_TIMING,
    })
    const balancer = new Balancer(options, coordinator, lock)
    await balancer.#listen().catch(async (error) => {
      await balancer.stop()
      throw error
    })
    return balancer
  }

  async stop(): Promise<void> {
    this.#timer?.cancel()
    for (const stream of this.#clients) stream.destroy()
    await this.#listener?.close()
    await this.#socket?.close()
    await this.#lock.release()
  }

  async #listen(): Promise<void> {
    const { io, client, server } = this.#options
    this.#listener = await io.network.listen(client, (stream) => this.#accept(stream))
    this.#socket = await io.network.bindDatagrams(server, (bytes, from) => {
      const message = decodeToBalancer(bytes)
      if (message) void this.#run(this.#coordinator.receive(this.#nowMs, message, from))
    })
    this.#arm()
  }

  get #nowMs(): number {
    return this.#options.io.clock.monotonicMs()
  }

  #arm(): void {
    const { heartbeatMs } = this.#options.timing ?? DEFAULT_COORDINATOR_TIMING
    this.#timer = this.#options.io.timers.after(heartbeatMs / TICKS_PER_HEARTBEAT, () => {
      this.#arm()
      void this.#run(this.#coordinator.tick(this.#nowMs))
      this.#announceLeader()
    })
  }

  async #run(actions: readonly Action[]): Promise<void> {
    for (const action of actions) {
      if (action.kind === 'send') {
        if (action.message.type === 'campaign') {
          this.#options.log.info({ to: action.to }, 'the leader is silent: asking for a campaign')
        }
        this.#socket?.send(encodeDatagram(action.message), action.to)
      } else {
        // One after the other: they write the same file.
        this.#saving = this.#saving.then(() => this.#save(action.record))
        await this.#saving
      }
    }
  }

  async #save(record: ClusterRecord): Promise<void> {
    const { io, directory, log, onFailure } = this.#options
    const line = checkedLine(`cluster ${record.cluster} ${record.formedBy ?? '-'}`)
    try {
      await replaceFile(io.disk, directory, 'cluster', [Buffer.from(line)])
    } catch (error) {
      return onFailure(error instanceof Error ? error : new Error(String(error)))
    }
    this.#coordinator.clusterSaved(record)
    const how = record.formedBy ? `server ${record.formedBy} shall form it` : 'a server told of it'
    log.info({}, `cluster ${record.cluster}: ${how}`)
  }

  #announceLeader(): void {
    const leader = this.#coordinator.leader(this.#nowMs)
    const id = leader?.id ?? null
    if (id === this.#lastLeader) return
    this.#lastLeader = id
    const { log } = this.#options
    if (leader) log.info({ term: leader.term }, `server ${id} leads, ${leader.cip}:${leader.cport}`)
    else log.warn({}, 'no leader')
  }

  // ---------------------------------------------------------------- clients

  #accept(stream: Stream): void {
    const lines = split2({ maxLength: LINE_BYTES_MAX })
    const closeWhenIdle = () =>
      this.#options.io.timers.after(CLIENT_IDLE_MS, () => stream.destroy())
    let idle = closeWhenIdle()
    stream.handle({
      onData: (chunk) => {
        idle.cancel()
        idle = closeWhenIdle()
        lines.write(chunk)
      },
      onEnd: () => lines.end(),
      onDrain: () => {
        lines.resume()
        stream.resume()
      },
      onClose: () => {
        idle.cancel()
        lines.destroy()
        this.#clients.delete(stream)
      },
    })
    lines.on('data', (line: string) => {
      stream.write(this.#answer(line.trimEnd()))
      if (stream.bufferedBytes <= UNSENT_BYTES_MAX) return
      // No more is answered to who takes no answers; nothing comes from it then, and its time passes.
      lines.pause()
      stream.pause()
    })
    lines.on('end', () => stream.end())
    lines.on('error', () => stream.destroy()) // a line without end
    if (this.#clients.size >= CLIENTS_MAX) stream.destroy()
    else this.#clients.add(stream)
  }

  #answer(line: string): string {
    switch (line) {
      case 'get-servers':
        return `${this.#serverLines()}\r\nend\r\n`
      case 'status':
        return `${JSON.stringify(this.#status())}\r\nend\r\n`
      default:
        return 'ERROR unknown command, use get-servers or status\r\nend\r\n'
    }
  }

  #serverLines(): string {
    const servers = this.#coordinator.servers(this.#nowMs, this.#options.discover ?? 'leader')
    if (servers.length > 0) return servers.map(({ cip, cport }) => `${cip}:${cport}`).join('\r\n')
    return `SERVER_ERROR no leader: ${this.#coordinator.whyNoLeader(this.#nowMs)}`
  }

  #status(): ClusterStatus {
    const nowMs = this.#nowMs
    const leader = this.#coordinator.leader(nowMs)
    return {
      cluster: this.#coordinator.cluster,
      leader: leader?.id ?? null,
      whyNoLeader: leader ? null : this.#coordinator.whyNoLeader(nowMs),
      membership: leader?.membership ?? null,
      reads: leader?.reads ?? null,
      members: this.#coordinator.status(nowMs),
    }
  }
}

async function loadRecord({ io, directory }: BalancerOptions): Promise<ClusterRecord | null> {
  const path = `${directory}/cluster`
  const bytes = await io.disk.readFile(path)
  if (bytes === null) return null
  const [word, cluster, formedBy] = readCheckedLine(bytes.toString('latin1'))?.split(' ') ?? []
  if (word !== 'cluster' || !cluster || !formedBy) {
    throw new Error(
      `${path} is damaged; remove it if servers with data are there to tell the cluster's id`,
    )
  }
  return { cluster, formedBy: formedBy === '-' ? null : formedBy }
}
