// Goal: the power of three whole servers may go at any change of any of their disks. When it is
// back, all that a client was told is stored is there, and what it was not told is there whole
// or not at all, in order.
// Method: a short workload in simulated time, with segments so small that rotation, keystore
// files, cutting the log, a restart and a snapshot all lie within it; cut off at each write,
// sync, rename and removal in turn, for each fate of what was not synced.
import { expect, test } from 'vitest'
import type { Io } from '../../src/io/io.ts'
import { LogStore } from '../../src/server/log/log-store.ts'
import { RecordWriter } from '../../src/server/log/record.ts'
import { VoteFile } from '../../src/server/log/vote-file.ts'
import { createLane, Node } from '../../src/server/node.ts'
import type { PeerMessage } from '../../src/server/peer-messages.ts'
import type { Config } from '../../src/server/raft/types.ts'
import { settle } from '../io/manual-timers.ts'
import { CRASH_POLICIES, type CrashPolicy, MemoryDisk, seededRandom } from '../io/memory-disk.ts'

const IDS = ['a', 'b', 'c']
const CLUSTER = 'cluster-1'
const DATA = 'data'
const GROUP = `${DATA}/groups/0`
const SEGMENT_BYTES = 300
const STEP_MS = 10
const PATIENCE_MS = 10_000
const KEEP: CrashPolicy = { contents: 'keep', names: 'keep' }
const POLICIES = process.env.LONG
  ? CRASH_POLICIES
  : CRASH_POLICIES.filter(({ contents, names }) => contents !== 'keep' && names !== 'keep')
const SILENT = { info: () => {}, warn: () => {}, error: () => {} }

const CONFIG: Config = {
  members: IDS.map((id) => ({ id, voter: true, cip: id, cport: 1, sip: id, sport: 1 })),
  floor: 2,
}

type Disks = ReadonlyMap<string, MemoryDisk>

/** Servers that have come together, and nothing else yet. */
async function createDisks(): Promise<Disks> {
  const disks = new Map<string, MemoryDisk>()
  for (const id of IDS) {
    const disk = new MemoryDisk({ random: seededRandom(1) })
    await disk.makeDirectory(DATA)
    await VoteFile.create(disk, DATA, id)
    const timers = { after: () => ({ cancel: () => {} }), soon: () => {} }
    const at = { directory: `${GROUP}/log`, clusterId: CLUSTER, group: 0 }
    const { log } = await LogStore.open({ disk, timers, ...at })
    const payload = { kind: 'config', config: CONFIG } as const
    log.append([new RecordWriter(CLUSTER).createEntry({ term: 1, index: 1 }, 0, payload)])
    await settle()
    log.commitIndex = 1
    await log.close()
    disks.set(id, disk)
  }
  return disks
}

/** Three machines from the moment they have power to the moment they lose it. */
class World {
  readonly disks: Disks
  readonly nodes = new Map<string, Node>()
  /** The change, on any disk, at which the power goes. */
  readonly cutAt: number
  changeCount = 0
  readonly cut: Promise<void>
  #resolveCut = (): void => {}
  #isCut = false
  #nowMs = 0
  #timers: { readonly atMs: number; readonly fn: () => void }[] = []
  #messages: PeerMessage[] = []

  constructor(disks: Disks, cutAt = Number.POSITIVE_INFINITY) {
    this.disks = disks
    this.cutAt = cutAt
    this.cut = new Promise((resolve) => {
      this.#resolveCut = resolve
    })
    for (const disk of disks.values()) disk.onMutation = () => this.#count(disk)
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
        ...{ requestTimeoutMs: PATIENCE_MS, segmentBytes: SEGMENT_BYTES, snapshotPieceBytes: 200 },
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
    this.nodes.delete(id)
    for (const node of this.nodes.values()) node.peerClosed(id)
  }

