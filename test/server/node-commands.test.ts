/** All commands in a cluster of three: by which servers they are taken, and what each then has. */
import { describe, expect, test } from 'vitest'
import type { Node } from '../../src/server/node.ts'
import { PROTOCOL } from '../../src/server/peer-messages.ts'
import { configProtocol } from '../../src/server/raft/config.ts'
import { CONFIG, createDisks, IDS, World, write } from './three-nodes.ts'

async function start(config = CONFIG, old: readonly string[] = [], spoken = 2): Promise<World> {
  const world = new World(await createDisks(config))
  for (const id of old) world.protocols.set(id, spoken)
  for (const id of IDS) await world.start(id)
  await world.until(() => world.leader !== undefined)
  return world
}

function leader(world: World): Node {
  if (!world.leader) throw new Error('nobody leads')
  return world.leader
}

function followerId(world: World): string {
  return IDS.find((id) => world.node(id) !== world.leader) as string
}

/** What each server has under a key, once all have applied the same. */
async function valuesAt(world: World, key: string): Promise<(string | undefined)[]> {
  const { lastIndex } = leader(world).raft.log
  await world.until(() => IDS.every((id) => world.node(id).machine.appliedIndex >= lastIndex))
  return IDS.map((id) => world.node(id).machine.get(key)?.value.toString())
}

describe('a follower that is asked', () => {
  test('answers a get and touch with the value that the leader answered it', async () => {
    const world = await start()
    const value = 'v'.repeat(70_000)
    await write(world, 'a', `set k 7 0 ${value.length} unique=18446744073709551615\r\n${value}\r\n`)
    for (const id of IDS) {
      expect(await write(world, id, 'get k exptime=50\r\n')).toMatchObject({
        kind: 'applied',
        reply: 'VALUE',
        item: { flags: 7, ttlS: 50, casUnique: 2n ** 64n - 1n, value: Buffer.from(value) },
      })
    }
    expect(await write(world, followerId(world), 'get missing exptime=50\r\n')).toMatchObject({
      reply: 'END',
      item: undefined,
    })
  })

  test('gives each of many gets at once the value of its own moment', async () => {
    const world = await start()
    const follower = followerId(world)
    const asked = Array.from({ length: 100 }, async (_, at) => {
      const stored = write(world, follower, `set k${at} 0 0 3\r\n${100 + at}\r\n`)
      const got = write(world, follower, `get k${at} exptime=50\r\n`)
      const gone = write(world, IDS[at % 3] as string, `delete k${at}\r\n`)
      const [, outcome] = await Promise.all([stored, got, gone])
      return outcome.kind === 'applied' && (outcome.item?.value?.toString() ?? outcome.reply)
    })
    const values = await Promise.all(asked)
    for (const [at, value] of values.entries()) expect([`${100 + at}`, 'END']).toContain(value)
    expect(values).toContain('100')
  })

  test('counts up with the others', async () => {
    const world = await start()
    const replies: string[] = []
    for (const id of [...IDS, ...IDS]) {
      const outcome = await write(world, id, 'incr n 1 vivify=0 initial=18446744073709551613\r\n')
      replies.push(outcome.kind === 'applied' ? outcome.reply.slice(-3) : outcome.why)
    }
    expect(replies).toEqual(['613', '614', '615', '0', '1', '2'])
    expect(await valuesAt(world, 'n')).toEqual(IDS.map(() => '2'.padEnd(20)))
  })
})

describe('writes that come together', () => {
  const writeAll = (world: World, ids: readonly string[]) =>
    Promise.all(ids.map((id, at) => write(world, id, `set k${at} 0 0 1\r\nx\r\n`)))

  test('are one entry, and each has its own outcome and CAS unique', async () => {
    const world = await start()
    const id = IDS.find((one) => world.node(one) === world.leader) as string
    const before = leader(world).raft.log.lastIndex
    const outcomes = await writeAll(world, Array(300).fill(id))
    expect(leader(world).raft.log.lastIndex - before).toBe(2) // 256 and 44
    const uniques = new Set(outcomes.map((outcome) => outcome.kind === 'applied' && outcome.index))
    expect(uniques.size).toBe(300)
    for (const [at, outcome] of outcomes.entries()) {
      expect(outcome).toMatchObject({ kind: 'applied', reply: 'STORED' })
      const unique = outcome.kind === 'applied' ? outcome.index : 0
      expect(leader(world).machine.get(`k${at}`)?.casUnique).toBe(unique)
    }
    expect(await valuesAt(world, 'k299')).toEqual(['x', 'x', 'x'])
  })

  test('are also when another server was asked', async () => {
    const world = await start()
    const before = leader(world).raft.log.lastIndex
    const outcomes = await writeAll(world, Array(20).fill(followerId(world)))
    expect(leader(world).raft.log.lastIndex - before).toBe(1)
    expect(new Set(outcomes.map(({ kind }) => kind))).toEqual(new Set(['applied']))
    expect(new Set(outcomes.map((one) => one.kind === 'applied' && one.index)).size).toBe(20)
  })

  test('are an entry each while a member knows no others', async () => {
    const { protocol: _, ...old } = CONFIG
    const world = await start({ ...old, protocol: 4 }, ['c'], 4)
    const id = IDS.find((one) => world.node(one) === world.leader) as string
    const before = leader(world).raft.log.lastIndex
    const outcomes = await writeAll(world, Array(5).fill(id))
    expect(outcomes.map((one) => one.kind === 'applied' && one.index - before)).toEqual([
      ...[1, 2, 3, 4, 5],
    ])
  })
})

