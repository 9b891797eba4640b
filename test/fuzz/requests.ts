/**
 * Random requests of memcached's text protocol, good ones and bad.
 *
 * In: dice, and what to ask for. Out: requests whose text is latin1, one character
 * a byte, but for the marks below, which `render` replaces once what they stand for
 * is known. Everything has the same length for every server: a cas unique is
 * written with twenty digits.
 *
 * Nothing here depends on how much time passes meanwhile: what expires has expired
 * already or does so after a thousand seconds and more.
 */
import type { Dice } from './dice.ts'

/** The newest cas unique this client has seen, and the one before it. */
const NEWEST_UNIQUE = '\u0100'
const EARLIER_UNIQUE = '\u0101'
/** What all keys begin with: six bytes, so that their base64 stands alone. */
const PREFIX = '\u0102'
const PREFIX_BASE64 = '\u0103'
export const PREFIX_BYTES = 6

const KEY_BYTES_MAX = 250
const VALUE_BYTES_MAX = 1024 * 1024
/** Longer without its end, a line closes the connection. */
export const LINE_BYTES_MAX = 2_048

/** What a loose request may lack. */
export const OWED_BYTES_MAX = 100

export interface Request {
  /** Without its end. */
  readonly line: string
  readonly lineEnd: string
  /** What follows: a data block, whole or not, or nothing. */
  readonly block: string
  /**
   * - `closes`: what follows is not answered
   * - `loose`: it may take a little of what follows for its own (`OWED_BYTES_MAX`), or
   *   hand the rest of its block on
   */
  readonly framing: 'tight' | 'loose' | 'closes'
}

export interface Taste {
  /** incr, decr, ma. */
  readonly arithmetic: boolean
  /** Stale items, items to be filled, who won, and who was hit. */
  readonly marks: boolean
  /** Values near the largest. */
  readonly big: boolean
  readonly flush: boolean
  /** How many of a hundred requests are spoilt. */
  readonly spoiltPercent: number
}

export const EVERYTHING: Taste = {
  arithmetic: true,
  marks: true,
  big: true,
  flush: true,
  spoiltPercent: 15,
}

export interface Values {
  readonly prefix: string
  readonly newestUnique: bigint
  readonly earlierUnique: bigint
}

/** What nobody knows better. */
export const SAMPLE: Values = { prefix: '000000', newestUnique: 7n, earlierUnique: 7n }

/** The bytes of a request, as latin1. */
export function render(text: string, values: Values): string {
  return text.replace(/[\u0100-\u0103]/g, (mark) => {
    if (mark === PREFIX) return values.prefix
    if (mark === PREFIX_BASE64) return Buffer.from(values.prefix, 'latin1').toString('base64')
    const unique = mark === NEWEST_UNIQUE ? values.newestUnique : values.earlierUnique
    return unique.toString().padStart(20, '0')
  })
}

export function textOf({ line, lineEnd, block }: Request): string {
  return line + lineEnd + block
}

/** Which command it is, and its words: what a server sees of it first. */
export function wordsOf({ line }: Request): string[] {
  return line.split(' ').filter((word) => word !== '')
}

/** Whether a word is the base64 of a key. */
export function isBase64Key(word: string): boolean {
  return word.startsWith(PREFIX_BASE64)
}

/** Whether a word of it is too long for a key. */
export function hasLongWord(request: Request): boolean {
  const bytesMax = request.lineEnd === '\r\r\n' ? KEY_BYTES_MAX - 1 : KEY_BYTES_MAX
  return wordsOf(request).some((word) => render(word, SAMPLE).length > bytesMax)
}

/** How many requests it is: a block may have another one behind it. */
export function countOf({ block }: Request): number {
  return block.length > VALUE_BYTES_MAX ? 2 : 1
}

export function isLong({ line, block }: Request): boolean {
  return line.length + block.length > LINE_BYTES_MAX / 2
}

export function hasUnique({ line }: Request): boolean {
  return line.includes(NEWEST_UNIQUE) || line.includes(EARLIER_UNIQUE)
}

