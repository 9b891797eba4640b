/**
 * Canonical commands: what is proposed, logged, replicated and applied.
 *
 * A canonical command is memcached's own syntax with one spelling only: single
 * spaces, plain decimal numbers, no noreply, `\r\n` at the end of line and block:
 *
 *     set|add|replace|append|prepend <key> <flags> <exptime> <bytes>\r\n<value>\r\n
 *     cas <key> <flags> <exptime> <bytes> <cas unique>\r\n<value>\r\n
 *     delete <key>\r\n
 *     incr|decr <key> <delta>\r\n
 *     get <key> exptime=<seconds>\r\n       get and touch
 *     touch <key> <exptime>\r\n
 *     flush_all <exptime>\r\n
 *
 * What only meta commands can ask for stands behind the operands, as options:
 *
 *     compare=<cas unique>    nothing happens where the item has another one
 *     unique=<cas unique>     the item's next one, in place of the log's index
 *     win                     who asks first for a stale item wins
 *     stale                   the item goes on, marked as out of date
 *     clear                   the item goes on, without its value
 *     flags=<flags>           of an item that is cleared
 *     exptime=<seconds>       the item's next one
 *     vivify=<seconds>        where there is no item one is made, with this exptime
 *     recache=<seconds>       who asks while less than this is left wins
 *     initial=<number>        the value of an item that was made
 *
 *     base64                  the key has bytes that no line can have, and is written so
 *
 * Options of a get or an incr take effect in the order in which they stand. An exptime
 * stays as the client gave it; it counts from the log time of the entry.
 *
 * An entry of the log may have several, one behind the other (`commandEnd`).
 *
 * Members of the version before know set, add, cas and delete without options.
 */
import { ITEM_SIZE_BOUNDS, KEY_BYTES_MAX } from './bounds.ts'
import { type CasUnique, parseCas } from './cas-unique.ts'
import {
  type CanonicalNumber,
  canonicalExptime,
  canonicalFlags,
  canonicalUint64,
} from './numbers.ts'
import { PlainCommand } from './plain-commands.ts'

const LF = 10

export { ITEM_SIZE_BOUNDS, ITEM_SIZE_MAX, KEY_BYTES_MAX } from './bounds.ts'

/** So many commands an entry of the log has at the most. */
export const GROUP_COMMANDS_MAX = 256

const STORE_VERBS = ['set', 'add', 'replace', 'append', 'prepend', 'cas'] as const
export type StoreVerb = (typeof STORE_VERBS)[number]

/** How the value of each option is spelled; null for those that have none. */
const OPTIONS = {
  compare: canonicalUint64,
  unique: canonicalUint64,
  win: null,
  stale: null,
  clear: null,
  flags: canonicalFlags,
  exptime: canonicalExptime,
  vivify: canonicalExptime,
  recache: canonicalExptime,
  initial: canonicalUint64,
  base64: null,
} as const
export type OptionName = keyof typeof OPTIONS

/** In the order in which they stand; 0 for those without a value. */
export type Options = ReadonlyMap<OptionName, CasUnique>

export const NO_OPTIONS: Options = new Map()

const OPTIONS_OF: Readonly<Record<string, readonly OptionName[]>> = {
  set: ['unique', 'base64'],
  add: ['unique', 'base64'],
  replace: ['unique', 'base64'],
  append: ['compare', 'unique', 'vivify', 'base64'],
  prepend: ['compare', 'unique', 'vivify', 'base64'],
  cas: ['unique', 'stale', 'base64'],
  delete: ['compare', 'unique', 'stale', 'clear', 'flags', 'exptime', 'base64'],
  incr: ['compare', 'unique', 'exptime', 'vivify', 'initial', 'base64'],
  decr: ['compare', 'unique', 'exptime', 'vivify', 'initial', 'base64'],
  get: ['win', 'unique', 'exptime', 'vivify', 'recache', 'base64'],
}

export interface StoreCommand {
  readonly verb: StoreVerb
  readonly key: string
  readonly flags: number
  /** Seconds, as memcached reads them: 0 never, to 30 days from now, above Unix time. */
  readonly exptime: number
  /** Only for cas. */
  readonly casUnique: CasUnique
  readonly options: Options
  /** A view into the command. */
  readonly value: Buffer
}

export interface DeleteCommand {
  readonly verb: 'delete'
  readonly key: string
  readonly options: Options
}

