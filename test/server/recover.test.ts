/** Recovery without a quorum, on a disk that may fail at any moment. */
import { expect, test } from 'vitest'
import type { Io } from '../../src/io/io.ts'
import type { Logger } from '../../src/io/logger.ts'
import { INDEX_GAP } from '../../src/server/begin-group.ts'
import { verify } from '../../src/server/inspect/verify.ts'
import { groupDirectory } from '../../src/server/log/group-directory.ts'
import { loadIdentity, saveIdentity } from '../../src/server/log/identity.ts'
import { LogStore } from '../../src/server/log/log-store.ts'
import { RecordWriter } from '../../src/server/log/record.ts'
import { VoteFile } from '../../src/server/log/vote-file.ts'
import type { Config, Payload } from '../../src/server/raft/types.ts'
import { recover } from '../../src/server/recover.ts'
import { restore } from '../../src/server/restore.ts'
import { MemoryDisk } from '../io/memory-disk.ts'

const DATA = 'data'
/** The first entry after a recovery of four. */
const NEXT = 5 + INDEX_GAP
const QUIET: Logger = { info: () => {}, warn: () => {}, error: () => {} }

const MEMBER = { cip: 'a', cport: 7001, sip: 'a', sport: 6001 }
const CONFIG: Config = {
  members: ['a', 'b', 'c'].map((id) => ({ ...MEMBER, id, voter: true })),
  floor: 3,
}
const SET: Payload = { kind: 'command', command: Buffer.from('set k 0 0 1\r\nv\r\n') }
const PAYLOADS: readonly Payload[] = [
  { kind: 'config', config: CONFIG },
  { kind: 'noop' },
  SET,
  SET,
]

/** What a recovery needs of the world. */
function ioOf(disk: MemoryDisk): Io {
  return {
    clock: { monotonicMs: () => 0, wallMs: () => 5_000 },
    random: { float: () => 0, hex: () => 'b0b0' },
    timers: { after: () => ({ cancel: () => {} }), soon: queueMicrotask },
    disk,
    network: null as never,
    process: null as never,
  }
}

async function openLog(disk: MemoryDisk, clusterId: string) {
  const { timers } = ioOf(disk)
  const directory = `${groupDirectory(DATA, 0, clusterId)}/log`
  return LogStore.open({ disk, timers, directory, clusterId, group: 0 })
}

/** The data of server a, whose log has four entries. */
async function survivor(): Promise<MemoryDisk> {
  const disk = new MemoryDisk()
  await disk.makeDirectory(DATA)
  await VoteFile.create(disk, DATA, 'a')
  await saveIdentity(disk, DATA, { serverId: 'a', clusterId: 'old' })
  const { log } = await openLog(disk, 'old')
  const writer = new RecordWriter('old')
  log.append(
    PAYLOADS.map((payload, at) => writer.createEntry({ index: at + 1, term: 2 }, 1_000, payload)),
  )
  await log.close()
  return disk
}

async function clusterOf(disk: MemoryDisk): Promise<string | null> {
  return (await loadIdentity(disk, DATA, ioOf(disk).random)).clusterId
}

async function expectRecovered(disk: MemoryDisk): Promise<void> {
  expect(await clusterOf(disk)).toBe('old.1-a')
  const restored = await restore({
    ...{ io: ioOf(disk), log: QUIET, directory: DATA, group: 0 },
    clusterId: 'old.1-a',
  })
  expect(restored.machine.get('k')).toMatchObject({ value: Buffer.from('v'), casUnique: 4 })
  expect(restored.summary).toMatchObject({
    base: { term: 2, index: 4 + INDEX_GAP },
    lastIndex: NEXT,
  })
  const [entry] = await restored.store.read(NEXT, NEXT, 1)
  expect(entry).toMatchObject({
    index: NEXT,
    term: 3,
    config: { members: [{ id: 'a', voter: true }], floor: 2 },
  })
  await restored.store.close()
}

test('without force nothing is changed, and it says what there is', async () => {
  const disk = await survivor()
  const { mutationCount } = disk
  expect(await recover(ioOf(disk), QUIET, DATA, false)).toMatchObject({
    ...{ serverId: 'a', clusterId: 'old', newClusterId: 'old.1-a', lastTerm: 2, lastIndex: 4 },
  })
  expect(disk.mutationCount).toBe(mutationCount)
  expect(await clusterOf(disk)).toBe('old')
})

