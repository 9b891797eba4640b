/** The log as its segments stand, against what the log store itself finds there. */
import { describe, expect, test } from 'vitest'
import { LogSurvey } from '../../../src/server/inspect/log-survey.ts'
import { readOnlyDisk } from '../../../src/server/inspect/read-only-disk.ts'
import type { LogEntry } from '../../../src/server/log/record.ts'
import { settle } from '../../io/manual-timers.ts'
import { CRASH_POLICIES, type MemoryDisk, seededRandom } from '../../io/memory-disk.ts'
import {
  CLUSTER,
  DIRECTORY,
  LogHarness,
  reopen,
  runToEachChange,
  type Step,
  segmentPath,
} from '../log/log-harness.ts'

const options = { directory: DIRECTORY, clusterId: CLUSTER, group: 0 }

async function surveyOf(disk: MemoryDisk) {
  const before = disk.mutationCount
  const survey = await LogSurvey.run({ disk: readOnlyDisk(disk), ...options })
  const entries: LogEntry[] = []
  await survey.read((entry) => entries.push(entry))
  await survey.close()
  expect(disk.mutationCount).toBe(before)
  expect(survey.entryCount).toBe(entries.length)
  for (const { term, index } of entries) expect(survey.termAt(index)).toBe(term)
  const damage = survey.findings.filter(({ kind }) => kind === 'damage')
  return { survey, entries, damage }
}

const idsOf = (entries: readonly LogEntry[]) => entries.map(({ term, index }) => `${term}/${index}`)

/** What a start would find on this disk. */
async function openedOn(harness: LogHarness, disk: MemoryDisk): Promise<string[]> {
  const next = harness.fork(disk)
  await next.open()
  return idsOf(await next.log.read(1, next.summary.lastIndex, Number.POSITIVE_INFINITY))
}

const append =
  (...bytes: number[]): Step =>
  (harness) =>
    harness.append(...bytes)
const supersede =
  (index: number, ...bytes: number[]): Step =>
  (harness) =>
    harness.supersede(index, ...bytes)
const commit =
  (index: number): Step =>
  (harness) =>
    harness.commit(index)

const STORY: readonly Step[] = [
  (harness) => harness.open(),
  append(10, 20, 30),
  commit(1),
  supersede(2, 40, 50),
  append(600),
  reopen,
  supersede(3, 5),
  append(9, 9),
  commit(3),
  reopen,
  append(700, 8),
  supersede(6, 1),
  append(2, 3),
]

describe('entries in effect', () => {
  test('are those of the log store, in a log that is open', async () => {
    const harness = new LogHarness()
    for (const step of STORY) {
      await step(harness)
      await settle()
      const { survey, entries, damage } = await surveyOf(harness.disk)
      expect(damage).toEqual([])
      expect(idsOf(entries)).toEqual(idsOf(harness.entries))
      expect(survey.lastIndex).toBe(harness.lastIndex)
      expect(survey.commitIndex).toBeLessThanOrEqual(harness.commitIndex)
    }
  })

  test('are those that a start finds, after a crash at any moment', async () => {
    let tornCount = 0
    for await (const harness of runToEachChange(STORY)) {
      for (const policy of CRASH_POLICIES) {
        const disk = harness.disk.crash(policy)
        const { entries, damage, survey } = await surveyOf(disk)
        expect(damage).toEqual([])
        expect(survey.beginning).toBe(null)
        expect(idsOf(entries)).toEqual(await openedOn(harness, disk))
        tornCount += survey.findings.length
      }
    }
    expect(tornCount).toBeGreaterThan(10)
  })

  test('are found in long logs with values larger than what is read at once', async () => {
    const random = seededRandom(7)
    const harness = new LogHarness()
    await harness.open()
    for (let round = 0; round < 20; round++) {
      const sizes = Array.from({ length: 20 }, () => Math.floor(8 + random() ** 8 * 1_000_000))
      if (round % 3 === 2) harness.supersede(harness.lastIndex - 25, ...sizes)
      else harness.append(...sizes)
      await settle()
      if (round % 7 === 6) await reopen(harness)
    }
    await harness.close()
    const { entries, damage } = await surveyOf(harness.disk)
    expect(damage).toEqual([])
    expect(entries).toHaveLength(harness.lastIndex)
    expect(
      entries.every((entry, at) =>
        entry.record.equals(harness.entries[at]?.record ?? Buffer.alloc(0)),
      ),
    ).toBe(true)
  })
})

