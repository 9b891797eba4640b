/**
 * Numbers as clients write them, to their one spelling in canonical commands.
 *
 * Taken are a leading `+` and zeros; null is what memcached calls a bad number.
 */

/** A number in its one spelling. */
export type CanonicalNumber = string

const SHORT_NUMBER = /^(0|[1-9]\d{0,8})$/
const UINT64_MAX = 2n ** 64n - 1n
const UINT32_MAX = 2n ** 32n - 1n
const EXPTIME_MAX = 99_999_999_999
/** memcached's own bound on an announced length: nothing longer is swallowed. */
const ANNOUNCED_BYTES_MAX = 2_147_483_645

/** 32 unsigned bits; larger 64-bit numbers wrap, as memcached's do. */
export function canonicalFlags(text: string): CanonicalNumber | null {
  if (SHORT_NUMBER.test(text)) return text
  const flags = parseUnsigned(text, UINT64_MAX)
  return flags === null ? null : String(BigInt.asUintN(32, flags))
}

export function canonicalUint64(text: string): CanonicalNumber | null {
  return canonicalUnsigned(text, UINT64_MAX)
}

export function canonicalUint32(text: string): CanonicalNumber | null {
  return canonicalUnsigned(text, UINT32_MAX)
}

/** Signed 64-bit seconds; what no calendar needs any more is cut to it. */
export function canonicalExptime(text: string): CanonicalNumber | null {
  if (SHORT_NUMBER.test(text)) return text
  if (!/^[+-]?\d{1,40}$/.test(text)) return null
  const seconds = BigInt(text.replace('+', ''))
  if (BigInt.asIntN(64, seconds) !== seconds) return null
  return seconds < 0n ? '-1' : String(Math.min(Number(seconds), EXPTIME_MAX))
}

/** @returns the length of a data block as a client announces it. */
export function parseLength(text: string): number | null {
  if (!/^\+?\d+$/.test(text)) return null
  const length = Number(text)
  return length <= ANNOUNCED_BYTES_MAX ? length : null
}

function canonicalUnsigned(text: string, max: bigint): CanonicalNumber | null {
  if (SHORT_NUMBER.test(text)) return text
  const value = parseUnsigned(text, max)
  return value === null ? null : String(value)
}

function parseUnsigned(text: string, max: bigint): bigint | null {
  if (!/^\+?\d{1,40}$/.test(text)) return null
  const value = BigInt(text.replace('+', ''))
  return value <= max ? value : null
}