  async advance(ms: number): Promise<void> {
    const untilMs = this.#nowMs + ms
    for (;;) {
      await settle()
      if (this.#isCut) await new Promise<never>(() => {})
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
      const timer = { atMs: this.#nowMs + delayMs, fn }
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
    }
  }
}

/** One client: its writes, in order, and how many of them it knows to be stored. */
class Client {
  issuedCount = 0
  ackedCount = 0
  readonly #lane = createLane()

  /** Writes `count` at once. */
  async write(world: World, id: string, count: number): Promise<void> {
    for (let at = 0; at < count; at++) {
      this.issuedCount++
      world.node(id).write(this.#lane, commandOf(this.issuedCount), ({ kind }) => {
        if (kind === 'applied') this.ackedCount++
      })
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
function itemsAfter(count: number): string {
  const items = new Map<string, string>()
  for (let nth = 1; nth <= count; nth++) {
    if (nth % 5 === 3) items.delete(keyOf(nth))
    else items.set(keyOf(nth), textOf(nth))
  }
  return JSON.stringify([...items].sort())
}

function itemsOf({ machine }: Node): string {
  return JSON.stringify(
    [...machine.items.view()].map(([key, { value }]) => [key, `${value}`]).sort(),
  )
}

async function run(world: World, client: Client): Promise<void> {
  for (const id of IDS) await world.start(id)
  world.node('a').campaign()
  await world.until(() => world.node('a').raft.role === 'leader')
  await client.write(world, 'a', 1)
  await client.write(world, 'a', 3)
  await client.write(world, 'b', 2)
  // What c misses is cut from the logs of the others.
  await world.stop('c')
  for (let round = 0; round < 6; round++) await client.write(world, 'a', 2)
  await world.start('c')
  await world.until(() => itemsOf(world.node('c')) === itemsAfter(client.issuedCount))
  await client.write(world, 'b', 2)
  await world.stop('a')
  await world.until(() => world.leader !== undefined)
  await client.write(world, 'b', 1)
}

/** All servers have power again. */
async function checkRestart(disks: Disks, { ackedCount, issuedCount }: Client): Promise<void> {
  const world = new World(disks)
  for (const id of IDS) await world.start(id)
  for (const { raft } of world.nodes.values()) expect(raft.log.isOwing).toBe(false)
  await world.until(() => world.leader !== undefined)
  const reads = [...world.nodes.values()].map(
    (node) =>
      new Promise<void>((resolve, reject) => {
        node.barrier((failure) => (failure ? reject(new Error(failure)) : resolve()))
      }),
  )
  const read = Promise.all(reads).then(() => {})
  await world.until(() => read)
  const [found, ...others] = [...world.nodes.values()].map(itemsOf)
  for (const other of others) expect(other).toBe(found)
  const allowed = Array.from({ length: issuedCount - ackedCount + 1 }, (_, at) =>
    itemsAfter(ackedCount + at),
  )
  expect(allowed).toContain(found)
  // And it goes on.
  await new Client().write(world, 'b', 1)
}

test('a power cut at every change of any disk: what was acknowledged is there, and nothing by halves', async () => {
  const first = await createDisks()
  let snapshotCount = 0
  for (let cutAt = 1; ; cutAt++) {
    const disks = new Map([...first].map(([id, disk]) => [id, disk.crash(KEEP)]))
    const world = new World(disks, cutAt)
    const client = new Client()
    await Promise.race([run(world, client), world.cut])
    const isThrough = world.changeCount < cutAt
    for (const policy of POLICIES) {
      const after = new Map([...disks].map(([id, disk]) => [id, disk.crash(policy)]))
      await checkRestart(after, client).catch((error: unknown) => {
        throw new Error(`change ${cutAt}, ${JSON.stringify(policy)}: ${error}`, { cause: error })
      })
    }
    if (disks.get('c')?.files().includes(`${GROUP}/snapshot`)) snapshotCount++
    if (!isThrough) continue
    // All of it lies within the workload.
    for (const disk of disks.values()) {
      const names = disk.files()
      expect(names).toContain(`${GROUP}/keystore`)
      expect(names).not.toContain(`${GROUP}/log/000000000001.log`)
    }
    expect(snapshotCount).toBeGreaterThan(1)
    expect(cutAt).toBeGreaterThan(200)
    return
  }
})