/** Entries 1 to 3, 4 to 6 and 7 to 9 in a segment each. */
async function threeSegments(): Promise<MemoryDisk> {
  const harness = new LogHarness()
  await harness.open()
  for (let round = 0; round < 3; round++) {
    harness.append(10, 10, 10)
    await settle()
    if (round < 2) await reopen(harness)
  }
  await harness.close()
  return harness.disk
}

async function segmentPaths(disk: MemoryDisk): Promise<string[]> {
  return (await disk.list(DIRECTORY)).map((name) => `${DIRECTORY}/${name}`)
}

describe('a log with something missing', () => {
  test('may begin behind entry 1', async () => {
    const disk = await threeSegments()
    const [first = '', second] = await segmentPaths(disk)
    await disk.remove(first)
    const { survey, entries, damage } = await surveyOf(disk)
    expect(idsOf(entries)).toEqual(['1/4', '1/5', '1/6', '1/7', '1/8', '1/9'])
    expect(damage).toEqual([])
    const base = { term: 1, index: 3 }
    expect(survey.beginning).toEqual({ path: second, base, before: { term: 0, index: 0 } })
    expect([survey.firstIndex, survey.lastIndex, survey.termAt(3), survey.termAt(2)]).toEqual([
      4,
      9,
      1,
      null,
    ])
  })

  test('begins anew behind a gap', async () => {
    const disk = await threeSegments()
    const [, second = '', third] = await segmentPaths(disk)
    await disk.remove(second)
    const { survey, entries } = await surveyOf(disk)
    expect(idsOf(entries)).toEqual(['1/7', '1/8', '1/9'])
    const [base, before] = [6, 3].map((index) => ({ term: 1, index }))
    expect(survey.beginning).toEqual({ path: third, base, before })
  })

  test('goes on behind damage, which it names once', async () => {
    const disk = await threeSegments()
    const [, second = ''] = await segmentPaths(disk)
    const at = disk.bytes(second).indexOf('set key5')
    disk.flipBit(second, at)
    const { survey, entries, damage } = await surveyOf(disk)
    expect(idsOf(entries)).toEqual(['1/1', '1/2', '1/3', '1/4', '1/7', '1/8', '1/9'])
    expect(damage).toMatchObject([{ path: second, index: 5 }])
    expect(damage[0]?.offset).toBe(disk.bytes(second).indexOf('5 1 17'))
    expect(survey.beginning).toBe(null)
  })

  test('names a segment whose first line is damaged', async () => {
    const disk = await threeSegments()
    const [first = ''] = await segmentPaths(disk)
    disk.flipBit(first, 3)
    const { entries, damage } = await surveyOf(disk)
    expect(damage).toEqual([
      { kind: 'damage', path: first, offset: 0, index: 1, what: 'its first line does not verify' },
    ])
    expect(entries).toHaveLength(6)
  })

  test('a segment of another cluster is named and not read', async () => {
    const disk = await threeSegments()
    const survey = await LogSurvey.run({ disk, directory: DIRECTORY, clusterId: 'b', group: 0 })
    expect(survey.findings).toHaveLength(3)
    expect(survey.findings[0]?.what).toMatch(/belongs to cluster cluster-1, group 0, not to .* b,/)
    expect(survey.entryCount).toBe(0)
    await survey.close()
  })

  test('no log is no entries', async () => {
    const disk = await threeSegments()
    for (const path of await segmentPaths(disk)) await disk.remove(path)
    const { survey, entries } = await surveyOf(disk)
    expect([survey.segmentCount, survey.firstIndex, survey.lastIndex]).toEqual([0, 0, 0])
    expect(entries).toEqual([])
  })
})

