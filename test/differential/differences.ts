/**
 * Where this store is known to answer otherwise than memcached 1.6.45, under the numbers
 * that docs/PROTOCOL.md gives them. Requests that would show one are left out; every
 * other difference fails. Those that are in replies only are made even in even.ts.
 */
import { hasLongWord, isBase64Key, type Request, wordsOf } from '../fuzz/request.ts'
import type { IsExcused } from './sequence.ts'

interface Difference {
  readonly name: string
  /** @param before The requests before it that are not left out, of the same sequence. */
  readonly isShownBy: (
    words: readonly string[],
    request: Request,
    before: readonly Request[],
  ) => boolean
}

/** Whose behaviour this store has. */
const MEASURED_VERSION = '1.6.45'

const STORE_VERBS = ['set', 'add', 'replace', 'append', 'prepend', 'cas']
const EXPTIME_MAX = 2 ** 31 - 1
/** A longer one does not fit 64 bits, and is refused by both. */
const DIGITS_MAX = 18
const OPAQUE_MAX = 32
/** A larger value is past the limit, but one past the other limit is no value at all. */
const LARGE_BYTES = 1_000_000
const ANNOUNCED_BYTES_MAX = 2_147_483_645

const isMeta = ([verb = '']: readonly string[]) => /^m[gsda]$/.test(verb)
const flagsOf = (words: readonly string[]) => words.slice(words[0] === 'ms' ? 3 : 2)

const hasFlag = (words: readonly string[], letter: string) =>
  flagsOf(words).some((flag) => flag.startsWith(letter))
const hasKeyTooLong = (words: readonly string[]) =>
  hasLongWord({ line: words.join(' '), lineEnd: '\r\n', block: '', framing: 'tight' })

/** What a request gives as exptimes. */
function exptimeTextsOf(words: readonly string[]): string[] {
  const [verb = ''] = words
  if (isMeta(words)) {
    const flags = flagsOf(words).filter((flag) => /^[TNR]/.test(flag))
    return flags.map((flag) => flag.slice(1))
  }
  const at = STORE_VERBS.includes(verb) ? 3 : verb === 'touch' ? 2 : 1
  return [words[at] ?? '']
}

/** Those that are numbers. */
function exptimesOf(words: readonly string[]): number[] {
  return exptimeTextsOf(words)
    .filter((text) => /^\s*[+-]?\d+$/.test(text))
    .map(Number)
}

/** A number that only memcached takes for one. */
function hasOddNumber(words: readonly string[]): boolean {
  const [verb = '', , first = '', second = ''] = words
  const isMinus = (text = '') => /^-0*$/.test(text)
  if (verb === 'ms' && isMinus(first)) return true
  if (!STORE_VERBS.includes(verb)) return exptimeTextsOf(words).includes('-')
  const hasTab = [first, second].some((text) => /^[\t\v\f\r]+[+-]?\d/.test(text))
  return hasTab || /^-(?:0+|\d{19,})$/.test(first) || isMinus(words[4])
}

const DIFFERENCES: readonly Difference[] = [
  {
    name: '1: a value that is too large, and does not come whole',
    isShownBy: (words, { block }) => {
      const bytes = Number((words[0] === 'ms' ? words[2] : words[4]) ?? 0)
      const isLarge = bytes > LARGE_BYTES && bytes <= ANNOUNCED_BYTES_MAX
      return /^(?:set|ms)$/.test(words[0] ?? '') && isLarge && block.length < bytes
    },
  },
  {
    name: '2: delete with more than four words',
    isShownBy: (words) => words[0] === 'delete' && words.length > 4,
  },
  {
    name: '3: times after 2038',
    isShownBy: (words) =>
      exptimesOf(words).some((time) => {
        return Math.abs(time) > EXPTIME_MAX && Math.abs(time) < 10 ** DIGITS_MAX
      }),
  },
  {
    name: '7: get of a key that is too long, and noreply',
    isShownBy: (words) =>
      /^gets?$/.test(words[0] ?? '') && words.at(-1) === 'noreply' && hasKeyTooLong(words),
  },
  {
    name: '8: keys that are not base64',
    isShownBy: (words) =>
      isMeta(words) && flagsOf(words).includes('b') && !isBase64Key(words[1] ?? ''),
  },
  {
    name: '8: b of me',
    isShownBy: (words) => words[0] === 'me' && words[2] === 'b',
  },
  {
    name: '9: T and E of ma, where the number gets longer',
    isShownBy: (words) => words[0] === 'ma' && flagsOf(words).some((flag) => /^[TE]/.test(flag)),
  },
  {
    name: '11: an opaque that is too long',
    isShownBy: (words, { lineEnd }) => {
      const lengthMax = lineEnd === '\r\r\n' ? OPAQUE_MAX - 1 : OPAQUE_MAX
      return (
        isMeta(words) && flagsOf(words).some((flag) => /^O/.test(flag) && flag.length > lengthMax)
      )
    },
  },
  {
    name: "14: memcached's own inside",
    isShownBy: ([verb, word = ' ']) =>
      verb === 'lru' ||
      verb === 'lru_crawler' ||
      (verb === 'slabs' && ['reassign', 'automov'].some((whole) => whole.startsWith(word))),
  },
  {
    name: '15: what only memcached takes for a number',
    isShownBy: hasOddNumber,
  },
  {
    name: '16: a later key of a get or gat is too long',
    isShownBy: (words) => {
      const [verb = ''] = words
      const keys = words.slice(verb.startsWith('gat') ? 2 : 1)
      const isGet = /^ga?e?ts?$/.test(verb)
      return isGet && !hasKeyTooLong(keys.slice(0, 1)) && hasKeyTooLong(keys)
    },
  },
  {
    name: '17: t of an mg with both T and N',
    isShownBy: (words) =>
      words[0] === 'mg' && ['T', 'N', 't'].every((letter) => hasFlag(words, letter)),
  },
]

