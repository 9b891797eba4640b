import { describe, expect, test } from 'vitest'
import { VoteDamagedError, VoteFile } from '../../../src/server/log/vote-file.ts'
import type { HardState } from '../../../src/server/raft/types.ts'
import { settle } from '../../io/manual-timers.ts'
import { CRASH_POLICIES, type CrashPolicy, MemoryDisk, seededRandom } from '../../io/memory-disk.ts'

const PATH = 'data/vote'
const OWNER = 'aabbccdd'
const COPY_BYTES = 4096
const LOSE: CrashPolicy = { contents: 'lose', names: 'lose' }
const KEEP: CrashPolicy = { contents: 'keep', names: 'keep' }

const STATES: readonly HardState[] = [
  { term: 1, vote: 'aabbccdd' },
  { term: 2, vote: '' },
  { term: 2, vote: '11223344' },
  { term: 10, vote: '' },
]

async function created(seed = 1): Promise<MemoryDisk> {
  const disk = new MemoryDisk({ random: seededRandom(seed) })
  await disk.makeDirectory('data')
  await VoteFile.create(disk, 'data', OWNER)
  return disk
}

async function read(disk: MemoryDisk): Promise<HardState> {
  const { file, hardState } = await VoteFile.open(disk, 'data', OWNER)
  await file.close()
  return hardState
}

/** Writes one state after the other until the disk halts. */
async function writeAll(disk: MemoryDisk, states: readonly HardState[]): Promise<HardState[]> {
  const written: HardState[] = []
  const write = async () => {
    const { file } = await VoteFile.open(disk, 'data', OWNER)
    for (const state of states) {
      await file.write(state)
      written.push(state)
    }
  }
  await Promise.race([write(), disk.halted])
  await settle()
  return written
}

test('a new file holds term 0 and no vote, durably', async () => {
  const disk = await created()
  expect(await read(disk)).toEqual({ term: 0, vote: '' })
  expect(await read(disk.crash(LOSE))).toEqual({ term: 0, vote: '' })
  expect(await disk.crash(KEEP).list('data')).toEqual(['vote'])
})

test('what was written last is read, also after a crash', async () => {
  const disk = await created()
  for (const state of STATES) {
    const { file } = await VoteFile.open(disk, 'data', OWNER)
    await file.write(state)
    await file.close()
    expect(await read(disk)).toEqual(state)
  }
  expect(await read(disk.crash(LOSE))).toEqual(STATES.at(-1))
})

test('each copy is synced before the other is touched', async () => {
  const disk = await created()
  const { file } = await VoteFile.open(disk, 'data', OWNER)
  const kinds: string[] = []
  disk.onMutation = ({ kind }) => kinds.push(kind)
  await file.write({ term: 1, vote: '' })
  expect(kinds).toEqual(['write', 'datasync', 'write', 'datasync'])
  expect(disk.bytes(PATH)).toHaveLength(2 * COPY_BYTES)
})

test('write waits for the sync of the second copy', async () => {
  const disk = await created()
  const { file } = await VoteFile.open(disk, 'data', OWNER)
  const release = disk.hold('datasync')
  let isWritten = false
  const writing = file.write({ term: 1, vote: '' }).then(() => {
    isWritten = true
  })
  await settle()
  expect(isWritten).toBe(false)
  release()
  await writing
})

test.each(['write', 'datasync'] as const)('a failed %s rejects', async (kind) => {
  for (const nth of [1, 2]) {
    const disk = await created()
    const { file } = await VoteFile.open(disk, 'data', OWNER)
    disk.fail(kind, nth)
    await expect(file.write({ term: 1, vote: 'x' })).rejects.toMatchObject({ code: 'EIO' })
  }
})

