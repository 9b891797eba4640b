/**
 * Canonical commands: what is proposed, logged, replicated and applied.
 *
 * A canonical command is memcached's own syntax with one spelling only: single
 * spaces, plain decimal numbers, no noreply, `\r\n` at the end of line and
 * block:
 *
 *     set <key> <flags> <exptime> <bytes>\r\n<value>\r\n
 *     add <key> <flags> <exptime> <bytes>\r\n<value>\r\n
 *     cas <key> <flags> <exptime> <bytes> <cas unique>\r\n<value>\r\n
 *     delete <key>\r\n
 *
 * exptime stays as the client gave it; it counts from the log time of the entry.
 */

export const KEY_BYTES_MAX = 250
export const VALUE_BYTES_MAX = 1024 * 1024

export type StoreVerb = 'set' | 'add' | 'cas'

/** A number in its one spelling. */
export type CanonicalNumber = string

export interface StoreCommand {
  readonly verb: StoreVerb
  readonly key: string
  readonly flags: number
  /** Seconds, as memcached reads them: 0 never, to 30 days from now, above Unix time. */
  readonly exptime: number
  /** Only for cas. May be past 2^53, and then equals no item's. */
  readonly casUnique: number
  /** A view into the command. */
  readonly value: Buffer
}

export interface DeleteCommand {
  readonly verb: 'delete'
  readonly key: string
}

export type Command = StoreCommand | DeleteCommand

export function canonicalStore(
  verb: StoreVerb,
  key: string,
  flags: CanonicalNumber,
  exptime: CanonicalNumber,
  valueBytes: number,
  cas: CanonicalNumber,
): string {
  const end = verb === 'cas' ? ` ${cas}\r\n` : '\r\n'
  return `${verb} ${key} ${flags} ${exptime} ${valueBytes}${end}`
}

export function canonicalDelete(key: string): Buffer {
  return Buffer.from(`delete ${key}\r\n`, 'latin1')
}

const SHORT_NUMBER = /^(0|[1-9]\d{0,8})$/
const UINT64_MAX = 2n ** 64n - 1n
const EXPTIME_MAX = 99_999_999_999

/** 32 unsigned bits; larger 64-bit numbers wrap, as memcached's do. */
export function canonicalFlags(text: string): CanonicalNumber | null {
  if (SHORT_NUMBER.test(text)) return text
  const flags = parseUint64(text)
  return flags === null ? null : String(BigInt.asUintN(32, flags))
}

export function canonicalCas(text: string): CanonicalNumber | null {
  if (SHORT_NUMBER.test(text)) return text
  const cas = parseUint64(text)
  return cas === null ? null : String(cas)
}

/** Signed 64-bit seconds; what no calendar needs any more is cut to it. */
export function canonicalExptime(text: string): CanonicalNumber | null {
  if (SHORT_NUMBER.test(text)) return text
  if (!/^[+-]?\d{1,40}$/.test(text)) return null
  const seconds = BigInt(text.replace('+', ''))
  if (BigInt.asIntN(64, seconds) !== seconds) return null
  return seconds < 0n ? '-1' : String(Math.min(Number(seconds), EXPTIME_MAX))
}

function parseUint64(text: string): bigint | null {
  if (!/^\+?\d{1,40}$/.test(text)) return null
  const value = BigInt(text.replace('+', ''))
  return value <= UINT64_MAX ? value : null
}

/** Whether these bytes are a canonical command of this version, and nothing else. */
export function isCanonical(bytes: Buffer): boolean {
  const lineEnd = bytes.indexOf('\r\n')
  if (lineEnd === -1) return false
  const line = bytes.toString('latin1', 0, lineEnd)
  const [verb, key = '', flags = '', exptime = '', length = '', cas = ''] = line.split(' ')
  if (key === '' || key.length > KEY_BYTES_MAX || key.includes('\n')) return false
  if (verb === 'delete') return line === `delete ${key}` && bytes.length === lineEnd + 2
  if (verb !== 'set' && verb !== 'add' && verb !== 'cas') return false
  const valueBytes = Number(length)
  return (
    canonicalFlags(flags) === flags &&
    canonicalExptime(exptime) === exptime &&
    (verb !== 'cas' || canonicalCas(cas) === cas) &&
    valueBytes <= VALUE_BYTES_MAX &&
    `${line}\r\n` === canonicalStore(verb, key, flags, exptime, valueBytes, cas) &&
    bytes.length === lineEnd + 2 + valueBytes + 2 &&
    bytes.toString('latin1', bytes.length - 2) === '\r\n'
  )
}

/**
 * Reads a canonical command.
 * @throws Error where it is none: a log that passed its checksum was written by another version.
 */
export function parseCommand(command: Buffer): Command {
  const lineEnd = command.indexOf('\r\n')
  const [verb, key = '', flags, exptime, bytes, cas] = command
    .toString('latin1', 0, lineEnd)
    .split(' ')
  if (verb === 'delete') return { verb, key }
  if (verb !== 'set' && verb !== 'add' && verb !== 'cas') {
    throw new Error(`unknown command in the log: ${JSON.stringify(verb)}`)
  }
  return {
    verb,
    key,
    flags: Number(flags),
    exptime: Number(exptime),
    casUnique: verb === 'cas' ? Number(cas) : 0,
    value: command.subarray(lineEnd + 2, lineEnd + 2 + Number(bytes)),
  }
}