// ---------------------------------------------------------------- words

const KEY_ENDS = ['a', 'a', 'a', 'a', 'b', 'b', 'c']
const ODD_KEY_ENDS = [
  '\x01\x7f\x80\xff\t',
  '\r',
  ':a:b',
  'k'.repeat(KEY_BYTES_MAX - PREFIX_BYTES),
  'noreply',
]
const LONG_KEY_ENDS = ['k'.repeat(KEY_BYTES_MAX - PREFIX_BYTES + 1), 'k'.repeat(400)]

const BINARY_KEY_END = 'x y\n\0\xff'

const EXPTIMES = ['0', '0', '0', '0', '1000', '100000', '2592000', '2147483647', '-1', '-5000']
const ODD_EXPTIMES = ['2592001', '1000000000', '+1000', '01000', '-0', '-2147483648']
const BAD_NUMBERS = [
  'abc',
  '-',
  '1.5',
  '1a',
  '0x10',
  '-9223372036854775809',
  '9'.repeat(30),
  '\t1000',
]
const OVERFLOWN_EXPTIMES = ['2147483648', '4294967295', '99999999999']
const FLAGS = ['0', '0', '0', '7000', '65535', '2147483648', '4294967295']
const ODD_FLAGS = ['0007000', '+7000', '4294967296', '-1', '18446744073709551616']
const DELTAS = ['1', '1', '1', '10', '0', '99', '18446744073709551615']
const ODD_DELTAS = ['007', '+3', '-1', '18446744073709551616']
const NUMERIC_VALUES = ['0', '1', '9', '10', '99', '100', '18446744073709551615']
const ODD_NUMERIC_VALUES = ['009', ' 12 ', '18446744073709551616', '-1', '12a', '9 ', '+4', '\t7']
const TEXT_VALUES = ['', 'x', 'abc', 'a\r\nb', 'END\r\n', '\0\xff', 'VALUE a 0 1', 'a b']
/** Server's cas uniques never come as far as these. */
const CHOSEN_UNIQUES = ['1000000000000000', '2000000000000000', '18446744073709551615']
const OTHER_UNIQUES = ['0', '999999999999999', '+1000000000000000', ...CHOSEN_UNIQUES]

/** Makes sure of what flush_all does: all keys that a sequence may have used are gone. */
export const REMOVE_ALL_KEYS = [...new Set([...KEY_ENDS, ...ODD_KEY_ENDS, 'k'.repeat(180)])]
  .map((end) => `delete ${PREFIX}${end} noreply\r\n`)
  .concat(
    `ms ${PREFIX_BASE64}${Buffer.from(BINARY_KEY_END, 'latin1').toString('base64')} 0 b q T-1\r\n\r\n`,
  )
  .join('')

function key(dice: Dice): string {
  const ends = dice.weighted([
    [40, KEY_ENDS],
    [3, ODD_KEY_ENDS],
    [1, LONG_KEY_ENDS],
  ])
  return PREFIX + dice.pick(ends)
}

/** A binary key in base64, mostly one that a plain command may name as well. */
function base64Key(dice: Dice): string {
  const end = dice.weighted([
    [12, 'a'],
    [4, 'b'],
    [2, BINARY_KEY_END],
    [1, 'k'.repeat(180)],
    [1, 'k'.repeat(KEY_BYTES_MAX - PREFIX_BYTES)], // fits, but its base64 does not
  ])
  return PREFIX_BASE64 + Buffer.from(end, 'latin1').toString('base64')
}

function number(dice: Dice, good: readonly string[], odd: readonly string[]): string {
  const from = dice.weighted([
    [40, good],
    [4, odd],
    [1, BAD_NUMBERS],
  ])
  return dice.pick(from)
}

function exptime(dice: Dice): string {
  return number(dice, EXPTIMES, dice.chance(0.2) ? OVERFLOWN_EXPTIMES : ODD_EXPTIMES)
}

function unique(dice: Dice): string {
  if (dice.chance(0.65)) return NEWEST_UNIQUE
  return dice.chance(0.5) ? EARLIER_UNIQUE : number(dice, OTHER_UNIQUES, ODD_DELTAS)
}

