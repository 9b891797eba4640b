import { describe, expect, test } from 'vitest'
import { RaftLog } from '../../../src/server/raft/raft-log.ts'
import { logState } from './cluster.ts'
import {
  describeConfig,
  describeId,
  parseConfig,
  parseEntries,
  parseId,
  type TestEntry,
} from './describe.ts'

/** Terms 1, 1, 3, 3, 5, 5, committed and applied up to `commitIndex`, all durable. */
const ENTRIES = '1/1 config(1), 1/2 "a", 3/3 config(1 | 2), 3/4 "b", 5/5 config(1 2), 5/6 "c"'

function createLog(text = ENTRIES, commitIndex = 1): RaftLog<TestEntry> {
  return new RaftLog(logState(parseEntries(text, 1_000), commitIndex))
}

function parseEntry(text: string, timeMs = 1_000): TestEntry {
  const [entry] = parseEntries(text, timeMs)
  if (!entry) throw new Error(`no entry: ${text}`)
  return entry
}

function indexes(entries: readonly TestEntry[]): number[] {
  return entries.map(({ index }) => index)
}

describe('termAt', () => {
  test.each([
    [0, 0],
    [1, 1],
    [2, 1],
    [3, 3],
    [4, 3],
    [6, 5],
    [7, 0],
  ])('%i is %i', (index, term) => {
    expect(createLog().termAt(index)).toBe(term)
    // Memory need not hold the entry.
    expect(createLog(ENTRIES, 6).termAt(index)).toBe(term)
  })
})

describe('matches', () => {
  test.each([
    ['0/0', true],
    ['1/2', true],
    ['3/3', true],
    ['1/3', false],
    ['5/6', true],
    ['5/7', false],
    ['0/7', false],
  ])('%s is %s', (id, expected) => {
    expect(createLog().matches(parseId(id))).toBe(expected)
  })
})

describe('isUpToDate', () => {
  test.each([
    ['5/6', true],
    ['5/7', true],
    ['6/1', true],
    ['5/5', false],
    ['4/99', false],
    ['0/0', false],
  ])('of a log that ends at %s is %s', (id, expected) => {
    expect(createLog().isUpToDate(parseId(id))).toBe(expected)
  })

  test('holds for an empty log against an empty one', () => {
    expect(createLog('', 0).isUpToDate({ term: 0, index: 0 })).toBe(true)
  })
})

describe('findHint', () => {
  test.each([
    ['5/6', '5/6'],
    ['5/9', '5/6'],
    ['9/5', '5/5'],
    ['4/6', '3/4'],
    ['3/3', '3/3'],
    ['2/6', '1/2'],
    ['2/1', '1/1'],
    ['0/6', '0/0'],
    ['9/0', '0/0'],
  ])('at or before %s is %s', (id, hint) => {
    expect(describeId(createLog().findHint(parseId(id)))).toBe(hint)
  })

  test('of an empty log is nothing', () => {
    expect(describeId(createLog('', 0).findHint({ term: 5, index: 9 }))).toBe('0/0')
  })
})

describe('truncateFrom', () => {
  test.each([
    { from: 6, last: '5/5', config: 'config(1 2)' },
    { from: 5, last: '3/4', config: 'config(1 | 2)' },
    { from: 4, last: '3/3', config: 'config(1 | 2)' },
    { from: 2, last: '1/1', config: 'config(1)' },
  ])('$from leaves $last and $config', ({ from, last, config }) => {
    const log = createLog()
    log.truncateFrom(from)
    expect(describeId(log.last)).toBe(last)
    expect(log.stableIndex).toBe(from - 1)
    expect(describeConfig(log.config?.config ?? parseConfig(''))).toBe(config)
    expect(log.termAt(from)).toBe(0)
  })

  test('does not touch what is committed', () => {
    const log = createLog(ENTRIES, 3)
    expect(() => log.truncateFrom(3)).toThrow('committed')
    log.truncateFrom(4)
    expect(describeId(log.last)).toBe('3/3')
  })

  test('makes room for other entries, of which nothing is durable yet', () => {
    const log = createLog()
    log.truncateFrom(4)
    log.append(parseEntry('6/4 "x"'))
    log.append(parseEntry('6/5 "y"'))
    expect(describeId(log.last)).toBe('6/5')
    expect(log.termAt(3)).toBe(3)
    expect(log.termAt(4)).toBe(6)
    expect(log.stableIndex).toBe(3)
  })

  test('goes back to the time of the entry before, or to none that is too early', () => {
    const log = createLog(ENTRIES, 6)
    log.append(parseEntry('5/7 "d"', 2_000))
    log.append(parseEntry('5/8 "e"', 3_000))
    log.truncateFrom(8)
    expect(log.lastTimeMs).toBe(2_000)
    log.truncateFrom(7)
    expect(log.lastTimeMs).toBeGreaterThanOrEqual(1_000)
  })
})