export interface ArithmeticCommand {
  readonly verb: 'incr' | 'decr'
  readonly key: string
  /** 64 unsigned bits. */
  readonly delta: CasUnique
  readonly options: Options
}

/** A read that changes something. */
export interface GetCommand {
  readonly verb: 'get'
  readonly key: string
  readonly options: Options
}

export interface TouchCommand {
  readonly verb: 'touch'
  readonly key: string
  readonly exptime: number
}

export interface FlushCommand {
  readonly verb: 'flush_all'
  /** 0 for at once. */
  readonly exptime: number
}

export type Command =
  | StoreCommand
  | DeleteCommand
  | ArithmeticCommand
  | GetCommand
  | TouchCommand
  | FlushCommand

/** @param options As they stand in the command: each with a blank before it. */
export function canonicalStore(
  verb: StoreVerb,
  key: string,
  flags: CanonicalNumber,
  exptime: CanonicalNumber,
  valueBytes: number,
  cas: CanonicalNumber,
  options = '',
): string {
  const end = verb === 'cas' ? ` ${cas}` : ''
  return `${verb} ${key} ${flags} ${exptime} ${valueBytes}${end}${options}\r\n`
}

/** A command without a block, from its words. */
export function canonicalLine(...words: readonly string[]): Buffer {
  return Buffer.from(`${words.join(' ')}\r\n`, 'latin1')
}

export function canonicalDelete(key: string): Buffer {
  return canonicalLine('delete', key)
}

/** A read that changes something, without options that have no value. */
export function canonicalGet(key: string, options: Options): Buffer {
  const words = [...options].map(([name, value]) => `${name}=${value}`)
  return canonicalLine('get', key, ...words)
}

/** How a key is written: as it is or, where a line can't have it, in base64 and with an option. */
export function keyWord(key: string): readonly [word: string, ...option: 'base64'[]] {
  return needsBase64(key) ? [Buffer.from(key, 'latin1').toString('base64'), 'base64'] : [key]
}

/** Such keys come in meta commands only. */
export function needsBase64(key: string): boolean {
  return key.includes(' ') || key.includes('\n')
}

/** Whether a member of the version before, of protocol 2, knows this canonical command. */
export function isKnownBefore(command: Buffer): boolean {
  const lineEnd = command.indexOf('\r\n')
  const words = command.toString('latin1', 0, lineEnd).split(' ')
  switch (words[0]) {
    case 'set':
    case 'add':
      return words.length === 5
    case 'cas':
      return words.length === 6
    case 'delete':
      return words.length === 2
  }
  return false
}

const plain = new PlainCommand()

/** Whether these bytes are a canonical command of this version, and nothing else. */
export function isCanonical(bytes: Buffer): boolean {
  if (plain.read(bytes, 0, bytes.length)) return true
  const lineEnd = bytes.indexOf('\r\n')
  if (lineEnd === -1) return false
  const words = bytes.toString('latin1', 0, lineEnd).split(' ')
  const [verb = '', key = '', ...rest] = words
  if (verb === 'flush_all') {
    return canonicalExptime(key) === key && isLineOnly(bytes, lineEnd, 2, words)
  }
  if (key === '' || key.length > KEY_BYTES_MAX || key.includes('\n')) return false
  if (rest.includes('base64')) {
    if (rest.at(-1) !== 'base64' || keyWord(fromBase64(key))[0] !== key) return false
  }
  const [first = ''] = rest
  switch (verb) {
    case 'touch':
      return canonicalExptime(first) === first && isLineOnly(bytes, lineEnd, 3, words)
    case 'incr':
    case 'decr':
      return (
        canonicalUint64(first) === first &&
        bytes.length === lineEnd + 2 &&
        areOptions(verb, rest.slice(1))
      )
    case 'get':
    case 'delete':
      return bytes.length === lineEnd + 2 && areOptions(verb, rest)
  }
  return isStoreVerb(verb) && isStore(verb, rest, bytes, lineEnd)
}

function isLineOnly(bytes: Buffer, lineEnd: number, wordCount: number, words: string[]): boolean {
  return words.length === wordCount && bytes.length === lineEnd + 2
}

