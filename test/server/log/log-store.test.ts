import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { DiskFile } from '../../../src/io/io.ts'
import { checkedLine } from '../../../src/protocol/checked-line.ts'
import {
  LogDamagedError,
  LogStore,
  type LogStoreOptions,
} from '../../../src/server/log/log-store.ts'
import { RecordReader, RecordWriter } from '../../../src/server/log/record.ts'
import { NO_ENTRY } from '../../../src/server/raft/term-runs.ts'
import { ManualTimers, settle } from '../../io/manual-timers.ts'
import {
  CRASH_POLICIES,
  type CrashPolicy,
  MemoryDisk,
  type Mutation,
  seededRandom,
} from '../../io/memory-disk.ts'
import {
  CLUSTER,
  DIRECTORY,
  LogHarness,
  reopen,
  run,
  runToEachChange,
  type Step,
  segmentPath,
} from './log-harness.ts'

const LOSE: CrashPolicy = { contents: 'lose', names: 'lose' }
const KEEP: CrashPolicy = { contents: 'keep', names: 'keep' }

/** What a scrub reads through. */
const asItIs = (file: DiskFile) => file

async function opened(): Promise<LogHarness> {
  const harness = new LogHarness()
  await harness.open()
  return harness
}

/** What stands in a segment behind its header: `term/index`, or `seal index/commit index`. */
function contentsOf(disk: MemoryDisk, sequence: number): string[] {
  const bytes = disk.bytes(segmentPath(sequence))
  const reader = new RecordReader(CLUSTER)
  const contents: string[] = []
  for (let at = bytes.indexOf('\n') + 1; at < bytes.length; ) {
    const read = reader.read(bytes, at)
    if (read.kind === 'entry') contents.push(`${read.entry.term}/${read.entry.index}`)
    else if (read.kind === 'seal') contents.push(`seal ${read.seal.index}/${read.seal.commitIndex}`)
    else return [...contents, read.kind]
    at = read.end
  }
  return contents
}

function segments(disk: MemoryDisk): Promise<string[]> {
  return disk.list(DIRECTORY)
}

/** The log as it is after a power loss now, checked against the model. */
async function crashed(harness: LogHarness, policy: CrashPolicy): Promise<LogHarness> {
  const next = harness.fork(harness.disk.crash(policy))
  await next.open()
  return next
}

describe('append', () => {
  test('an entry is reported stable after a datasync, not before', async () => {
    const harness = await opened()
    const release = harness.disk.hold('datasync')
    harness.append(10)
    await settle()
    expect(harness.disk.bytes(segmentPath(1)).includes('set key1')).toBe(true)
    expect(harness.reports).toEqual([])
    release()
    await settle()
    expect(harness.reports).toEqual([{ term: 1, index: 1 }])
  })

  test('entries queued while a sync runs go out together, with one write and one sync', async () => {
    const harness = await opened()
    const mutations: Mutation[] = []
    harness.disk.onMutation = (mutation) => mutations.push(mutation)
    const { syncCount } = harness.log
    const release = harness.disk.hold('datasync')
    harness.append(10)
    await settle()
    harness.append(10, 20)
    harness.append(30)
    await settle()
    expect(mutations.map(({ kind }) => kind)).toEqual(['write', 'datasync'])
    release()
    await settle()
    expect(mutations.map(({ kind }) => kind)).toEqual(['write', 'datasync', 'write', 'datasync'])
    expect(harness.reports).toEqual([
      { term: 1, index: 1 },
      { term: 1, index: 4 },
    ])
    expect(contentsOf(harness.disk, 1)).toEqual(['1/1', 'seal 1/0', '1/2', '1/3', '1/4'])
    expect(harness.log.syncCount).toBe(syncCount + 2)
  })

  test('one batch is at most 4 MiB, or one entry', async () => {
    const harness = await opened()
    const mutations: Mutation[] = []
    harness.disk.onMutation = (mutation) => mutations.push(mutation)
    harness.append(1_900_000, 1_900_000, 1_900_000, 10)
    await settle()
    expect(harness.reports.map(({ index }) => index)).toEqual([2, 4])
    const writes = mutations.filter(({ kind }) => kind === 'write')
    for (const { bytes } of writes) expect(bytes?.length).toBeLessThan(4_200_000)
    await harness.checkRead(1, 4)
  })

  test('nothing to append writes nothing', async () => {
    const harness = await opened()
    const { mutationCount } = harness.disk
    harness.log.append([])
    await settle()
    expect(harness.disk.mutationCount).toBe(mutationCount)
    expect(harness.reports).toEqual([])
  })

  test('an entry that goes back replaces what came after, also after reopening', async () => {
    const harness = await opened()
    harness.append(10, 20, 30)
    await settle()
    harness.append(40)
    harness.supersede(2, 50)
    harness.append(60)
    await settle()
    expect(harness.reports.at(-1)).toEqual({ term: 2, index: 3 })
    await harness.checkRead(1, 3)
    await harness.close()
    await harness.open()
    expect(harness.summary).toMatchObject({
      lastIndex: 3,
      termRuns: [
        { term: 1, index: 1 },
        { term: 2, index: 2 },
      ],
    })
  })
})

test('whoever waits for the log has its turn, however much is written', async () => {
  const harness = await opened()
  let isDone = false
  harness.append(10)
  const ended = harness.log.endSegment().then(() => {
    isDone = true
  })
  for (let round = 0; round < 20 && !isDone; round++) {
    harness.append(10, 10) // there is always more to write
    await new Promise((resolve) => queueMicrotask(() => resolve(null)))
  }
  while (!isDone) {
    harness.append(10)
    await settle()
    expect(harness.lastIndex).toBeLessThan(200)
  }
  await ended
  await harness.close()
  await harness.open()
})