describe('a crash', () => {
  test('at every change of creating it: a whole file or none', async () => {
    for (let haltAt = 2, isThrough = false; !isThrough; haltAt++) {
      const disk = new MemoryDisk()
      await disk.makeDirectory('data')
      disk.haltAt = haltAt
      let isCreated = false
      const creating = VoteFile.create(disk, 'data', OWNER).then(() => {
        isCreated = true
      })
      await Promise.race([creating, disk.halted])
      isThrough = disk.mutationCount < haltAt
      for (const policy of [...CRASH_POLICIES, ...CRASH_POLICIES]) {
        const after = disk.crash(policy)
        const isThere = (await after.list('data')).includes('vote')
        if (isCreated) expect(isThere).toBe(true)
        if (isThere) expect(await read(after)).toEqual({ term: 0, vote: '' })
        // Either way it can be made again.
        await VoteFile.create(after, 'data', OWNER)
        expect(await read(after.crash(LOSE))).toEqual({ term: 0, vote: '' })
      }
    }
  })

  test('at every change of writing: the old state or the new, never one older', async () => {
    const start = await created()
    const found = new Set<string>()
    for (let haltAt = 1, isThrough = false; !isThrough; haltAt++) {
      const disk = start.crash(KEEP)
      disk.haltAt = haltAt
      const written = await writeAll(disk, STATES)
      isThrough = disk.mutationCount < haltAt
      const old = written.at(-1) ?? { term: 0, vote: '' }
      const allowed = isThrough ? [old] : [old, STATES[written.length]]
      const policies = CRASH_POLICIES.slice(4)
      for (const policy of [...CRASH_POLICIES, ...policies, ...policies, ...policies]) {
        const state = await read(disk.crash(policy))
        expect(allowed).toContainEqual(state)
        found.add(JSON.stringify(state))
      }
    }
    expect(found.size).toBe(STATES.length + 1)
  })

  test('cut off in the middle of either copy: the other one is read', async () => {
    const disk = await created()
    await writeAll(disk, [{ term: 4, vote: 'old' }])
    const before = disk.bytes(PATH)
    await writeAll(disk, [{ term: 5, vote: 'new' }])
    const after = disk.bytes(PATH)
    for (let cut = 0; cut <= 2 * COPY_BYTES; cut += cut % COPY_BYTES < 40 ? 1 : 251) {
      const torn = disk.crash(KEEP)
      torn.put(PATH, Buffer.concat([after.subarray(0, cut), before.subarray(cut)]))
      const state = await read(torn)
      const isFirstWhole = cut >= after.indexOf('\n') || cut >= after.indexOf(' \n')
      if (isFirstWhole) expect(state).toEqual({ term: 5, vote: 'new' })
      else expect([4, 5]).toContain(state.term)
    }
  })

  // Torn while the second copy was written; then again in the first of the next write.
  test('in each of two writes, one after the other', async () => {
    const start = await created()
    for (let first = 1; first <= 4; first++) {
      for (let second = 1; second <= 4; second++) {
        for (let round = 0; round < 10; round++) {
          const disk = start.crash(KEEP)
          disk.haltAt = first
          await writeAll(disk, [{ term: 5, vote: 'aa' }])
          const next = disk.crash({ contents: 'torn', names: 'keep' })
          const old = await read(next)
          const count = next.mutationCount
          next.haltAt = count + second
          await writeAll(next, [{ term: 6, vote: 'bb' }])
          const state = await read(next.crash({ contents: 'torn', names: 'keep' }))
          expect([old, { term: 6, vote: 'bb' }]).toContainEqual(state)
        }
      }
    }
  })

  // Killed while it wrote: the page cache shows a vote that the device does not hold.
  test('a state that was read once is never lost', async () => {
    const start = await created()
    for (let haltAt = 1; haltAt <= 4; haltAt++) {
      const disk = start.crash(KEEP)
      disk.haltAt = haltAt
      await writeAll(disk, [{ term: 5, vote: 'aa' }])
      const killed = disk.kill()
      const seen = await read(killed)
      expect(await read(killed.crash(LOSE))).toEqual(seen)
    }
  })

  test('a state that was read after a failed sync is never lost', async () => {
    // Of the dice for what a failed sync reaches, some lose it.
    for (let seed = 1; seed <= 20; seed++) {
      const disk = await created(seed)
      const { file } = await VoteFile.open(disk, 'data', OWNER)
      disk.fail('datasync')
      await expect(file.write({ term: 5, vote: 'aa' })).rejects.toMatchObject({ code: 'EIO' })
      const next = disk.kill()
      const seen = await read(next)
      expect(await read(next.crash(LOSE))).toEqual(seen)
    }
  })
})

