/**
 * Three whole servers, but for their sockets, in simulated time on disks in memory: their
 * power can go, all at once or one by one. And a client whose writes tell what must be stored.
 */
import type { Io } from '../../src/io/io.ts'
import { LogStore } from '../../src/server/log/log-store.ts'
import { RecordWriter } from '../../src/server/log/record.ts'
import { VoteFile } from '../../src/server/log/vote-file.ts'
import { createLane, Node } from '../../src/server/node.ts'
import { type PeerMessage, PROTOCOL, type WriteOutcome } from '../../src/server/peer-messages.ts'
import type { Config } from '../../src/server/raft/types.ts'
import { settle } from '../io/manual-timers.ts'
import { type CrashPolicy, MemoryDisk, seededRandom } from '../io/memory-disk.ts'

export const IDS = ['a', 'b', 'c']
const CLUSTER = 'cluster-1'
export const DATA = 'data'
export const GROUP = `${DATA}/groups/0`
const STEP_MS = 10
const PATIENCE_MS = 10_000
const LOSE: CrashPolicy = { contents: 'lose', names: 'lose' }
const SILENT = { info: () => {}, warn: () => {}, error: () => {} }

export const CONFIG: Config = {
  members: IDS.map((id) => ({ id, voter: true, cip: id, cport: 1, sip: id, sport: 1 })),
  floor: 2,
  protocol: PROTOCOL,
}

export type Disks = ReadonlyMap<string, MemoryDisk>

/** Servers that have come together, and nothing else yet. */
export async function createDisks(config = CONFIG): Promise<Disks> {
  const disks = new Map<string, MemoryDisk>()
  for (const id of IDS) {
    const disk = new MemoryDisk({ random: seededRandom(1) })
    await disk.makeDirectory(DATA)
    await VoteFile.create(disk, DATA, id)
    const timers = { after: () => ({ cancel: () => {} }), soon: () => {} }
    const at = { directory: `${GROUP}/log`, clusterId: CLUSTER, group: 0 }
    const { log } = await LogStore.open({ disk, timers, ...at })
    const payload = { kind: 'config', config } as const
    log.append([new RecordWriter(CLUSTER).createEntry({ term: 1, index: 1 }, 0, payload)])
    await settle()
    log.commitIndex = 1
    await log.close()
    disks.set(id, disk)
  }
  return disks
}

/** Three machines from the moment they have power to the moment they lose it. */
export class World {
  readonly disks: Map<string, MemoryDisk>
  readonly nodes = new Map<string, Node>()
  /** What those speak that are not of this version. */
  readonly protocols = new Map<string, number>()
  /** Called whenever everything that was under way is through. */
  onStep: () => void = () => {}
  /** The change, on any disk, at which the power goes. */
  readonly cutAt: number
  changeCount = 0
  readonly cut: Promise<void>
  #resolveCut = (): void => {}
  #isCut = false
  #nowMs = 0
  readonly #segmentBytes: number
  #timers: { readonly atMs: number; readonly disk: MemoryDisk; readonly fn: () => void }[] = []
  #messages: PeerMessage[] = []

  constructor(disks: Disks, { cutAt = Number.POSITIVE_INFINITY, segmentBytes = 300 } = {}) {
    this.disks = new Map(disks)
    this.cutAt = cutAt
    this.#segmentBytes = segmentBytes
    this.cut = new Promise((resolve) => {
      this.#resolveCut = resolve
    })
    for (const [id, disk] of disks) this.#mount(id, disk)
  }

  get leader(): Node | undefined {
    return [...this.nodes.values()].find(({ raft }) => raft.role === 'leader')
  }

  node(id: string): Node {
    const node = this.nodes.get(id)
    if (!node) throw new Error(`${id} is down`)
    return node
  }