function value(dice: Dice, taste: Taste): string {
  if (taste.big && dice.chance(0.3)) {
    return 'v'.repeat(dice.pick([1_000_000, 1_047_552, 1_048_577, 1_100_000]))
  }
  return dice.weighted([
    [taste.arithmetic ? 60 : 5, dice.pick(NUMERIC_VALUES)],
    [taste.arithmetic ? 12 : 3, dice.pick(ODD_NUMERIC_VALUES)],
    [16, dice.pick(TEXT_VALUES)],
    [2, 'w'.repeat(dice.integer(50, 2_000))],
    [1, 'w'.repeat(dice.pick([9_000, 17_000, 70_000]))],
  ])
}

function noreply(dice: Dice): string {
  return dice.weighted([
    [20, ''],
    [2, ' noreply'],
    [1, ' bogus'],
  ])
}

// ---------------------------------------------------------------- commands

type Generate = (dice: Dice, taste: Taste) => Request

function simple(line: string): Request {
  return { line, lineEnd: '\r\n', block: '', framing: 'tight' }
}

function withBlock(line: string, data: string): Request {
  return { line, lineEnd: '\r\n', block: `${data}\r\n`, framing: 'tight' }
}

const store: Generate = (dice, taste) => {
  const verb = dice.pick(['set', 'set', 'set', 'add', 'replace', 'append', 'prepend', 'cas'])
  const data = value(dice, taste)
  const flags = number(dice, FLAGS, ODD_FLAGS)
  const ending = (verb === 'cas' ? ` ${unique(dice)}` : '') + noreply(dice)
  const name = key(dice)
  const line = `${verb} ${name} ${flags} ${exptime(dice)} ${data.length}${ending}`
  return afterTooLarge(withBlock(line, data), data, `delete ${name} noreply`)
}

/** What becomes of the value that a larger one was to replace is left open: it is removed, silently. */
function afterTooLarge(request: Request, data: string, cleanUp: string): Request {
  if (data.length <= VALUE_BYTES_MAX) return request
  return { ...request, block: `${request.block}${cleanUp}\r\n` }
}

const get: Generate = (dice) => {
  const keys = Array.from(
    {
      length: dice.weighted([
        [5, 1],
        [2, 2],
        [1, 6],
      ]),
    },
    () => key(dice),
  )
  return simple(`${dice.pick(['get', 'get', 'gets', 'gets', 'gets'])} ${keys.join(' ')}`)
}

const getAndTouch: Generate = (dice) => {
  const keys = Array.from({ length: dice.integer(1, 3) }, () => key(dice))
  return simple(`${dice.pick(['gat', 'gats'])} ${exptime(dice)} ${keys.join(' ')}`)
}

const touch: Generate = (dice) => simple(`touch ${key(dice)} ${exptime(dice)}${noreply(dice)}`)

const remove: Generate = (dice) => simple(`delete ${key(dice)}${noreply(dice)}`)

const arithmetic: Generate = (dice) => {
  const verb = dice.pick(['incr', 'decr'])
  return simple(`${verb} ${key(dice)} ${number(dice, DELTAS, ODD_DELTAS)}${noreply(dice)}`)
}

const flushAll: Generate = (dice) => {
  const when = dice.pick(['', '', ' 0', ' -1', ' 2592000', ' 2592001', ' abc', ' 0 extra'])
  return simple(`flush_all${when}${noreply(dice)}`)
}

