/**
 * Which numbers a history's arithmetic can make of which: none further away than all
 * that is ever added and taken away. A join (append, prepend) makes any of any.
 */
import { isNumeric, type Operation } from './model.ts'

/** Past them a sum may wrap. */
export const NUMBER_MAX = 2n ** 63n

export class Sums {
  readonly reach: bigint
  readonly hasArithmetic: boolean
  readonly hasJoins: boolean

  constructor(operations: readonly Operation[]) {
    const deltas = operations.flatMap((operation) => ('delta' in operation ? operation.delta : []))
    this.reach = deltas.reduce((sum, delta) => sum + BigInt(delta), 0n)
    this.hasArithmetic = deltas.length > 0
    this.hasJoins = operations.some((operation) => joinedBy(operation) !== undefined)
  }

  /** Whether a value can become another, without any that takes its place. */
  leadsTo(from: string, to: string): boolean {
    if (!this.hasArithmetic) return this.hasJoins ? to.includes(from) : to === from
    if (this.hasJoins) return true
    if (!isNumeric(from) || !isNumeric(to)) return to === from
    const a = BigInt(from)
    const b = BigInt(to)
    if (a >= NUMBER_MAX || b >= NUMBER_MAX) return true
    return a <= b + this.reach && b <= a + this.reach
  }
}

/** What an operation joins to what is there. */
export function joinedBy(operation: Operation): string | undefined {
  const { kind } = operation
  if (kind === 'append' || kind === 'prepend') return operation.value
  return kind === 'ms' && /[AP]/.test(operation.mode) ? operation.value : undefined
}
