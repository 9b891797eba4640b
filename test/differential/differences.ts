/**
 * Where this store is known to answer otherwise than memcached 1.6.45. docs/PROTOCOL.md
 * names each. Requests that would show one are left out; every other difference fails.
 */
import { type Request, wordsOf } from '../fuzz/requests.ts'

interface Difference {
  readonly name: string
  readonly why: string
  readonly isShownBy: (words: readonly string[], request: Request) => boolean
}

const STORE_VERBS = ['set', 'add', 'replace', 'append', 'prepend', 'cas']
const EXPTIME_MAX = 2 ** 31 - 1

/** What a request gives as an exptime, as far as it is a number. */
function exptimesOf(words: readonly string[]): number[] {
  const [verb = ''] = words
  const at = STORE_VERBS.includes(verb) ? 3 : verb === 'touch' ? 2 : 1
  const texts = /^m[gsda]$/.test(verb)
    ? words.filter((word) => /^[TN]/.test(word)).map((word) => word.slice(1))
    : [words[at] ?? '']
  return texts.filter((text) => /^[+-]?\d+$/.test(text)).map(Number)
}

export const DIFFERENCES: readonly Difference[] = [
  {
    name: 'delete with more than four words',
    why: 'an error here, as older memcacheds and libmemcached have it; 1.6.45 deletes',
    isShownBy: (words) => words[0] === 'delete' && words.length > 4,
  },
  {
    name: 'exptime past 2038',
    why: 'overflows in memcached and has expired; here it is the time that it says',
    isShownBy: (words) =>
      STORE_VERBS.includes(words[0] ?? '') &&
      exptimesOf(words).some((exptime) => Math.abs(exptime) > EXPTIME_MAX),
  },
]

/** Not a difference: what is answered depends on how fast the sequence is. */
const SOON_SECONDS = 500

function dependsOnTime(words: readonly string[]): boolean {
  return exptimesOf(words).some((exptime) => exptime > 0 && exptime < SOON_SECONDS)
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
