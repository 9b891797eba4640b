/**
 * What each call asks, in memcached's text protocol, and what its replies mean.
 *
 * In: what a program passed. Out: a Request, which can be sent as often as need be, and reads
 * its own reply. Everything is checked here, so that what a server refuses is the server's own
 * matter. Pure, but for the wall clock that a time far off is counted from.
 *
 * A request is text of one byte a character: short values are part of it, because one string
 * for many requests is the cheapest thing to give to a socket. Long ones stay as they are.
 *
 * Source: memcached's doc/protocol.txt.
 */
import { ITEM_SIZE_BOUNDS, KEY_BYTES_MAX } from '../protocol/bounds.ts'
import type { Item, Value, WriteOptions } from './api.ts'
import { StoreError } from './errors.ts'
import type { RawItem } from './reply-parser.ts'

export interface Request {
  readonly verb: string
  /** Of which it is; empty where of none, or of many. */
  readonly key: string
  /** Changes nothing, so that it can be repeated whatever became of it. */
  readonly isRead: boolean
  /** Any server may answer, from what it has. */
  readonly isLocal: boolean
  /** One byte a character. */
  readonly text: string
  /** A long value; a line end follows it. */
  readonly body: Buffer | null
  readonly readReply: ReplyReader
}

/** @returns what the call returns, or UNEXPECTED where that is no reply to it. */
export type ReplyReader = (
  line: string,
  items: readonly RawItem[],
  statistics: readonly string[],
) => unknown

export const UNEXPECTED = Symbol('no reply to this request')

export type StoreVerb = 'set' | 'add' | 'replace' | 'append' | 'prepend' | 'cas'

/** Up to this length a value is copied into the text. */
const TEXT_BYTES_MAX = 2 * 1024
/** Of one `get`; servers take a line of 1 MiB. */
const KEYS_BYTES_MAX = 512 * 1024
/** memcached takes a larger number for a date. */
const RELATIVE_S_MAX = 30 * 24 * 3_600
const UINT32_MAX = 2 ** 32 - 1
const UINT64_MAX = 2n ** 64n - 1n
export const SECONDS_MAX = 100 * 365 * 24 * 3_600

// ---------------------------------------------------------------------- replies

/** Replies of one word. */
function words(table: Readonly<Record<string, unknown>>): ReplyReader {
  const meanings = new Map(Object.entries(table))
  return (line) => (meanings.has(line) ? meanings.get(line) : UNEXPECTED)
}

const readStored = words({ STORED: true, NOT_STORED: false })
const STORE_REPLIES: Readonly<Record<StoreVerb, ReplyReader>> = {
  set: words({ STORED: undefined }),
  add: readStored,
  replace: readStored,
  append: readStored,
  prepend: readStored,
  cas: words({ STORED: 'stored', EXISTS: 'exists', NOT_FOUND: 'notFound' }),
}
const readDeleted = words({ DELETED: true, NOT_FOUND: false })
const readTouched = words({ TOUCHED: true, NOT_FOUND: false })
const readFlushed = words({ OK: undefined })
const readDeletedIf = words({ HD: 'deleted', EX: 'exists', NF: 'notFound' })

const readNumber: ReplyReader = (line) => {
  if (line === 'NOT_FOUND') return null
  return /^\d{1,20}$/.test(line) ? BigInt(line) : UNEXPECTED
}

const readValue: ReplyReader = (line, items) => {
  if (line !== 'END' || items.length > 1) return UNEXPECTED
  return items.length === 0 ? null : (items[0] as RawItem).value
}

const readItem: ReplyReader = (line, items) => {
  if (line !== 'END' || items.length > 1) return UNEXPECTED
  return items.length === 0 ? null : itemOf(items[0] as RawItem)
}

const readValues: ReplyReader = (line, items) =>
  line === 'END' ? new Map(items.map((item) => [keyOf(item), item.value])) : UNEXPECTED

const readItems: ReplyReader = (line, items) =>
  line === 'END' ? new Map(items.map((item) => [keyOf(item), itemOf(item)])) : UNEXPECTED

