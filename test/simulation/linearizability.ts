/**
 * Is a history of operations on one key what a single copy could have answered?
 *
 * In: operations with the times they were asked and answered. Out: null, or those
 * that could not be placed.
 *
 * Wing and Gong's search: an operation may take effect at any moment between its
 * start and its end, one whose outcome is unknown at any later moment or never.
 * With Lowe's memoization: a set of operations done and the state they led to is
 * explored once. What an operation does and answers is said in model.ts.
 *
 * What is called unknown here need not happen: operations of unknown outcome, and
 * that an item vanishes. Any run of those before a known operation can be put in
 * order so that each is needed where it stands: none can be left out, or change
 * places with what follows it, to the same effect. Only such runs are searched.
 */
import {
  EMPTY,
  isNumeric,
  isOnlyRead,
  isOnlySum,
  isSame,
  type Operation,
  type Reply,
  type State,
  step,
  vanish,
} from './model.ts'
import { Owed } from './owed.ts'
import { ReachableNumbers } from './reachable-numbers.ts'
import { Shown } from './shown.ts'

export interface HistoryEntry {
  /** '*': all keys. */
  readonly key: string
  readonly client: string
  readonly operation: Operation
  /** undefined: unknown. */
  reply: Reply | undefined
  readonly startMs: number
  /** Infinity while unknown. */
  endMs: number
  /** The one sent before it on the same connection, on whatever key: takes effect first. */
  readonly after?: HistoryEntry | undefined
}

/** A search that takes more steps than this is given up, and says so. */
const STEPS_MAX = 2_000_000
/** With more than this looked at, a run of unknown operations is taken to lead on. */
const RUN_STEPS_MAX = 2_000
/** Stands for an operation: the item vanishes. */
const VANISH = -1
export class UndecidedError extends Error {}

/**
 * @returns null where the history is linearizable, else the operations that could not be placed.
 * @throws UndecidedError after too many steps.
 */
export function findViolation(history: readonly HistoryEntry[]): HistoryEntry[] | null {
  const byStart = [...history].sort((a, b) => a.startMs - b.startMs)
  // A read of unknown outcome constrains nothing.
  const entries = byStart.filter(
    ({ reply, operation: { kind } }) => reply !== undefined || (kind !== 'get' && kind !== 'gets'),
  )
  return new Search(entries).run()
}

/** The operations of `history` by key, with those on all keys that can matter to it. */
export function byKey<Entry extends HistoryEntry>(history: readonly Entry[]): Map<string, Entry[]> {
  const found = new Map<string, Entry[]>()
  const onAll = history.filter(({ key }) => key === '*')
  for (const entry of history) {
    if (entry.key === '*') continue
    const entries = found.get(entry.key)
    if (entries) entries.push(entry)
    else found.set(entry.key, [entry])
  }
  for (const entries of found.values()) {
    const startMs = Math.min(...entries.map((entry) => entry.startMs))
    const known = entries.filter(({ reply }) => reply !== undefined)
    const endMs = Math.max(...known.map((entry) => entry.endMs))
    const before = onAll.filter((entry) => entry.endMs < startMs)
    const lastStartMs = Math.max(...before.map((entry) => entry.startMs))
    for (const entry of onAll) {
      // Of those before, each takes the place of one that ended before it began.
      if (entry.startMs <= endMs && entry.endMs >= Math.min(startMs, lastStartMs)) {
        entries.push(entry)
      }
    }
  }
  return found
}

/** Unknown operations one after the other; where it leads with the first of them, and without. */
interface Run {
  readonly state: State
  /** undefined where the others can't be then. */
  readonly without: State | undefined
  /** Those that made a number of a number. */
  readonly sums: readonly number[]
}

/** A choice that was made, and the others that were open then. */
interface Level {
  readonly placed: number
  readonly before: State
  readonly others: Choices
}

/** Known operations are tried before any that is unknown is looked at. */
interface Choices {
  readonly open: number[]
  hasUnknown: boolean
}

/** Depth first, without recursion. */
class Search {
  readonly #entries: readonly HistoryEntry[]
  readonly #previous: readonly number[]
  /** Equal for operations of unknown outcome that can stand for each other. */
  readonly #classes: readonly string[]
  readonly #shown: Shown
  readonly #owed: Owed
  readonly #done: Uint8Array
  readonly #seen = new Set<string>()
  readonly #stack: Level[] = []
  #state: State = EMPTY
  /** Operations before this one are all done. */
  #first = 0
  /** Known operations still to be placed. */
  #left: number
  #numbers = new ReachableNumbers([], [])
  /** Of the search, and of looking into runs. */
  #steps = 0

