/**
 * From which numbers those that replies show next can be reached by arithmetic of unknown
 * outcome: a sum that leads to none of them can as well be made later.
 *
 * In: the replies that can be next, and the operations of unknown outcome. Out: yes where
 * it can't be told.
 */
import { isNumeric, type Operation, type Reply } from './model.ts'

const SUMS_MAX = 5_000

export class ReachableNumbers {
  /** null: any. */
  readonly #targets: readonly number[] | null
  readonly #sums = new Set([0])
  #reach = 0

  constructor(
    next: readonly { operation: Operation; reply: Reply | undefined }[],
    unknown: readonly Operation[],
  ) {
    const targets = next.flatMap(({ operation, reply }) => (reply ? before(operation, reply) : []))
    for (const operation of unknown) {
      const delta = deltaOf(operation)
      this.#reach += Math.abs(delta)
      if (delta === 0 || this.#sums.size > SUMS_MAX) continue
      for (const sum of [...this.#sums]) this.#sums.add(sum + delta)
    }
    const isTold = this.#sums.size <= SUMS_MAX && targets.every((target) => target >= 0)
    this.#targets = isTold ? targets : null
  }

  canBeFrom(value: string): boolean {
    const number = Number(value)
    // Near 0 a subtraction stops.
    if (!this.#targets || number < this.#reach || !Number.isSafeInteger(number)) return true
    return this.#targets.some((target) => this.#sums.has(target - number))
  }
}

/** The number that was there before a reply; -1 where that can't be told. */
function before(operation: Operation, { status, value = status }: Reply): number[] {
  if (!isNumeric(value)) return []
  const number = Number(value) - deltaOf(operation)
  return [value === '0' || !Number.isSafeInteger(number) ? -1 : number]
}

function deltaOf(operation: Operation): number {
  if (operation.kind === 'incr') return operation.delta
  if (operation.kind === 'decr') return -operation.delta
  if (operation.kind === 'ma') return operation.mode === 'I' ? operation.delta : -operation.delta
  return 0
}