test('damage is where a start finds it, wherever a byte is flipped', async () => {
  const harness = new LogHarness()
  for (const step of STORY) {
    await step(harness)
    await settle()
  }
  await harness.close()
  const whole = harness.disk
  let damagedCount = 0
  for (const path of await segmentPaths(whole)) {
    for (let offset = 0; offset < whole.bytes(path).length; offset += 3) {
      const disk = whole.crash({ contents: 'keep', names: 'keep' })
      disk.flipBit(path, offset)
      const { damage, survey } = await surveyOf(disk)
      const next = harness.fork(disk)
      await next.openOnly()
      const { damage: found, owed } = next.summary
      expect(damage.map(({ kind, what, ...place }) => place)).toEqual(found ? [found] : [])
      if (found) damagedCount++
      // Until another server has brought it, this one owes it.
      const after = await surveyOf(disk)
      expect(after.survey.owed).toEqual(owed)
      expect(survey.segmentCount).toBeGreaterThan(0)
      await next.close()
    }
  }
  expect(damagedCount).toBeGreaterThan(50)
})

test('a segment that a server removes meanwhile is passed over', async () => {
  const disk = await threeSegments()
  const vanished = segmentPath(99)
  const list = disk.list.bind(disk)
  disk.list = async (path) => [...(await list(path)), vanished.slice(DIRECTORY.length + 1)]
  const { entries } = await surveyOf(disk)
  expect(entries).toHaveLength(9)
})

describe('a server that writes meanwhile', () => {
  /** Behind the newest entry stands a seal that is not synced, or none; room, or none. */
  async function written(isSealed: boolean, hasRoom: boolean): Promise<LogHarness> {
    const harness = new LogHarness(undefined, hasRoom ? 200_000 : undefined)
    await harness.open()
    for (let round = 0; round < 3; round++) {
      harness.append(300, 300)
      await settle()
    }
    if (isSealed) harness.timers.fire()
    await settle()
    return harness
  }

  /** @param isDue Whether the server writes a batch behind this read. */
  async function surveyBeside(harness: LogHarness, isDue: (readCount: number) => boolean) {
    let readCount = 0
    const disk = readOnlyDisk(harness.disk, async () => {
      if (!isDue(++readCount)) return
      harness.append(400)
      await settle()
    })
    const survey = await LogSurvey.run({ disk, ...options })
    await survey.close()
    return { survey, readCount }
  }

  const CASES = [
    ['a seal', true, false],
    ['a seal and room', true, true],
    ['no seal', false, false],
    ['no seal but room', false, true],
  ] as const

  test.each(CASES)('once, over %s: nothing is off', async (_, isSealed, hasRoom) => {
    for (let writtenAt = 1, isOver = false; !isOver; writtenAt++) {
      const harness = await written(isSealed, hasRoom)
      const before = harness.lastIndex
      const { survey, readCount } = await surveyBeside(harness, (count) => count === writtenAt)
      expect(survey.findings).toEqual([])
      expect(survey.lastIndex).toBeGreaterThanOrEqual(before)
      isOver = readCount < writtenAt
    }
  })

  test.each(CASES)('all the time, over %s: nothing is damaged', async (_, isSealed, hasRoom) => {
    const harness = await written(isSealed, hasRoom)
    const { survey } = await surveyBeside(harness, () => true)
    expect(survey.findings.filter(({ kind }) => kind === 'damage')).toEqual([])
  })

  test('all the time: what is damaged is found', async () => {
    const harness = await written(true, false)
    const path = segmentPath(1)
    harness.disk.flipBit(path, harness.disk.bytes(path).indexOf('set key5'))
    const { survey } = await surveyBeside(harness, () => true)
    expect(survey.findings).toMatchObject([{ kind: 'damage', path, index: 5 }])
  })
})
