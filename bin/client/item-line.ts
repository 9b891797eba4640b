/**
 * An item as a line of JSON, as `client export` writes and `client import` reads them:
 *
 *     {"key":"greeting","value":"hello","flags":0,"expiresAt":"2026-12-31T23:59:59.000Z"}
 *
 * A value that is not UTF-8 is in `base64` in place of `value`; so is a key, in `keyBase64`, that is not
 * UTF-8 or has control characters.
 * `flags` may be left out where it is 0, `expiresAt` where the item stays. Pure.
 */
import { valueJson } from './reply.ts'

export interface TransferItem {
  /** Bytes, a character each. */
  readonly key: string
  readonly value: Buffer
  readonly flags: number
  /** Unix time; 0 where the item stays. */
  readonly expiresAtMs: number
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what it is about
const CONTROL = /[\x00-\x1f\x7f]/
const FLAGS_MAX = 2 ** 32 - 1
/** The latest that a Date can be. */
const TIME_MS_MAX = 8.64e15
const FIELDS = ['key', 'value', 'base64', 'flags', 'expiresAt']

export function itemLine({ key, value, flags, expiresAtMs }: TransferItem): string {
  const shownKey = valueJson(Buffer.from(key, 'latin1'))
  const isText = 'value' in shownKey && !CONTROL.test(key)
  return JSON.stringify({
    ...(isText
      ? { key: shownKey.value }
      : { keyBase64: Buffer.from(key, 'latin1').toString('base64') }),
    ...valueJson(value),
    ...(flags === 0 ? {} : { flags }),
    ...(expiresAtMs === 0
      ? {}
      : { expiresAt: new Date(Math.min(expiresAtMs, TIME_MS_MAX)).toISOString() }),
  })
}

/**
 * @returns the item, its key as text.
 * @throws Error that says what is wrong with it.
 */
export function parseItemLine(line: string): TransferItem {
  const fields = parseObject(line)
  const { key, value, base64, flags = 0, expiresAt } = fields
  if ('keyBase64' in fields) {
    throw new Error('its key is not text, which a client of this kind can not store')
  }
  const unknown = Object.keys(fields).find((name) => !FIELDS.includes(name))
  if (unknown !== undefined) throw new Error(`no such field: ${unknown}`)
  if (typeof key !== 'string') throw new Error('it has no key')
  if (!Number.isInteger(flags) || (flags as number) < 0 || (flags as number) > FLAGS_MAX) {
    throw new Error(`flags is a number from 0 to ${FLAGS_MAX}`)
  }
  return {
    key,
    value: parseValue(value, base64),
    flags: flags as number,
    expiresAtMs: expiresAt === undefined ? 0 : parseTime(expiresAt),
  }
}

function parseObject(line: string): Record<string, unknown> {
  let parsed: unknown
  try {
    parsed = JSON.parse(line)
  } catch {
    throw new Error('it is not JSON')
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new Error('it is not an object')
  }
  return parsed as Record<string, unknown>
}

function parseValue(value: unknown, base64: unknown): Buffer {
  if ((value === undefined) === (base64 === undefined)) {
    throw new Error('it needs either value or base64')
  }
  if (typeof value === 'string') return Buffer.from(value)
  if (typeof base64 !== 'string') throw new Error('its value is not a string')
  const bytes = Buffer.from(base64, 'base64')
  if (bytes.toString('base64') !== base64) throw new Error('its base64 is not base64')
  return bytes
}

function parseTime(text: unknown): number {
  const timeMs = typeof text === 'string' ? Date.parse(text) : Number.NaN
  if (Number.isNaN(timeMs)) throw new Error('expiresAt is a time like 2026-12-31T23:59:59Z')
  return Math.max(1, timeMs)
}
