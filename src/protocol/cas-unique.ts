/**
 * CAS uniques: 64 bits, exact. A number where numbers are exact, a bigint past that and
 * never else, so that two are equal exactly where === says so, and each prints itself.
 */

export type CasUnique = number | bigint

const WORD = 2 ** 32
/** Above it, what the upper word counts is more than a number is exact for. */
const SAFE_HIGH_WORD_MAX = 2 ** 21 - 1
const CAS_UNIQUE_MAX = 2n ** 64n - 1n

/** @returns null for what is not decimal digits alone, or is more than 64 bits. */
export function parseCas(text: string): CasUnique | null {
  if (!/^\d{1,40}$/.test(text)) return null
  const number = Number(text)
  if (number <= Number.MAX_SAFE_INTEGER) return number
  const cas = BigInt(text)
  return cas <= CAS_UNIQUE_MAX ? cas : null
}

export function casOfWords(low: number, high: number): CasUnique {
  if (high <= SAFE_HIGH_WORD_MAX) return high * WORD + low
  return (BigInt(high) << 32n) | BigInt(low)
}

/** The lower 32 bits. */
export function lowWordOf(cas: CasUnique): number {
  return typeof cas === 'number' ? cas >>> 0 : Number(cas & 0xffff_ffffn)
}

/** The upper 32 bits. */
export function highWordOf(cas: CasUnique): number {
  return typeof cas === 'number' ? Math.floor(cas / WORD) : Number(cas >> 32n)
}
