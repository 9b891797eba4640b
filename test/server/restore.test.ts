// Goal: whatever single bit of a server's directory rots, a start finds the same state;
// or less, and then says how far it had come, so that neither its vote nor its leadership
// forgets what it acknowledged; or is refused in one line that names the file.
// Method: each byte of each file in turn (LONG=1: each bit), then two starts and a power loss.
import { describe, expect, test } from 'vitest'
import type { Io } from '../../src/io/io.ts'
import { writeKeystore } from '../../src/server/keystore/keystore-file.ts'
import { StateMachine } from '../../src/server/keystore/state-machine.ts'
import { loadIdentity, saveIdentity } from '../../src/server/log/identity.ts'
import { LogStore } from '../../src/server/log/log-store.ts'
import { type LogEntry, RecordWriter } from '../../src/server/log/record.ts'
import { VoteFile } from '../../src/server/log/vote-file.ts'
import { RaftLog } from '../../src/server/raft/raft-log.ts'
import type { Config, EntryId, Payload } from '../../src/server/raft/types.ts'
import { restore } from '../../src/server/restore.ts'
import { ManualTimers, settle } from '../io/manual-timers.ts'
import { type CrashPolicy, MemoryDisk } from '../io/memory-disk.ts'

const DATA = 'data'
const GROUP = `${DATA}/groups/0`
const CLUSTER = 'cluster-1'
const SELF = 'me'
const VOTE = { term: 7, vote: 'b' }
const SEGMENT_BYTES = 250
const LOSE: CrashPolicy = { contents: 'lose', names: 'lose' }
const KEEP: CrashPolicy = { contents: 'keep', names: 'keep' }
const BITS = process.env.LONG ? [0, 1, 2, 3, 4, 5, 6, 7] : null

function configOf(...ids: string[]): Config {
  const address = { cip: 'a', cport: 7001, sip: 'a', sport: 6001 }
  return { members: ids.map((id) => ({ ...address, id, voter: true })), floor: 1 }
}

function ioOf(disk: MemoryDisk): Io {
  return {
    clock: { monotonicMs: () => 0, wallMs: () => 5_000 },
    random: { float: () => 0, hex: () => 'b0b0' },
    timers: new ManualTimers(),
    disk,
    network: null as never,
    process: null as never,
  }
}

function set(key: string, value: string): Payload {
  const command = Buffer.from(`set ${key} 0 0 ${value.length}\r\n${value}\r\n`)
  return { kind: 'command', command }
}

/** What a server's directory holds, and what it had acknowledged. */
interface Scene {
  readonly disk: MemoryDisk
  readonly entries: readonly LogEntry[]
  readonly commitIndex: number
  /** The state after each entry, from none on. */
  readonly states: readonly string[]
}

function describeState(machine: StateMachine): string {
  const items = [...machine.items.view()].map(([key, item]) => [
    key,
    item.casUnique,
    `${item.value}`,
  ])
  return JSON.stringify(items.sort())
}

interface SceneOptions {
  readonly config: Config
  /** 0 for none. */
  readonly keystoreIndex: number
  readonly isCut: boolean
  /** Of the keystore. */
  readonly format?: 1 | 2
}

/** Entries of three terms, some of which replaced others, in several segments. */
async function createScene({
  config,
  keystoreIndex,
  isCut,
  format = 2,
}: SceneOptions): Promise<Scene> {
  const disk = new MemoryDisk()
  await disk.makeDirectory(GROUP)
  await VoteFile.create(disk, DATA, SELF)
  await saveIdentity(disk, DATA, { serverId: SELF, clusterId: CLUSTER })
  const { file } = await VoteFile.open(disk, DATA, SELF)
  await file.write(VOTE)
  const { log } = await LogStore.open({
    ...{ disk, timers: new ManualTimers(), directory: `${GROUP}/log` },
    ...{ clusterId: CLUSTER, group: 0, segmentBytes: SEGMENT_BYTES },
  })
  const writer = new RecordWriter(CLUSTER)
  const entries: LogEntry[] = []
  const append = async (term: number, first: number, ...payloads: Payload[]) => {
    entries.length = first - 1
    const added = payloads.map((payload, at) =>
      writer.createEntry({ term, index: first + at }, 1_000 + first + at, payload),
    )
    entries.push(...added)
    log.append(added)
    await settle()
  }
  await append(1, 1, { kind: 'config', config })
  await append(1, 2, { kind: 'noop' }, set('a', '1'))
  await append(1, 4, set('b', 'a longer value'))
  log.commitIndex = 4
  await append(1, 5, set('a', 'never committed'), set('c', 'never committed'))
  await append(2, 5, { kind: 'noop' }, set('b', '2'))
  await append(2, 7, set('c', '3'))
  await append(2, 8, set('d', '4'), { kind: 'command', command: Buffer.from('delete a\r\n') })
  log.commitIndex = 8
  await append(4, 10, { kind: 'noop' }, set('e', '5'))
  await append(4, 12, set('a', '6'))
  log.commitIndex = 11
  await append(4, 13, set('f', '7'))
  const commitIndex = 11

  const states = ['[]']
  const machine = new StateMachine()
  for (const entry of entries) {
    machine.apply(entry)
    states.push(describeState(machine))
    if (entry.index !== keystoreIndex) continue
    const { term, index, timeMs } = entry
    const fields = { format, clusterId: CLUSTER, group: 0, flushAtMs: 0 }
    const header = { ...fields, term, index, timeMs, config }
    await writeKeystore(disk, GROUP, header, machine.items.view())
  }
  if (isCut) log.cutTo(keystoreIndex)
  await log.close()
  return { disk, entries, commitIndex, states }
}

