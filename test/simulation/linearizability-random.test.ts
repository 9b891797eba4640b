/**
 * The checker against histories that one copy of an item really gave, against the
 * same with one reply changed, and against a search without any shortcut.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { findViolation, type HistoryEntry } from './linearizability.ts'
import { EMPTY, type Operation, type Reply, type State, step, vanish } from './model.ts'
import { OneCopy } from './one-copy.ts'
import { describe, describeReply } from './operation.ts'

const RUNS = process.env.LONG ? 200_000 : 4_000
/** More than any of these histories take. */
const EXPLICIT = 5_000_000_000_000

interface Draw {
  readonly kind: number
  /** Of what depends on the kind. */
  readonly option: number
  /** It starts and ends by so many operations before and after it takes effect. */
  readonly early: number
  readonly late: number
  readonly fate: 'answered' | 'unknown' | 'never'
  readonly advanceS: number
  /** Which of the cas uniques seen by then, from the newest. */
  readonly compare: number
}

const draw: fc.Arbitrary<Draw> = fc.record({
  kind: fc.nat(63),
  option: fc.nat(63),
  early: fc.nat(4),
  late: fc.nat(4),
  fate: fc.constantFrom('answered', 'answered', 'answered', 'answered', 'unknown', 'never'),
  advanceS: fc.constantFrom(0, 0, 0, 1, 2),
  compare: fc.nat(2),
})

type Make = (value: string, option: number, unique: string) => Operation

const isSet = (option: number, bit: number) => (option & bit) !== 0
const secondsOf = (option: number) => [0, 0, 2, 1, 0, 3, 2, -1][option % 8] as number
const explicitOf = (option: number, value: string) =>
  option % 5 === 0 ? { explicit: `${EXPLICIT + (value.codePointAt(0) ?? 0)}` } : {}

const READS: readonly Make[] = [
  () => ({ kind: 'get' }),
  () => ({ kind: 'gets' }),
  () => ({ kind: 'gets' }),
  () => ({ kind: 'mg' }),
  () => ({ kind: 'mg' }),
  (_, option) => ({ kind: 'gat', exptime: secondsOf(option) }),
  (_, option) => ({ kind: 'mg', exptime: Math.abs(secondsOf(option)) }),
]

const ANY: readonly Make[] = [
  () => ({ kind: 'delete' }),
  (_, option) => ({ kind: 'touch', exptime: secondsOf(option) }),
  (_, option) => ({ kind: 'flush_all', delay: option % 3 }),
]

const TEXTS: readonly Make[] = [
  ...READS,
  ...ANY,
  (value, option) => ({ kind: 'set', value, exptime: secondsOf(option) }),
  (value, option) => ({ kind: 'set', value, flags: option }),
  (value) => ({ kind: 'add', value }),
  (value) => ({ kind: 'replace', value }),
  (value) => ({ kind: 'append', value }),
  (value) => ({ kind: 'append', value }),
  (value) => ({ kind: 'prepend', value }),
  (value, _, unique) => ({ kind: 'cas', value, unique }),
  (value, option, compare) => ({
    kind: 'ms',
    mode: (['S', 'E', 'R', 'A', 'P'] as const)[option % 5] ?? 'S',
    value,
    ...(isSet(option, 8) && { compare }),
    ...(isSet(option, 16) && { exptime: secondsOf(option) }),
    ...(isSet(option, 32) && { vivify: option % 3 }),
    ...explicitOf(option >> 2, value),
  }),
  (value, option, compare) => ({
    kind: 'ms',
    mode: 'S',
    value,
    compare,
    isStale: true,
    ...explicitOf(option, value),
  }),
  (_, option, compare) => ({
    kind: 'md',
    ...(isSet(option, 4) && { compare }),
    ...(isSet(option, 8) && { isEmptied: true }),
    ...explicitOf(option, String(option)),
  }),
  (_, option) => ({
    kind: 'md',
    isStale: true,
    ...(isSet(option, 4) && { isEmptied: true }),
    ...(isSet(option, 8) && { exptime: option % 3 }),
  }),
  (_, option) => ({ kind: 'mg', vivify: option % 3 }),
  () => ({ kind: 'mg', recache: 60 }),
  () => ({ kind: 'mg', vivify: 2, recache: 60 }),
]

const COUNTS: readonly Make[] = [
  ...READS,
  ...ANY,
  (_, option) => ({ kind: 'set', value: String(option), exptime: secondsOf(option) }),
  (_, option) => ({ kind: 'add', value: String(option) }),
  (_, option) => ({ kind: 'incr', delta: option % 3 }),
  (_, option) => ({ kind: 'incr', delta: option % 3 }),
  (_, option) => ({ kind: 'decr', delta: option % 5 }),
  (_, option, compare) => ({
    kind: 'ma',
    mode: isSet(option, 1) ? 'I' : 'D',
    delta: option % 3,
    ...(isSet(option, 2) && { compare }),
    ...(isSet(option, 4) && { vivify: option % 3, initial: option }),
    ...(isSet(option, 8) && { exptime: option % 3 }),
    ...explicitOf(option >> 2, String(option)),
  }),
]