const other: Generate = (dice) =>
  simple(
    dice.pick([
      'version',
      'version foo bar',
      'verbosity 0',
      'verbosity',
      'verbosity abc',
      'verbosity -1',
      'verbosity foo bar my',
      'verbosity noreply',
      'verbosity 0 noreply',
      'verbosity 0 2 3',
      'stats',
      'stats settings',
      'stats  settings',
      'stats items',
      'stats slabs',
      'stats sizes',
      'stats conns',
      'stats reset',
      'stats noreply',
      'stats bogus',
      'stats detail',
      'stats detail bogus',
      'stats detail off',
      'stats detail dump',
      'cache_memlimit',
      'cache_memlimit abc',
      'cache_memlimit 1',
      'cache_memlimit 1 noreply',
      'shutdown',
      'shutdown graceful',
      'shutdown noreply',
      'slabs bogus',
      'slabs automove invalid',
      'slabs automove 0',
      'slabs reassign a b',
      'slabs reassign 1 1',
      'lru bogus',
      'lru mode bogus',
      'lru tune 10 25 0.1 2.0',
      'lru_crawler bogus',
      'lru_crawler enable',
      'lru_crawler sleep 100',
      'lru_crawler tocrawl 0',
      'lru_crawler crawl 99999',
      'mn',
      'mn k O1',
    ]),
  )

/** One flag of a meta command, with its token; null where it is not to the taste. */
type Flag = (dice: Dice) => string

const token =
  (letter: string, text: (dice: Dice) => string): Flag =>
  (dice) =>
    letter + text(dice)
const plain = (letters: string): Flag[] => [...letters].map((letter) => () => letter)
const opaque: Flag = token('O', (dice) => dice.pick(['1', 'abc', '', 'O', 'k', 'o'.repeat(31)]))
const tooOpaque: Flag = () => `O${'o'.repeat(32)}`
const ttl = (letter: string): Flag => token(letter, exptime)
const casIs: Flag = token('C', unique)
const casWillBe: Flag = token('E', (dice) => dice.pick(CHOSEN_UNIQUES))
const RECACHE_TTLS = ['0', '30', '1500', '500000', '-1']
const recache: Flag = token('R', (dice) => number(dice, RECACHE_TTLS, ODD_EXPTIMES))
const ignored: Flag[] = [() => 'Pproxy', () => 'Lroute/', tooOpaque]
const everywhere: Flag[] = [...plain('kqkO'), opaque, opaque, ...ignored]

/** Letters of one command, some more than once because they are likelier. */
interface MetaFlags {
  readonly always: readonly Flag[]
  readonly marks: readonly Flag[]
}

const META_FLAGS: Readonly<Record<'mg' | 'ms' | 'md' | 'ma', MetaFlags>> = {
  mg: {
    always: [...everywhere, ...plain('vvvvsstffccllux'), ttl('T'), casIs],
    marks: [ttl('N'), ttl('N'), casWillBe, recache, recache, ...plain('Ihh')],
  },
  ms: {
    always: [
      ...everywhere,
      ...plain('ccsv'),
      token('F', (dice) => number(dice, FLAGS, ODD_FLAGS)),
      ttl('T'),
      ttl('N'),
      casIs,
      casWillBe,
      ...['E', 'A', 'P', 'R', 'S'].map((mode) => () => `M${mode}`),
      token('M', (dice) => dice.pick(['e', 'Set', 'append', '', 'Z'])),
    ],
    marks: [...plain('III'), casIs, casIs],
  },
  md: {
    always: [...everywhere, ...plain('xxv'), casIs, casIs, casWillBe, ttl('T')],
    marks: [...plain('IIIIII'), casIs, ttl('T')],
  },
  ma: {
    always: [
      ...everywhere,
      ...plain('vvvvttcc'),
      token('D', (dice) => number(dice, DELTAS, ODD_DELTAS)),
      token('D', (dice) => number(dice, DELTAS, ODD_DELTAS)),
      token('J', (dice) => number(dice, DELTAS, ODD_DELTAS)),
      ttl('N'),
      ttl('N'),
      ttl('T'),
      casIs,
      casWillBe,
      ...['I', '+', 'D', '-'].map((mode) => () => `M${mode}`),
      token('M', (dice) => dice.pick(['incr', 'd', ''])),
    ],
    marks: [],
  },
}

