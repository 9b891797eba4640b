/**
 * Where this store is known to answer otherwise than memcached 1.6.45, under the numbers
 * that docs/PROTOCOL.md gives them. Requests that would show one are left out; every
 * other difference fails. Those that are in replies only are made even in even.ts.
 */
import { isBase64Key, type Request, wordsOf } from '../fuzz/requests.ts'

interface Difference {
  readonly name: string
  readonly isShownBy: (words: readonly string[], request: Request) => boolean
}

const STORE_VERBS = ['set', 'add', 'replace', 'append', 'prepend', 'cas']
const EXPTIME_MAX = 2 ** 31 - 1
/** A longer one does not fit 64 bits, and is refused by both. */
const DIGITS_MAX = 18
const OPAQUE_MAX = 32

const isMeta = ([verb = '']: readonly string[]) => /^m[gsda]$/.test(verb)
const flagsOf = (words: readonly string[]) => words.slice(words[0] === 'ms' ? 3 : 2)

/** What a request gives as exptimes, as far as they are numbers. */
function exptimesOf(words: readonly string[]): number[] {
  const [verb = ''] = words
  const at = STORE_VERBS.includes(verb) ? 3 : verb === 'touch' ? 2 : 1
  const texts = isMeta(words)
    ? flagsOf(words)
        .filter((flag) => /^[TNR]/.test(flag))
        .map((flag) => flag.slice(1))
    : [words[at] ?? '']
  return texts.filter((text) => /^\s*[+-]?\d+$/.test(text)).map(Number)
}

export const DIFFERENCES: readonly Difference[] = [
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
    name: '8: keys that are not base64',
    isShownBy: (words) =>
      isMeta(words) && flagsOf(words).includes('b') && !isBase64Key(words[1] ?? ''),
  },
  {
    name: '8: b of me, with other flags',
    isShownBy: (words) => words[0] === 'me' && words.length > 3,
  },
  {
    name: '9: T and E of ma, where the number gets longer',
    isShownBy: (words) => words[0] === 'ma' && flagsOf(words).some((flag) => /^[TE]/.test(flag)),
  },
  {
    name: '11: an opaque that is too long, where something is done before',
    isShownBy: (words) =>
      flagsOf(words).some((flag) => flag[0] === 'O' && flag.length > OPAQUE_MAX) &&
      !(words[0] === 'mg' && flagsOf(words).every((flag) => /^[vstfchlkqO]/.test(flag))),
  },
  {
    name: "14: memcached's own inside",
    isShownBy: (words, { line }) =>
      words[0] === 'lru' || words[0] === 'lru_crawler' || line.startsWith('slabs reassign'),
  },
]

/** Not a difference: what is answered depends on how fast the sequence is. */
const SOON_SECONDS = 500

function dependsOnTime(words: readonly string[]): boolean {
  const times = exptimesOf(words.filter((word) => !word.startsWith('R')))
  return times.some((time) => time > 0 && time < SOON_SECONDS)
}

/** Counts what is left out, by name. */
export class Excuses {
  readonly counts = new Map<string, number>()
  readonly #differences: readonly Difference[]

  constructor(differences: readonly Difference[]) {
    this.#differences = differences
  }

  readonly isExcused = (request: Request): boolean => {
    const words = wordsOf(request)
    const found = this.#differences.find(({ isShownBy }) => isShownBy(words, request))
    if (found) this.counts.set(found.name, (this.counts.get(found.name) ?? 0) + 1)
    return found !== undefined || dependsOnTime(words)
  }
}
