/**
 * What of an item's state can show in a history at all.
 *
 * In: the history. Out: for a state, one that stands for it and for all that nobody
 * could tell from it, now or later (`of`); for an operation of unknown outcome, a name
 * that it shares with those that could have been instead of it (`classOf`).
 *
 * A text that is no part of any that was read never shows, nor does what is made of it;
 * a number from which all that was ever added or taken away leads to none that was read.
 */
import { isNumeric, type Operation, type Reply, type State } from './model.ts'
import { joinedBy, Sums } from './sums.ts'

/** A value that nobody has read, nor anything it is a part of. */
const UNREAD = '?'

interface Entry {
  readonly operation: Operation
  readonly reply: Reply | undefined
}

export class Shown {
  readonly #values: readonly string[]
  readonly #numbers: readonly string[]
  readonly #isShown = new Map<string, boolean>()
  /** Cas uniques that somebody compares with. */
  readonly #compared: ReadonlySet<string>
  /** What is stored as stale takes over from the item before it who won, whatever that was. */
  readonly #hasLate: boolean
  readonly #hasEmptied: boolean
  readonly #sums: Sums
  /** Stands for all numbers that do not show, and is as far away. */
  readonly #unreadNumber: string

  constructor(entries: readonly Entry[]) {
    const operations = entries.map(({ operation }) => operation)
    this.#values = [...new Set(entries.flatMap(({ reply }) => reply?.value ?? []))]
    this.#compared = new Set(operations.flatMap(comparedBy))
    this.#hasLate = operations.some((operation) => operation.kind === 'ms' && operation.isStale)
    this.#hasEmptied = operations.some(
      (operation) => operation.kind === 'md' && operation.isEmptied,
    )
    this.#sums = new Sums(operations)
    const told = entries.flatMap(({ reply }) => [reply?.status ?? '', reply?.value ?? ''])
    this.#numbers = [...new Set(told.filter(isNumeric))]
    const last = this.#numbers.map(BigInt).reduce((a, b) => (a > b ? a : b), 0n)
    this.#unreadNumber = String(last + 2n * this.#sums.reach + 1n)
    const joined = operations.flatMap((operation) => joinedBy(operation) ?? [])
    const isEmptyShown =
      joined.some(isNumeric) || this.#values.some((value) => isJoinedFrom(value, joined))
    this.#isShown.set('', isEmptyShown)
  }

  get hasJoins(): boolean {
    return this.#sums.hasJoins
  }

  of(state: State): State {
    const { item } = state
    if (!item || this.#shows(item.value)) return state
    const { isMortal } = item
    const unique = this.#keeps(item.unique) ? item.unique : ''
    const isWon = this.#hasLate && item.isWon
    const value = this.#hidden(item.value)
    return { ...state, item: { value, unique, flags: 0, isMortal, isStale: false, isWon } }
  }

  classOf(operation: Operation): string {
    if (operation.kind === 'ma' && operation.initial !== undefined) {
      const isShown = this.#shows(String(operation.initial))
      return JSON.stringify(isShown ? operation : { ...operation, initial: UNREAD })
    }
    if (!('value' in operation) || this.#shows(operation.value)) return JSON.stringify(operation)
    const hidden = { ...operation, value: this.#hidden(operation.value), flags: 0 }
    if (hidden.kind === 'ms' && hidden.explicit !== undefined && !this.#keeps(hidden.explicit)) {
      return JSON.stringify({ ...hidden, explicit: undefined })
    }
    return JSON.stringify(hidden)
  }

  #hidden(value: string): string {
    return isNumeric(value) ? this.#unreadNumber : UNREAD
  }

  #shows(value: string): boolean {
    let isShown = this.#isShown.get(value)
    if (isShown === undefined) {
      const shown = isNumeric(value) ? this.#numbers : this.#values
      isShown = shown.some((read) => this.#mayShow(value, read))
      this.#isShown.set(value, isShown)
    }
    return isShown
  }

  #mayShow(value: string, read: string): boolean {
    if (isNumeric(value) || this.#sums.hasArithmetic) return this.#sums.leadsTo(value, read)
    return read.includes(value)
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

/** Whether it can be what was put together beginning with nothing. */
export function isJoinedFrom(value: string, parts: readonly string[]): boolean {
  if (value === '') return true
  return parts.some(
    (part) =>
      part !== '' && value.startsWith(part) && isJoinedFrom(value.slice(part.length), parts),
  )
}
