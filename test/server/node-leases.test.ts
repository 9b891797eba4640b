/** Reads under a lease, at whole servers but for their sockets. */
import { expect, test } from 'vitest'
import { createDisks, IDS, World, write } from './three-nodes.ts'

/** Longer than a lease, shorter than a leader without a quorum leads. */
const LEASE_OVER_MS = 600

async function start(): Promise<World> {
  const world = new World(await createDisks())
  for (const id of IDS) await world.start(id)
  await world.until(() => world.leader?.changeReadMode('lease').isDone === true)
  await world.until(() => world.leader?.canReadNow() === true)
  return world
}

function leaderOf(world: World) {
  if (!world.leader) throw new Error('nobody leads')
  return world.leader
}

/** What the others send and are sent is lost, and nobody notices. */
function cutOff(world: World): void {
  const { id } = leaderOf(world).raft
  for (const other of IDS) if (other !== id) world.nodes.delete(other)
}

test('a leader serves reads without asking anybody, for as long as its lease holds', async () => {
  const world = await start()
  const leader = leaderOf(world)
  cutOff(world)
  const served: (string | null)[] = []
  leader.barrier((failure) => served.push(failure))
  await world.advance(0)
  expect(served).toEqual([null])
  expect(leader.canReadNow()).toBe(true)

  await world.advance(LEASE_OVER_MS)
  expect(leader.raft.role).toBe('leader')
  expect(leader.canReadNow()).toBe(false)
  leader.barrier((failure) => served.push(failure))
  await world.advance(0)
  expect(served).toEqual([null])
})

test('where others wait for its reads, they get the index at once', async () => {
  const world = await start()
  const follower = world.node(IDS.find((id) => id !== leaderOf(world).raft.id) as string)
  expect(follower.canReadNow()).toBe(false)
  const served: (string | null)[] = []
  follower.barrier((failure) => served.push(failure))
  await world.until(() => served.length > 0)
  expect(served).toEqual([null])
})

test('the mode is the same on all servers, and there after a start', async () => {
  const world = await start()
  await write(world, 'a', 'set k 0 0 1\r\nx\r\n')
  await world.until(() => IDS.every((id) => world.node(id).readMode === 'lease'))
  for (const id of IDS) await world.stop(id) // each leaves a keystore file
  for (const id of IDS) await world.start(id)
  expect(IDS.map((id) => world.node(id).status().reads)).toEqual(['lease', 'lease', 'lease'])
  await world.until(() => world.leader?.canReadNow() === true)
  await world.until(() => leaderOf(world).changeReadMode('quorum').isDone)
  expect(leaderOf(world).canReadNow()).toBe(false)
  expect(leaderOf(world).raft.config).not.toHaveProperty('reads')
})

test('who leads knows whether a mode was taken; others say who does', async () => {
  const world = await start()
  const leader = leaderOf(world)
  expect(leader.changeReadMode('lease')).toEqual({ isDone: true, why: 'lease' })
  expect(leader.changeReadMode('quorum')).toEqual({ isDone: false, why: 'not committed yet' })
  const follower = world.node(IDS.find((id) => id !== leader.raft.id) as string)
  expect(follower.changeReadMode('quorum')).toEqual({
    isDone: false,
    why: `server ${leader.raft.id} leads`,
  })
})
