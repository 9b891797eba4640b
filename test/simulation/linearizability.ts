/**
 * Is a history of operations on one key what a single copy could have answered?
 *
 * Wing and Gong's search: an operation may take effect at any moment between its
 * start and its end, one whose outcome is unknown at any later moment or never.
 * With Lowe's memoization: a set of operations done and the state they led to is
 * explored once.
 *
 * The model is one item: a value and the cas unique that came with it. Uniques
 * are not chosen by the model; the first `gets` that sees a value tells its unique.
 */

export type Operation =
  | { readonly kind: 'get' }
  | { readonly kind: 'gets' }
  | { readonly kind: 'set'; readonly value: string; readonly exptime?: number }
  | { readonly kind: 'add'; readonly value: string }
  | { readonly kind: 'cas'; readonly value: string; readonly unique: string }
  | { readonly kind: 'delete' }
  /** Nobody asks for it: a value that was set to expire may be gone at any later time. */
  | { readonly kind: 'expire'; readonly value: string }

export interface HistoryEntry {
  readonly key: string
  readonly client: string
  readonly operation: Operation
  /** memcached's reply, or for reads the value, or null for a miss; undefined: unknown. */
  reply: string | null | undefined
  /** Of a gets that hit. */
  unique?: string
  readonly startMs: number
  /** Infinity while unknown. */
  endMs: number
  /** Sent before it on the same connection, on the same key: takes effect first. */
  readonly after?: HistoryEntry | undefined
}

/** A version of the item; null for none. */
interface Version {
  readonly value: string
  /** '' until a gets has told. */
  readonly unique: string
}

type State = Version | null

/** A search that takes more steps than this is given up, and says so. */
const STEPS_MAX = 10_000_000

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

/** A choice that was made, and the others that were open then. */
interface Level {
  readonly placed: number
  readonly before: State
  readonly others: number[]
}

/** Depth first, without recursion. */
class Search {
  readonly #entries: readonly HistoryEntry[]
  readonly #previous: readonly number[]
  readonly #unknownAdds: number[] = []
  readonly #expiryOf = new Map<string, number[]>()
  readonly #valuesRead: ReadonlySet<string | null | undefined>
  readonly #done: Uint8Array
  readonly #seen = new Set<string>()
  readonly #stack: Level[] = []
  #state: State = null
  /** Operations before this one are all done. */
  #first = 0
  /** Definite operations still to be placed. */
  #left: number