describe('seals', () => {
  test('the next batch begins with a seal for the one before', async () => {
    const harness = await opened()
    harness.append(10)
    await settle()
    harness.commit(1)
    harness.append(10)
    await settle()
    harness.append(10)
    await settle()
    expect(contentsOf(harness.disk, 1)).toEqual(['1/1', 'seal 1/1', '1/2', 'seal 2/1', '1/3'])
  })

  test('an idle log seals its newest batch without a sync, once', async () => {
    const harness = await opened()
    harness.append(10)
    await settle()
    expect(harness.timers.waitingCount).toBe(1)
    const mutations: Mutation[] = []
    harness.disk.onMutation = (mutation) => mutations.push(mutation)
    harness.timers.fire()
    await settle()
    expect(mutations.map(({ kind }) => kind)).toEqual(['write'])
    harness.timers.fire()
    await settle()
    expect(mutations).toHaveLength(1)
    expect(contentsOf(harness.disk, 1)).toEqual(['1/1', 'seal 1/0'])
  })

  test('the batch behind an unsynced seal begins without one', async () => {
    const harness = await opened()
    harness.append(10)
    await settle()
    harness.timers.fire()
    await settle()
    harness.append(10)
    await settle()
    harness.append(10)
    await settle()
    expect(contentsOf(harness.disk, 1)).toEqual(['1/1', 'seal 1/0', '1/2', 'seal 2/0', '1/3'])
  })

  test('a batch on its way puts off the idle seal', async () => {
    const harness = await opened()
    harness.append(10)
    await settle()
    const release = harness.disk.hold('datasync')
    harness.append(10)
    await settle()
    harness.timers.fire()
    release()
    await settle()
    expect(contentsOf(harness.disk, 1)).toEqual(['1/1', 'seal 1/0', '1/2'])
    harness.timers.fire()
    await settle()
    expect(contentsOf(harness.disk, 1)).toEqual(['1/1', 'seal 1/0', '1/2', 'seal 2/0'])
  })

  test('a batch since puts off the idle seal, and takes no timer of its own', async () => {
    const harness = await opened()
    harness.append(10)
    await settle()
    harness.append(10)
    await settle()
    expect(harness.timers.waitingCount).toBe(1)
    harness.timers.fire()
    await settle()
    expect(contentsOf(harness.disk, 1)).toEqual(['1/1', 'seal 1/0', '1/2'])
    expect(harness.timers.waitingCount).toBe(1)
    harness.timers.fire()
    await settle()
    expect(contentsOf(harness.disk, 1)).toEqual(['1/1', 'seal 1/0', '1/2', 'seal 2/0'])
    expect(harness.timers.waitingCount).toBe(0)
  })

  test('entries queued while an idle seal is written go out behind it', async () => {
    const harness = await opened()
    harness.append(10)
    await settle()
    const release = harness.disk.hold('write')
    harness.timers.fire()
    harness.append(10)
    await settle()
    expect(contentsOf(harness.disk, 1)).toEqual(['1/1'])
    release()
    await settle()
    expect(contentsOf(harness.disk, 1)).toEqual(['1/1', 'seal 1/0', '1/2'])
    expect(harness.reports.at(-1)).toEqual({ term: 1, index: 2 })
  })

  test('the newest commit index that a seal names comes back', async () => {
    const harness = await opened()
    harness.append(10, 10, 10)
    await settle()
    harness.commit(2)
    await harness.close()
    await harness.open()
    expect(harness.summary.commitIndex).toBe(2)
    expect(harness.log.commitIndex).toBe(2)
  })

  test('a seal names no commit index past its own entry', async () => {
    const harness = await opened()
    harness.append(10, 10)
    await settle()
    harness.log.commitIndex = 7
    await harness.log.close()
    const { summary } = await LogStore.open({
      disk: harness.disk,
      timers: new ManualTimers(),
      directory: DIRECTORY,
      clusterId: CLUSTER,
      group: 0,
    })
    expect(summary.commitIndex).toBe(2)
  })

  // A seal written while entries wait that replace its own must not call those committed.
  test('a commit index beyond what entries in the queue replace is not sealed', async () => {
    const harness = await opened()
    const release = harness.disk.hold('datasync')
    harness.append(10, 10, 10)
    await settle()
    harness.supersede(2, 20, 20, 20)
    harness.log.commitIndex = 3
    release()
    await settle()
    await harness.log.close()
    expect(harness.reports.at(-1)).toEqual({ term: 2, index: 4 })
    const { log } = await LogStore.open({
      disk: harness.disk,
      timers: new ManualTimers(),
      directory: DIRECTORY,
      clusterId: CLUSTER,
      group: 0,
    })
    expect((await log.read(1, 4, Infinity)).map(({ term }) => term)).toEqual([1, 2, 2, 2])
  })
})

describe('reading', () => {
  test('any range, across batches, seals and replaced entries', async () => {
    const harness = await opened()
    for (const size of [10, 600, 20]) {
      harness.append(size, size)
      await settle()
    }
    harness.timers.fire()
    harness.supersede(4, 30, 40)
    await settle()
    harness.append(50)
    await settle()
    harness.supersede(6, 60, 70)
    await settle()
    for (let first = 1; first <= 7; first++) {
      for (let last = first; last <= 7; last++) await harness.checkRead(first, last)
    }
  })

  test('as much as fits, and at least one', async () => {
    const harness = await opened()
    harness.append(100, 200, 300, 400)
    await settle()
    for (const bytesMax of [0, 1, 140, 400, 800, 10_000]) {
      await harness.checkRead(1, 4, bytesMax)
      await harness.checkRead(3, 4, bytesMax)
    }
  })

  test('far into a long log, before and after reopening', async () => {
    const harness = await opened()
    for (let batch = 0; batch < 20; batch++) {
      harness.append(...Array.from({ length: 50 }, (_, at) => 100 + ((at * 37) % 900)))
      await settle()
    }
    const ranges = [
      [1, 1000],
      [1, 1],
      [499, 502],
      [1000, 1000],
      [137, 901],
    ] as const
    for (const [first, last] of ranges) await harness.checkRead(first, last)
    await harness.close()
    await harness.open()
    for (const [first, last] of ranges) await harness.checkRead(first, last)
  })

  test('records larger than the pieces that are read', async () => {
    const harness = await opened()
    harness.append(10, 700_000, 1_500_000, 10, 300_000, 10)
    await settle()
    for (let first = 1; first <= 6; first++) await harness.checkRead(first, 6)
    await harness.close()
    await harness.open()
    for (let first = 1; first <= 6; first++) await harness.checkRead(first, 6)
  })

  test('across segments', async () => {
    const harness = await opened()
    for (let round = 0; round < 4; round++) {
      harness.append(10, 500)
      await settle()
      harness.restartOn(harness.disk.crash(LOSE))
      await harness.open()
    }
    expect((await segments(harness.disk)).length).toBeGreaterThan(1)
    for (let first = 1; first <= 8; first++) await harness.checkRead(first, 8)
  })

  test('damage under a read is an error that says where, never another entry', async () => {
    const harness = await opened()
    harness.append(10, 10, 10)
    await settle()
    const offset = harness.disk.bytes(segmentPath(1)).indexOf('set key2')
    harness.disk.flipBit(segmentPath(1), offset)
    await expect(harness.log.read(1, 3, Infinity)).rejects.toThrow(LogDamagedError)
    await expect(harness.log.read(1, 3, Infinity)).rejects.toThrow(/000000000001\.log.*entry 2 /)
    await harness.checkRead(1, 1)
  })

  test('so is a length that points behind the end, before entries of another segment too', async () => {
    const harness = await opened()
    harness.append(100, 100, 100)
    await settle()
    await harness.log.endSegment()
    harness.append(100, 100)
    await settle()
    const [, , third] = await harness.log.read(1, 3, Infinity)
    const at = harness.disk.bytes(segmentPath(1)).indexOf(third?.record ?? '')
    const [, length = ''] = /^\d+ \d+ \d+ (\d+) /.exec(`${third?.record}`) ?? []
    const offset = at + `${third?.record}`.indexOf(` ${length} `) + 1
    harness.disk.flipBit(segmentPath(1), offset, 3) // 1 becomes 9
    for (const [first, last] of [
      [1, 5],
      [3, 3],
    ] as const) {
      await expect(harness.log.read(first, last, Infinity)).rejects.toThrow(
        /000000000001\.log.*entry 3 /,
      )
    }
    await harness.checkRead(4, 5)
  })
})

