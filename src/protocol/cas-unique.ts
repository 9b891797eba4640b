export type CasUnique = number | bigint

export function parseCas(text: string): CasUnique | null {
  if (!/^\d{1,20}$/.test(text)) return null
  const value = BigInt(text)
  if (value >= 2n ** 64n) return null
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value
}