function metaWords(command: keyof typeof META_FLAGS, dice: Dice, taste: Taste): string[] {
  const { always, marks } = META_FLAGS[command]
  const count = dice.weighted([
    [1, 0],
    [3, 1],
    [4, 2],
    [4, 3],
    [3, 5],
    [1, 9],
    [0.1, 25],
  ])
  const chosen = dice.some(taste.marks ? [...always, ...marks, ...marks] : always, count)
  const words: string[] = []
  for (const flag of chosen) {
    const word = flag(dice)
    // The same one twice is an error: worth a try now and then.
    if (words.some(([letter]) => letter === word[0]) && !dice.chance(0.02)) continue
    words.push(word)
  }
  if (dice.chance(0.02)) words.push(dice.pick(['z', '!', '0', 'S3', '\x80', 'kk']))
  return words
}

/** Key and flags; `b` where the key is base64. */
function metaLine(command: keyof typeof META_FLAGS, dice: Dice, taste: Taste, bytes = ''): string {
  const words = metaWords(command, dice, taste)
  const isBinary = dice.chance(0.15)
  if (isBinary) words.splice(dice.integer(0, words.length), 0, 'b')
  const name = isBinary && !dice.chance(0.05) ? base64Key(dice) : key(dice)
  return [command, name, ...(bytes === '' ? [] : [bytes]), ...words].join(' ')
}

const metaGet: Generate = (dice, taste) => simple(metaLine('mg', dice, taste))
const metaDelete: Generate = (dice, taste) => simple(metaLine('md', dice, taste))
const metaArithmetic: Generate = (dice, taste) => simple(metaLine('ma', dice, taste))
const metaSet: Generate = (dice, taste) => {
  const data = value(dice, taste)
  const line = metaLine('ms', dice, taste, String(data.length))
  const [, name = '', , ...flags] = line.split(' ')
  if (flags.some((flag) => !/^[A-Za-z]/.test(flag))) return unreadableSet(name, flags)
  const cleanUp = `ms ${name} 0 q T-1${flags.includes('b') ? ' b' : ''}\r\n`
  return afterTooLarge(withBlock(line, data), data, cleanUp)
}
/** memcached takes nothing but letters for flags, and otherwise does not take the block either. */
function unreadableSet(name: string, flags: readonly string[]): Request {
  return { ...withBlock(['ms', name, '3', ...flags].join(' '), 'abc'), framing: 'loose' }
}

const metaDebug: Generate = (dice) =>
  simple(dice.chance(0.2) ? `me ${base64Key(dice)} b` : `me ${key(dice)}`)

// ---------------------------------------------------------------- spoilt ones

const LONE_WORDS = ['GET', 'getx', 'a', '', '  ', 'set', 'get', 'mg', 'gat', 'k v']

const nonsense: Generate = (dice) => {
  const noise = Array.from({ length: dice.integer(0, 60) }, () => dice.integer(0, 255))
  const text = String.fromCharCode(...noise.filter((byte) => byte !== 10 && byte !== 13))
  return simple(dice.chance(0.5) ? dice.pick(LONE_WORDS) : `!${text}`)
}

/**
 * Servers' uniques differ, and must not become a length. A long block must not be taken
 * for a line: if it is too long depends on how much of it has arrived. The unique that an
 * ms chose and did not set, for a bad block, memcached gives to the connection's next item.
 */
function maySpoil(request: Request): boolean {
  return !hasUnique(request) && !isLong(request) && !/^ms .* E/.test(request.line)
}

/** Another number of words, or another word. */
const otherWords: Generate = (dice, taste) => {
  const request = good(dice, taste)
  if (!maySpoil(request)) return request
  const words = wordsOf(request)
  const at = dice.integer(0, words.length - 1)
  const word = dice.pick(['0', '-1', 'abc', 'noreply', 'k', 'q', '2147483647', key(dice)])
  if (dice.chance(0.4)) words.splice(at, 1)
  else if (dice.chance(0.5)) words.splice(at, 0, word)
  else words[at] = word
  if (!isOwnKey(words)) return request
  return { ...request, line: words.join(' '), framing: framingOf(words) }
}