/** What one copy answers to these, each somewhere between its start and its end. */
function historyOf(makes: readonly Make[], draws: readonly Draw[], values: string): HistoryEntry[] {
  const copy = new OneCopy()
  const told: { atMs: number; unique: string }[] = []
  return draws.map(({ kind, option, early, late, fate, advanceS, compare }, at) => {
    const startMs = 10 * (at - early)
    // A client compares with what it has read: not with what nobody was told before it asks.
    const seen = told.filter(({ atMs }) => atMs < startMs)
    const unique = seen[seen.length - 1 - compare]?.unique ?? '1'
    const value = values[at % values.length] as string
    const make = makes[kind % makes.length] as Make
    const operation = make(value, option, unique)
    copy.nowS += advanceS
    const reply = fate === 'never' ? undefined : copy.apply(operation)
    const isKnown = fate === 'answered'
    const endMs = isKnown ? 10 * (at + late) + 1 : Number.POSITIVE_INFINITY
    if (isKnown && reply?.unique !== undefined) told.push({ atMs: endMs, unique: reply.unique })
    const known = isKnown ? reply : undefined
    return { key: 'k', client: 'c', operation, reply: known, startMs, endMs }
  })
}

const STATUSES = ['STORED', 'NOT_STORED', 'HD', 'NS', 'EN', 'END', 'NOT_FOUND', 'TOUCHED', '7']

/** One reply changed; the same history where there is none to change. */
function withChange(history: HistoryEntry[], where: number, how: number): HistoryEntry[] {
  const known = history.filter(({ reply }) => reply !== undefined)
  const changed = known[where % known.length]
  if (!changed?.reply) return history
  const { reply } = changed
  const others = known.filter(({ operation }) => operation.kind === changed.operation.kind)
  const other = others[how % others.length]?.reply ?? reply
  const { value, unique } = reply
  const changes: Partial<Reply>[] = [
    other,
    { status: STATUSES[how % STATUSES.length] as string },
    ...(value === undefined ? [] : [{ value: `${value}x` }, { value: other.value ?? '' }]),
    ...(unique === undefined ? [] : [{ unique: String(Number(unique) - 1) }]),
  ]
  const change = changes[where % changes.length]
  // Another status says nothing of the item.
  const next = change?.status === undefined ? { ...reply, ...change } : (change as Reply)
  return history.map((entry) => (entry === changed ? { ...entry, reply: next } : entry))
}

/** Tries everything that may come next, always. */
function isLinearizable(history: readonly HistoryEntry[]): boolean {
  const seen = new Set<string>()
  const search = (left: readonly HistoryEntry[], state: State): boolean => {
    if (left.every(({ reply }) => reply === undefined)) return true
    const place = `${left.map((entry) => history.indexOf(entry))} ${JSON.stringify(state)}`
    if (seen.has(place)) return false
    seen.add(place)
    const gone = vanish(state)
    if (gone && search(left, gone)) return true
    return left.some((entry) => {
      if (left.some((other) => other.endMs < entry.startMs)) return false
      const after = step(state, entry.operation, entry.reply)
      if (!after) return false
      return search(
        left.filter((other) => other !== entry),
        after,
      )
    })
  }
  return search(history, EMPTY)
}

function forPeople(history: readonly HistoryEntry[]): string {
  const lines = history.map(
    (entry) =>
      `${describe(entry)} -> ${describeReply(entry.reply)} [${entry.startMs}, ${entry.endMs}]`,
  )
  return lines.join('\n')
}

const someMakes = fc.constantFrom(TEXTS, COUNTS)
const DISTINCT = 'abcdefghijklmnopqrstuvwxyz'

test('what one copy answers is linearizable', { timeout: 600_000 }, () => {
  fc.assert(
    fc.property(someMakes, fc.array(draw, { minLength: 10, maxLength: 60 }), (makes, draws) => {
      expect(findViolation(historyOf(makes, draws, DISTINCT))).toBeNull()
    }),
    { numRuns: RUNS / 4 },
  )
})

test('the search and one without shortcuts find the same, be the replies true or not', {
  timeout: 600_000,
}, () => {
  const counts = { true: 0, false: 0 }
  fc.assert(
    fc.property(
      someMakes,
      fc.array(draw, { minLength: 2, maxLength: 8 }),
      fc.constantFrom(DISTINCT, 'ab'),
      fc.nat(),
      fc.nat(1_000),
      (makes, draws, values, where, how) => {
        const history = withChange(historyOf(makes, draws, values), where, how)
        const expected = isLinearizable(history)
        counts[`${expected}`]++
        expect(findViolation(history) === null, forPeople(history)).toBe(expected)
      },
    ),
    { numRuns: RUNS },
  )
  expect(Math.min(counts.true, counts.false)).toBeGreaterThan(RUNS / 10)
})

test('of long histories with one reply changed most are rejected', () => {
  let changedCount = 0
  let rejectedCount = 0
  fc.assert(
    fc.property(
      someMakes,
      fc.array(draw, { minLength: 30, maxLength: 30 }),
      fc.nat(),
      fc.nat(1_000),
      (makes, draws, where, how) => {
        const history = historyOf(makes, draws, DISTINCT)
        const changed = withChange(history, where, how)
        if (JSON.stringify(changed) === JSON.stringify(history)) return
        changedCount++
        if (findViolation(changed)) rejectedCount++
      },
    ),
    { numRuns: 300, seed: 1 },
  )
  expect(rejectedCount / changedCount).toBeGreaterThan(0.75)
})
