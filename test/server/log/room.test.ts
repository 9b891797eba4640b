import { describe, expect, test } from 'vitest'
import { LogSurvey } from '../../../src/server/inspect/log-survey.ts'
import { readOnlyDisk } from '../../../src/server/inspect/read-only-disk.ts'
import { settle } from '../../io/manual-timers.ts'
import { CRASH_POLICIES, MemoryDisk, type Mutation, seededRandom } from '../../io/memory-disk.ts'
import { CLUSTER, DIRECTORY, LogHarness, segmentPath } from './log-harness.ts'

const SEGMENT_BYTES = 4_000

const isRoom = ({ kind, bytes }: Mutation) =>
  kind === 'write' && !!bytes?.every((byte) => byte === 10)

/** A log whose segments are small, and everything that is done to its disk from now on. */
async function opened(disk = new MemoryDisk({ random: seededRandom(1) })) {
  const harness = new LogHarness(disk, SEGMENT_BYTES)
  await harness.open()
  const mutations: Mutation[] = []
  harness.disk.onMutation = (mutation) => mutations.push(mutation)
  return { harness, mutations }
}

function roomOf(disk: MemoryDisk, sequence = 1): number {
  const text = disk.bytes(segmentPath(sequence)).toString('latin1')
  return (/\n(\n*)$/.exec(text)?.[1] ?? '').length
}

async function surveyed(disk: MemoryDisk) {
  const options = { directory: DIRECTORY, clusterId: CLUSTER, group: 0 }
  const survey = await LogSurvey.run({ disk: readOnlyDisk(disk), ...options })
  await survey.close()
  return survey
}

