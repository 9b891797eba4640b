/**
 * The meta commands: the words of a line, to what is to be done and how it is to
 * be answered; and what it came to, to the reply.
 *
 *     mg <key> <flag>*             ms <key> <bytes> <flag>*\r\n<value>
 *     md <key> <flag>*             ma <key> <flag>*
 *
 * A flag is one letter with its token glued on. A reply has the flags that ask for
 * something in the order in which they were asked for. Keys may be any bytes, in
 * base64 (flag b).
 *
 * Source: memcached's doc/protocol.txt and the behaviour of 1.6.45.
 */
import { type CasUnique, parseCas } from './cas-unique.ts'
import {
  canonicalLine,
  canonicalStore,
  KEY_BYTES_MAX,
  keyWord,
  type OptionName,
  type Options,
  parseOptions,
  type StoreVerb,
} from './commands.ts'
import {
  type CanonicalNumber,
  canonicalExptime,
  canonicalUint32,
  canonicalUint64,
} from './numbers.ts'
import { FORMAT_ERROR, type ItemReply } from './replies.ts'

const WORDS_MAX = 20
/** With the letter. */
const OPAQUE_LENGTH_MAX = 32

const BAD_TOKEN = 'CLIENT_ERROR bad token in command line format'
const BAD_MA_FLAG = 'CLIENT_ERROR invalid or duplicate flag'

export type MetaCode = 'mg' | 'ms' | 'md' | 'ma'

/** What a reply is made with. */
export interface MetaRequest {
  readonly code: MetaCode
  readonly key: string
  /** As a reply has it. */
  readonly keyText: string
  /** As they came. */
  readonly flags: readonly string[]
  readonly isQuiet: boolean
  /** Of an ms. */
  readonly valueBytes: number
}

/** An error line, or what was understood. */
type Parsed<T> = { readonly error: string } | T

interface Flags extends MetaRequest {
  /** The token of each flag, by its letter. */
  readonly tokens: ReadonlyMap<string, string>
}

/** How the tokens of flags that have numbers are read. */
const NUMBERS: Readonly<Record<string, readonly [(text: string) => string | null, string | null]>> =
  {
    N: [canonicalExptime, BAD_TOKEN],
    T: [canonicalExptime, BAD_TOKEN],
    R: [canonicalExptime, BAD_TOKEN],
    C: [canonicalUint64, BAD_TOKEN],
    E: [canonicalUint64, BAD_TOKEN],
    F: [canonicalUint32, null],
    D: [canonicalUint64, 'CLIENT_ERROR invalid numeric delta value'],
    J: [canonicalUint64, 'CLIENT_ERROR invalid numeric initial value'],
  }
/** Known, with nothing to be read. */
const OTHERS = 'bOPLkstcfvhluqxIM'

/** Whether these can be flags at all: else not even the length of a block counts. */
export function areFlags(words: readonly string[]): boolean {
  return words.every((word) => /^[A-z0-9]/.test(word))
}

/** @param words The whole line's. @param first Where its flags start. */
function parseFlags(code: MetaCode, words: readonly string[], first: number): Parsed<Flags> {
  let key = words[1] ?? ''
  let keyText = key
  const flags = words.slice(first)
  if (key.length > KEY_BYTES_MAX || !areFlags(flags)) return { error: FORMAT_ERROR }
  if (words.length > WORDS_MAX) return { error: 'CLIENT_ERROR options flags are too long' }
  let isBad = false
  let error = FORMAT_ERROR
  const tokens = new Map<string, string>()
  for (const word of flags) {
    const letter = word.charAt(0)
    if (tokens.has(letter)) return { error: 'CLIENT_ERROR duplicate flag' }
    let token = word.slice(1)
    if (letter === 'b') {
      const decoded = decodeBase64(key)
      if (decoded === null) {
        isBad = true
        error = 'CLIENT_ERROR error decoding key'
      } else {
        keyText = `${key} b`
        key = decoded
      }
    } else if (Object.hasOwn(NUMBERS, letter)) {
      const [canonical, complaint] = NUMBERS[letter] as (typeof NUMBERS)[string]
      const number = canonical(token)
      if (number === null) {
        isBad = true
        error = complaint ?? error
      } else token = number
    } else if (!OTHERS.includes(letter)) return { error: 'CLIENT_ERROR invalid flag' }
    tokens.set(letter, token)
  }
  if (isBad) return { error }
  if ((tokens.get('O')?.length ?? 0) >= OPAQUE_LENGTH_MAX) {
    return { error: 'CLIENT_ERROR opaque token too long' }
  }
  const isQuiet = tokens.has('q')
  return { code, key, keyText, flags, isQuiet, valueBytes: 0, tokens }
}

/** @returns one character a byte, or null. */
export function decodeBase64(text: string): string | null {
  if (text === '' || text.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(text)) return null
  return Buffer.from(text, 'base64').toString('latin1')
}