describe('reopening', () => {
  test('after a clean close a new segment is begun, and the old one left as it was', async () => {
    const harness = await opened()
    harness.append(10, 10)
    await settle()
    await harness.close()
    await harness.open()
    harness.append(10)
    await settle()
    expect(await segments(harness.disk)).toEqual(['000000000001.log', '000000000002.log'])
    expect(contentsOf(harness.disk, 1)).toEqual(['1/1', '1/2', 'seal 2/0'])
    expect(await harness.firstIndexOfNewestSegment()).toBe(3)
    expect(contentsOf(harness.disk, 2)).toEqual(['seal 2/0', '1/3'])
  })

  test('an empty log, again and again', async () => {
    const harness = await opened()
    for (let round = 0; round < 3; round++) {
      await harness.close()
      await harness.open()
      expect(harness.summary).toMatchObject({ lastIndex: 0, termRuns: [], configs: [] })
      // Those without entries do not pile up.
      expect(await segments(harness.disk)).toHaveLength(1)
    }
  })

  test('close writes what is queued first', async () => {
    const harness = await opened()
    const release = harness.disk.hold('datasync')
    harness.append(10)
    await settle()
    harness.append(20)
    const closing = harness.close()
    release()
    await closing
    expect(harness.reports.at(-1)).toEqual({ term: 1, index: 2 })
    harness.restartOn(harness.disk.crash(LOSE))
    await harness.open()
    expect(harness.summary.lastIndex).toBe(2)
    // All of it was sealed: nothing had to be written again.
    expect(contentsOf(harness.disk, 1)).toEqual(['1/1', 'seal 1/0', '1/2', 'seal 2/0'])
    expect(contentsOf(harness.disk, 2)).toEqual(['seal 2/0'])
  })

  /** Closes while an idle seal is on its way and an entry waits behind it; syncs are held. */
  async function closeBehindIdleSeal(seed: number) {
    const harness = new LogHarness(new MemoryDisk({ random: seededRandom(seed) }))
    await harness.open()
    harness.append(10)
    await settle()
    const releaseWrite = harness.disk.hold('write')
    harness.timers.fire()
    harness.append(1500)
    const closing = harness.log.close()
    await settle()
    const releaseSync = harness.disk.hold('datasync')
    releaseWrite()
    await settle()
    return { harness, closing, releaseSync }
  }

  test('close waits for entries queued while an idle seal is written', async () => {
    const { harness, closing, releaseSync } = await closeBehindIdleSeal(1)
    releaseSync()
    await closing
    await settle()
    expect(harness.failures).toEqual([])
    expect(harness.reports.at(-1)).toEqual({ term: 1, index: 2 })
    expect(contentsOf(harness.disk, 1).at(-1)).toBe('seal 2/0')
  })

  test('a power loss during such a close leaves a log that opens', async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const { harness } = await closeBehindIdleSeal(seed)
      await crashed(harness, { contents: 'random', names: 'random' })
    }
  })

  test('a power loss while close syncs its seal behind an idle one leaves a log that opens', async () => {
    for (let pad = 400; pad < 480; pad++) {
      const harness = new LogHarness(new MemoryDisk({ random: seededRandom(pad) }))
      await harness.open()
      harness.append(pad) // puts the seals at the border of a sector
      await settle()
      harness.timers.fire()
      await settle()
      harness.disk.hold('datasync')
      void harness.close()
      await settle()
      await crashed(harness, { contents: 'random', names: 'random' })
    }
  })

  test('after a crash what is past the last seal stands in a new segment, synced', async () => {
    const harness = await opened()
    harness.append(10)
    await settle()
    harness.append(10, 10)
    await settle()
    harness.restartOn(harness.disk.crash(LOSE))
    await harness.open()
    expect(await segments(harness.disk)).toEqual(['000000000001.log', '000000000002.log'])
    expect(contentsOf(harness.disk, 2)).toEqual(['1/2', '1/3', 'seal 3/0'])
    const again = await crashed(harness, LOSE)
    expect(again.summary.lastIndex).toBe(3)
    // All of it is sealed now: the segment that is begun has no entries.
    expect(contentsOf(again.disk, 2)).toEqual(['1/2', '1/3', 'seal 3/0'])
    expect(contentsOf(again.disk, 3)).toEqual(['seal 3/0'])
  })

  test('a segment that is superseded as a whole is removed, for good', async () => {
    const harness = await opened()
    harness.append(10, 10)
    await settle()
    harness.restartOn(harness.disk.crash(LOSE))
    await harness.open()
    expect(await segments(harness.disk)).toEqual(['000000000002.log'])
    expect(contentsOf(harness.disk, 2)).toEqual(['1/1', '1/2', 'seal 2/0'])
    const again = await crashed(harness, LOSE)
    expect(await segments(again.disk)).toEqual(['000000000002.log', '000000000003.log'])
    // The third has no entries and makes room for the fourth.
    const later = await crashed(again, LOSE)
    expect(await segments(later.disk)).toEqual(['000000000002.log', '000000000004.log'])
  })

  test('segments left half made are cleared away', async () => {
    const harness = await opened()
    harness.append(10)
    await settle()
    await harness.close()
    harness.disk.put(`${segmentPath(2)}.tmp`, Buffer.from('log 1 clus'))
    await harness.open()
    expect(harness.disk.files()).toEqual([segmentPath(1), segmentPath(2)])
    expect(contentsOf(harness.disk, 2)).toEqual(['seal 1/0'])
  })

  test('the log of another cluster or group is refused', async () => {
    const harness = await opened()
    await harness.close()
    const { disk, timers } = harness
    const options = { disk, timers, directory: DIRECTORY, clusterId: CLUSTER, group: 0 }
    await expect(LogStore.open({ ...options, clusterId: 'cluster-2' })).rejects.toThrow(
      /000000000001\.log: belongs to cluster cluster-1, group 0/,
    )
    await expect(LogStore.open({ ...options, group: 1 })).rejects.toThrow(LogDamagedError)
  })

  test('a log of another format is refused, and named', async () => {
    const harness = await opened()
    await harness.close()
    harness.disk.put(segmentPath(1), Buffer.from(checkedLine('log 1 cluster-1 0 1')))
    await expect(harness.openOnly()).rejects.toThrow(
      `${segmentPath(1)} is of format 1, this version reads format 2 only`,
    )
  })

  test('configurations and times come back, those replaced do not', async () => {
    const harness = await opened()
    const config = (floor: number) => ({ members: [], floor })
    harness.appendConfig(config(2))
    harness.append(10)
    harness.appendConfig(config(3))
    await settle()
    harness.supersede(3, 10)
    harness.appendConfig(config(4))
    await settle()
    await harness.close()
    await harness.open()
    expect(harness.summary.configs).toEqual([
      { index: 1, config: config(2) },
      { index: 4, config: config(4) },
    ])
  })
})

