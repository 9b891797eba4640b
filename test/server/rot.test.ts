// Goal: whatever single bit rots on one of three servers while it is down, it comes back by
// itself: it never shows anything but a state that was, never leads while it lacks something,
// gets from the others what it lost, and is whole from then on; and where only it and a server
// that lags are there, nothing is lost that a client was told is stored.
// Method: three whole nodes in simulated time; each byte of the last one's log, keystore file and
// vote in turn, one bit each, on fresh copies of all three disks. Of the vote's padding, which
// nobody reads, every 97th byte. LONG=1: each bit, and one of each byte of the padding.
// All that was acknowledged has its seal: before, 10 ms after the last write, a rotten last
// batch cannot be told from one that a power loss tore, and is cut.
// What loading an identity makes of a rotten one is in restore.test.ts.
import { beforeAll, describe, expect, test } from 'vitest'
import type { Node } from '../../src/server/node.ts'
import type { CrashPolicy, MemoryDisk } from '../io/memory-disk.ts'
import {
  Client,
  createDisks,
  DATA,
  type Disks,
  GROUP,
  IDS,
  itemsAfter,
  itemsOf,
  World,
} from './three-nodes.ts'

const KEEP: CrashPolicy = { contents: 'keep', names: 'keep' }
const BITS = process.env.LONG ? [0, 1, 2, 3, 4, 5, 6, 7] : null
const SEGMENT_BYTES = 100
const ROTTEN = 'c'
/** Longer than it takes to elect a leader. */
const ALONE_MS = 1_500
/** By then a seal vouches for the last batch. */
const SEALED_MS = 30
/** A copy of the vote, and what of it is read. */
const VOTE_BLOCK_BYTES = 4096
const VOTE_LINE_BYTES = 24
const VOTE = `${DATA}/vote`

interface Scene {
  readonly disks: Disks
  readonly client: Client
}

/** The last server has its keystore file, and behind that what the second one lacks. */
async function createScene(): Promise<Scene> {
  const disks = await createDisks()
  const world = new World(disks, { segmentBytes: SEGMENT_BYTES })
  const client = new Client()
  for (const id of IDS) await world.start(id)
  world.node('a').campaign()
  await world.until(() => world.node('a').raft.role === 'leader')
  for (let round = 0; round < 5; round++) await client.write(world, 'a', 2)
  await world.until(() => itemsOf(world.node('b')) === itemsAfter(client.issuedCount))
  world.kill('b')
  for (let count = 0; count < 4; count++) await client.write(world, 'a', 1)
  await world.until(() => itemsOf(world.node('c')) === itemsAfter(client.issuedCount))
  await world.advance(SEALED_MS)
  for (const id of ['c', 'a']) world.kill(id, KEEP)
  return { disks: world.disks, client }
}

function rottenFiles(scene: Scene): string[] {
  const disk = scene.disks.get(ROTTEN) as MemoryDisk
  return disk.files().filter((path) => path === VOTE || path.startsWith(GROUP))
}

function bitsOf(path: string, offset: number): readonly number[] {
  const one = [offset % 8]
  if (path !== VOTE || offset % VOTE_BLOCK_BYTES < VOTE_LINE_BYTES) return BITS ?? one
  return BITS || offset % 97 === 0 ? one : []
}

/** Fails at the first thing that must never be. */
function watch(world: World, { issuedCount, ackedCount }: Client): void {
  const states = Array.from({ length: issuedCount + 2 }, (_, count) => itemsAfter(count))
  const seen = new Map<Node, number>()
  world.onStep = () => {
    for (const [id, node] of world.nodes) {
      const { raft, machine } = node
      if (raft.role === 'leader' && raft.log.isOwing) throw new Error(`${id} leads and owes`)
      if (seen.get(node) === machine.appliedIndex) continue
      seen.set(node, machine.appliedIndex)
      const items = itemsOf(node)
      if (!states.includes(items)) throw new Error(`${id} shows what never was: ${items}`)
    }
  }
  expect(ackedCount).toBe(issuedCount)
}

