/** What is read of a log while it is written, against what the log store holds in the end. */
import { expect, test } from 'vitest'
import { LogFollower } from '../../../src/server/inspect/log-follower.ts'
import { LogSurvey } from '../../../src/server/inspect/log-survey.ts'
import { readOnlyDisk } from '../../../src/server/inspect/read-only-disk.ts'
import type { LogEntry } from '../../../src/server/log/record.ts'
import { settle } from '../../io/manual-timers.ts'
import { MemoryDisk, seededRandom } from '../../io/memory-disk.ts'
import {
  CLUSTER,
  DIRECTORY,
  LogHarness,
  reopen,
  type Step,
  segmentPath,
} from '../log/log-harness.ts'

/** Begins where a survey ended, and keeps what was handed out as one who reads it would. */
class Reader {
  readonly seen: LogEntry[] = []
  readonly notes: string[] = []
  /** Of all that was handed out, replaced later or not. */
  count = 0
  readonly #follower: LogFollower

  private constructor(disk: MemoryDisk, survey: LogSurvey) {
    this.#follower = new LogFollower(readOnlyDisk(disk), DIRECTORY, CLUSTER, survey.position, {
      onEntry: (entry) => {
        this.count++
        this.seen.push(entry)
      },
      onReplaced: (index) => {
        this.notes.push(`from ${index} on`)
        while ((this.seen.at(-1)?.index ?? 0) >= index) this.seen.pop()
      },
      onMissing: (first, last) => this.notes.push(`${first} to ${last}`),
    })
  }

  static async begin({ disk }: LogHarness): Promise<Reader> {
    const options = { directory: DIRECTORY, clusterId: CLUSTER, group: 0 }
    const survey = await LogSurvey.run({ disk: readOnlyDisk(disk), ...options })
    const reader = new Reader(disk, survey)
    await survey.read((entry) => reader.seen.push(entry))
    await survey.close()
    return reader
  }

  poll(): Promise<void> {
    return this.#follower.poll()
  }

  close(): Promise<void> {
    return this.#follower.close()
  }

  get ids(): string[] {
    return this.seen.map(({ term, index }) => `${term}/${index}`)
  }
}

const idsOf = (entries: readonly LogEntry[]) => entries.map(({ term, index }) => `${term}/${index}`)

const STORY: readonly Step[] = [
  (harness) => harness.append(10, 20, 30),
  (harness) => harness.commit(1),
  (harness) => harness.supersede(2, 40, 50),
  (harness) => harness.append(600),
  reopen,
  (harness) => harness.append(5),
  (harness) => harness.supersede(3, 5),
  (harness) => harness.append(9, 9),
  (harness) => harness.commit(3),
  reopen,
  (harness) => harness.append(700, 8),
  (harness) => harness.supersede(6, 1),
  (harness) => harness.append(2, 3),
]

test('each entry comes once, whatever a start writes again, and what replaces others is said', async () => {
  const harness = new LogHarness()
  await harness.open()
  const reader = await Reader.begin(harness)
  let replacedCount = 0
  for (const step of STORY) {
    const before = harness.entries
    await step(harness)
    await settle()
    replacedCount += before.filter((entry) => !harness.entries.includes(entry)).length
    await reader.poll()
    expect(reader.ids).toEqual(idsOf(harness.entries))
  }
  // Opened anew, the log holds the same entries in other objects.
  expect(reader.count).toBeLessThanOrEqual(harness.entries.length + replacedCount)
  expect(reader.notes).toEqual(['from 2 on', 'from 3 on', 'from 6 on'])
  await reader.close()
})

test('reads on from where it begins, with several segments that came since', async () => {
  for (let begun = 0; begun < STORY.length; begun++) {
    const harness = new LogHarness()
    await harness.open()
    let reader = await Reader.begin(harness)
    for (const [at, step] of STORY.entries()) {
      await step(harness)
      await settle()
      if (at === begun) reader = await Reader.begin(harness)
    }
    await reader.poll()
    expect(reader.ids).toEqual(idsOf(harness.entries))
  }
})

test('a log that is written meanwhile, in small segments, is read whole', async () => {
  const random = seededRandom(3)
  const harness = new LogHarness(new MemoryDisk({ random }), 4_000)
  await harness.open()
  const reader = await Reader.begin(harness)
  for (let round = 0; round < 200; round++) {
    harness.append(...Array.from({ length: 3 }, () => Math.floor(random() * 900)))
    const turns = Math.floor(random() * 40)
    for (let turn = 0; turn < turns; turn++) await Promise.resolve()
    await reader.poll()
  }
  await settle()
  await reader.poll()
  expect(reader.ids).toEqual(idsOf(harness.entries))
  expect([reader.count, reader.notes]).toEqual([600, []])
})

test('what a snapshot took the place of, and what was cut before it was read, is said', async () => {
  const harness = new LogHarness()
  await harness.open()
  harness.append(10, 10)
  await settle()
  const reader = await Reader.begin(harness)
  await harness.reset(7)
  harness.append(10)
  await settle()
  await reader.poll()
  expect(reader.notes).toEqual(['3 to 7'])
  expect(reader.ids.slice(2)).toEqual(idsOf(harness.entries))

  harness.append(10, 10, 10)
  await settle()
  await reader.poll()
  await harness.reset(10)
  harness.append(10)
  await settle()
  await reader.poll()
  expect(reader.notes).toEqual(['3 to 7', 'from 10 on'])
  expect(reader.ids.slice(-1)).toEqual(idsOf(harness.entries))
})

test('goes on behind a segment whose first line is damaged, and says what it lacks', async () => {
  const harness = new LogHarness(undefined, 100)
  await harness.open()
  const reader = await Reader.begin(harness)
  for (let index = 1; index <= 4; index++) {
    harness.append(200)
    await settle()
  }
  const file = await harness.disk.open(segmentPath(2), { create: false })
  await file.write([Buffer.from('?')], 0)
  await reader.poll()
  expect(reader.ids).toEqual(['1/1', '1/3', '1/4'])
  expect(reader.notes).toEqual(['2 to 2'])
})