// Every way to stop: at each write, sync and rename in turn, with each fate of
// what was not synced.
describe('crash', () => {
  const story: readonly Step[] = [
    (harness) => harness.openOnly(),
    (harness) => harness.append(10, 600, 700),
    (harness) => {
      harness.append(1200)
      harness.append(20, 900)
    },
    (harness) => harness.commit(3),
    (harness) => harness.timers.fire(),
    (harness) => harness.append(800, 30),
    (harness) => harness.supersede(5, 500, 40, 1500),
    (harness) => harness.append(60),
    reopen,
    (harness) => harness.append(900),
    (harness) => harness.supersede(8, 50, 700),
    (harness) => harness.timers.fire(),
    (harness) => harness.append(700),
  ]

  async function checkGoesOn(harness: LogHarness): Promise<void> {
    harness.append(40, 700)
    await settle()
    expect(harness.failures).toEqual([])
    expect(harness.reports.at(-1)?.index).toBe(harness.lastIndex)
    await harness.checkRead(harness.summary.base.index + 1, harness.lastIndex)
    await crashed(harness, LOSE)
  }

  /** In small segments, of which those that a keystore covers are removed. */
  const cutStory: readonly Step[] = [
    ...story.slice(0, 4),
    (harness) => harness.append(300, 40),
    (harness) => harness.commit(6),
    (harness) => harness.cut(2),
    (harness) => harness.append(400, 30),
    (harness) => harness.cut(6),
    (harness) => harness.supersede(8, 500, 10),
    (harness) => harness.append(60),
    reopen,
    (harness) => harness.commit(9),
    (harness) => harness.cut(9),
    (harness) => harness.append(200, 10),
    (harness) => harness.timers.fire(),
  ]

  /** A snapshot takes the place of a log that ends before it, and later of entries that differ. */
  const resetStory: readonly Step[] = [
    ...story.slice(0, 4),
    (harness) => harness.append(300, 40),
    (harness) => harness.reset(20),
    (harness) => harness.append(400, 30),
    (harness) => harness.append(400, 30, 40),
    (harness) => {
      harness.append(500)
      return harness.reset(23)
    },
    (harness) => harness.append(20, 30),
    (harness) => harness.commit(24),
    (harness) => harness.cut(24),
    reopen,
    (harness) => harness.reset(40),
  ]

  const STORIES = [
    ['in one segment', story, undefined, 300],
    ['in small segments', story, 1000, 300],
    ['in small segments that are cut', cutStory, 700, 300],
    ['with snapshots', resetStory, 700, 300],
    ['with snapshots, in one segment', resetStory, undefined, 300],
  ] as const

  /** LONG=1: every change of an opening, else every other. */
  const HALT_STEP = process.env.LONG ? 1 : 2

  /** What the next start must find again; what is cut off may differ. */
  function lasting({ summary, covered }: LogHarness) {
    const { lastIndex, owed, damage } = summary
    return covered.index === 0 ? summary : { lastIndex, owed, damage }
  }

  test.each(STORIES)(
    'at every change, %s: all that was reported stable is there, and nothing by halves',
    async (_, steps, segmentBytes, count) => {
      let outcomeCount = 0
      for await (const harness of runToEachChange(steps, segmentBytes)) {
        for (const policy of [...CRASH_POLICIES, ...CRASH_POLICIES.slice(4)]) {
          const once = await crashed(harness, policy)
          // What was read once is durable.
          const twice = await crashed(once, LOSE)
          expect(lasting(twice)).toEqual(lasting(once))
          await checkGoesOn(twice)
          outcomeCount++
        }
      }
      expect(outcomeCount).toBeGreaterThan(count)
    },
  )

  const SHORT_STORIES = [
    ['in one segment', [...story.slice(0, 4), ...story.slice(5, 7)], undefined],
    ['in small segments that are cut', cutStory.slice(0, 8), 500],
    ['with a snapshot', resetStory.slice(0, 6), 700],
  ] as const

  test.each(SHORT_STORIES)(
    'at every change, %s, and at every change of the opening that follows',
    async (_, steps, segmentBytes) => {
      let outcomeCount = 0
      for await (const harness of runToEachChange(steps, segmentBytes)) {
        for (const policy of [...CRASH_POLICIES.slice(2, 6), ...CRASH_POLICIES.slice(6)]) {
          for (let haltAt = 1; ; haltAt += HALT_STEP) {
            // The same dice each time, so that only the moment differs.
            const opening = harness.fork(harness.disk.crash(policy))
            opening.disk.haltAt = haltAt
            await run(opening, [(log) => log.openOnly()])
            const isThrough = opening.disk.mutationCount < haltAt
            for (const again of [LOSE, KEEP, ...CRASH_POLICIES.slice(4)]) {
              const once = await crashed(opening, again)
              const twice = await crashed(once, LOSE)
              expect(lasting(twice)).toEqual(lasting(once))
              outcomeCount++
            }
            if (isThrough) break
          }
        }
      }
      expect(outcomeCount).toBeGreaterThan(1000)
    },
  )

  // A killed process leaves the page cache: what the next one reads may not be durable yet.
  async function checkKilled(killed: LogHarness): Promise<void> {
    const harness = killed.fork(killed.disk.kill())
    await harness.open()
    const again = await crashed(harness, LOSE)
    // A seal may be lost, and the commit index with it.
    expect({ ...lasting(again), commitIndex: 0 }).toEqual({ ...lasting(harness), commitIndex: 0 })
    const goesOn = killed.fork(killed.disk.kill())
    await goesOn.open()
    await checkGoesOn(goesOn)
  }

  test.each(STORIES)(
    'kill at every change, %s, then a power loss: what was read stays',
    async (_, steps, segmentBytes) => {
      const first = new LogHarness()
      await first.openOnly()
      for await (const harness of runToEachChange(steps, segmentBytes)) {
        if (harness.disk.mutationCount > first.disk.mutationCount) await checkKilled(harness)
      }
    },
  )

  test('kill before the name of the first segment is synced, then a power loss', async () => {
    for await (const harness of runToEachChange(story.slice(0, 1))) await checkKilled(harness)
  })

  test('kill before the name of a segment without entries is synced', async () => {
    const torn = await opened()
    torn.append(10)
    await settle()
    torn.timers.fire()
    await settle()
    torn.append(1000)
    torn.disk.halt()
    for (let haltAt = 1; haltAt < 10; haltAt++) {
      const bytes = torn.disk.bytes(segmentPath(1))
      const disk = torn.disk.crash(KEEP)
      disk.put(segmentPath(1), Buffer.concat([bytes, Buffer.from('2 1 17')]))
      disk.haltAt = haltAt
      const opening = torn.fork(disk)
      await run(opening, [(log) => log.openOnly()])
      await checkKilled(opening)
    }
  })

  test('entries that go back before the first of their segment survive the next crash', async () => {
    const harness = await opened()
    harness.append(10, 10, 10, 10, 10)
    await settle()
    harness.timers.fire()
    await settle()
    // A torn batch: the next segment begins at 6.
    const release = harness.disk.hold('datasync')
    harness.append(2000)
    await settle()
    harness.restartOn(harness.disk.crash({ contents: 'torn', names: 'keep' }))
    release()
    await harness.open()
    expect(harness.summary.lastIndex).toBe(5)
    harness.supersede(3, 20, 20)
    await settle()
    harness.append(20)
    await settle()
    // 2/3 and 2/4 are sealed in that segment, 2/5 is not and is written again.
    harness.restartOn(harness.disk.crash(LOSE))
    await harness.open()
    expect(harness.summary.lastIndex).toBe(5)
  })

  test('a segment with nothing left in it stays while a later one begins behind it', async () => {
    const harness = await opened()
    const next: Step[] = [reopen, (log) => log.check()]
    harness.append(10, 10, 10)
    await run(harness, next)
    harness.append(10, 10)
    await run(harness, next)
    // The third begins at 6; the fourth at 3, so that nothing is left in the second and third.
    harness.supersede(3, 20)
    harness.append(10, 10, 10)
    await settle()
    harness.timers.fire()
    for (let round = 0; round < 3; round++) {
      await run(harness, next)
      expect(harness.summary.lastIndex).toBe(6)
    }
    // The last has no entries, and the ones like it before are gone; those before the fourth stay.
    expect((await segments(harness.disk)).slice(0, -1)).toEqual([
      '000000000001.log',
      '000000000002.log',
      '000000000003.log',
      '000000000004.log',
    ])
  })

  test('of several superseded segments the removal may end anywhere', async () => {
    const before = await opened()
    before.append(10, 10, 10)
    await run(before, [reopen, (log) => log.check()])
    before.append(10, 10)
    await run(before, [reopen, (log) => log.check()])
    // In the fourth; written again from 4 on, nothing is left in the second, third and fourth.
    before.supersede(4, 20, 20)
    await settle()
    before.disk.halt()
    for (let haltAt = 1; ; haltAt++) {
      for (let throws = 1; throws <= 3; throws++) {
        const opening = before.fork(before.disk.crash(LOSE))
        opening.disk.haltAt = haltAt
        await run(opening, [(log) => log.openOnly()])
        for (const policy of CRASH_POLICIES) await crashed(opening, policy)
        await opening.fork(opening.disk.kill()).open()
        if (opening.disk.mutationCount >= haltAt) continue
        expect(await segments(opening.disk.kill())).toEqual([
          '000000000001.log',
          '000000000005.log',
        ])
        return
      }
    }
  })
})