describe('a server of an older version among the members', () => {
  const { protocol: _, ...OLD } = CONFIG
  const WHY = /^the cluster has servers of an older version that do not know this/

  test('keeps the cluster from what it does not know, until it is upgraded', async () => {
    const world = await start(OLD, ['c'])
    for (const id of IDS) {
      expect(await write(world, id, 'set n 0 0 1\r\n1\r\n')).toMatchObject({ reply: 'STORED' })
      expect(await write(world, id, 'cas n 0 0 1 0\r\n2\r\n')).toMatchObject({ reply: 'EXISTS' })
      for (const command of ['incr n 1', 'delete n stale', 'get n exptime=5', 'flush_all 0']) {
        expect(await write(world, id, `${command}\r\n`)).toEqual({
          kind: 'notStored',
          why: expect.stringMatching(WHY),
        })
      }
    }
    const refused = { isDone: false, why: expect.stringMatching(WHY) }
    expect(leader(world).changeItemSizeMax(2_048)).toEqual(refused)
    expect(leader(world).changeReadMode('lease')).toEqual(refused)
    expect(leader(world).changeReadMode('quorum')).toEqual({ isDone: true, why: 'quorum' })
    await world.advance(2_000)
    expect(configProtocol(leader(world).raft.config)).toBe(2)
    expect(await valuesAt(world, 'n')).toEqual(['1', '1', '1'])

    await world.stop('c')
    world.protocols.delete('c')
    await world.start('c')
    await world.until(() => world.leader !== undefined)
    await world.until(() =>
      IDS.every((id) => configProtocol(world.node(id).raft.config) === PROTOCOL),
    )
    for (const id of IDS) {
      expect(await write(world, id, 'incr n 1\r\n')).toMatchObject({ kind: 'applied' })
    }
    expect(await valuesAt(world, 'n')).toEqual(['4', '4', '4'])
  })

  test('keeps it from leases, not from commands, where it knows those', async () => {
    const world = await start({ ...OLD, protocol: 3 }, ['c'], 3)
    await world.until(() => leader(world).changeItemSizeMax(2_048).isDone)
    expect(await write(world, 'a', 'incr n 1\r\n')).toMatchObject({ reply: 'NOT_FOUND' })
    expect(leader(world).changeReadMode('lease').why).toMatch(WHY)

    await world.stop('c')
    world.protocols.delete('c')
    await world.start('c')
    await world.until(() => world.leader?.changeReadMode('lease').isDone === true)
    expect(leader(world).itemSizeMax).toBe(2_048)
  })

  test('once all spoke the later one, the configuration says so for good', async () => {
    const world = await start(OLD)
    await world.until(() => configProtocol(leader(world).raft.config) === PROTOCOL)
    world.protocols.set('c', 2)
    await world.advance(2_000)
    expect(await write(world, 'a', 'incr n 1\r\n')).toMatchObject({ reply: 'NOT_FOUND' })
  })
})

test('a server does not start with what a later version has written', async () => {
  const later = start({ ...CONFIG, protocol: PROTOCOL + 1 })
  await expect(later).rejects.toThrow('was written by a later version')
})

describe('the limit for values', () => {
  test('is the same on all servers, and there after a start', async () => {
    const world = await start()
    const follower = world.node(followerId(world))
    expect(follower.changeItemSizeMax(2_048)).toEqual({
      isDone: false,
      why: `server ${leader(world).raft.leaderId} leads`,
    })
    expect(leader(world).changeItemSizeMax(2_048)).toEqual({
      isDone: false,
      why: 'not committed yet',
    })
    expect(leader(world).changeItemSizeMax(4_096)).toEqual({
      isDone: false,
      why: 'another change of the configuration is under way',
    })
    await world.until(() => leader(world).changeItemSizeMax(2_048).isDone)
    await world.until(() => IDS.every((id) => world.node(id).itemSizeMax === 2_048))

    await write(world, 'a', `set k 0 0 2000\r\n${'x'.repeat(2_000)}\r\n`)
    const append = `append k 0 0 40\r\n${'y'.repeat(40)}\r\n`
    expect(await write(world, 'b', append)).toMatchObject({ reply: 'STORED' })
    expect(await write(world, 'c', append)).toMatchObject({ reply: 'NOT_STORED' })
    const lengths = (await valuesAt(world, 'k')).map((value) => value?.length)
    expect(lengths).toEqual([2_040, 2_040, 2_040])

    for (const id of IDS) world.kill(id)
    for (const id of IDS) await world.start(id)
    await world.until(() => world.leader !== undefined)
    expect(IDS.map((id) => world.node(id).itemSizeMax)).toEqual([2_048, 2_048, 2_048])
    expect(await write(world, 'a', append)).toMatchObject({ reply: 'NOT_STORED' })
  })

  test('asked for again while it is so, it is done', async () => {
    const world = await start()
    await world.until(() => leader(world).changeItemSizeMax(1_048_576).isDone)
    expect(leader(world).changeItemSizeMax(1_048_576)).toEqual({
      isDone: true,
      why: '1048576 bytes',
    })
  })
})

test('a flush that is pending comes to pass though nobody writes, and after a start', async () => {
  const world = await start()
  await write(world, 'a', 'set k 0 0 1\r\nx\r\n')
  expect(await write(world, 'b', 'flush_all 30\r\n')).toMatchObject({ reply: 'OK' })
  await world.advance(10_000)
  for (const id of IDS) await world.stop(id) // each leaves a keystore file
  for (const id of IDS) await world.start(id)
  await world.until(() => world.leader !== undefined)
  expect(await valuesAt(world, 'k')).toEqual(['x', 'x', 'x'])
  await world.advance(25_000)
  expect(await valuesAt(world, 'k')).toEqual([undefined, undefined, undefined])
  expect(IDS.map((id) => world.node(id).machine.flushAtMs)).toEqual([0, 0, 0])
})
