/**
 * One machine and what runs on it, moving only when a test says so.
 *
 * `Machine` is an `Io`: a clock that stands until `advance`, a disk in memory
 * that holds back changes by path and notes who opens what, and datagrams from
 * a load balancer. `Member` is a node on it whose peers the test plays.
 */
import type { DiskFile, Io, OpenOptions } from '../../src/io/io.ts'
import type { ToServer } from '../../src/protocol/balancer.ts'
import type { Limits } from '../../src/server/admission.ts'
import { type LogEntry, RecordWriter } from '../../src/server/log/record.ts'
import { VoteFile } from '../../src/server/log/vote-file.ts'
import { type Lane, Node } from '../../src/server/node.ts'
import { type PeerMessage, PROTOCOL, type WriteOutcome } from '../../src/server/peer-messages.ts'
import type { EntryId, Payload } from '../../src/server/raft/types.ts'
import { Server } from '../../src/server/server.ts'
import { settle } from '../io/manual-timers.ts'
import { MemoryDisk, type Mutation, type MutationKind, seededRandom } from '../io/memory-disk.ts'

export const CLUSTER = 'cluster-1'
export const DATA = 'data'
export const LOG = `${DATA}/groups/0/log`
export const VOTE = `${DATA}/vote`
/** Of the member under test. */
export const SELF = 'me'
const BALANCER = { host: 'balancer', port: 5001 }
export const REQUEST_TIMEOUT_MS = 2_000
const SILENT = { info: () => {}, warn: () => {}, error: () => {} }

/** Notes files that are opened a second time, in the same way, before they are closed. */
class WatchedDisk extends MemoryDisk {
  readonly openedTwice: string[] = []
  readonly #open = new Set<string>()

  override async open(path: string, options: OpenOptions): Promise<DiskFile> {
    // It is renamed while it is open.
    const name = `${path.replace(/\.tmp$/, '')}${options.isDurable ? ', durably' : ''}`
    if (this.#open.has(name)) this.openedTwice.push(name)
    this.#open.add(name)
    const file = await super.open(path, options)
    const close = async () => {
      await file.close()
      this.#open.delete(name)
    }
    return { ...file, close }
  }
}

interface Hold {
  readonly kind: MutationKind
  readonly path: string
  readonly released: Promise<void>
}

export class Machine {
  readonly disk = new WatchedDisk({ latency: (mutation) => this.#released(mutation) })
  readonly io: Io
  readonly failures: Error[] = []
  #nowMs = 0
  #timers: { readonly atMs: number; readonly fn: () => void }[] = []
  #holds: Hold[] = []
  #onDatagram: (bytes: Buffer) => void = () => {}

  constructor() {
    const random = seededRandom(1)
    this.io = {
      clock: { monotonicMs: () => this.#nowMs, wallMs: () => this.#nowMs },
      random: { float: random, hex: (byteCount) => '5e'.repeat(byteCount) },
      timers: {
        after: (delayMs, fn) => this.#after(delayMs, fn),
        soon: (fn) => void this.#after(0, fn),
      },
      disk: this.disk,
      network: {
        bindDatagrams: async (_, onDatagram) => {
          this.#onDatagram = (bytes) => onDatagram(bytes, BALANCER)
          return { send: () => {}, close: async () => {} }
        },
        listen: async () => ({ close: async () => {} }),
        connect: () => {
          throw new Error('nobody to connect to')
        },
      },
      process: { pid: 1, cpuMs: () => ({ user: 0, system: 0 }) },
    }
  }

  /** Lets so much time pass; with 0, all happens that is not held and waits for no time. */
  async advance(ms = 0): Promise<void> {
    const untilMs = this.#nowMs + ms
    for (;;) {
      await settle()
      this.#timers.sort((a, b) => a.atMs - b.atMs)
      const [next] = this.#timers
      if (!next || next.atMs > untilMs) break
      this.#timers.shift()
      this.#nowMs = next.atMs
      next.fn()
    }
    this.#nowMs = untilMs
  }

  /** Changes of this kind wait, to paths that begin so, until the function returned is called. */
  hold(kind: MutationKind, path: string): () => void {
    let release = () => {}
    const released = new Promise<void>((resolve) => {
      release = resolve
    })
    const hold = { kind, path, released }
    this.#holds.push(hold)
    return () => {
      this.#holds = this.#holds.filter((other) => other !== hold)
      release()
    }
  }

  startServer(): Promise<Server> {
    return Server.start({
      io: this.io,
      log: SILENT,
      directory: DATA,
      client: { host: SELF, port: 7001 },
      peer: { host: SELF, port: 6001 },
      advertiseCip: SELF,
      advertiseSip: SELF,
      balancers: [BALANCER],
      requestTimeoutMs: REQUEST_TIMEOUT_MS,
      onLeave: () => {},
      onFailure: (error) => void this.failures.push(error),
    })
  }

  /** A datagram reaches the server, from its load balancer or from a peer. */
  receive(message: ToServer | (PeerMessage & { cluster: string; group: number })): void {
    this.#onDatagram(Buffer.from(JSON.stringify(message)))
  }

  #after(delayMs: number, fn: () => void) {
    const timer = { atMs: this.#nowMs + delayMs, fn }
    this.#timers.push(timer)
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== timer)
      },
    }
  }

  async #released({ kind, path }: Mutation): Promise<void> {
    const holds = this.#holds.filter((hold) => hold.kind === kind && path.startsWith(hold.path))
    await Promise.all(holds.map(({ released }) => released))
  }
}