/** Options of the canonical command, in the order of the flags. */
function optionWords(
  { tokens }: Flags,
  names: Readonly<Partial<Record<string, OptionName>>>,
): string[] {
  const words: string[] = []
  for (const [letter, token] of tokens) {
    const name = names[letter]
    if (name === undefined) continue
    // A cas unique of 0 is no item's: to compare with it is not to compare.
    if (name === 'compare' && token === '0') continue
    words.push(name === 'stale' || name === 'clear' ? name : `${name}=${token}`)
  }
  return words
}

/** The command's line, where options may have to be behind them. */
function lineOf(verb: string, key: string, operands: string[], options: string[]): Buffer {
  const [word, ...mark] = keyWord(key)
  return canonicalLine(verb, word, ...operands, ...options, ...mark)
}

// ---------------------------------------------------------------- mg

export interface MetaGet {
  readonly meta: MetaRequest
  /** To be logged where it changes something. */
  readonly command: Buffer
  readonly options: Options
  /** Does not count as an access. */
  readonly isUnnoticed: boolean
  readonly wantsValue: boolean
  /** An item that has this one is not sent again. */
  readonly known: CasUnique | null
}

export function parseMetaGet(words: readonly string[]): Parsed<MetaGet> {
  if (words.length < 2) return { error: FORMAT_ERROR }
  const flags = parseFlags('mg', words, 2)
  if ('error' in flags) return flags
  const { tokens, ...meta } = flags
  const names = { T: 'exptime', N: 'vivify', R: 'recache' } as const
  const asked = optionWords(flags, tokens.has('N') ? { ...names, E: 'unique' } : names)
  const options = ['win', ...asked]
  const known = tokens.get('C')
  return {
    meta,
    command: lineOf('get', meta.key, [], options),
    options: parseOptions(options, 0),
    isUnnoticed: tokens.has('u'),
    wantsValue: tokens.has('v'),
    known: known === undefined ? null : parseCas(known),
  }
}

/** What this server, and nobody else, knows of how an item was used before. */
export interface Usage {
  readonly isFetched: boolean
  /** Since it was last read or written. */
  readonly idleS: number
}

/** @returns the line, with its end, and whether the value follows. */
export function metaGetReply(
  { meta, wantsValue, known }: MetaGet,
  item: ItemReply | null,
  usage: Usage,
): { readonly line: string; readonly hasValue: boolean } {
  if (!item) {
    return { line: meta.isQuiet ? '' : `EN${echo(meta)}\r\n`, hasValue: false }
  }
  const hasValue = wantsValue && known !== item.casUnique
  let line = hasValue ? `VA ${item.valueBytes}` : 'HD'
  let ttlS = item.ttlBeforeS
  const setter = meta.flags.some((flag) => flag.startsWith('T')) ? 'T' : 'N'
  for (const flag of meta.flags) {
    switch (flag.charAt(0)) {
      case setter:
        ttlS = item.ttlS
        break
      case 's':
        line += ` s${item.valueBytes}`
        break
      case 't':
        line += ` t${ttlS}`
        break
      case 'c':
        line += ` c${item.casUnique}`
        break
      case 'f':
        line += ` f${item.flags}`
        break
      case 'h':
        line += usage.isFetched ? ' h1' : ' h0'
        break
      case 'l':
        line += ` l${usage.idleS}`
        break
      default:
        line += echoOf(meta, flag)
    }
  }
  for (const mark of item.marks) line += ` ${mark}`
  return { line: `${line}\r\n`, hasValue }
}

/** @returns the reply to an me, with its end. */
export function metaDebugReply(
  keyText: string,
  item: ItemReply | null,
  { isFetched, idleS }: Usage,
  bytes: number,
): string {
  if (!item) return 'EN\r\n'
  const fetch = isFetched ? 'yes' : 'no'
  return `ME ${keyText} exp=${item.ttlS} la=${idleS} cas=${item.casUnique} fetch=${fetch} cls=1 size=${bytes}\r\n`
}

// ---------------------------------------------------------------- ms

export interface MetaSet {
  readonly meta: MetaRequest
  /** The canonical line. */
  readonly header: string
}

const MODES: Readonly<Record<string, StoreVerb>> = {
  S: 'set',
  E: 'add',
  R: 'replace',
  A: 'append',
  P: 'prepend',
}

/** @param valueBytes As the line announces it. */
export function parseMetaSet(words: readonly string[], valueBytes: number): Parsed<MetaSet> {
  const flags = parseFlags('ms', words, 3)
  if ('error' in flags) return flags
  const { tokens, ...meta } = flags
  const mode = MODES[(tokens.get('M') ?? 'S').charAt(0)]
  if (mode === undefined) return { error: 'CLIENT_ERROR invalid mode for ms M token' }
  const cas = tokens.get('C')
  const verb = cas !== undefined && (mode === 'set' || mode === 'replace') ? 'cas' : mode
  const isJoin = verb === 'append' || verb === 'prepend'
  const isMaking = !isJoin || tokens.has('N')
  const options = optionWords(flags, {
    E: 'unique',
    ...(verb === 'cas' ? { I: 'stale' } : {}),
    ...(isJoin ? { C: 'compare', N: 'vivify' } : {}),
  })
  const [word, ...mark] = keyWord(meta.key)
  const header = canonicalStore(
    verb,
    word,
    isMaking ? (tokens.get('F') ?? '0') : '0',
    isJoin ? '0' : (tokens.get('T') ?? '0'),
    valueBytes,
    cas ?? '0',
    [...options, ...mark].map((option) => ` ${option}`).join(''),
  )
  return { meta: { ...meta, valueBytes }, header }
}