describe('damage', () => {
  /** Two sealed batches and one that is not. */
  async function sealedLog(): Promise<LogHarness> {
    const harness = await opened()
    harness.append(10, 10)
    await settle()
    harness.append(10)
    await settle()
    harness.append(10, 10)
    await settle()
    expect(contentsOf(harness.disk, 1)).toEqual([
      '1/1',
      '1/2',
      'seal 2/0',
      '1/3',
      'seal 3/0',
      '1/4',
      '1/5',
    ])
    return harness
  }

  function open(disk: MemoryDisk, options: Partial<LogStoreOptions> = {}) {
    const timers = new ManualTimers()
    const log = { disk, timers, directory: DIRECTORY, clusterId: CLUSTER, group: 0 }
    return LogStore.open({ ...log, ...options })
  }

  test('before the last seal the log ends there, says where, and what it owes', async () => {
    const harness = await sealedLog()
    const bytes = harness.disk.bytes(segmentPath(1))
    const headerEnd = bytes.indexOf('\n') + 1
    const lastSeal = bytes.indexOf('seal 3')
    const starts = [
      headerEnd,
      bytes.indexOf('2 1 17'),
      bytes.indexOf('seal 2'),
      bytes.indexOf('3 1 17'),
    ]
    for (let flipped = headerEnd; flipped < lastSeal; flipped++) {
      const disk = harness.disk.crash(KEEP)
      disk.flipBit(segmentPath(1), flipped, flipped % 8)
      const damaged = disk.bytes(segmentPath(1))
      const at = starts.findLastIndex((start) => start <= flipped)
      // The first seal stands before entry 3.
      const [index = 0, offset] = [[1, 2, 3, 3][at], starts[at]]
      const owed = { term: 1, index: 5 }
      for (const damage of [{ path: segmentPath(1), offset, index }, null]) {
        const { log, summary } = await open(disk)
        expect(summary).toMatchObject({ lastIndex: index - 1, owed, damage })
        const found = await log.read(1, index - 1, Infinity)
        expect(found.map((entry) => entry.index)).toEqual([1, 2].slice(0, index - 1))
        await log.close()
      }
      expect(disk.bytes(segmentPath(1))).toEqual(damaged)
    }
  })

  test('after the last seal it is cut, and what is before it stays', async () => {
    const harness = await sealedLog()
    const bytes = harness.disk.bytes(segmentPath(1))
    const fifth = bytes.lastIndexOf('5 1 17')
    for (let offset = bytes.indexOf('seal 3'); offset < bytes.length; offset++) {
      const disk = harness.disk.crash(KEEP)
      disk.flipBit(segmentPath(1), offset, offset % 8)
      const { log, summary } = await open(disk)
      expect(summary.lastIndex).toBe(offset < fifth ? 3 : 4)
      // Nothing is written behind the damage.
      expect(await segments(disk)).toEqual(['000000000001.log', '000000000002.log'])
      const found = await log.read(1, summary.lastIndex, Infinity)
      expect(found.map(({ index }) => index)).toEqual([1, 2, 3, 4].slice(0, summary.lastIndex))
      await log.close()
      expect((await open(disk)).summary.lastIndex).toBe(summary.lastIndex)
    }
  })

  test('a log cut off anywhere opens with what is whole', async () => {
    const harness = await sealedLog()
    const bytes = harness.disk.bytes(segmentPath(1))
    const headerEnd = bytes.indexOf('\n') + 1
    let longest = 0
    for (let length = headerEnd; length <= bytes.length; length++) {
      const disk = harness.disk.crash(KEEP)
      disk.put(segmentPath(1), bytes.subarray(0, length))
      const { log, summary } = await open(disk)
      expect(summary.lastIndex).toBeGreaterThanOrEqual(longest)
      longest = summary.lastIndex
      if (longest > 0) expect(await log.read(1, longest, Infinity)).toHaveLength(longest)
    }
    expect(longest).toBe(5)
  })

  test('in the first line of a segment nothing of it counts, and all of it is owed', async () => {
    const harness = await sealedLog()
    const headerBytes = harness.disk.bytes(segmentPath(1)).indexOf('\n') + 1
    for (let offset = 0; offset < headerBytes; offset++) {
      for (let bit = 0; bit < 8; bit++) {
        const disk = harness.disk.crash(KEEP)
        disk.flipBit(segmentPath(1), offset, bit)
        const { summary } = await open(disk)
        const damage = { path: segmentPath(1), offset: 0, index: 1 }
        expect(summary).toMatchObject({ lastIndex: 0, owed: { term: 1, index: 5 }, damage })
      }
    }
  })

  // No seal says how far such a segment came, only its records.
  test('in the first line of a segment without a seal', async () => {
    const harness = new LogHarness(undefined, 80)
    await harness.open()
    for (const size of [10, 10]) {
      harness.append(size)
      await settle()
    }
    expect(contentsOf(harness.disk, 2)).toEqual(['1/2'])
    const headerBytes = harness.disk.bytes(segmentPath(2)).indexOf('\n') + 1
    for (let offset = 0; offset < headerBytes; offset++) {
      for (let bit = 0; bit < 8; bit++) {
        const disk = harness.disk.crash(KEEP)
        disk.flipBit(segmentPath(2), offset, bit)
        const { summary } = await open(disk)
        expect(summary).toMatchObject({ lastIndex: 1, owed: { term: 1, index: 2 } })
      }
    }
  })

  test('in an earlier segment, and a segment that is missing', async () => {
    const harness = await sealedLog()
    harness.restartOn(harness.disk.crash(LOSE))
    await harness.open()
    harness.append(10)
    await settle()
    expect(await segments(harness.disk)).toHaveLength(2)
    const owed = { term: 1, index: 6 }
    const damaged = harness.disk.crash(KEEP)
    damaged.flipBit(segmentPath(1), damaged.bytes(segmentPath(1)).indexOf('set key2'))
    expect((await open(damaged)).summary).toMatchObject({
      ...{ lastIndex: 1, owed },
      damage: { path: segmentPath(1), index: 2 },
    })
    const missing = harness.disk.crash(KEEP)
    await missing.remove(segmentPath(1))
    expect((await open(missing)).summary).toMatchObject({
      ...{ lastIndex: 0, owed },
      damage: { path: segmentPath(2), offset: 0, index: 1 },
    })
  })

  // Three segments of two entries each; what came after the damage stands behind segments that
  // do not go on from there.
  test('what was brought back is found again behind segments that do not count any more', async () => {
    const harness = new LogHarness(undefined, 160)
    await harness.open()
    for (let batch = 0; batch < 6; batch++) {
      harness.append(10)
      await settle()
    }
    expect(await segments(harness.disk)).toHaveLength(3)
    await harness.close()
    harness.disk.flipBit(segmentPath(1), harness.disk.bytes(segmentPath(1)).indexOf('set key2'))
    await harness.openOnly()
    expect(harness.summary).toMatchObject({ lastIndex: 1, owed: { term: 1, index: 6 } })
    expect(await harness.heal()).toBe(true)
    harness.append(10)
    await settle()
    for (let round = 0; round < 2; round++) {
      harness.restartOn(harness.disk.crash(LOSE))
      await harness.open()
      expect(harness.summary.lastIndex).toBe(7)
    }
    // Until a keystore covers it, the damaged segment stays.
    expect((await segments(harness.disk))[0]).toBe('000000000001.log')
    harness.commit(7)
    harness.cut(7)
    await harness.close()
    await harness.open()
    expect((await segments(harness.disk)).length).toBeLessThan(3)
  })

  test('brought back in parts, the rest is owed until all of it is there, whatever happens meanwhile', async () => {
    const harness = new LogHarness(undefined, 160)
    await harness.open()
    for (let batch = 0; batch < 6; batch++) {
      harness.append(10)
      await settle()
    }
    const entries = await harness.log.read(1, 6, Infinity)
    await harness.close()
    let { disk } = harness
    disk.flipBit(segmentPath(1), disk.bytes(segmentPath(1)).indexOf('set key2'))
    for (const entry of entries.slice(1)) {
      const { log, summary } = await open(disk, { segmentBytes: 160 })
      const owed = { term: 1, index: 6 }
      expect(summary).toMatchObject({ lastIndex: entry.index - 1, owed })
      expect(log.cutTo(1)).toBe(0) // nothing goes while something is owed
      log.append([entry])
      await settle()
      disk = disk.crash(LOSE)
    }
    const { log, summary } = await open(disk, { segmentBytes: 160 })
    expect(summary).toMatchObject({ lastIndex: 6, owed: NO_ENTRY, damage: null })
    const found = await log.read(1, 6, Infinity)
    expect(found.map(({ record }) => `${record}`)).toEqual(entries.map(({ record }) => `${record}`))
  })

  test('in the first line of an empty segment it costs nothing, now or later', async () => {
    const harness = await sealedLog()
    await harness.close()
    await harness.open()
    harness.disk.flipBit(segmentPath(2), 7)
    for (let index = 6; index < 9; index++) {
      await harness.close()
      await harness.openOnly()
      expect(harness.summary).toMatchObject({ lastIndex: index - 1, owed: NO_ENTRY })
      harness.append(10)
      await settle()
      expect(harness.reports.at(-1)?.index).toBe(index)
    }
  })

  // The start behind a snapshot is a segment with nothing in it but its first line.
  test('a log that began behind a snapshot owes that when the keystore is lost', async () => {
    for (const isCut of [false, true]) {
      const harness = await sealedLog()
      const base = { term: 3, index: 20 }
      await harness.log.reset(base)
      if (isCut) harness.log.cutTo(20)
      await settle()
      expect(await segments(harness.disk)).toHaveLength(isCut ? 1 : 2)
      const { summary } = await open(harness.disk.crash(LOSE))
      expect(summary).toMatchObject({ lastIndex: isCut ? 0 : 5, owed: base })
    }
  })

  test('what the keystore covers is not owed', async () => {
    const harness = await sealedLog()
    const covered = { term: 1, index: 5 }
    const { length } = harness.disk.bytes(segmentPath(1))
    for (let offset = 0; offset < length; offset++) {
      const disk = harness.disk.crash(KEEP)
      disk.flipBit(segmentPath(1), offset, offset % 8)
      for (let round = 0; round < 2; round++) {
        const { log, summary } = await open(disk, { covered })
        expect(summary).toMatchObject({ lastIndex: 5, owed: NO_ENTRY })
        await log.close()
      }
    }
  })

  test('in what a later segment supersedes it is no harm', async () => {
    const harness = await sealedLog()
    const fifth = harness.disk.bytes(segmentPath(1)).indexOf('set key5')
    harness.restartOn(harness.disk.crash(LOSE))
    await harness.open()
    harness.disk.flipBit(segmentPath(1), fifth)
    await harness.close()
    await harness.open()
    expect(harness.summary.lastIndex).toBe(5)
  })

  // The entries replaced must not come back in the place of damaged ones.
  test('in an earlier segment, in entries that had replaced others: those are owed', async () => {
    const harness = await opened()
    harness.append(10, 10, 10, 10, 10)
    await settle()
    harness.supersede(3, 20, 20)
    await settle()
    harness.append(20)
    await settle()
    harness.restartOn(harness.disk.crash(LOSE))
    await harness.open()
    expect(contentsOf(harness.disk, 2)).toEqual(['2/5', 'seal 5/0'])
    await harness.close()
    const offset = harness.disk.bytes(segmentPath(1)).lastIndexOf('set key3')
    harness.disk.flipBit(segmentPath(1), offset)
    await harness.openOnly()
    expect(harness.summary).toMatchObject({ lastIndex: 5, owed: { term: 2, index: 5 } })
    expect((await harness.log.read(5, 5, Infinity)).map(({ term }) => term)).toEqual([1])
    expect(await harness.heal()).toBe(true)
    await harness.close()
    await harness.open()
  })

  test('values that look like records and seals change nothing', async () => {
    const writer = new RecordWriter(CLUSTER)
    const foreign = new RecordWriter('cluster-2')
    const value = Buffer.concat([
      writer.createEntry({ term: 9, index: 2 }, 0, { kind: 'noop' }).record,
      writer.seal({ index: 99, term: 1, commitIndex: 99, offset: 0 }),
      foreign.seal({ index: 1, term: 1, commitIndex: 1, offset: 0 }),
    ])
    const harness = await opened()
    const command = Buffer.concat([Buffer.from('set k 0 0 9\r\n'), value, Buffer.from('\r\n')])
    const payload = { kind: 'command', command } as const
    harness.log.onStable = () => {}
    harness.log.append([1, 2].map((index) => writer.createEntry({ term: 1, index }, 0, payload)))
    await settle()
    const { log, summary } = await open(harness.disk.crash(LOSE))
    expect(summary).toMatchObject({ lastIndex: 2, commitIndex: 0 })
    expect((await log.read(1, 2, Infinity)).map(({ term }) => term)).toEqual([1, 1])
  })

  test.each([
    ['of another cluster', new RecordWriter('cluster-2')],
    ['without a checksum', null],
  ])('a torn batch with a seal %s in a value is cut', async (_, writer) => {
    const seal =
      writer?.seal({ index: 1, term: 1, commitIndex: 0, offset: 0 }) ??
      Buffer.from('seal 1 0 00000000\n')
    expect(await openTornBefore(seal)).toBe(1)
  })

  test('a torn batch with a seal of this cluster in a value is cut', async () => {
    const seal = new RecordWriter(CLUSTER).seal({ index: 1, term: 1, commitIndex: 0, offset: 0 })
    expect(await openTornBefore(seal)).toBe(1)
  })

  /** The second batch lost its first sectors; a value in its last is kept. */
  async function openTornBefore(value: Buffer): Promise<number> {
    const writer = new RecordWriter(CLUSTER)
    const create = (index: number, command: Buffer) =>
      writer.createEntry({ term: 1, index }, 0, { kind: 'command', command })
    const harness = await opened()
    harness.log.onStable = () => {}
    harness.log.append([create(1, Buffer.from('delete a\r\n'))])
    await settle()
    const size = harness.disk.bytes(segmentPath(1)).length
    const command = Buffer.concat([Buffer.from('set k 0 0 9\r\n'), value, Buffer.from('\r\n')])
    harness.log.append([create(2, Buffer.alloc(1000, 'x')), create(3, command)])
    await settle()
    const bytes = harness.disk.bytes(segmentPath(1)).fill(0, size + 100, size + 600)
    const disk = harness.disk.crash(KEEP)
    disk.put(segmentPath(1), bytes)
    return (await open(disk)).summary.lastIndex
  }
})

