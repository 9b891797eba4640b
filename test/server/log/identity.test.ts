import { describe, expect, test } from 'vitest'
import {
  type Identity,
  loadIdentity,
  readIdentityCopies,
  saveIdentity,
} from '../../../src/server/log/identity.ts'
import { settle } from '../../io/manual-timers.ts'
import { CRASH_POLICIES, type CrashPolicy, MemoryDisk } from '../../io/memory-disk.ts'

const PATH = 'data/identity'
const LOSE: CrashPolicy = { contents: 'lose', names: 'lose' }
const KEEP: CrashPolicy = { contents: 'keep', names: 'keep' }
const JOINED: Identity = { serverId: '00000001', clusterId: 'c-1' }

async function emptyDisk(): Promise<MemoryDisk> {
  const disk = new MemoryDisk()
  await disk.makeDirectory('data')
  return disk
}

/** Dice that give 00000001, 00000002, ... */
function counting() {
  let count = 0
  const hex = (byteCount: number) => (++count).toString(16).padStart(2 * byteCount, '0')
  return { hex, float: () => 0 }
}

function load(disk: MemoryDisk): Promise<Identity> {
  return loadIdentity(disk, 'data', counting())
}

test('an empty directory makes a new server, durably', async () => {
  const disk = await emptyDisk()
  const random = counting()
  expect(await loadIdentity(disk, 'data', random)).toEqual({
    serverId: '00000001',
    clusterId: null,
  })
  expect(await loadIdentity(disk, 'data', random)).toEqual({
    serverId: '00000001',
    clusterId: null,
  })
  expect(await load(disk.crash(LOSE))).toEqual({ serverId: '00000001', clusterId: null })
})

test('what was saved is loaded', async () => {
  const disk = await emptyDisk()
  await saveIdentity(disk, 'data', JOINED)
  expect(disk.bytes(PATH).toString()).toMatch(/^(raftcached 1 00000001 c-1 [0-9a-f]{8}\n)\1$/)
  expect(await load(disk)).toEqual(JOINED)
  expect(await disk.list('data')).toEqual(['identity'])
})

test.each(['vote', 'groups'])(
  'no identity beside %s is refused, and nothing is made',
  async (name) => {
    const disk = await emptyDisk()
    disk.put(`data/${name}`, Buffer.from('x'))
    await expect(load(disk)).rejects.toThrow(`data/identity: missing, though data/${name} is there`)
    expect(await disk.list('data')).toEqual([name])
  },
)

test.each([['restoring'], ['restoring', 'groups', 'vote']])(
  'of what store restore has not finished, beginning with %s, it is said that it can',
  async (...names) => {
    const disk = await emptyDisk()
    for (const name of names) disk.put(`data/${name}`, Buffer.from('x'))
    await expect(load(disk)).rejects.toThrow(
      'data: store restore has not finished here: give the same command again, or move data away',
    )
    expect(await disk.list('data')).toEqual([...names].sort())
  },
)

test('the mark of a restore that has come to the identity goes', async () => {
  const disk = await emptyDisk()
  disk.put('data/restoring', Buffer.alloc(0))
  await saveIdentity(disk, 'data', JOINED)
  expect(await load(disk)).toEqual(JOINED)
  expect(await disk.list('data')).toEqual(['identity'])
  expect(await disk.crash(LOSE).list('data')).toEqual(['identity'])
})

test('other files beside it do not matter', async () => {
  const disk = await emptyDisk()
  disk.put('data/lock', Buffer.alloc(0))
  disk.put(`${PATH}.tmp`, Buffer.from('raftcached 1 half'))
  expect(await load(disk)).toEqual({ serverId: '00000001', clusterId: null })
})