async function start(disk: MemoryDisk) {
  const io = ioOf(disk)
  const warnings: string[] = []
  const warn = (_: object, text: string) => void warnings.push(text)
  const identity = await loadIdentity(disk, DATA, io.random)
  const { hardState } = await VoteFile.open(disk, DATA, SELF)
  const restored = await restore({
    ...{ io, log: { info: () => {}, warn, error: () => {} }, directory: DATA, group: 0 },
    ...{ clusterId: CLUSTER, segmentBytes: SEGMENT_BYTES },
  })
  return { ...restored, identity, hardState, warnings, log: new RaftLog(restored.raftLog) }
}

/** A start finds all, or says what it lacks. @returns how far it had to be told. */
async function checkStart({ entries, commitIndex, states }: Scene, disk: MemoryDisk) {
  const { identity, hardState, machine, store, log, warnings } = await start(disk)
  expect(identity).toEqual({ serverId: SELF, clusterId: CLUSTER })
  expect(hardState).toEqual(VOTE)
  const last = entries.at(-1) as EntryId
  // It votes for nobody who lacks what it has acknowledged, and for everybody who does not.
  expect(log.isUpToDate({ term: last.term, index: last.index })).toBe(true)
  expect(log.isUpToDate({ term: last.term, index: last.index - 1 })).toBe(false)
  expect(log.commitIndex).toBeLessThanOrEqual(commitIndex)
  expect(log.base.index).toBeLessThanOrEqual(log.commitIndex)
  expect(machine.appliedIndex).toBe(log.commitIndex)
  expect(describeState(machine)).toBe(states[machine.appliedIndex])
  const first = log.base.index + 1
  const found = log.lastIndex < first ? [] : await store.read(first, log.lastIndex, Infinity)
  expect(found).toHaveLength(log.lastIndex - log.base.index)
  for (const { index, term, record } of found) {
    expect(log.termAt(index)).toBe(term)
    const isSame = entries[index - 1]?.record.equals(record)
    // What had been replaced may be back in its place where it was not committed.
    if (!isSame) expect(log.isOwing && index > log.commitIndex).toBe(true)
  }
  if (log.isOwing) expect(warnings.join('\n')).toMatch(/has to come from another server/)
  else expect(log.last).toMatchObject({ term: last.term, index: last.index })
  await store.close()
  return log.isOwing ? 'owing' : 'whole'
}

/** Each byte of one file in turn, and what comes of it. */
async function flipEach(
  disk: MemoryDisk,
  path: string,
  outcomeOf: (disk: MemoryDisk) => Promise<string>,
): Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  const { length } = disk.bytes(path)
  for (let offset = 0; offset < length; offset++) {
    for (const bit of BITS ?? [offset % 8]) {
      const flipped = disk.crash(KEEP)
      flipped.flipBit(path, offset, bit)
      const outcome = await outcomeOf(flipped).catch((error: unknown) => {
        throw new Error(`${path}, byte ${offset}, bit ${bit}: ${error}`)
      })
      counts[outcome] = (counts[outcome] ?? 0) + 1
    }
  }
  return counts
}