/** What a client of this server reads. */
async function read(world: World, id: string): Promise<string> {
  let answer = ''
  const done = new Promise<void>((resolve, reject) => {
    world.node(id).barrier((failure) => {
      if (failure) return reject(new Error(failure))
      answer = itemsOf(world.node(id))
      resolve()
    })
  })
  await world.until(() => done)
  return answer
}

/** @returns what the rotten server was at its start. */
async function checkRepair(disks: Disks, client: Client, isFullLate: boolean): Promise<string> {
  const all = itemsAfter(client.ackedCount)
  const world = new World(disks, { segmentBytes: SEGMENT_BYTES })
  watch(world, client)
  const { ackedCount, issuedCount } = client
  await world.start(ROTTEN)
  const rotten = world.node(ROTTEN)
  const outcome = rotten.raft.log.isOwing ? 'owing' : 'whole'
  await world.start('b')
  if (isFullLate) {
    rotten.campaign()
    await world.advance(ALONE_MS)
    // Nobody can lead who lacks what was acknowledged; who has it does.
    expect(world.leader?.raft.id).toBe(outcome === 'whole' ? ROTTEN : undefined)
    if (world.leader) expect(await read(world, 'b')).toBe(all)
  }
  await world.start('a')
  if (!isFullLate) rotten.campaign()
  await world.until(() => world.leader !== undefined)
  expect(await read(world, ROTTEN)).toBe(all)
  await world.until(() => {
    const applied = [...world.nodes.values()].map(({ machine }) => machine.appliedIndex)
    return !rotten.raft.log.isOwing && new Set(applied).size === 1
  })
  for (const node of world.nodes.values()) expect(itemsOf(node)).toBe(all)

  // All of it is durable: it comes back whole, and its vote makes the next leader.
  world.kill(ROTTEN)
  await world.start(ROTTEN)
  expect(world.node(ROTTEN).raft.log.isOwing).toBe(false)
  await world.until(() => world.leader !== undefined)
  const [gone, next] = world.leader?.raft.id === 'b' ? ['b', 'a'] : ['a', 'b']
  world.kill(gone)
  world.node(next).campaign()
  await world.until(() => world.node(next).raft.role === 'leader')
  expect(await read(world, ROTTEN)).toBe(all)
  const later = Object.assign(new Client(), { ackedCount, issuedCount })
  await later.write(world, ROTTEN, 1)
  expect(await read(world, ROTTEN)).toBe(itemsAfter(issuedCount + 1))
  return outcome
}

describe('a bit flipped anywhere on one of three servers', () => {
  let scene: Scene

  beforeAll(async () => {
    scene = await createScene()
    const files = rottenFiles(scene)
    expect(files).toContain(`${GROUP}/keystore`)
    expect(files).toContain(VOTE)
    expect(files).not.toContain(`${GROUP}/log/000000000001.log`)
    expect(files.filter((path) => path.endsWith('.log')).length).toBeGreaterThanOrEqual(3)
  })

  async function flipEach(isFullLate: boolean): Promise<void> {
    const { disks, client } = scene
    const counts: Record<string, number> = { owing: 0, whole: 0 }
    for (const path of rottenFiles(scene)) {
      const { length } = (disks.get(ROTTEN) as MemoryDisk).bytes(path)
      for (let offset = 0; offset < length; offset++) {
        for (const bit of bitsOf(path, offset)) {
          const copies = new Map([...disks].map(([id, disk]) => [id, disk.crash(KEEP)]))
          copies.get(ROTTEN)?.flipBit(path, offset, bit)
          const outcome = await checkRepair(copies, client, isFullLate).catch((error: unknown) => {
            throw new Error(`${path}, byte ${offset}, bit ${bit}: ${error}`, { cause: error })
          })
          if (path === VOTE) expect(outcome).toBe('whole')
          counts[outcome] = (counts[outcome] ?? 0) + 1
        }
      }
    }
    expect(counts.owing).toBeGreaterThan(100)
    expect(counts.whole).toBeGreaterThan(20)
  }

  const timeout = BITS ? 1_800_000 : 60_000

  test('the other two are there', { timeout }, () => flipEach(false))

  test('the one that has everything comes late', { timeout }, () => flipEach(true))
})
