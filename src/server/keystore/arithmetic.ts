/** incr and decr on values: decimal numbers of 64 unsigned bits, as memcached keeps them. Pure. */
import type { CasUnique } from '../../protocol/cas-unique.ts'

const UINT64_MAX = 2n ** 64n - 1n
/** A number that ends behind these is none, however many blanks or zeros it has. */
const NUMBER_BYTES_MAX = 1024
/** Of this length memcached keeps values in pieces, and changes none in its place. */
const VALUE_BYTES_MAX = 512 * 1024

/** What can't be a number is none before anything else is looked at. */
export function mayBeNumber({ length }: Buffer): boolean {
  return length > 0 && length <= VALUE_BYTES_MAX
}

/**
 * @returns null where the value is no such number. Blanks and zeros before it are, and
 * anything behind a blank (that is where a longer number stood) or a NUL.
 */
export function parseNumber(value: Buffer): bigint | null {
  const text = value.toString('latin1', 0, NUMBER_BYTES_MAX)
  const end = value.length > NUMBER_BYTES_MAX ? '' : '\0'
  const match = /^[ \t\n\v\f\r]*\+?(\d+)[ \t\n\v\f\r\0]/.exec(text + end)
  const number = match ? BigInt(match[1] as string) : null
  return number !== null && number <= UINT64_MAX ? number : null
}

/** incr goes on at 0 past the largest number, decr stops at 0. */
export function addDelta(verb: 'incr' | 'decr', number: bigint, delta: CasUnique): bigint {
  const by = BigInt(delta)
  if (verb === 'incr') return (number + by) & UINT64_MAX
  return number > by ? number - by : 0n
}
