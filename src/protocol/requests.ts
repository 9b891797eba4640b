/**
 * What a client can ask, and how a line without a data block asks for it. Pure.
 *
 * Source: memcached's doc/protocol.txt and the behaviour of 1.6.45.
 */
import {
  canonicalDelete,
  canonicalLine,
  KEY_BYTES_MAX,
  type Options,
  parseOptions,
} from './commands.ts'
import {
  areFlags,
  decodeBase64,
  type MetaGet,
  type MetaRequest,
  parseMetaArithmetic,
  parseMetaDelete,
  parseMetaGet,
} from './meta.ts'
import { canonicalExptime, canonicalUint32, canonicalUint64 } from './numbers.ts'
import { FORMAT_ERROR } from './replies.ts'

/** The memcached whose protocol this is; libraries want three numbers, the first at least 1. */
export const PROTOCOL_VERSION = '1.6.45'

export type Request =
  | { readonly kind: 'get'; readonly keys: readonly string[]; readonly withCas: boolean }
  /** Not memcached's: what this server has applied. */
  | { readonly kind: 'getLocal'; readonly keys: readonly string[] }
  /** Get and touch. */
  | {
      readonly kind: 'gat'
      readonly keys: readonly string[]
      readonly withCas: boolean
      readonly options: Options
    }
  | { readonly kind: 'metaGet'; readonly get: MetaGet }
  | { readonly kind: 'metaDebug'; readonly key: string; readonly keyText: string }
  | {
      readonly kind: 'write'
      readonly command: Buffer
      readonly noreply: boolean
      readonly meta?: MetaRequest
    }
  /** Plain sets, one behind the other, as they came. */
  | { readonly kind: 'sets'; readonly commands: Buffer; readonly count: number }
  | { readonly kind: 'stats'; readonly words: readonly string[] }
  | { readonly kind: 'verbosity'; readonly level: number; readonly noreply: boolean }
  | { readonly kind: 'memoryLimit'; readonly limitBytes: number; readonly noreply: boolean }
  | { readonly kind: 'shutdown'; readonly isValid: boolean; readonly noreply: boolean }
  /** Who a client says it is, before anything else. */
  | { readonly kind: 'auth'; readonly user: string; readonly password: string }
  /** About the cluster: not memcached's, and with words that it answers with ERROR. */
  | { readonly kind: 'cluster'; readonly question: 'get-servers' | 'status' }
  | { readonly kind: 'remove'; readonly server: string }
  | { readonly kind: 'itemSizeMax'; readonly bytes: number }
  | { readonly kind: 'readMode'; readonly mode: string }
  | { readonly kind: 'backup' }
  /** Answer what came before, then close. */
  | { readonly kind: 'quit' }
  /** Answer this line and go on; empty where `noreply` keeps even that away. */
  | { readonly kind: 'answer'; readonly line: string }

const EXPTIME_ERROR = 'CLIENT_ERROR invalid exptime argument'
const AUTOMOVE_MAX = 2
const MEMORY_LIMIT_MIB = { min: 8, max: 1_000_000_000 } as const

export function answer(line: string): Request {
  return { kind: 'answer', line }
}

/**
 * Reads a line that is not followed by a data block.
 * @param words The line's; at least one.
 * @returns null where the connection is to be closed without a word.
 */
export function parseLine(words: readonly string[]): Request | null {
  switch (words[0]) {
    case 'get':
    case 'gets':
      return parseGet(words)
    case 'get-local': {
      const keys = words.slice(1)
      return areKeys(keys) ? { kind: 'getLocal', keys } : answer(FORMAT_ERROR)
    }
    case 'gat':
    case 'gats':
      return parseGat(words)
    case 'mg': {
      const get = parseMetaGet(words)
      return 'error' in get ? answer(get.error) : { kind: 'metaGet', get }
    }
    case 'md':
      return metaWrite(parseMetaDelete(words))
    case 'ma':
      return metaWrite(parseMetaArithmetic(words))
    case 'me':
      return parseMetaDebug(words)
    case 'mn':
      return answer('MN')
    case 'version':
      return answer(`VERSION ${PROTOCOL_VERSION}`)
    case 'stats':
      return { kind: 'stats', words: words.slice(1) }
    case 'delete':
    case 'incr':
    case 'decr':
    case 'touch':
      return parseWrite(words)
    case 'get-servers':
    case 'status':
      return { kind: 'cluster', question: words[0] }
    case 'remove-server':
      return { kind: 'remove', server: words[1] ?? '' }
    case 'item-size-max':
      return { kind: 'itemSizeMax', bytes: Number(canonicalUint32(words[1] ?? '') ?? Number.NaN) }
    case 'read-mode':
      return { kind: 'readMode', mode: words[1] ?? '' }
    case 'backup':
      return { kind: 'backup' }
    case 'quit':
      return { kind: 'quit' }
  }
  return parseOther(words)
}

/** Where an error is meant for nobody, as with noreply, its line is empty. */
function silently(noreply: boolean, request: Request): Request {
  return noreply && request.kind === 'answer' ? { ...request, line: '' } : request
}

function isNoreply(words: readonly string[]): boolean {
  return words.at(-1) === 'noreply'
}

function areKeys(keys: readonly string[]): boolean {
  return keys.length > 0 && keys.every((key) => key.length <= KEY_BYTES_MAX)
}

function parseGet(words: readonly string[]): Request {
  const keys = words.slice(1)
  return areKeys(keys) ? { kind: 'get', keys, withCas: words[0] === 'gets' } : answer(FORMAT_ERROR)
}