function isStore(
  verb: StoreVerb,
  [flags = '', exptime = '', length = '', ...rest]: readonly string[],
  bytes: Buffer,
  lineEnd: number,
): boolean {
  const cas = verb === 'cas' ? rest.shift() : undefined
  const valueBytes = Number(length)
  return (
    canonicalFlags(flags) === flags &&
    canonicalExptime(exptime) === exptime &&
    (verb !== 'cas' || (cas !== undefined && canonicalUint64(cas) === cas)) &&
    canonicalUint64(length) === length &&
    valueBytes <= ITEM_SIZE_BOUNDS.max &&
    areOptions(verb, rest) &&
    bytes.length === lineEnd + 2 + valueBytes + 2 &&
    bytes.toString('latin1', bytes.length - 2) === '\r\n'
  )
}

function areOptions(verb: string, words: readonly string[]): boolean {
  const names = words.map((word) => word.split('=', 1)[0])
  return new Set(names).size === names.length && words.every((word) => isOption(verb, word))
}

function isOption(verb: string, word: string): boolean {
  const [name, value] = splitOption(word)
  if (!OPTIONS_OF[verb]?.includes(name)) return false
  const canonical = OPTIONS[name]
  if (canonical === null) return word === name
  return word === `${name}=${value}` && canonical(value) === value
}

function splitOption(word: string): [name: OptionName, value: string] {
  const end = word.indexOf('=')
  return end === -1
    ? [word as OptionName, '']
    : [word.slice(0, end) as OptionName, word.slice(end + 1)]
}

/**
 * Where the canonical command ends that stands at `start`, more of them perhaps behind it.
 * @returns -1 where none does that ends up to `end`.
 */
export function commandEnd(bytes: Buffer, start: number, end: number): number {
  if (plain.readFirst(bytes, start, end)) return plain.end
  const newline = bytes.subarray(start, end).indexOf(LF)
  if (newline === -1) return -1
  const lineEnd = start + newline + 1
  const words = bytes.toString('latin1', start, lineEnd - 2).split(' ')
  if (!isStoreVerb(words[0] ?? '')) return lineEnd
  const valueBytes = Number(words[4])
  const valueEnd = lineEnd + valueBytes + 2
  return valueEnd <= end ? valueEnd : -1
}

/** The commands that stand in an entry's body; the last is all that is left where none ends. */
export function commandsIn(body: Buffer): Buffer[] {
  const commands: Buffer[] = []
  for (let start = 0; start < body.length; ) {
    const end = commandEnd(body, start, body.length)
    const next = end === -1 ? body.length : end
    commands.push(body.subarray(start, next))
    start = next
  }
  return commands
}

/**
 * Reads a canonical command.
 * @throws Error where it is none: a log that passed its checksum was written by another version.
 */
export function parseCommand(command: Buffer): Command {
  const lineEnd = command.indexOf(LF) - 1
  const words = command.toString('latin1', 0, lineEnd).split(' ')
  const [verb = '', word = '', third = '', fourth, fifth] = words
  const key = words.length > 2 && words.at(-1) === 'base64' ? fromBase64(word) : word
  switch (verb) {
    case 'delete':
    case 'get':
      return { verb, key, options: parseOptions(words, 2) }
    case 'incr':
    case 'decr':
      return { verb, key, delta: parseNumber(third), options: parseOptions(words, 3) }
    case 'touch':
      return { verb, key, exptime: Number(third) }
    case 'flush_all':
      return { verb, exptime: Number(word) }
  }
  if (!isStoreVerb(verb)) throw new Error(`unknown command in the log: ${JSON.stringify(verb)}`)
  return {
    verb,
    key,
    flags: Number(third),
    exptime: Number(fourth),
    casUnique: verb === 'cas' ? parseNumber(words[5] ?? '') : 0,
    options: parseOptions(words, verb === 'cas' ? 6 : 5),
    value: command.subarray(lineEnd + 2, lineEnd + 2 + Number(fifth)),
  }
}

/** @param start Where they start among the words of a canonical command. */
export function parseOptions(words: readonly string[], start: number): Options {
  if (words.length <= start) return NO_OPTIONS
  return new Map(
    words.slice(start).map((word) => {
      const [name, value] = splitOption(word)
      return [name, value.startsWith('-') ? Number(value) : parseNumber(value)]
    }),
  )
}

function fromBase64(word: string): string {
  return Buffer.from(word, 'base64').toString('latin1')
}

function parseNumber(text: string): CasUnique {
  return parseCas(text) ?? 0
}

export function isStoreVerb(verb: string): verb is StoreVerb {
  return (STORE_VERBS as readonly string[]).includes(verb)
}