describe('room behind the newest segment', () => {
  test('is as long as the segment, made behind a batch, and written over by the next ones', async () => {
    const { harness, mutations } = await opened()
    harness.append(400)
    await settle()
    const { length } = harness.disk.bytes(segmentPath(1))
    expect(roomOf(harness.disk)).toBe(length / 2)
    expect(mutations.filter(isRoom)).toHaveLength(1)
    harness.append(10)
    await settle()
    expect(harness.disk.bytes(segmentPath(1))).toHaveLength(length)
    expect(harness.reports.at(-1)?.index).toBe(2)
    await harness.checkRead(1, 2)
  })

  test('ends where another segment follows', async () => {
    const { harness } = await opened()
    for (let count = 0; count < 12; count++) {
      harness.append(300)
      await settle()
    }
    expect(harness.disk.bytes(segmentPath(1)).length).toBeGreaterThanOrEqual(SEGMENT_BYTES)
    expect(roomOf(harness.disk)).toBe(0)
    expect(harness.disk.bytes(segmentPath(2)).length).toBeLessThanOrEqual(SEGMENT_BYTES)
    await harness.checkRead(1, 12)
  })

  test('a log that holds little has none, and a long batch makes none', async () => {
    const harness = new LogHarness()
    await harness.open()
    harness.append(10, 1_000)
    await settle()
    expect(roomOf(harness.disk)).toBe(0)
    harness.append(200_000)
    await settle()
    expect(roomOf(harness.disk)).toBe(0)
    harness.append(10)
    await settle()
    expect(roomOf(harness.disk)).toBeGreaterThan(200_000)
  })

  test('a batch and an idle seal wait for room that is being made in their place', async () => {
    for (const later of ['batch', 'seal'] as const) {
      const { harness, mutations } = await opened()
      let release = (): void => {}
      harness.disk.onMutation = (mutation) => {
        mutations.push(mutation)
        if (isRoom(mutation)) release = harness.disk.hold('write')
      }
      harness.append(400)
      await settle()
      const begun = mutations.length
      if (later === 'batch') harness.append(10)
      else harness.timers.fire()
      await settle()
      expect(mutations).toHaveLength(begun)
      expect(harness.reports).toEqual([{ term: 1, index: 1 }])
      release()
      await settle()
      expect(mutations.length).toBeGreaterThan(begun)
      harness.append(10)
      await settle()
      await harness.checkRead(1, harness.lastIndex)
      expect(harness.lastIndex).toBe(harness.reports.at(-1)?.index)
    }
  })

  test('is no damage and no torn tail, to a start and to who reads the files', async () => {
    const { harness } = await opened()
    harness.append(400, 10)
    await settle()
    harness.append(10)
    await settle()
    expect(roomOf(harness.disk)).toBeGreaterThan(100)
    const survey = await surveyed(harness.disk)
    expect([survey.lastIndex, survey.findings]).toEqual([3, []])
    harness.restartOn(harness.disk.kill())
    await harness.open()
    expect(harness.summary.lastIndex).toBe(3)
    // Behind it stands another segment now.
    expect((await surveyed(harness.disk)).findings).toEqual([])
    harness.append(10)
    await settle()
    harness.restartOn(harness.disk.kill())
    await harness.open()
    expect(harness.summary.lastIndex).toBe(4)
  })

  test('what a crash leaves of it, and of a batch in it, takes nothing that was stable', async () => {
    for (let seed = 1; seed <= 60; seed++) {
      const { harness } = await opened(new MemoryDisk({ random: seededRandom(seed) }))
      harness.disk.haltAt = harness.disk.mutationCount + 1 + (seed % 15)
      for (let count = 0; count < 6; count++) {
        harness.append(100 + 10 * seed, 1_000)
        await settle()
      }
      for (const policy of CRASH_POLICIES) {
        const next = harness.fork(harness.disk.crash(policy))
        await next.open()
        expect(next.summary.lastIndex).toBeGreaterThanOrEqual(harness.stableIndex)
      }
    }
  })

  test('a record that rotted in front of it is found by the seal behind it', async () => {
    const { harness } = await opened()
    harness.append(400)
    await settle()
    harness.append(10)
    await settle()
    harness.disk.flipBit(segmentPath(1), 200)
    const next = harness.fork(harness.disk.kill())
    await next.openOnly()
    expect(next.summary.damage).toMatchObject({ path: segmentPath(1), index: 1 })
    expect(await next.heal()).toBe(true)
  })

  test('where the disk has none to give the log goes on without', async () => {
    const { harness, mutations } = await opened()
    harness.disk.fail('write', 2, 'ENOSPC')
    for (let count = 0; count < 3; count++) {
      harness.append(400)
      await settle()
    }
    expect(harness.failures).toEqual([])
    expect(harness.reports.at(-1)?.index).toBe(3)
    expect(mutations.filter(isRoom)).toHaveLength(1)
    await harness.checkRead(1, 3)
  })

  test('a batch that waits for room is not written when that fails', async () => {
    const { harness, mutations } = await opened()
    let release = (): void => {}
    harness.disk.onMutation = (mutation) => {
      mutations.push(mutation)
      if (isRoom(mutation)) release = harness.disk.hold('write')
    }
    harness.disk.fail('write', 2)
    harness.append(400)
    await settle()
    harness.append(10)
    await settle()
    const { length } = mutations
    release()
    await settle()
    expect(harness.failures).toHaveLength(1)
    expect(mutations).toHaveLength(length)
    expect(harness.reports).toEqual([{ term: 1, index: 1 }])
  })

  test('any other failure ends the log, as that of a batch does', async () => {
    for (const kind of ['write', 'datasync'] as const) {
      const { harness, mutations } = await opened()
      harness.disk.fail(kind, 2)
      harness.append(400)
      await settle()
      expect(harness.failures).toHaveLength(1)
      expect(harness.failures[0]).toMatchObject({ code: 'EIO' })
      const { length } = mutations
      harness.append(10)
      await settle()
      expect(mutations).toHaveLength(length)
      expect(harness.reports).toEqual([{ term: 1, index: 1 }])
    }
  })
})