function parseGat(words: readonly string[]): Request {
  const keys = words.slice(2)
  if (keys.length === 0) return answer(FORMAT_ERROR)
  const exptime = canonicalExptime(words[1] ?? '')
  if (exptime === null) return answer(EXPTIME_ERROR)
  if (!areKeys(keys)) return answer(FORMAT_ERROR)
  const options = parseOptions([`exptime=${exptime}`], 0)
  return { kind: 'gat', keys, withCas: words[0] === 'gats', options }
}

function metaWrite(
  parsed: { readonly error: string } | { readonly meta: MetaRequest; readonly command: Buffer },
): Request {
  return 'error' in parsed ? answer(parsed.error) : { kind: 'write', noreply: false, ...parsed }
}

function parseMetaDebug([, word, ...flags]: readonly string[]): Request {
  if (word === undefined || word.length > KEY_BYTES_MAX || !areFlags(flags)) {
    return answer(FORMAT_ERROR)
  }
  if (flags[0] !== 'b') return { kind: 'metaDebug', key: word, keyText: word }
  const key = decodeBase64(word)
  return key === null ? answer(FORMAT_ERROR) : { kind: 'metaDebug', key, keyText: word }
}

function parseWrite(words: readonly string[]): Request {
  const noreply = isNoreply(words)
  const [verb = '', key, operand] = words
  // Old clients send a time after a delete's key; it means nothing any more.
  const isDelete = verb === 'delete'
  if (key === undefined || (isDelete ? words.length > 4 : operand === undefined)) {
    return answer(FORMAT_ERROR)
  }
  if (key.length > KEY_BYTES_MAX) return silently(noreply, answer(FORMAT_ERROR))
  if (isDelete) return { kind: 'write', command: canonicalDelete(key), noreply }
  const isTouch = verb === 'touch'
  const number = (isTouch ? canonicalExptime : canonicalUint64)(operand ?? '')
  if (number !== null) return { kind: 'write', command: canonicalLine(verb, key, number), noreply }
  const error = isTouch ? EXPTIME_ERROR : 'CLIENT_ERROR invalid numeric delta argument'
  return silently(noreply, answer(error))
}

function parseFlush(words: readonly string[], noreply: boolean): Request {
  const isNow = words.length === (noreply ? 2 : 1)
  const exptime = isNow ? '0' : canonicalExptime(words[1] ?? '')
  if (exptime === null) return answer(EXPTIME_ERROR)
  return { kind: 'write', command: canonicalLine('flush_all', exptime), noreply }
}

/**
 * What is about the server as a whole, and what nobody knows: these may have blanks
 * before them.
 * @returns null where the connection is to be closed without a word.
 */
export function parseOther(words: readonly string[]): Request | null {
  const noreply = isNoreply(words)
  const last = words.at(-1) ?? ''
  const request = parseServerCommand(words, noreply)
  if (request) return silently(noreply, request)
  return last.startsWith('HTTP/') ? null : silently(noreply, answer('ERROR'))
}

function parseServerCommand(words: readonly string[], noreply: boolean): Request | null {
  const [verb, first = '', second] = words
  switch (verb) {
    case 'flush_all':
      return parseFlush(words, noreply)
    case 'verbosity': {
      const level = canonicalUint32(first)
      return level === null
        ? answer(FORMAT_ERROR)
        : { kind: 'verbosity', level: Number(level), noreply }
    }
    case 'cache_memlimit':
      return parseMemoryLimit(canonicalUint32(first), noreply)
    case 'shutdown':
      return { kind: 'shutdown', isValid: isShutdown(words), noreply }
    case 'slabs':
      if (words.length === 4 && first === 'reassign') {
        return answer('CLIENT_ERROR slab reassignment disabled')
      }
      if (words.length < 3 || first !== 'automove') return answer('ERROR')
      return parseAutomove(canonicalUint32(second ?? ''))
    case 'lru':
      return words.length >= 3 && ['tune', 'mode', 'temp_ttl'].includes(first)
        ? answer('OK')
        : answer('ERROR')
    case 'lru_crawler':
      if (['crawl', 'metadump', 'mgdump'].includes(first) && words.length >= 3) {
        return answer('CLIENT_ERROR lru crawler disabled')
      }
      return ['enable', 'disable', 'sleep', 'tocrawl'].includes(first)
        ? answer('OK')
        : answer('ERROR')
    case 'watch':
      return answer('CLIENT_ERROR watch commands not allowed')
  }
  return null
}

function isShutdown(words: readonly string[]): boolean {
  return words.length === 1 || (words.length === 2 && words[1] === 'graceful')
}

function parseAutomove(level: string | null): Request {
  if (level === null) return answer(FORMAT_ERROR)
  return Number(level) <= AUTOMOVE_MAX ? answer('OK') : answer('ERROR')
}

function parseMemoryLimit(mebibytes: string | null, noreply: boolean): Request {
  if (mebibytes === null) return answer('ERROR')
  const { min, max } = MEMORY_LIMIT_MIB
  if (Number(mebibytes) < min) {
    return answer(`MEMLIMIT_TOO_SMALL cannot set maxbytes to less than ${min}m`)
  }
  if (Number(mebibytes) > max) {
    return answer('MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes')
  }
  return { kind: 'memoryLimit', limitBytes: Number(mebibytes) * 2 ** 20, noreply }
}