describe('damage', () => {
  test('of any byte of one copy leaves the other', async () => {
    for (const copy of [0, 1]) {
      const disk = await created()
      await writeAll(disk, [{ term: 7, vote: 'abc' }])
      const lineBytes = disk.bytes(PATH).indexOf('  ')
      for (let at = 0; at < lineBytes; at++) {
        const damaged = disk.crash(KEEP)
        damaged.flipBit(PATH, copy * COPY_BYTES + at, at % 8)
        expect(await read(damaged)).toEqual({ term: 7, vote: 'abc' })
      }
    }
  })

  test('of both copies is an error of its own', async () => {
    const disk = await created()
    await writeAll(disk, [{ term: 7, vote: 'abc' }])
    for (const at of [0, 5, 8, 12]) {
      const damaged = disk.crash(KEEP)
      damaged.flipBit(PATH, at)
      damaged.flipBit(PATH, COPY_BYTES + at)
      await expect(read(damaged)).rejects.toThrow(VoteDamagedError)
    }
  })

  /** Reads of these copies fail, until they are written again. */
  function losing(disk: MemoryDisk, copies: readonly number[]): MemoryDisk {
    const lost = new Set(copies.map((copy) => copy * COPY_BYTES))
    const open = disk.open.bind(disk)
    disk.open = async (path, options) => {
      const file = await open(path, options)
      return {
        ...file,
        read: async (offset, length) => {
          if (!lost.has(offset)) return file.read(offset, length)
          throw Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' })
        },
        write: async (chunks, offset) => {
          lost.delete(offset)
          await file.write(chunks, offset)
        },
      }
    }
    return disk
  }

  test('that the device can not read is like any other', async () => {
    const whole = await created()
    await writeAll(whole, [{ term: 7, vote: 'abc' }])
    for (const copy of [0, 1]) {
      const disk = losing(whole.crash(KEEP), [copy])
      expect(await read(disk)).toEqual({ term: 7, vote: 'abc' })
      // The other one has mended it.
      disk.flipBit(PATH, (1 - copy) * COPY_BYTES)
      expect(await read(disk)).toEqual({ term: 7, vote: 'abc' })
    }
    await expect(read(losing(whole.crash(KEEP), [0, 1]))).rejects.toThrow(VoteDamagedError)
  })

  test.each([0, 1, 16, 17, 4095])('a file cut to %d bytes', async (length) => {
    const disk = await created()
    disk.put(PATH, disk.bytes(PATH).subarray(0, length))
    // The line itself has 17.
    if (length >= 17) expect(await read(disk)).toEqual({ term: 0, vote: '' })
    else await expect(read(disk)).rejects.toThrow(/both copies are damaged/)
  })

  test('the file of another server does not verify', async () => {
    const disk = await created()
    await expect(VoteFile.open(disk, 'data', '11223344')).rejects.toThrow(/both copies are damaged/)
  })

  test('no file is an error, not term 0', async () => {
    const disk = new MemoryDisk()
    await disk.makeDirectory('data')
    await expect(read(disk)).rejects.toMatchObject({ code: 'ENOENT' })
  })
})

describe('of two whole copies the newer is read', () => {
  const cases: [HardState, HardState][] = [
    [
      { term: 4, vote: 'x' },
      { term: 5, vote: '' },
    ],
    [
      { term: 5, vote: '' },
      { term: 5, vote: 'x' },
    ],
    [
      { term: 9, vote: 'y' },
      { term: 10, vote: 'x' },
    ],
  ]

  test.each(cases)('%o before %o', async (older, newer) => {
    const disk = await created()
    await writeAll(disk, [older])
    const oldCopy = disk.bytes(PATH).subarray(0, COPY_BYTES)
    await writeAll(disk, [newer])
    const newCopy = disk.bytes(PATH).subarray(0, COPY_BYTES)
    for (const copies of [
      [oldCopy, newCopy],
      [newCopy, oldCopy],
    ]) {
      disk.put(PATH, Buffer.concat(copies))
      expect(await read(disk)).toEqual(newer)
    }
  })
})
