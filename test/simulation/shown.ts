/**
 * What of an item's state can show in a history at all.
 *
 * In: the history. Out: for a state, one that stands for it and for all that nobody
 * could tell from it, now or later (`of`); for an operation of unknown outcome, a name
 * that it shares with those that could have been instead of it (`classOf`).
 *
 * A text that is no part of any that was read never shows, nor does what is made of it.
 * A number may become any other.
 */
import { isNumeric, type Operation, type Reply, type State } from './model.ts'

/** A value that nobody has read, nor anything it is a part of. */
const UNREAD = '?'

interface Entry {
  readonly operation: Operation
  readonly reply: Reply | undefined
}

export class Shown {
  readonly #values: readonly string[]
  readonly #isShown = new Map<string, boolean>()
  /** Cas uniques that somebody compares with. */
  readonly #compared: ReadonlySet<string>
  /** What is stored as stale takes over from the item before it who won, whatever that was. */
  readonly #hasLate: boolean
  readonly #hasEmptied: boolean

  constructor(entries: readonly Entry[]) {
    const operations = entries.map(({ operation }) => operation)
    this.#values = [...new Set(entries.flatMap(({ reply }) => reply?.value ?? []))]
    this.#compared = new Set(operations.flatMap(comparedBy))
    this.#hasLate = operations.some((operation) => operation.kind === 'ms' && operation.isStale)
    this.#hasEmptied = operations.some(
      (operation) => operation.kind === 'md' && operation.isEmptied,
    )
    const joined = operations.flatMap(joinedBy)
    const isEmptyShown =
      joined.some(isNumeric) || this.#values.some((value) => isJoinedFrom(value, joined))
    this.#isShown.set('', isEmptyShown)
  }

  of(state: State): State {
    const { item } = state
    if (!item || this.#shows(item.value)) return state
    const { isMortal } = item
    const unique = this.#keeps(item.unique) ? item.unique : ''
    const isWon = this.#hasLate && item.isWon
    return { ...state, item: { value: UNREAD, unique, flags: 0, isMortal, isStale: false, isWon } }
  }

  classOf(operation: Operation): string {
    if (!('value' in operation) || this.#shows(operation.value)) return JSON.stringify(operation)
    const hidden = { ...operation, value: UNREAD, flags: 0 }
    if (hidden.kind === 'ms' && hidden.explicit !== undefined && !this.#keeps(hidden.explicit)) {
      return JSON.stringify({ ...hidden, explicit: undefined })
    }
    return JSON.stringify(hidden)
  }

  #shows(value: string): boolean {
    let isShown = this.#isShown.get(value)
    if (isShown === undefined) {
      isShown = isNumeric(value) || this.#values.some((read) => read.includes(value))
      this.#isShown.set(value, isShown)
    }
    return isShown
  }

  /** What may be stored as stale asks which of two is larger; what is emptied keeps its own. */
  #keeps(unique: string): boolean {
    return this.#hasLate || this.#hasEmptied || this.#compared.has(unique)
  }
}

function comparedBy(operation: Operation): string[] {
  if (operation.kind === 'cas') return [operation.unique]
  return 'compare' in operation && operation.compare !== undefined ? [operation.compare] : []
}

function joinedBy(operation: Operation): string[] {
  const { kind } = operation
  const isJoin = kind === 'append' || kind === 'prepend'
  if (isJoin) return [operation.value]
  return kind === 'ms' && /[AP]/.test(operation.mode) ? [operation.value] : []
}

/** Whether it can be what was put together beginning with nothing. */
function isJoinedFrom(value: string, parts: readonly string[]): boolean {
  if (value === '') return true
  return parts.some(
    (part) =>
      part !== '' && value.startsWith(part) && isJoinedFrom(value.slice(part.length), parts),
  )
}