/** Whether nothing is stored under a key that is not this sequence's alone. */
function isOwnKey([verb = '', name = PREFIX]: readonly string[]): boolean {
  const stores = ['set', 'add', 'cas', 'ms', 'mg', 'ma'].includes(verb)
  return !stores || name.startsWith(PREFIX) || name.startsWith(PREFIX_BASE64)
}

/** What announces more than will come waits for it until the connection ends. */
function framingOf(words: readonly string[]): Request['framing'] {
  const bytes = Number(words[words[0] === 'ms' ? 2 : 4])
  return bytes > OWED_BYTES_MAX ? 'closes' : 'loose'
}

const otherSpaces: Generate = (dice, taste) => {
  const request = good(dice, taste)
  if (isLong(request)) return request
  const line = request.line.replaceAll(' ', () => ' '.repeat(dice.integer(1, 3)))
  if (dice.chance(0.1)) return { ...request, line: ` ${line}`, framing: 'loose' }
  return { ...request, line: `${line}${' '.repeat(dice.integer(0, 2))}` }
}

const otherLineEnd: Generate = (dice, taste) => {
  const request = good(dice, taste)
  if (!maySpoil(request)) return request
  return { ...request, lineEnd: dice.pick(['\n', '\n', '\n', '\r\r\n']), framing: 'loose' }
}

const otherLength: Generate = (dice) => {
  const verb = dice.pick(['set', 'add', 'append', 'ms'])
  const data = dice.pick(['', 'x', 'abc', 'a\r\nb'])
  const bytes = dice.weighted([
    [4, String(data.length + dice.pick([-2, -1, 1, 2, 3]))],
    [1, dice.pick(['-1', 'abc', '4294967295', '2147483647', '2147483646', '+3', '003', ''])],
  ])
  const middle = verb === 'ms' ? '' : ' 0 0'
  const line = `${verb} ${key(dice)}${middle} ${bytes}${dice.chance(0.1) ? ' noreply' : ''}`
  const block = data + dice.pick(['\r\n', '\r\n', '\n', '', 'zz\r\n'])
  return { line, lineEnd: '\r\n', block, framing: framingOf(wordsOf(simple(line))) }
}

/** The connection ends, by its own word or because nobody could know what follows. */
const ending: Generate = (dice) => {
  const long = dice.pick(['x', 'get', 'set k ', 'incr '])
  const line = dice.weighted([
    [4, 'quit'],
    [1, 'quit now'],
    [1, 'GET / HTTP/1.1'],
    [1, 'get / HTTP/1.1'],
    [1, `${long}${'y'.repeat(LINE_BYTES_MAX)}`],
    [1, `get ${key(dice)}${' '.repeat(LINE_BYTES_MAX)}${key(dice)}`],
  ])
  const isUnfinished = line.length > LINE_BYTES_MAX && dice.chance(0.5)
  if (isUnfinished) return { line, lineEnd: '', block: '', framing: 'closes' }
  return { line, lineEnd: '\r\n', block: textOf(simple(`get ${PREFIX}a`)), framing: 'closes' }
}

// ---------------------------------------------------------------- together

function good(dice: Dice, taste: Taste): Request {
  const generate = dice.weighted<Generate>([
    [22, store],
    [14, get],
    [4, getAndTouch],
    [3, touch],
    [5, remove],
    [taste.arithmetic ? 14 : 0, arithmetic],
    [taste.arithmetic ? 12 : 0, metaArithmetic],
    [taste.flush ? 8 : 0, flushAll],
    [20, metaGet],
    [12, metaSet],
    [taste.marks ? 10 : 5, metaDelete],
    [taste.marks ? 3 : 0, metaDebug],
    [3, other],
  ])
  return generate(dice, taste)
}

export function randomRequest(dice: Dice, taste: Taste): Request {
  if (!dice.chance(taste.spoiltPercent / 100)) return good(dice, taste)
  const generate = dice.weighted<Generate>([
    [3, nonsense],
    [4, otherWords],
    [3, otherSpaces],
    [1, otherLineEnd],
    [3, otherLength],
    [1, ending],
  ])
  return generate(dice, taste)
}