describe('scrub', () => {
  /** Two segments that are ended, and one that is written. */
  async function endedSegments(): Promise<LogHarness> {
    const harness = await opened()
    for (let round = 0; round < 2; round++) {
      for (let batch = 0; batch < 2; batch++) {
        harness.append(10)
        await settle()
      }
      await harness.log.endSegment()
    }
    harness.append(10)
    await settle()
    return harness
  }

  test('finds what a start would, in any byte of what is not written any more', async () => {
    const { disk } = await endedSegments()
    let damagedCount = 0
    for (const path of [segmentPath(1), segmentPath(2)]) {
      for (let offset = 0; offset < disk.bytes(path).length; offset++) {
        const harness = await endedSegments()
        harness.disk.flipBit(path, offset)
        const found = await harness.log.scrub(asItIs)
        const next = harness.fork(harness.disk.kill())
        await next.openOnly()
        expect(found).toEqual(next.summary.damage)
        if (found) damagedCount++
      }
    }
    expect(damagedCount).toBeGreaterThan(200)
  })

  /** Counts the files that are open. */
  function counting(disk: MemoryDisk): { count: number } {
    const opened = { count: 0 }
    const open = disk.open.bind(disk)
    disk.open = async (path, options) => {
      const file = await open(path, options)
      opened.count++
      const close = async () => {
        opened.count--
        await file.close()
      }
      return { ...file, close }
    }
    return opened
  }

  test('does not keep what is cut meanwhile', async () => {
    const harness = new LogHarness(undefined, 2_000)
    const opened = counting(harness.disk)
    await harness.open()
    const write = async () => {
      for (let count = 0; count < 10; count++) {
        harness.append(500)
        await settle()
        harness.commit(harness.stableIndex)
      }
    }
    await write()
    const waiting: (() => void)[] = []
    const turn = () => new Promise<void>((resolve) => waiting.push(resolve))
    let isOver = false
    const scrub = harness.log.scrub((file) => ({
      ...file,
      read: async (offset, length) => {
        await turn()
        return file.read(offset, length)
      },
    }))
    const scrubbed = scrub.then((damage) => {
      isOver = true
      return damage
    })
    // In the midst of it what has been read is cut, with what has not.
    for (let readCount = 0; readCount < 4; readCount++) {
      await settle()
      waiting.shift()?.()
    }
    await write()
    harness.cut(harness.commitIndex)
    await settle()
    expect(isOver).toBe(false)
    waiting.shift()?.()
    await settle()
    expect(isOver).toBe(true)
    expect(await scrubbed).toBe(null)
    // The newest one's file is open twice.
    expect(opened.count).toBe((await segments(harness.disk)).length + 1)
    await harness.close()
    expect(opened.count).toBe(0)
  })
})

