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
  | { readonly kind: 'set'; readonly value: string }
  | { readonly kind: 'add'; readonly value: string }
  | { readonly kind: 'cas'; readonly value: string; readonly unique: string }
  | { readonly kind: 'delete' }

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

/** @returns null where the history is linearizable, else the operations that could not be placed. */
export function findViolation(history: readonly HistoryEntry[]): HistoryEntry[] | null {
  const byStart = [...history].sort((a, b) => a.startMs - b.startMs)
  // A read of unknown outcome constrains nothing.
  const entries = byStart.filter(
    ({ reply, operation: { kind } }) => reply !== undefined || (kind !== 'get' && kind !== 'gets'),
  )
  const numberOf = new Map(entries.map((entry, at) => [entry, at]))
  const count = entries.length
  const done = new Uint8Array(count)
  const seen = new Set<string>()
  let left = entries.filter(({ reply }) => reply !== undefined).length
  let best = left
  let bestDone = done.slice()

  /** Depth first, without recursion: each level remembers where it was. */
  interface Level {
    readonly placed: number
    readonly before: State
    next: number
  }
  const stack: Level[] = []
  let state: State = null
  let from = 0

  for (;;) {
    if (left === 0) return null
    let isPlaced = false
    // No operation that starts after some undone one has ended can be next.
    let earliestEndMs = Number.POSITIVE_INFINITY
    for (let at = 0; at < count; at++) {
      const entry = entries[at] as HistoryEntry
      if (done[at] === 1) continue
      if (entry.startMs > earliestEndMs) break
      earliestEndMs = Math.min(earliestEndMs, entry.endMs)
      if (at < from) continue
      const previous = entry.after && numberOf.get(entry.after)
      if (previous !== undefined && done[previous] === 0 && entry.after?.reply !== undefined)
        continue
      const after = step(state, entry)
      if (after === undefined) continue
      done[at] = 1
      const key = `${Buffer.from(done).toString('latin1')} ${after ? `${after.value} ${after.unique}` : '-'}`
      if (seen.has(key)) {
        done[at] = 0
        continue
      }
      seen.add(key)
      stack.push({ placed: at, before: state, next: at + 1 })
      state = after
      if (entry.reply !== undefined) left--
      if (left < best) {
        best = left
        bestDone = done.slice()
      }
      from = 0
      isPlaced = true
      break
    }
    if (isPlaced) continue
    const level = stack.pop()
    if (!level) {
      return entries.filter((entry, at) => bestDone[at] === 0 && entry.reply !== undefined)
    }
    done[level.placed] = 0
    if (entries[level.placed]?.reply !== undefined) left++
    state = level.before
    from = level.next
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
  }
}

function outcome(
  reply: string | null | undefined,
  expected: string,
  after: State,
): State | undefined {
  return reply === undefined || reply === expected ? after : undefined
}