const readStatistics: ReplyReader = (line, _, statistics) => {
  if (line !== 'END' && line !== 'RESET') return UNEXPECTED
  return new Map(
    statistics.map((text) => {
      const nameEnd = text.indexOf(' ', 5)
      return nameEnd === -1
        ? [text.slice(5), '']
        : [text.slice(5, nameEnd), text.slice(nameEnd + 1)]
    }),
  )
}

function keyOf(item: RawItem): string {
  return Buffer.from(item.key, 'latin1').toString()
}

function itemOf({ value, flags, casUnique }: RawItem): Item {
  return { value, flags, casUnique: BigInt(casUnique ?? 0) }
}

// --------------------------------------------------------------------- requests

export function storeRequest(
  verb: StoreVerb,
  key: string,
  value: Value,
  options: WriteOptions | undefined,
  wallMs: () => number,
  casUnique?: bigint,
): Request {
  const where = keyText(verb, key)
  const flags = options?.flags ?? 0
  if (!Number.isInteger(flags) || flags < 0 || flags > UINT32_MAX) {
    throw invalid(verb, key, `flags are a whole number from 0 to ${UINT32_MAX}`, flags)
  }
  const exptime = exptimeOf(verb, key, options?.expiresInS ?? 0, wallMs)
  const cas = verb === 'cas' ? ` ${uint64(verb, key, casUnique, 'casUnique', false)}` : ''
  const head = `${verb} ${where} ${flags} ${exptime} `
  const bytes = byteLength(verb, key, value)
  if (bytes > TEXT_BYTES_MAX) {
    const body = typeof value === 'string' ? Buffer.from(value) : value
    return write(verb, key, `${head}${bytes}${cas}\r\n`, STORE_REPLIES[verb], body)
  }
  const text = latin1Of(value, bytes)
  return write(verb, key, `${head}${bytes}${cas}\r\n${text}\r\n`, STORE_REPLIES[verb])
}

export function deleteRequest(key: string): Request {
  // As a last word that key would ask for no reply; the 0 means nothing any more.
  const end = key === 'noreply' ? ' 0' : ''
  return write('delete', key, `delete ${keyText('delete', key)}${end}\r\n`, readDeleted)
}

/** Deletes where the item is still this one; as `cas` for a value. */
export function deleteIfRequest(key: string, casUnique: bigint): Request {
  return write('delete', key, `md ${keyText('delete', key)} C${casUnique}\r\n`, readDeletedIf)
}

export function arithmeticRequest(
  verb: 'incr' | 'decr',
  key: string,
  by: number | bigint,
): Request {
  const delta = uint64(verb, key, by, 'by', true)
  return write(verb, key, `${verb} ${keyText(verb, key)} ${delta}\r\n`, readNumber)
}

export function touchRequest(key: string, expiresInS: number, wallMs: () => number): Request {
  const exptime = exptimeOf('touch', key, expiresInS, wallMs)
  return write('touch', key, `touch ${keyText('touch', key)} ${exptime}\r\n`, readTouched)
}

export function flushRequest(delayS: number, wallMs: () => number): Request {
  const delay = exptimeOf('flushAll', '', delayS, wallMs)
  return write(
    'flushAll',
    '',
    delay === 0 ? 'flush_all\r\n' : `flush_all ${delay}\r\n`,
    readFlushed,
  )
}

export function statsRequest(about: string): Request {
  if (!/^[a-z]*$/.test(about)) throw invalid('stats', '', 'a group is one word', about)
  const text = about === '' ? 'stats\r\n' : `stats ${about}\r\n`
  return read('stats', '', text, readStatistics, false)
}

export function getRequest(verb: 'get' | 'gets', key: string, isLocal: boolean): Request {
  const word = isLocal ? 'get-local' : verb
  const reply = verb === 'get' ? readValue : readItem
  return read(verb, key, `${word} ${keyText(verb, key)}\r\n`, reply, isLocal)
}

export function getManyRequest(
  verb: 'get' | 'gets',
  keys: readonly string[],
  isLocal: boolean,
): Request {
  const word = isLocal ? 'get-local' : verb
  const text = `${word} ${keys.map((key) => keyText(verb, key)).join(' ')}\r\n`
  if (text.length > KEYS_BYTES_MAX) {
    throw new StoreError(
      'invalid',
      `${verb}: ${keys.length} keys are too many: ask for fewer at once`,
    )
  }
  return read(verb, '', text, verb === 'get' ? readValues : readItems, isLocal)
}