const THREE = configOf(SELF, 'b', 'c')
const SCENES = [
  ['no keystore', { config: THREE, keystoreIndex: 0, isCut: false }],
  ['a keystore beside the whole log', { config: THREE, keystoreIndex: 8, isCut: false }],
  ['a log cut to its keystore', { config: THREE, keystoreIndex: 8, isCut: true }],
  ['a keystore of all that is committed', { config: THREE, keystoreIndex: 11, isCut: true }],
] as const

describe.each(SCENES)('%s', (_, options) => {
  test('a start finds all', async () => {
    const scene = await createScene(options)
    const names = await scene.disk.list(`${GROUP}/log`)
    expect(names.length).toBeGreaterThanOrEqual(options.isCut ? 1 : 4)
    expect(names[0] === '000000000001.log').toBe(!options.isCut)
    expect(await checkStart(scene, scene.disk.crash(LOSE))).toBe('whole')
  })

  test('a bit flipped anywhere in the log or the keystore', async () => {
    const scene = await createScene(options)
    const paths = scene.disk.files().filter((path) => path.startsWith(GROUP))
    const total: Record<string, number> = {}
    for (const path of paths) {
      const counts = await flipEach(scene.disk, path, async (disk) => {
        const outcome = await checkStart(scene, disk)
        // The next start finds as much, and owes as much.
        expect(await checkStart(scene, disk.crash(LOSE))).toBe(outcome)
        return outcome
      })
      for (const [outcome, count] of Object.entries(counts)) {
        total[outcome] = (total[outcome] ?? 0) + count
      }
      // Where the whole log is there, the keystore is only a short cut.
      if (path.endsWith('keystore') && !options.isCut) expect(counts.owing).toBeUndefined()
    }
    expect(total.owing).toBeGreaterThan(100)
    expect(total.whole).toBeGreaterThan(20)
  })
})

test.each([1, 2] as const)(
  'a keystore of format %d, with all items unused since',
  async (format) => {
    const scene = await createScene({ ...SCENES[3][1], format })
    expect(await checkStart(scene, scene.disk)).toBe('whole')
    const { machine, store } = await start(scene.disk)
    const unused = { casUnique: 6, marks: 0, isFetched: false, accessedS: 1 }
    expect(machine.items.get('b')).toMatchObject(unused)
    await store.close()
  },
)

test('a bit flipped anywhere in the vote file changes nothing', async () => {
  const { disk } = await createScene(SCENES[0][1])
  const counts = await flipEach(disk, `${DATA}/vote`, async (flipped) => {
    for (let round = 0; round < 2; round++) {
      const { file, hardState } = await VoteFile.open(flipped, DATA, SELF)
      expect(hardState).toEqual(VOTE)
      await file.close()
    }
    return 'whole'
  })
  expect(Object.keys(counts)).toEqual(['whole'])
})

test('a bit flipped anywhere in the identity changes nothing', async () => {
  const { disk } = await createScene(SCENES[0][1])
  const counts = await flipEach(disk, `${DATA}/identity`, async (flipped) => {
    const whole = disk.bytes(`${DATA}/identity`)
    const identity = await loadIdentity(flipped, DATA, ioOf(flipped).random)
    expect(identity).toEqual({ serverId: SELF, clusterId: CLUSTER })
    expect(flipped.bytes(`${DATA}/identity`)).toEqual(whole)
    return 'whole'
  })
  expect(Object.keys(counts)).toEqual(['whole'])
})

/** Reads of files whose path ends so fail behind their first bytes, as a device's do that loses sectors. */
function losing(whole: MemoryDisk, end: string): MemoryDisk {
  const disk = whole.crash(KEEP)
  const open = disk.open.bind(disk)
  disk.open = async (path, options) => {
    const file = await open(path, options)
    if (options.create || !path.endsWith(end)) return file
    const read = async (offset: number, length: number) => {
      if (offset + length <= 200) return file.read(offset, length)
      throw Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' })
    }
    return { ...file, read }
  }
  return disk
}

test('a keystore file that the disk can not read is a damaged one', async () => {
  const scene = await createScene(SCENES[2][1])
  expect(await checkStart(scene, losing(scene.disk, 'keystore'))).toBe('owing')
})

test('a log that the disk can not read is refused: nobody knows what it had', async () => {
  const scene = await createScene(SCENES[2][1])
  await expect(checkStart(scene, losing(scene.disk, '.log'))).rejects.toThrow(
    /^data\/groups\/0\/log\/\d+\.log: the disk can't read it at byte \d+/,
  )
})
