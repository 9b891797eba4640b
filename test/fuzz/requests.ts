/**
 * Random requests of memcached's text protocol, good ones and spoilt ones.
 *
 * In: dice, and what to ask for. Out: a request, that says how much it may do to those
 * that follow it.
 */
import { type Generate, goodRequest, simple } from './commands.ts'
import type { Dice } from './dice.ts'
import {
  hasUnique,
  isLong,
  LINE_BYTES_MAX,
  OWED_BYTES_MAX,
  PREFIX,
  PREFIX_BASE64,
  type Request,
  textOf,
  wordsOf,
} from './request.ts'
import { key, type Taste } from './words.ts'

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
  const request = goodRequest(dice, taste)
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
  const request = goodRequest(dice, taste)
  if (isLong(request)) return request
  const line = request.line.replaceAll(' ', () => ' '.repeat(dice.integer(1, 3)))
  if (dice.chance(0.1)) return { ...request, line: ` ${line}`, framing: 'loose' }
  return { ...request, line: `${line}${' '.repeat(dice.integer(0, 2))}` }
}

const otherLineEnd: Generate = (dice, taste) => {
  const request = goodRequest(dice, taste)
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

export function randomRequest(dice: Dice, taste: Taste): Request {
  if (!dice.chance(taste.spoiltPercent / 100)) return goodRequest(dice, taste)
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