describe('a disk that fails', () => {
  test.each(['write', 'datasync'] as const)(
    'a failed %s is reported once and ends all writing',
    async (kind) => {
      const harness = await opened()
      harness.append(10)
      await settle()
      harness.disk.fail(kind)
      harness.append(10)
      await settle()
      expect(harness.failures).toHaveLength(1)
      expect(harness.failures[0]).toMatchObject({ code: 'EIO' })
      const { mutationCount } = harness.disk
      harness.append(10)
      harness.timers.fire()
      await settle()
      await harness.close()
      expect(harness.disk.mutationCount).toBe(mutationCount)
      expect(harness.reports).toEqual([{ term: 1, index: 1 }])
      expect(harness.failures).toHaveLength(1)
    },
  )

  test('entries queued behind a failed sync are never reported', async () => {
    const harness = await opened()
    harness.disk.fail('datasync')
    const release = harness.disk.hold('datasync')
    harness.append(10)
    await settle()
    harness.append(10)
    release()
    await settle()
    expect(harness.failures).toHaveLength(1)
    expect(harness.reports).toEqual([])
    expect(contentsOf(harness.disk, 1)).toEqual(['1/1'])
  })

  test('what a failed sync left readable is written again and synced at the next open', async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const harness = new LogHarness(new MemoryDisk({ random: seededRandom(seed) }))
      await harness.open()
      harness.append(10, 700)
      await settle()
      harness.disk.fail('datasync')
      harness.append(20, 1500)
      await settle()
      expect(harness.failures).toHaveLength(1)
      harness.restartOn(harness.disk.kill())
      await harness.open()
      expect(harness.summary.lastIndex).toBe(4)
      const again = await crashed(harness, LOSE)
      expect(again.summary.lastIndex).toBe(4)
    }
  })

  // Appended to, it would have entries that a later seal vouches for behind a hole.
  test('a segment whose last seal failed to sync is not built upon', async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const harness = new LogHarness(new MemoryDisk({ random: seededRandom(seed) }))
      await harness.open()
      harness.append(10, 700)
      await settle()
      harness.restartOn(harness.disk.kill())
      // The first sync is of the new segment's entries, the second of the seal behind them.
      harness.disk.fail('datasync', 2)
      await expect(harness.openOnly()).rejects.toMatchObject({ code: 'EIO' })
      expect(contentsOf(harness.disk, 2)).toEqual(['1/1', '1/2', 'seal 2/0'])
      harness.restartOn(harness.disk.kill())
      await harness.open()
      for (const index of [3, 4]) {
        harness.append(20)
        await settle()
        expect(harness.reports.at(-1)?.index).toBe(index)
      }
      const again = await crashed(harness, LOSE)
      expect(again.summary.lastIndex).toBe(4)
    }
  })

  test('a failed idle seal is reported', async () => {
    const harness = await opened()
    harness.append(10)
    await settle()
    harness.disk.fail('write')
    harness.timers.fire()
    await settle()
    expect(harness.failures).toHaveLength(1)
    harness.append(10)
    await settle()
    expect(harness.reports).toEqual([{ term: 1, index: 1 }])
  })

  test('entries queued while an idle seal fails are never written', async () => {
    const harness = await opened()
    harness.append(10)
    await settle()
    harness.disk.fail('write')
    const release = harness.disk.hold('write')
    harness.timers.fire()
    harness.append(10)
    await settle()
    release()
    await settle()
    expect(harness.failures).toHaveLength(1)
    expect(harness.reports).toEqual([{ term: 1, index: 1 }])
  })

  test('a failed start behind a snapshot is reported, and nothing is written after it', async () => {
    for (const kind of ['create', 'write', 'datasync', 'rename', 'syncDirectory'] as const) {
      const harness = await opened()
      harness.append(10)
      await settle()
      harness.disk.fail(kind)
      await expect(harness.log.reset({ term: 2, index: 9 })).rejects.toMatchObject({ code: 'EIO' })
      expect(harness.failures).toHaveLength(1)
      const { mutationCount } = harness.disk
      await expect(harness.log.reset({ term: 2, index: 9 })).rejects.toMatchObject({ code: 'EIO' })
      await harness.close()
      expect(harness.disk.mutationCount).toBe(mutationCount)
    }
  })

  test('any failure while opening rejects, and the next opening finds everything', async () => {
    for (const kind of ['create', 'write', 'datasync', 'rename', 'syncDirectory'] as const) {
      const harness = await opened()
      harness.append(10, 700)
      await settle()
      const disk = harness.disk.kill()
      disk.fail(kind)
      await expect(harness.fork(disk).openOnly()).rejects.toMatchObject({ code: 'EIO' })
      await crashed(harness.fork(disk), LOSE)
      await harness.fork(disk.kill()).open()
    }
  })
})