  constructor(entries: readonly HistoryEntry[]) {
    const numberOf = new Map(entries.map((entry, at) => [entry, at]))
    this.#entries = entries
    this.#previous = entries.map(({ after }) =>
      after?.reply === undefined ? -1 : (numberOf.get(after) ?? -1),
    )
    this.#done = new Uint8Array(entries.length)
    this.#valuesRead = new Set(
      entries.filter(({ operation: { kind } }) => kind.startsWith('get')).map(({ reply }) => reply),
    )
    for (const [at, { operation, reply }] of entries.entries()) {
      if (operation.kind === 'add' && reply === undefined) this.#unknownAdds.push(at)
      if (operation.kind === 'expire') this.#expiryOf.set(operation.value, [at])
    }
    this.#left = entries.filter(({ reply }) => reply !== undefined).length
  }

  run(): HistoryEntry[] | null {
    let best = this.#left
    let bestDone = this.#done.slice()
    let candidates = this.#candidates()
    for (let steps = 0; this.#left > 0; steps++) {
      if (steps > STEPS_MAX) throw new UndecidedError(`undecided after ${STEPS_MAX} steps`)
      const next = candidates.shift()
      if (next !== undefined) {
        if (!this.#place(next, candidates)) continue
        if (this.#left < best) {
          best = this.#left
          bestDone = this.#done.slice()
        }
        candidates = this.#candidates()
        continue
      }
      const level = this.#stack.pop()
      if (!level) {
        return this.#entries.filter((entry, at) => bestDone[at] === 0 && entry.reply !== undefined)
      }
      this.#undo(level)
      candidates = level.others
    }
    return null
  }

  /**
   * Operations that can be next. One that fits and changes nothing is taken at
   * once, without an alternative: wherever it could stand later it can stand here.
   */
  #candidates(): number[] {
    const definite: number[] = []
    const unknown: number[] = []
    const unfit: HistoryEntry[] = []
    // No operation that starts after some undone one has ended can be next.
    let earliestEndMs = Number.POSITIVE_INFINITY
    while (this.#done[this.#first] === 1) this.#first++
    for (let at = this.#first; at < this.#entries.length; at++) {
      const entry = this.#entries[at] as HistoryEntry
      if (this.#done[at] === 1) continue
      if (entry.startMs > earliestEndMs) break
      earliestEndMs = Math.min(earliestEndMs, entry.endMs)
      const previous = this.#previous[at] ?? -1
      if (previous >= 0 && this.#done[previous] === 0) continue
      const after = step(this.#state, entry)
      if (after === undefined) {
        unfit.push(entry)
        continue
      }
      const changesNothing = after?.value === this.#state?.value
      if (entry.reply === undefined) {
        if (!changesNothing) unknown.push(at)
      } else if (changesNothing) return [at]
      else definite.push(at)
    }
    return [...definite, ...this.#different(unknown).filter((at) => this.#helps(at, unfit))]
  }

  /**
   * Of operations of unknown outcome that can stand for each other, now and
   * later, one is enough: deletes, and writes of values that nobody has read.
   */
  #different(unknown: readonly number[]): number[] {
    const seen = new Set<string>()
    return unknown.filter((at) => {
      const kind = this.#kindOf((this.#entries[at] as HistoryEntry).operation)
      const isNew = !seen.has(kind)
      seen.add(kind)
      return isNew
    })
  }

  /** Equal for operations of unknown outcome that can stand for each other. */
  #kindOf(operation: Operation): string {
    if (!('value' in operation)) return operation.kind
    const { kind, value } = operation
    if (kind === 'expire' || this.#valuesRead.has(value)) return `${kind} ${value}`
    return this.#expiryOf.has(value) ? 'write that expires' : 'write'
  }

  /**
   * An operation of unknown outcome need not have happened. It is placed only
   * where one that is known can then follow and could not before: alone, or with
   * others that need it, an add behind a delete or an expiry behind its set.
   */
  #helps(at: number, unfit: readonly HistoryEntry[]): boolean {
    const after = step(this.#state, this.#entries[at] as HistoryEntry)
    return after !== undefined && this.#leadsOn(after, unfit)
  }

  #leadsOn(state: State, unfit: readonly HistoryEntry[]): boolean {
    if (unfit.some((entry) => step(state, entry) !== undefined)) return true
    const needing = state === null ? this.#unknownAdds : this.#expiryOf.get(state.value)
    return (needing ?? []).some((at) => {
      if (this.#done[at] === 1) return false
      const after = step(state, this.#entries[at] as HistoryEntry)
      return after !== undefined && this.#leadsOn(after, unfit)
    })
  }

  #place(at: number, others: number[]): boolean {
    const entry = this.#entries[at] as HistoryEntry
    const after = step(this.#state, entry)
    if (after === undefined) return false
    this.#done[at] = 1
    const done = Buffer.from(this.#done.buffer).toString('latin1')
    const key = `${done} ${after ? `${after.value} ${after.unique}` : '-'}`
    if (this.#seen.has(key)) {
      this.#done[at] = 0
      return false
    }
    this.#seen.add(key)
    this.#stack.push({ placed: at, before: this.#state, others })
    this.#state = after
    if (entry.reply !== undefined) this.#left--
    return true
  }

  #undo({ placed, before }: Level): void {
    this.#done[placed] = 0
    this.#first = Math.min(this.#first, placed)
    if (this.#entries[placed]?.reply !== undefined) this.#left++
    this.#state = before
  }
}

/** The state after an operation that answered so; undefined where it can't have. */
function step(state: State, { operation, reply, unique }: HistoryEntry): State | undefined {
  switch (operation.kind) {
    case 'get':
      return reply === (state ? state.value : null) ? state : undefined
    case 'gets':
      if (reply !== (state ? state.value : null)) return undefined
      if (!state || unique === undefined) return state
      if (state.unique === '') return { value: state.value, unique }
      return state.unique === unique ? state : undefined
    case 'set':
      return outcome(reply, 'STORED', { value: operation.value, unique: '' })
    case 'add':
      if (state) return outcome(reply, 'NOT_STORED', state)
      return outcome(reply, 'STORED', { value: operation.value, unique: '' })
    case 'cas':
      if (!state) return outcome(reply, 'NOT_FOUND', state)
      if (state.unique !== operation.unique) return outcome(reply, 'EXISTS', state)
      return outcome(reply, 'STORED', { value: operation.value, unique: '' })
    case 'delete':
      return state ? outcome(reply, 'DELETED', null) : outcome(reply, 'NOT_FOUND', state)
    case 'expire':
      return state?.value === operation.value ? null : state
  }
}

function outcome(
  reply: string | null | undefined,
  expected: string,
  after: State,
): State | undefined {
  return reply === undefined || reply === expected ? after : undefined
}