/** A follower answers what it sent to the leader maybe before it has it. */
const OF_FOLLOWER: Difference = {
  name: '18: at a follower, if an item was hit that may have been touched, or made by an mg',
  isShownBy: (words, _, before) =>
    (words[0] === 'me' || (words[0] === 'mg' && hasFlag(words, 'h'))) &&
    before.some(({ line }) => /^ *(?:touch |mg .* N)/s.test(line)),
}

/**
 * What memcacheds before 1.6.45 do otherwise than it, measured with 1.6.18, is all that
 * is spoilt, and younger flags: of their requests only those remain that look like these.
 */
const UNIQUE = '(?:\\d{1,19}|18446744073709551615|[\\u0100\\u0101])'
const META_FLAGS = `(?: [vtfchlkubI]| [TRJD]-?\\d{1,10}| F\\d{1,9}| M[EAPRSID+-]| O[^ ]{0,31})*`
const OLDER: readonly RegExp[] = [
  /^(?:set|add|replace|append|prepend) [^ ]+ \d{1,9} -?\d{1,10} \d+(?: noreply)?$/,
  new RegExp(`^cas [^ ]+ \\d{1,9} -?\\d{1,10} \\d+ ${UNIQUE}(?: noreply)?$`),
  /^gets?(?: [^ ]+)+$/,
  /^gats? -?\d{1,10}(?: [^ ]+)+$/,
  /^touch [^ ]+ -?\d{1,10}(?: noreply)?$/,
  /^delete [^ ]+(?: noreply)?$/,
  /^(?:incr|decr) [^ ]+ \d{1,18}(?: noreply)?$/,
  /^flush_all(?: 0)?(?: noreply)?$/,
  new RegExp(`^m[gda] [^ ]+${META_FLAGS}$`),
  new RegExp(`^m[gd] [^ ]+ q${META_FLAGS}$`),
  new RegExp(`^ms [^ ]+ \\d+${META_FLAGS}$`),
  new RegExp(`^m[sd] [^ ]+(?: \\d+)? C${UNIQUE}${META_FLAGS}$`),
]

/** With one above 2^63, memcached looked for a minus behind the value's end. */
const HUGE_NUMBER = /\d{19}/

function hasFlagTwice(words: readonly string[]): boolean {
  const letters = isMeta(words) ? flagsOf(words).map((flag) => flag[0]) : []
  return new Set(letters).size < letters.length
}

const OF_OLDER: Difference = {
  name: 'what memcached before 1.6.45 does otherwise',
  isShownBy: (words, request) =>
    request.framing !== 'tight' ||
    hasLongWord(request) ||
    hasFlagTwice(words) ||
    HUGE_NUMBER.test(request.block) ||
    !OLDER.some((form) => form.test(request.line)),
}

/** Not a difference: what is answered depends on how fast the sequence is. */
const SOON_SECONDS = 500

function dependsOnTime(words: readonly string[]): boolean {
  const times = exptimesOf(words.filter((word) => !word.startsWith('R')))
  return times.some((time) => time > 0 && time < SOON_SECONDS)
}

/** @param version of the memcached to compare with */
export function differencesFrom(version: string, isFollower = false): readonly Difference[] {
  const isOlder = version.localeCompare(MEASURED_VERSION, 'en', { numeric: true }) < 0
  return [...(isOlder ? [OF_OLDER] : []), ...(isFollower ? [OF_FOLLOWER] : []), ...DIFFERENCES]
}

/** Counts what is left out, by name. */
export class Excuses {
  readonly counts = new Map<string, number>()
  readonly #differences: readonly Difference[]

  constructor(differences: readonly Difference[]) {
    this.#differences = differences
  }

  readonly isExcused: IsExcused = (request, before) => {
    const words = wordsOf(request)
    const found = this.#differences.find(({ isShownBy }) => isShownBy(words, request, before))
    if (found) this.counts.set(found.name, (this.counts.get(found.name) ?? 0) + 1)
    return found !== undefined || dependsOnTime(words)
  }
}
