/**
 * What the replies that are still to be placed ask of the state: some can't come any more.
 *
 * In: the history, and for a state the operations done. Out: whether all that are left
 * can still find their value and their cas unique (`allows`). It only says no where
 * that is certain, so that the search turns back at once instead of much later.
 *
 * A value only grows until another takes its place, and each operation makes its own
 * once. The cas uniques that the log gives only grow.
 */
import { EXPLICIT_MIN, type Operation, type Reply, type State } from './model.ts'
import { isJoinedFrom } from './shown.ts'
import { Sums } from './sums.ts'

interface Entry {
  readonly operation: Operation
  readonly reply: Reply | undefined
}

interface OwedValue {
  readonly value: string
  /** Operations without which it can't come about. */
  readonly makers: readonly number[]
  readonly readers: readonly number[]
}

interface OwedUnique {
  readonly at: number
  readonly unique: string
}

export class Owed {
  readonly #sums: Sums
  readonly #values: readonly OwedValue[]
  /** From the oldest. */
  readonly #uniques: readonly OwedUnique[]

  constructor(entries: readonly Entry[]) {
    this.#sums = new Sums(entries.map(({ operation }) => operation))
    this.#values = valuesOwed(entries, this.#sums)
    this.#uniques = entries
      .map(({ reply }, at) => ({ at, unique: reply?.unique ?? '' }))
      .filter(({ unique }) => unique !== '' && Number(unique) < EXPLICIT_MIN)
      .sort((a, b) => Number(a.unique) - Number(b.unique))
  }

  allows({ item, newest }: State, done: Uint8Array): boolean {
    for (const { at, unique } of this.#uniques) {
      if (Number(unique) > newest) break
      if (done[at] === 0 && unique !== item?.unique) return false
    }
    return this.#values.every(({ value, makers, readers }) => {
      if (!makers.some((at) => done[at] === 1)) return true
      if (readers.every((at) => done[at] === 1)) return true
      return item !== null && this.#sums.leadsTo(item.value, value)
    })
  }
}

function valuesOwed(entries: readonly Entry[], sums: Sums): OwedValue[] {
  if (sums.hasArithmetic && sums.hasJoins) return []
  const makersOf = groupBy(entries, ({ operation }) => madeBy(operation))
  const readersOf = groupBy(entries, ({ reply }) => reply?.value)
  return [...readersOf].map(([value, readers]) => {
    const parts = [...makersOf.keys()].filter((part) => sums.leadsTo(part, value))
    const needed = parts.filter((part) => {
      const others = parts.filter((other) => other !== part)
      if (makersOf.get(part)?.length !== 1) return false
      return sums.hasJoins ? !isJoinedFrom(value, others) : others.length === 0
    })
    return { value, readers, makers: needed.flatMap((part) => makersOf.get(part) ?? []) }
  })
}

/** A value that it stores; '' is nobody's own. */
function madeBy(operation: Operation): string | undefined {
  if (operation.kind === 'ma') return String(operation.initial ?? 0)
  return 'value' in operation ? operation.value : undefined
}

function groupBy(entries: readonly Entry[], nameOf: (entry: Entry) => string | undefined) {
  const found = new Map<string, number[]>()
  for (const [at, entry] of entries.entries()) {
    const name = nameOf(entry)
    if (name) found.set(name, [...(found.get(name) ?? []), at])
  }
  return found
}