test('one of its two copies may be damaged at any bit, and is written again', async () => {
  const disk = await emptyDisk()
  await saveIdentity(disk, 'data', JOINED)
  const whole = disk.bytes(PATH)
  for (let offset = 0; offset < whole.length; offset++) {
    for (let bit = 0; bit < 8; bit++) {
      const damaged = disk.crash(KEEP)
      damaged.flipBit(PATH, offset, bit)
      const copies = readIdentityCopies(damaged.bytes(PATH))
      expect(copies.filter(({ identity }) => identity !== null)).toHaveLength(1)
      expect(await load(damaged)).toEqual(JOINED)
      expect(damaged.bytes(PATH)).toEqual(whole)
    }
  }
})

test('damage of both copies is noticed', async () => {
  const disk = await emptyDisk()
  await saveIdentity(disk, 'data', JOINED)
  const half = disk.bytes(PATH).length / 2
  for (let offset = 0; offset < half - 1; offset++) {
    const damaged = disk.crash(KEEP)
    damaged.flipBit(PATH, offset)
    damaged.flipBit(PATH, 2 * half - 2 - offset)
    await expect(load(damaged)).rejects.toThrow(/data\/identity: damaged; move data away/)
  }
})

test('cut off within its first copy it is damaged', async () => {
  const disk = await emptyDisk()
  await saveIdentity(disk, 'data', JOINED)
  const bytes = disk.bytes(PATH)
  // Nothing but the line end may be missing.
  for (let length = 0; length < bytes.length / 2 - 1; length++) {
    const cut = await emptyDisk()
    cut.put(PATH, bytes.subarray(0, length))
    await expect(load(cut)).rejects.toThrow(/damaged/)
  }
})

describe('a crash at every change', () => {
  test('of saving: the old identity or the new', async () => {
    const old: Identity = { serverId: '00000001', clusterId: null }
    const start = await emptyDisk()
    await saveIdentity(start, 'data', old)
    const found = new Set<string | null>()
    for (let haltAt = 1, isThrough = false; !isThrough; haltAt++) {
      const disk = start.crash(KEEP)
      disk.haltAt = haltAt
      await Promise.race([saveIdentity(disk, 'data', JOINED), disk.halted])
      isThrough = disk.mutationCount < haltAt
      for (const policy of [...CRASH_POLICIES, ...CRASH_POLICIES]) {
        const loaded = await load(disk.crash(policy))
        expect(isThrough ? [JOINED] : [old, JOINED]).toContainEqual(loaded)
        found.add(loaded.clusterId)
      }
    }
    expect(found).toEqual(new Set([null, 'c-1']))
  })

  test('of the start behind a restore that was killed: the identity, or the mark', async () => {
    const restoring = await emptyDisk()
    restoring.put('data/restoring', Buffer.alloc(0))
    restoring.hold('syncDirectory')
    void saveIdentity(restoring, 'data', JOINED)
    await settle()
    for (let haltAt = 1, isThrough = false; !isThrough; haltAt++) {
      const disk = restoring.kill()
      disk.haltAt = haltAt
      await Promise.race([load(disk), disk.halted])
      isThrough = disk.mutationCount < haltAt
      for (let round = 0; round < 20; round++) {
        const names = await disk.crash({ contents: 'keep', names: 'random' }).list('data')
        expect(names.includes('identity') || names.includes('restoring')).toBe(true)
      }
    }
  })

  test('of the first start: a server all the same', async () => {
    for (let haltAt = 1, isThrough = false; !isThrough; haltAt++) {
      const disk = (await emptyDisk()).crash(KEEP)
      disk.haltAt = haltAt
      await Promise.race([load(disk), disk.halted])
      isThrough = disk.mutationCount < haltAt
      for (const policy of CRASH_POLICIES) {
        const after = disk.crash(policy)
        const identity = await load(after)
        expect(await load(after.crash(LOSE))).toEqual(identity)
      }
    }
  })
})

test.each(['create', 'write', 'datasync', 'rename', 'syncDirectory'] as const)(
  'a failed %s rejects',
  async (kind) => {
    const disk = await emptyDisk()
    disk.fail(kind)
    await expect(saveIdentity(disk, 'data', JOINED)).rejects.toMatchObject({ code: 'EIO' })
  },
)