// ---------------------------------------------------------------- md, ma

export interface MetaWrite {
  readonly meta: MetaRequest
  readonly command: Buffer
}

export function parseMetaDelete(words: readonly string[]): Parsed<MetaWrite> {
  if (words.length < 2) return { error: FORMAT_ERROR }
  const flags = parseFlags('md', words, 2)
  if ('error' in flags) return flags
  const { tokens, ...meta } = flags
  const isKept = tokens.has('I') || tokens.has('x')
  const kept = { E: 'unique', I: 'stale', T: 'exptime' } as const
  const options = optionWords(flags, {
    ...(isKept ? kept : {}),
    ...(tokens.has('x') ? { x: 'clear', F: 'flags' } : {}),
  })
  const cas = tokens.get('C')
  if (cas !== undefined) options.unshift(`compare=${cas}`)
  return { meta, command: lineOf('delete', meta.key, [], options) }
}

export function parseMetaArithmetic(words: readonly string[]): Parsed<MetaWrite> {
  if (words.length < 2) return { error: FORMAT_ERROR }
  const flags = parseFlags('ma', words, 2)
  if ('error' in flags) {
    const isOpaque = flags.error.startsWith('CLIENT_ERROR opaque')
    return isOpaque || !areFlags(words.slice(2)) ? flags : { error: BAD_MA_FLAG }
  }
  const { tokens, ...meta } = flags
  const verbs: Readonly<Record<string, string>> = { I: 'incr', '+': 'incr', D: 'decr', '-': 'decr' }
  const verb = verbs[(tokens.get('M') ?? 'I').charAt(0)]
  if (verb === undefined) return { error: 'CLIENT_ERROR invalid mode for ma M token' }
  const options = optionWords(flags, {
    ...{ C: 'compare', E: 'unique', T: 'exptime' },
    ...(tokens.has('N') ? { N: 'vivify', J: 'initial' } : {}),
  })
  const delta: CanonicalNumber = tokens.get('D') ?? '1'
  return { meta, command: lineOf(verb, meta.key, [delta], options) }
}

// ---------------------------------------------------------------- replies to writes

const CODES: Readonly<Record<string, string>> = {
  STORED: 'HD',
  DELETED: 'HD',
  NOT_STORED: 'NS',
  EXISTS: 'EX',
  NOT_FOUND: 'NF',
}

/**
 * @param line The classic command's reply.
 * @param item Where the reply tells of one.
 * @param index Of the log's entry: an item's cas unique, where nothing else is said.
 * @returns with its end; empty where the request was quiet and all is well.
 */
export function metaWriteReply(
  meta: MetaRequest,
  line: string,
  item: ItemReply | undefined,
  index: number,
): string {
  const isNumber = /^\d/.test(line)
  const code = isNumber ? 'HD' : CODES[line]
  if (code === undefined) return `${line}\r\n`
  if (meta.isQuiet && code === 'HD') return ''
  const isDone = code === 'HD'
  const wantsValue = isNumber && meta.flags.some((flag) => flag.startsWith('v'))
  let reply = wantsValue ? `VA ${line.length}` : code
  let ttlS = item?.ttlBeforeS ?? -1
  const setter = meta.flags.some((flag) => flag.startsWith('T')) ? 'T' : 'N'
  for (const flag of meta.flags) {
    const letter = flag.charAt(0)
    if (letter === 'c' && (meta.code === 'ms' || isNumber)) {
      reply += ` c${isDone ? (item?.casUnique ?? newUnique(meta, index)) : 0}`
    } else if (letter === 's' && meta.code === 'ms') {
      reply += ` s${item?.valueBytes ?? meta.valueBytes}`
    } else if (letter === 't' && isNumber) {
      reply += ` t${ttlS}`
    } else {
      if (letter === setter) ttlS = item?.ttlS ?? -1
      reply += echoOf(meta, flag)
    }
  }
  return wantsValue ? `${reply}\r\n${line}\r\n` : `${reply}\r\n`
}

function newUnique({ flags }: MetaRequest, index: number): string {
  const given = flags.find((flag) => flag.startsWith('E'))
  return given === undefined ? String(index) : (canonicalUint64(given.slice(1)) ?? '')
}

/** What every reply has: the key and the opaque, where they were asked for. */
function echo(meta: MetaRequest): string {
  return meta.flags.map((flag) => echoOf(meta, flag)).join('')
}

function echoOf({ keyText }: MetaRequest, flag: string): string {
  if (flag.startsWith('O')) return ` ${flag}`
  return flag.startsWith('k') ? ` k${keyText}` : ''
}