test('append leaves no gap', () => {
  expect(() => createLog().append(parseEntry('5/8 "x"'))).toThrow('append of entry 8 after 6')
  expect(() => createLog().append(parseEntry('5/6 "x"'))).toThrow('append of entry 6 after 6')
})

describe('slice', () => {
  // Every entry claims 100 bytes.
  test.each([
    { first: 2, last: 6, bytesMax: Number.POSITIVE_INFINITY, expected: [2, 3, 4, 5, 6] },
    { first: 2, last: 4, bytesMax: Number.POSITIVE_INFINITY, expected: [2, 3, 4] },
    { first: 2, last: 6, bytesMax: 300, expected: [2, 3, 4] },
    { first: 2, last: 6, bytesMax: 299, expected: [2, 3] },
    { first: 2, last: 6, bytesMax: 1, expected: [2] },
    { first: 7, last: 9, bytesMax: 300, expected: [] },
  ])('$first to $last of $bytesMax bytes is $expected', ({ first, last, bytesMax, expected }) => {
    expect(indexes(createLog().slice(first, last, bytesMax))).toEqual(expected)
  })
})

describe('trim', () => {
  // In memory: entries 2 to 6, 500 bytes.
  test.each([
    { applied: 6, stable: 6, bytesMax: 500, tailFirst: 2 },
    { applied: 6, stable: 6, bytesMax: 499, tailFirst: 5 },
    { applied: 6, stable: 6, bytesMax: 1, tailFirst: 7 },
    { applied: 3, stable: 6, bytesMax: 1, tailFirst: 4 },
    { applied: 6, stable: 4, bytesMax: 1, tailFirst: 5 },
    { applied: 1, stable: 6, bytesMax: 1, tailFirst: 2 },
  ])('to $bytesMax bytes, $applied applied, $stable durable: from $tailFirst on', (row) => {
    const log = createLog()
    log.commitIndex = row.applied
    log.appliedIndex = row.applied
    log.stableIndex = row.stable
    log.trim(row.bytesMax)
    expect(log.tailFirst).toBe(row.tailFirst)
    expect(describeId(log.last)).toBe('5/6')
    expect(log.termAt(1)).toBe(1)
    expect(indexes(log.slice(row.tailFirst, 6, Number.POSITIVE_INFINITY))).toEqual(
      [2, 3, 4, 5, 6].filter((index) => index >= row.tailFirst),
    )
  })

  test.each([
    { count: 64, bytes: 1_000_000, tailFirst: 1 },
    { count: 65, bytes: 32_000, tailFirst: 1 },
    { count: 66, bytes: 32_000, tailFirst: 35 },
    { count: 1_000, bytes: 2_000, tailFirst: 1 },
    { count: 1_100, bytes: 2_000, tailFirst: 577 },
  ])('of $count entries of $bytes bytes: from $tailFirst on', ({ count, bytes, tailFirst }) => {
    const log = createLog('', 0)
    for (let index = 1; index <= count; index++) {
      log.append({ ...parseEntry('1/1 "a"'), index, bytes })
    }
    for (const what of ['stableIndex', 'commitIndex', 'appliedIndex'] as const) log[what] = count
    log.trim(Number.POSITIVE_INFINITY)
    expect(log.tailFirst).toBe(tailFirst)
  })

  test.each([
    { count: 4_096, applied: 4_096, tailFirst: 1 },
    { count: 4_097, applied: 4_097, tailFirst: 2_050 },
    { count: 6_000, applied: 6_000, tailFirst: 3_953 },
    { count: 6_000, applied: 7, tailFirst: 8 },
  ])('of $count entries, $applied applied: from $tailFirst on', ({ count, applied, tailFirst }) => {
    const log = createLog('', 0)
    for (let index = 1; index <= count; index++) log.append({ ...parseEntry('1/1 "a"'), index })
    log.stableIndex = count
    log.commitIndex = applied
    log.appliedIndex = applied
    log.trim(Number.POSITIVE_INFINITY)
    expect(log.tailFirst).toBe(tailFirst)
    expect(log.slice(tailFirst, count, Number.POSITIVE_INFINITY)).toHaveLength(
      count - tailFirst + 1,
    )
  })

  test('keeps the configuration in force where entries are applied', () => {
    const log = createLog()
    log.commitIndex = 4
    log.appliedIndex = 4
    log.trim(1)
    expect(describeConfig(log.configAt(4))).toBe('config(1 | 2)')
    expect(describeConfig(log.configAt(5))).toBe('config(1 2)')
    log.truncateFrom(5)
    expect(describeConfig(log.config?.config ?? parseConfig(''))).toBe('config(1 | 2)')
  })
})

test('the configuration at an index is the newest at or before it', () => {
  const log = createLog()
  expect(describeConfig(log.configAt(2))).toBe('config(1)')
  expect(describeConfig(log.configAt(3))).toBe('config(1 | 2)')
  expect(describeConfig(log.configAt(9))).toBe('config(1 2)')
  expect(describeConfig(createLog('', 0).configAt(9))).toBe('config()')
})