  constructor(entries: readonly HistoryEntry[]) {
    this.#entries = entries
    this.#previous = previousOf(entries)
    this.#shown = new Shown(entries)
    this.#owed = new Owed(entries)
    this.#classes = entries.map(({ operation }) => this.#shown.classOf(operation))
    this.#done = new Uint8Array(entries.length)
    this.#left = entries.filter(({ reply }) => reply !== undefined).length
  }

  run(): HistoryEntry[] | null {
    let best = this.#left
    let bestDone = this.#done.slice()
    let choices = this.#known()
    for (; this.#left > 0; this.#steps++) {
      if (this.#steps > STEPS_MAX) throw new UndecidedError(`undecided after ${STEPS_MAX} steps`)
      const next = choices.open.shift()
      if (next !== undefined) {
        if (!this.#place(next, choices)) continue
        if (this.#left < best) {
          best = this.#left
          bestDone = this.#done.slice()
        }
        choices = this.#known()
        continue
      }
      if (!choices.hasUnknown) {
        choices.hasUnknown = true
        choices.open.push(...this.#unknown())
        continue
      }
      const level = this.#stack.pop()
      if (!level) {
        return this.#entries.filter((entry, at) => bestDone[at] === 0 && entry.reply !== undefined)
      }
      this.#undo(level)
      choices = level.others
    }
    return null
  }

  /**
   * Known operations that can be next. One that fits and never changes anything is taken
   * at once, without an alternative: wherever it could stand later it can stand here.
   */
  #known(): Choices {
    const open: number[] = []
    for (const at of this.#window()) {
      const { operation, reply } = this.#entries[at] as HistoryEntry
      if (reply === undefined) continue
      const after = this.#step(this.#state, at)
      if (after === undefined) continue
      // One that tells a cas unique might tell it of another version.
      if (isOnlyRead(operation, reply) && isSame(after, this.#state)) {
        return { open: [at], hasUnknown: true }
      }
      open.push(at)
    }
    return { open, hasUnknown: false }
  }

  /** Operations that no known one must come before. */
  #window(): number[] {
    const window: number[] = []
    // No operation that starts after some undone one has ended can be next.
    let earliestEndMs = Number.POSITIVE_INFINITY
    while (this.#done[this.#first] === 1) this.#first++
    for (let at = this.#first; at < this.#entries.length; at++) {
      const entry = this.#entries[at] as HistoryEntry
      if (this.#done[at] === 1) continue
      if (entry.startMs > earliestEndMs) break
      earliestEndMs = Math.min(earliestEndMs, entry.endMs)
      const previous = this.#previous[at] ?? -1
      if (previous < 0 || this.#done[previous] === 1) window.push(at)
    }
    return window
  }

  /** What is unknown and can be next, as the first of a run that is needed. */
  #unknown(): number[] {
    const window = this.#window()
    const known = window.filter((at) => this.#entries[at]?.reply !== undefined)
    const unknown = window.filter((at) => this.#entries[at]?.reply === undefined)
    unknown.unshift(VANISH)
    const entries = (places: readonly number[]) =>
      places.flatMap((at) => (at === VANISH ? [] : [this.#entries[at] as HistoryEntry]))
    const operations = entries(unknown).map(({ operation }) => operation)
    this.#numbers = new ReachableNumbers(entries(known), operations)
    return this.#different(unknown).filter((at) => this.#leadsOn(at, known, unknown))
  }

  /** Of operations of unknown outcome that can stand for each other, the first is enough. */
  #different(unknown: readonly number[]): number[] {
    const seen = new Set<string>()
    return unknown.filter((at) => {
      if (at === VANISH) return true
      const name = this.#classes[at] as string
      const isNew = !seen.has(name)
      seen.add(name)
      return isNew
    })
  }

  /**
   * Whether some run that begins with `at` is needed by a known operation. It is followed
   * together with the same run without `at`: where both come to the same, `at` is not needed.
   * Of more runs than there are (an operation may be in one twice) none is left out.
   */
  #leadsOn(at: number, known: readonly number[], unknown: readonly number[]): boolean {
    const after = this.#step(this.#state, at)
    if (after === undefined || isSame(after, this.#state)) return false
    if (!this.#owed.allows(after, this.#done) || this.#isIdleSum(this.#state, at, after))
      return false
    if (known.some((next) => this.#isNeeded(this.#state, at, after, next))) return true
    const seen = new Set<string>()
    const runs: Run[] = [{ state: after, without: this.#state, sums: [] }]
    let stepCount = 0
    for (const run of runs) {
      // Numbers could grow for ever: what made them is in a run no more often than it is there.
      const left = unknown.filter((other) => other !== at && !run.sums.includes(other))
      for (const next of this.#different(left)) {
        this.#steps++
        if (++stepCount > RUN_STEPS_MAX) return true
        const state = this.#step(run.state, next)
        if (state === undefined || isSame(state, run.state)) continue
        if (isSame(state, this.#state) || this.#isIdleSum(run.state, next, state)) continue
        const without = run.without && this.#step(run.without, next)
        if (without && isSame(without, state)) continue
        if (run === runs[0] && without && next < at) {
          // Where both orders lead to the same, one is enough.
          const swapped = this.#step(without, at)
          if (swapped && isSame(swapped, state)) continue
        }
        const isEnd = known.some((last) => {
          if (!this.#isNeeded(run.state, next, state, last)) return false
          const end = without && this.#step(without, last)
          return !end || !isSame(end, this.#step(state, last) as State)
        })
        if (isEnd) return true
        const isSum = next !== VANISH && isNumeric(state.item?.value ?? '')
        const sums = isSum ? [...run.sums, next].sort((a, b) => a - b) : run.sums
        const name = [nameOf(state), without && nameOf(without), sums].join()
        if (seen.has(name) || !this.#owed.allows(state, this.#done)) continue
        seen.add(name)
        runs.push({ state, without, sums })
      }
    }
    return false
  }

  /** Whether all that happened is that a number became one that leads to none of those to come. */
  #isIdleSum(before: State, at: number, after: State): boolean {
    const operation = this.#entries[at]?.operation
    if (!operation || !isOnlySum(operation) || this.#shown.hasJoins) return false
    if (!before.item || !after.item) return false
    const { value } = after.item
    if (!isNumeric(before.item.value) || !isNumeric(value) || this.#numbers.canBeFrom(value)) {
      return false
    }
    return isSame({ ...before, item: { ...before.item, value } }, after)
  }

  /** Whether `next` can follow `at`, and not as well without it, or before it. */
  #isNeeded(before: State, at: number, after: State, next: number): boolean {
    const end = this.#step(after, next)
    if (end === undefined) return false
    const without = this.#step(before, next)
    if (without === undefined) return true
    if (isSame(without, end)) return false
    const swapped = this.#step(without, at)
    return swapped === undefined || !isSame(swapped, end)
  }

  #step(state: State, at: number): State | undefined {
    if (at === VANISH) return vanish(state)
    const { operation, reply } = this.#entries[at] as HistoryEntry
    const after = step(state, operation, reply)
    return after && this.#shown.of(after)
  }

  #place(at: number, others: Choices): boolean {
    const after = this.#step(this.#state, at)
    if (after === undefined) return false
    if (at !== VANISH) this.#done[at] = 1
    const key = `${Buffer.from(this.#done.buffer).toString('latin1')}${nameOf(after)}`
    if (this.#seen.has(key) || !this.#owed.allows(after, this.#done)) {
      if (at !== VANISH) this.#done[at] = 0
      return false
    }
    this.#seen.add(key)
    this.#stack.push({ placed: at, before: this.#state, others })
    this.#state = after
    if (this.#entries[at]?.reply !== undefined) this.#left--
    return true
  }

  #undo({ placed, before }: Level): void {
    this.#state = before
    if (placed === VANISH) return
    this.#done[placed] = 0
    this.#first = Math.min(this.#first, placed)
    if (this.#entries[placed]?.reply !== undefined) this.#left++
  }
}

/** Of each operation, the last known one on this key that its connection sent before it; -1 for none. */
function previousOf(entries: readonly HistoryEntry[]): number[] {
  const numberOf = new Map(entries.map((entry, at) => [entry, at]))
  return entries.map(({ after }) => {
    let previous = after
    while (previous && (previous.reply === undefined || !numberOf.has(previous)))
      previous = previous.after
    return previous ? (numberOf.get(previous) ?? -1) : -1
  })
}

function nameOf({ item, isFlushPending }: State): string {
  if (!item) return isFlushPending ? '-f' : '-'
  const { value, unique, flags, isMortal, isStale, isWon } = item
  return `${[isFlushPending, isMortal, isStale, isWon].map(Number).join('')} ${flags} ${unique} ${value}`
}
