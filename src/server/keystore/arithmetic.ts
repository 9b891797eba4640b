/** incr and decr on values: decimal numbers of 64 unsigned bits, as memcached keeps them. Pure. */
import type { CasUnique } from '../../protocol/cas-unique.ts'

const UINT64_MAX = 2n ** 64n - 1n
/** Longer ones are no numbers, however many blanks or zeros they have. */
const NUMBER_BYTES_MAX = 1024

/** @returns null where the value is no such number. Blanks around it and zeros before it are. */
export function parseNumber(value: Buffer): bigint | null {
  if (value.length > NUMBER_BYTES_MAX) return null
  const match = /^[ \t\n\v\f\r]*\+?(\d+)[ \t\n\v\f\r]*$/.exec(value.toString('latin1'))
  const number = match ? BigInt(match[1] as string) : null
  return number !== null && number <= UINT64_MAX ? number : null
}

/** incr goes on at 0 past the largest number, decr stops at 0. */
export function addDelta(verb: 'incr' | 'decr', number: bigint, delta: CasUnique): bigint {
  const by = BigInt(delta)
  if (verb === 'incr') return (number + by) & UINT64_MAX
  return number > by ? number - by : 0n
}