test('with force the log goes on under the next epoch, with this server alone', async () => {
  const disk = await survivor()
  await recover(ioOf(disk), QUIET, DATA, true)
  await expectRecovered(disk)
})

test('whenever power is lost it is as before or done, and can be done again', async () => {
  for (let at = 1; ; at++) {
    const disk = await survivor()
    disk.haltAt = disk.mutationCount + at
    const isDone = await Promise.race([
      recover(ioOf(disk), QUIET, DATA, true).then(() => true),
      disk.halted.then(() => false),
    ])
    if (isDone) return expect(at).toBeGreaterThan(10)
    const next = disk.crash({ contents: 'lose', names: 'lose' })
    if ((await clusterOf(next)) === 'old') await recover(ioOf(next), QUIET, DATA, true)
    await expectRecovered(next)
  }
})

test('what it leaves is whole, also where the vote was damaged', async () => {
  for (const isDamaged of [false, true]) {
    const disk = await survivor()
    if (isDamaged) for (const offset of [0, 4096]) disk.flipBit(`${DATA}/vote`, offset)
    await recover(ioOf(disk), QUIET, DATA, true)
    const lines: unknown[] = []
    expect(await verify(disk, DATA, (line) => lines.push(line))).toMatchObject({ damageCount: 0 })
  }
})

test('what a client has read of what is lost is no unique that comes again', async () => {
  const disk = await survivor()
  // What the others have, and the survivor has not, up to the end of a long day.
  const lostUniques = [5, 6, 100_000_000]
  await recover(ioOf(disk), QUIET, DATA, true)
  const { machine, store } = await restore({
    ...{ io: ioOf(disk), log: QUIET, directory: DATA, group: 0 },
    clusterId: 'old.1-a',
  })
  const writer = new RecordWriter('old.1-a')
  const apply = (text: string) => {
    const payload = { kind: 'command', command: Buffer.from(text) } as const
    const index = machine.appliedIndex + 1
    return machine.apply(writer.createEntry({ index, term: 3 }, 6_000, payload)).line
  }
  for (const unique of lostUniques) {
    expect(apply('set k 0 0 5\r\nother\r\n')).toBe('STORED')
    expect(apply(`cas k 0 0 4 ${unique}\r\nmine\r\n`)).toBe('EXISTS')
  }
  await store.close()
})

test('limits and modes stay as they were last, also where this server is no member any more', async () => {
  const disk = await survivor()
  const { log } = await openLog(disk, 'old')
  const members = CONFIG.members.filter(({ id }) => id !== 'a')
  const config = { ...CONFIG, members, itemSizeMax: 4_096 }
  const writer = new RecordWriter('old')
  log.append([writer.createEntry({ index: 5, term: 2 }, 1_000, { kind: 'config', config })])
  await log.close()
  await recover(ioOf(disk), QUIET, DATA, true)
  const { raftLog, store } = await restore({
    ...{ io: ioOf(disk), log: QUIET, directory: DATA, group: 0 },
    clusterId: 'old.1-a',
  })
  const alone = { members: [{ ...MEMBER, id: 'a', voter: true }], floor: 2, itemSizeMax: 4_096 }
  expect(raftLog.configs.at(-1)?.config).toEqual(alone)
  await store.close()
})

test('a vote file that is gone is made anew', async () => {
  const disk = await survivor()
  await disk.remove(`${DATA}/vote`)
  await recover(ioOf(disk), QUIET, DATA, true)
  const { file, hardState } = await VoteFile.open(disk, DATA, 'a')
  expect(hardState).toEqual({ term: 3, vote: '' })
  await file.close()
})

test("a directory that is no member's data is refused", async () => {
  const disk = new MemoryDisk()
  await disk.makeDirectory(DATA)
  await expect(recover(ioOf(disk), QUIET, DATA, true)).rejects.toThrow("is no server's data")
  await saveIdentity(disk, DATA, { serverId: 'a', clusterId: null })
  await expect(recover(ioOf(disk), QUIET, DATA, true)).rejects.toThrow('has joined no cluster yet')
})
