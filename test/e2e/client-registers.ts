/**
 * Which keys the programs of a history use, and what they do with them.
 *
 * Histories of a key must stay short, because to check one can take time exponential in its
 * length: a few keys are shared, and each gives way to a fresh one after some operations.
 */
import type { Operation } from '../simulation/model.ts'

const SHARED_COUNT = 5
/** Of the shared keys, one in so many holds numbers. */
const NUMBERS_EVERY = 2
const USES_MAX = 30
const NUMBER_MAX = 1_000_000
const DELTA_MAX = 1_000

export class Registers {
  readonly #keys: { key: string; useCount: number }[] = []
  #count = 0

  /** One of the keys shared now. */
  take(): string {
    const at = below(SHARED_COUNT)
    let found = this.#keys[at]
    if (!found || found.useCount === USES_MAX) {
      const kind = at % NUMBERS_EVERY === 0 ? 'text' : 'number'
      found = { key: `${kind}-${++this.#count}`, useCount: 0 }
      this.#keys[at] = found
    }
    found.useCount++
    return found.key
  }

  /**
   * @param name of the operation, unique, so that each text says who wrote it
   * @param unique a cas is drawn that compares with it, where there is one
   */
  draw(key: string, name: string, unique: string | undefined): Operation {
    const isNumber = key.startsWith('number')
    const value = isNumber ? String(below(NUMBER_MAX)) : name
    const delta = 1 + below(DELTA_MAX)
    if (unique !== undefined) return { kind: 'cas', value, unique }
    const either = (number: Operation, text: Operation) => (isNumber ? number : text)
    const weights: [Operation, weight: number][] = [
      [{ kind: 'get' }, 6],
      [{ kind: 'gets' }, 6],
      [{ kind: 'set', value }, 4],
      [{ kind: 'add', value }, 2],
      [{ kind: 'replace', value }, 1],
      [{ kind: 'delete' }, 2],
      [either({ kind: 'incr', delta }, { kind: 'append', value: `+${value}` }), 4],
      [either({ kind: 'decr', delta }, { kind: 'prepend', value: `${value}+` }), 2],
    ]
    const operations = weights.flatMap(([each, weight]) => Array<Operation>(weight).fill(each))
    return operations[below(operations.length)] as Operation
  }
}

function below(count: number): number {
  return Math.floor(Math.random() * count)
}
