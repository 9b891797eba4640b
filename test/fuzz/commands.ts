/** Random requests with each command, as a client would write them. */
import type { Dice } from './dice.ts'
import { type Request, VALUE_BYTES_MAX } from './request.ts'
import {
  base64Key,
  CHOSEN_UNIQUES,
  DELTAS,
  exptime,
  FLAGS,
  key,
  noreply,
  number,
  ODD_DELTAS,
  ODD_EXPTIMES,
  ODD_FLAGS,
  type Taste,
  unique,
  value,
} from './words.ts'

export type Generate = (dice: Dice, taste: Taste) => Request

export function simple(line: string): Request {
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
  const keys = Array.from({ length: dice.pick([1, 1, 1, 1, 1, 2, 2, 6]) }, () => key(dice))
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

/** One flag of a meta command, with its token. */
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

/** Flags of one command, some more than once because they are likelier. */
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
  const count = dice.chance(0.01) ? 25 : dice.pick([0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 5, 5, 5, 9])
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

/** A request as a client would write it. */
export function goodRequest(dice: Dice, taste: Taste): Request {
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