/** A node and the messages between it and peers that the test plays. */
export class Member {
  readonly machine: Machine
  readonly node: Node
  readonly #sent: PeerMessage[]
  readonly #writer = new RecordWriter(CLUSTER)
  /** Under which ids writes were forwarded. */
  readonly #ids = new Map<string, number>()

  private constructor(machine: Machine, node: Node, sent: PeerMessage[]) {
    this.machine = machine
    this.node = node
    this.#sent = sent
  }

  /** With an empty log. */
  static async start(machine = new Machine(), limits?: Limits): Promise<Member> {
    const { io } = machine
    const sent: PeerMessage[] = []
    await io.disk.makeDirectory(DATA)
    await VoteFile.create(io.disk, DATA, SELF)
    await Node.createLog(io, DATA, 0, CLUSTER)
    const node = await Node.open(
      {
        io,
        log: SILENT,
        directory: DATA,
        group: 0,
        clusterId: CLUSTER,
        self: { id: SELF, cip: SELF, cport: 7001, sip: SELF, sport: 6001 },
        requestTimeoutMs: REQUEST_TIMEOUT_MS,
        ...(limits ? { limits } : {}),
        send: (message) => sent.push(message),
        onChange: () => {},
        onLeave: () => {},
        onFailure: (error) => void machine.failures.push(error),
      },
      false,
    )
    node.start()
    return new Member(machine, node, sent)
  }

  /** What it has sent of this type since the last call. */
  sent<T extends PeerMessage['type']>(type: T): Extract<PeerMessage, { type: T }>[] {
    const isAsked = (message: PeerMessage): message is Extract<PeerMessage, { type: T }> =>
      message.type === type
    const found = this.#sent.filter(isAsked)
    this.#sent.splice(0, this.#sent.length, ...this.#sent.filter((message) => !isAsked(message)))
    return found
  }

  /** Writes forwarded since the last call: `<to> in term <term>: <write> <write> ...`. */
  forwards(): string[] {
    return this.sent('forward').map(({ to, term, requests }) => {
      for (const { id, command } of requests) this.#ids.set(nameOf(command), id)
      return `${to} in term ${term}: ${requests.map(({ command }) => nameOf(command)).join(' ')}`
    })
  }

  /** The writes in its log, in order. */
  proposed(): string[] {
    const { log } = this.node.raft
    const bodies = log.slice(1, log.lastIndex, Number.POSITIVE_INFINITY).map(({ body }) => body)
    return bodies.flatMap((body) =>
      [...body.toString().matchAll(/^set (\S+)/gm)].map(([, name]) => `${name}`),
    )
  }

  /** @param outcomes Takes what becomes of it. */
  write(lane: Lane, name: string, outcomes: WriteOutcome[] = []): void {
    this.node.write(lane, commandOf(name), { done: (outcome) => void outcomes.push(outcome) })
  }

  /** Several that came together. @returns whether they were taken as one. */
  writeSets(lane: Lane, names: readonly string[], outcomes: WriteOutcome[] = []): boolean {
    const commands = Buffer.concat(names.map(commandOf))
    const done = (outcome: WriteOutcome) => void outcomes.push(outcome)
    return this.node.writeSets(lane, commands, names.length, { done })
  }

  async hearLeader(from: string, term: number): Promise<void> {
    this.node.receive({ type: 'heartbeat', from, to: SELF, term, commitIndex: 0, round: 0 })
    await this.machine.advance()
  }

  /** The answer to a write that was forwarded. */
  async hearAnswer(from: string, name: string, outcome: WriteOutcome): Promise<void> {
    const id = this.#ids.get(name)
    if (id === undefined) throw new Error(`${name} was not forwarded`)
    this.node.receive({ type: 'forwardResp', from, to: SELF, results: [{ id, outcome }] })
    await this.machine.advance()
  }

  async hearForward(from: string, term: number, ...names: string[]): Promise<void> {
    const requests = names.map((name, id) => ({ id, command: commandOf(name) }))
    this.node.receive({ type: 'forward', from, to: SELF, term, requests })
    await this.machine.advance()
  }

  async hearAppend(
    from: string,
    term: number,
    prev: EntryId,
    entries: LogEntry[],
    commitIndex = 0,
  ): Promise<void> {
    this.node.receive({ type: 'append', from, to: SELF, term, prev, commitIndex, entries })
    await this.machine.advance()
  }

  entry(term: number, index: number, payload: Payload = { kind: 'noop' }): LogEntry {
    return this.#writer.createEntry({ term, index }, 0, payload)
  }

  /** Its first entry is the configuration of three voters, `me`, `b` and `c`. */
  async joinVoters(leader: string, term: number, protocol = PROTOCOL): Promise<void> {
    const members = [SELF, 'b', 'c'].map((id) => {
      return { id, voter: true, cip: id, cport: 7001, sip: id, sport: 6001 }
    })
    const config = { members, floor: 2, protocol }
    const first = this.entry(term, 1, { kind: 'config', config })
    await this.hearAppend(leader, term, { term: 0, index: 0 }, [first])
  }

  /** Wins the election of `term`, the one after its own, with the vote of `voter`. */
  async becomeLeader(term: number, voter: string): Promise<void> {
    const answer = { from: voter, to: SELF, term, granted: true }
    this.node.campaign()
    this.node.receive({ type: 'preVoteResp', ...answer })
    await this.machine.advance()
    this.node.receive({ type: 'voteResp', ...answer, wallMs: 0 })
    await this.machine.advance()
    if (this.node.raft.role !== 'leader') throw new Error(`${SELF} was not elected`)
  }
}

function commandOf(name: string): Buffer {
  return Buffer.from(`set ${name} 0 0 1\r\nx\r\n`)
}

function nameOf(command: Buffer): string {
  return command.toString().split(' ')[1] ?? ''
}