describe('a device that loses sectors', () => {
  /** Reads of these files fail. */
  function losing(disk: MemoryDisk, lost: ReadonlySet<string>): MemoryDisk {
    const open = disk.open.bind(disk)
    disk.open = async (path, options) => {
      const file = await open(path, options)
      const read = async (offset: number, length: number) => {
        if (!lost.has(path.replace(/\.tmp$/, ''))) return file.read(offset, length)
        throw Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' })
      }
      return { ...file, read }
    }
    return disk
  }

  test.each([
    ['found at the start', reopen],
    ['begun since', (harness: LogHarness) => harness.log.endSegment()],
  ])('has damaged a segment that was %s, not failed', async (_, goOn) => {
    const lost = new Set<string>()
    const harness = new LogHarness(losing(new MemoryDisk(), lost))
    await harness.open()
    harness.append(10, 10)
    await settle()
    await goOn(harness)
    harness.append(10)
    await settle()
    lost.add(segmentPath(1))
    await expect(harness.log.read(1, 2, Infinity)).rejects.toThrow(/0001\.log.*entry 1 /)
    const damage = await harness.log.scrub(asItIs)
    expect(damage).toMatchObject({ path: segmentPath(1), index: 1 })
    await harness.checkRead(3, 3)
    expect(harness.failures).toEqual([])
  })
})

describe('against a model', () => {
  type Action =
    | { readonly kind: 'append'; readonly sizes: readonly number[] }
    | { readonly kind: 'supersede'; readonly back: number; readonly sizes: readonly number[] }
    | { readonly kind: 'commit' | 'cut' | 'fire' | 'settle' | 'reopen' | 'kill' }
    | {
        readonly kind: 'read'
        readonly first: number
        readonly count: number
        readonly bytes: number
      }
    | { readonly kind: 'crash'; readonly policy: CrashPolicy }
    | { readonly kind: 'halt'; readonly after: number; readonly policy: CrashPolicy }
    | { readonly kind: 'failSync'; readonly policy: CrashPolicy }
    | { readonly kind: 'reset'; readonly ahead: number }
    | {
        readonly kind: 'rot'
        readonly segment: number
        readonly at: number
        readonly bit: number
        /** How often it starts before a leader is there. */
        readonly startCount: number
      }

  const sizes = fc.array(fc.integer({ min: 8, max: 1500 }), { minLength: 1, maxLength: 4 })
  const policy = fc.constantFrom(...CRASH_POLICIES)
  const action: fc.Arbitrary<Action> = fc.oneof(
    { weight: 6, arbitrary: fc.record({ kind: fc.constant('append'), sizes }) },
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constant('supersede'),
        back: fc.integer({ min: 1, max: 6 }),
        sizes,
      }),
    },
    {
      weight: 6,
      arbitrary: fc.record({
        kind: fc.constantFrom('commit', 'cut', 'fire', 'settle', 'reopen', 'kill'),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: fc.constant('read'),
        first: fc.nat(20),
        count: fc.nat(20),
        bytes: fc.nat(5000),
      }),
    },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('crash'), policy }) },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant('halt'),
        after: fc.integer({ min: 1, max: 8 }),
        policy,
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('failSync'), policy }) },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constant('reset'), ahead: fc.integer({ min: -3, max: 9 }) }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: fc.constant('rot'),
        segment: fc.nat(20),
        at: fc.nat(100_000),
        bit: fc.nat(7),
        startCount: fc.nat(2),
      }),
    },
  )

  /** What became of damage. */
  const outcomes = { healed: 0, harmless: 0 }

  async function perform(harness: LogHarness, action: Action): Promise<void> {
    const restart = async (disk: MemoryDisk) => {
      harness.restartOn(disk)
      await harness.open()
    }
    switch (action.kind) {
      case 'append':
        return harness.append(...action.sizes)
      case 'supersede': {
        const first = Math.max(harness.lastIndex + 1 - action.back, harness.commitIndex + 1)
        if (first <= harness.lastIndex) harness.supersede(first, ...action.sizes)
        return
      }
      case 'commit': {
        await settle()
        return harness.commit(Math.ceil((harness.base.index + harness.lastIndex) / 2))
      }
      case 'cut': {
        await settle()
        return harness.cut(harness.commitIndex)
      }
      case 'reset': {
        if (action.ahead % 2 === 0) await settle() // else something is on its way
        return harness.reset(Math.max(harness.lastIndex + action.ahead, harness.commitIndex + 1))
      }
      case 'rot': {
        await settle()
        await harness.close()
        const names = await segments(harness.disk)
        const name = names[(action.segment % (names.length + 1)) - 1]
        if (name) {
          const path = `${DIRECTORY}/${name}`
          harness.disk.flipBit(path, action.at % harness.disk.bytes(path).length, action.bit)
        } else harness.loseKeystore()
        await harness.openOnly()
        const { owed } = harness.summary
        for (let count = 0; count < action.startCount; count++) {
          harness.log.cutTo(harness.covered.index)
          await settle()
          const { disk } = harness
          harness.restartOn(count === 0 ? disk.crash(LOSE) : disk.kill())
          await harness.openOnly()
          expect(harness.summary.owed).toEqual(owed)
        }
        if (await harness.heal()) outcomes.healed++
        else outcomes.harmless++
        return
      }
      case 'fire':
        return harness.timers.fire()
      case 'settle':
        return settle()
      case 'read': {
        await settle()
        const from = Math.max(harness.covered.index, harness.base.index)
        if (harness.lastIndex === from) return
        const first = from + 1 + (action.first % (harness.lastIndex - from))
        const last = Math.min(harness.lastIndex, first + action.count)
        return harness.checkRead(first, last, action.bytes)
      }
      case 'reopen':
        await settle()
        await harness.close()
        return harness.open()
      case 'kill':
        return restart(harness.disk.kill())
      case 'crash':
        return restart(harness.disk.crash(action.policy))
      case 'halt':
        // The next opening is cut short too.
        harness.restartOn(harness.disk.crash(action.policy))
        harness.disk.haltAt = action.after
        await Promise.race([harness.openOnly(), harness.disk.halted])
        return restart(harness.disk.crash(action.policy))
      case 'failSync': {
        await settle()
        harness.disk.fail('datasync')
        harness.append(600, 10)
        await settle()
        expect(harness.failures).toHaveLength(1)
        await restart(harness.disk.kill())
        return restart(harness.disk.crash(action.policy))
      }
    }
  }

  test('any appends, cuts, snapshots, crashes, damage and reopenings, with entries replaced anywhere', async () => {
    const property = fc.asyncProperty(
      fc.array(action, { minLength: 1, maxLength: 40 }),
      fc.constantFrom(undefined, 300, 1000, 4000),
      fc.integer(),
      async (actions, segmentBytes, seed) => {
        const disk = new MemoryDisk({ random: seededRandom(seed) })
        const harness = new LogHarness(disk, segmentBytes)
        await harness.open()
        for (const step of actions) await perform(harness, step)
        await settle()
        expect(harness.failures).toEqual([])
        expect(harness.stableIndex).toBe(harness.lastIndex)
        const first = Math.max(harness.covered.index, harness.base.index) + 1
        if (harness.lastIndex >= first) await harness.checkRead(first, harness.lastIndex)
        harness.restartOn(harness.disk.crash(LOSE))
        await harness.open()
      },
    )
    await fc.assert(property, { seed: 1, numRuns: 1500, endOnFailure: true })
    expect(outcomes.healed).toBeGreaterThan(100)
    expect(outcomes.harmless).toBeGreaterThan(100)
  })
})
