/** Checks that untrusted JSON has the fields, and only the kinds of values, that a message needs. */

export type Check = (value: unknown) => boolean

export type Shape = Readonly<Record<string, Check>>

export const isCount: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0
export const isBoolean: Check = (value) => typeof value === 'boolean'
/** Ids and host names: printable, without spaces, not empty, and as long in JSON as they are. */
export const isName: Check = (value) =>
  typeof value === 'string' && /^[!#-[\]-~]{1,255}$/.test(value)
export const isNameOrNull: Check = (value) => value === null || isName(value)
export const isPort: Check = (value) =>
  isCount(value) && (value as number) >= 1 && (value as number) <= 65_535

export function oneOf(...values: readonly string[]): Check {
  return (value) => typeof value === 'string' && values.includes(value)
}

export function optional(check: Check): Check {
  return (value) => value === undefined || check(value)
}

export function shaped(shape: Shape): Check {
  return (value) => hasShape(value, shape)
}

export function listOf(check: Check, lengthMax: number): Check {
  return (value) => Array.isArray(value) && value.length <= lengthMax && value.every(check)
}

export function hasShape(value: unknown, shape: Shape): boolean {
  if (typeof value !== 'object' || value === null) return false
  const fields = value as Record<string, unknown>
  return Object.entries(shape).every(([name, check]) => check(fields[name]))
}

/** @returns the object in a JSON text, or null where there is none. */
export function parseObject(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null
  } catch {
    return null
  }
}