function write(
  verb: string,
  key: string,
  text: string,
  readReply: ReplyReader,
  body: Buffer | null = null,
): Request {
  return { verb, key, isRead: false, isLocal: false, text, body, readReply }
}

function read(
  verb: string,
  key: string,
  text: string,
  readReply: ReplyReader,
  isLocal: boolean,
): Request {
  return { verb, key, isRead: true, isLocal, text, body: null, readReply }
}

// ----------------------------------------------------------------------- checks

function invalid(verb: string, key: string, rule: string, given: unknown): StoreError {
  const where = key === '' ? verb : `${verb} ${shownKey(key)}`
  const shown = typeof given === 'string' ? JSON.stringify(given).slice(0, 100) : String(given)
  return new StoreError('invalid', `${where}: ${rule}: ${shown}`)
}

/** For messages: as it is where that can be read, on one line. */
export function shownKey(key: string): string {
  return /^[!-~]+$/.test(key) ? key : JSON.stringify(key)
}

/** @returns the key's bytes, one a character. */
function keyText(verb: string, key: string): string {
  let isAscii = typeof key === 'string'
  for (let k = 0; isAscii && k < key.length; k++) {
    const code = key.charCodeAt(k)
    if (code <= 0x20 || code === 0x7f) throw badKey(verb, key)
    if (code > 0x7f) isAscii = false
  }
  const text = isAscii ? key : utf8Of(verb, key)
  if (text.length < 1 || text.length > KEY_BYTES_MAX) throw badKey(verb, key)
  return text
}

function utf8Of(verb: string, key: unknown): string {
  if (typeof key !== 'string' || key.length > KEY_BYTES_MAX) throw badKey(verb, key)
  const bytes = Buffer.from(key)
  const text = bytes.toString('latin1')
  // Half a surrogate pair would become another key's bytes.
  const isBad = [...text].some((character) => character <= ' ' || character === '\x7f')
  if (isBad || bytes.toString() !== key) throw badKey(verb, key)
  return text
}

function badKey(verb: string, key: unknown): StoreError {
  const rule = `a key is 1 to ${KEY_BYTES_MAX} bytes of text without blanks and control characters`
  return invalid(verb, '', rule, key)
}

function byteLength(verb: string, key: string, value: Value): number {
  const isText = typeof value === 'string'
  if (!isText && !Buffer.isBuffer(value)) {
    throw invalid(verb, key, 'a value is a Buffer or a string', typeof value)
  }
  const bytes = isText ? Buffer.byteLength(value) : value.length
  if (bytes > ITEM_SIZE_BOUNDS.max) {
    const message = `a value of ${bytes} bytes is too long: no cluster takes more than ${ITEM_SIZE_BOUNDS.max}`
    throw new StoreError('tooLarge', `${verb} ${shownKey(key)}: ${message}`)
  }
  return bytes
}

function latin1Of(value: Value, bytes: number): string {
  if (typeof value !== 'string') return value.toString('latin1')
  return value.length === bytes ? value : Buffer.from(value).toString('latin1')
}

function exptimeOf(verb: string, key: string, seconds: number, wallMs: () => number): number {
  if (!Number.isInteger(seconds) || seconds < 0 || seconds > SECONDS_MAX) {
    throw invalid(verb, key, `a time is a whole number of seconds, at most ${SECONDS_MAX}`, seconds)
  }
  return seconds <= RELATIVE_S_MAX ? seconds : Math.ceil(wallMs() / 1_000) + seconds
}

function uint64(verb: string, key: string, given: unknown, name: string, mayBeNumber: boolean) {
  const isExact = typeof given === 'bigint' || (mayBeNumber && Number.isSafeInteger(given))
  const number = isExact ? BigInt(given as number | bigint) : -1n
  if (number < 0n || number > UINT64_MAX) {
    const kind = mayBeNumber ? 'a whole number, or a bigint,' : 'a bigint'
    throw invalid(verb, key, `${name} is ${kind} from 0 to 2^64 - 1`, given)
  }
  return number
}