  async start(id: string): Promise<void> {
    const disk = this.disks.get(id) as MemoryDisk
    const node = await Node.open(
      {
        ...{ io: this.#ioOf(id, disk), log: SILENT, directory: DATA, group: 0 },
        ...{ clusterId: CLUSTER, self: { id, cip: id, cport: 1, sip: id, sport: 1 } },
        ...{ requestTimeoutMs: PATIENCE_MS, segmentBytes: this.#segmentBytes },
        snapshotPieceBytes: 200,
        protocol: this.#protocolOf(id),
        protocolOf: (other) => this.#protocolOf(other),
        send: (message) => (this.nodes.has(message.to) ? this.#messages.push(message) : null),
        onChange: () => {},
        onLeave: () => {},
        onFailure: (error) => {
          throw error
        },
      },
      false,
    )
    this.nodes.set(id, node)
    node.start()
  }

  async stop(id: string): Promise<void> {
    const stopped = this.node(id).stop()
    await this.until(() => stopped)
    this.#lose(id)
  }

  /** One machine loses its power, and what it had not synced unless told otherwise. */
  kill(id: string, policy = LOSE): void {
    const disk = this.disks.get(id) as MemoryDisk
    this.#lose(id)
    this.#mount(id, disk.crash(policy))
    this.#timers = this.#timers.filter((timer) => timer.disk !== disk)
  }

  async advance(ms: number): Promise<void> {
    const untilMs = this.#nowMs + ms
    for (;;) {
      await settle()
      if (this.#isCut) await new Promise<never>(() => {})
      this.onStep()
      if (this.#messages.length > 0) {
        for (const message of this.#messages.splice(0)) this.nodes.get(message.to)?.receive(message)
        continue
      }
      this.#timers.sort((a, b) => a.atMs - b.atMs)
      const [next] = this.#timers
      if (!next || next.atMs > untilMs) break
      this.#timers.shift()
      this.#nowMs = next.atMs
      next.fn()
    }
    this.#nowMs = untilMs
  }

  /** Lets time pass until that holds, or the promise is kept. */
  async until(condition: (() => boolean) | (() => Promise<void>)): Promise<void> {
    let isKept = false
    for (let waitedMs = 0; ; waitedMs += STEP_MS) {
      const result = condition()
      if (typeof result === 'boolean') isKept = result
      else void result.then(() => (isKept = true))
      await this.advance(0)
      if (isKept) return
      if (waitedMs > PATIENCE_MS) throw new Error(`waited in vain for ${condition}`)
      await this.advance(STEP_MS)
    }
  }

  #protocolOf(id: string): number {
    return this.protocols.get(id) ?? PROTOCOL
  }

  #mount(id: string, disk: MemoryDisk): void {
    this.disks.set(id, disk)
    disk.onMutation = () => this.#count(disk)
  }

  #lose(id: string): void {
    this.nodes.delete(id)
    for (const node of this.nodes.values()) node.peerClosed(id)
  }

  #count(disk: MemoryDisk): void {
    if (++this.changeCount !== this.cutAt) return
    // This change begins and does not end; nothing else happens anywhere.
    disk.haltAt = disk.mutationCount + 1
    for (const other of this.disks.values()) if (other !== disk) other.halt()
    this.#isCut = true
    this.#resolveCut()
  }

  #ioOf(id: string, disk: MemoryDisk): Io {
    const float = seededRandom(IDS.indexOf(id))
    const after = (delayMs: number, fn: () => void) => {
      const timer = { atMs: this.#nowMs + delayMs, disk, fn }
      this.#timers.push(timer)
      const cancel = () => {
        this.#timers = this.#timers.filter((other) => other !== timer)
      }
      return { cancel }
    }
    return {
      clock: { monotonicMs: () => this.#nowMs, wallMs: () => this.#nowMs },
      random: { float, hex: (byteCount) => '5e'.repeat(byteCount) },
      timers: { after, soon: (fn) => void after(0, fn) },
      disk,
      network: null as never,
      process: null as never,
    }
  }
}

/** How a write at this server ends. */
export async function write(world: World, id: string, command: string): Promise<WriteOutcome> {
  const outcomes: WriteOutcome[] = []
  const done = (outcome: WriteOutcome) => void outcomes.push(outcome)
  world.node(id).write(createLane(), Buffer.from(command), { done })
  await world.until(() => outcomes.length > 0)
  return outcomes[0] as WriteOutcome
}

/** One client: its writes, in order, and how many of them it knows to be stored. */
export class Client {
  issuedCount = 0
  ackedCount = 0
  readonly #lane = createLane()

  /** Writes `count` at once. */
  async write(world: World, id: string, count: number): Promise<void> {
    for (let at = 0; at < count; at++) {
      this.issuedCount++
      const done = ({ kind }: WriteOutcome) => {
        if (kind === 'applied') this.ackedCount++
      }
      world.node(id).write(this.#lane, commandOf(this.issuedCount), { done })
    }
    await world.until(() => this.ackedCount === this.issuedCount)
  }
}

function keyOf(nth: number): string {
  return `key${nth % 3}`
}

function textOf(nth: number): string {
  return `${nth}:`.padEnd(40 + 7 * (nth % 5), 'v')
}

/** The third of every five deletes. */
function commandOf(nth: number): Buffer {
  const value = textOf(nth)
  return Buffer.from(
    nth % 5 === 3
      ? `delete ${keyOf(nth)}\r\n`
      : `set ${keyOf(nth)} 0 0 ${value.length}\r\n${value}\r\n`,
  )
}

/** What is stored after the first `count` writes. */
export function itemsAfter(count: number): string {
  const items = new Map<string, string>()
  for (let nth = 1; nth <= count; nth++) {
    if (nth % 5 === 3) items.delete(keyOf(nth))
    else items.set(keyOf(nth), textOf(nth))
  }
  return JSON.stringify([...items].sort())
}

export function itemsOf({ machine }: Node): string {
  return JSON.stringify(
    [...machine.items.view()].map(([key, { value }]) => [key, `${value}`]).sort(),
  )
}
