// Goal: the power of three whole servers may go at any change of any of their disks. When it is
// back, all that a client was told is stored is there, and what it was not told is there whole
// or not at all, in order.
// Method: a short workload in simulated time, with segments so small that rotation, keystore
// files, cutting the log, a restart and a snapshot all lie within it; cut off at each write,
// sync, rename and removal in turn, for each fate of what was not synced.
import { expect, test } from 'vitest'
import { CRASH_POLICIES, type CrashPolicy } from '../io/memory-disk.ts'
import {
  Client,
  createDisks,
  type Disks,
  GROUP,
  IDS,
  itemsAfter,
  itemsOf,
  World,
} from './three-nodes.ts'

const KEEP: CrashPolicy = { contents: 'keep', names: 'keep' }
const POLICIES = process.env.LONG
  ? CRASH_POLICIES
  : CRASH_POLICIES.filter(({ contents, names }) => contents !== 'keep' && names !== 'keep')

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
    const world = new World(disks, { cutAt })
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
