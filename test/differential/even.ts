/**
 * Makes what one server answered comparable with what another one did.
 *
 * In: replies, batch by batch, of one sequence. Out: lines of text, in which only what
 * must differ between two servers is replaced: each cas unique by the order of its first
 * appearance, what depends on the time that passes, and what is about the server itself.
 * Remembers the uniques, which later requests name.
 */
import { cutReplies, type Reply } from '../fuzz/replies.ts'

/** A time left up to here is rounded; more is the end of the 32-bit clock. */
const TTL_MAX = 3_000_000
const TTL_STEP = 1_000
/** What memcached writes for a time that is over, here 0: seconds less than zero, unsigned. */
const WRAPPED = 2 ** 31

export class Evener {
  readonly #uniques = new Map<string, number>()
  #newest = 7n
  #earlier = 7n

  get newestUnique(): bigint {
    return this.#newest
  }

  get earlierUnique(): bigint {
    return this.#earlier
  }

  take(text: string): string[] {
    const { replies, rest } = cutReplies(text)
    const lines = replies.map((reply) => this.#even(reply)).filter((line) => line !== null)
    return rest === '' ? lines : [...lines, `unfinished: ${rest}`]
  }

  #even({ line, data }: Reply): string | null {
    const evened = this.#evenLine(line)
    return data === null || evened === null ? evened : `${evened}\n${data}`
  }

  #evenLine(line: string): string | null {
    const words = line.split(' ')
    switch (words[0]) {
      // 1.6.45 has a second line end after the reply to a key that is too long.
      case '':
        return words.length === 1 ? null : line
      case 'VALUE':
        if (words[4] !== undefined) words[4] = this.#unique(words[4])
        return words.join(' ')
      case 'VA':
      case 'HD':
      case 'EX':
      case 'NS':
      case 'NF':
        return this.#evenFlags(line).join(' ')
      case 'ME':
        return line
          .replace(/^ME [^ ]+/, 'ME ?')
          .replace(/ exp=(\d+)/, (_, seconds) => ` exp=${evenTtl(seconds)}`)
          .replace(/ cas=(\d+)/, (_, unique) => ` cas=${this.#unique(unique)}`)
          .replace(/ la=\d+/, ' la=?')
          .replace(/ cls=\d+ size=\d+$/, ' cls=? size=?')
      case 'VERSION':
        return 'VERSION ?'
      case 'STAT':
      case 'PREFIX':
        return null
    }
    return line
  }

  /** A key in base64 becomes what it stands for: whose flag b counts is left open. */
  #evenFlags(line: string): string[] {
    const decoded = line.replace(/ k([^ ]+) b(?= |$)/, (_, base64) => {
      return ` k${Buffer.from(base64, 'base64').toString('latin1')}`
    })
    return decoded.split(' ').map((word, at) => (at === 0 ? word : this.#evenFlag(word)))
  }

  #evenFlag(word: string): string {
    const rest = word.slice(1)
    if (!/^\d+$/.test(rest)) return word
    if (word[0] === 'c') return `c${this.#unique(rest)}`
    if (word[0] === 't') return `t${evenTtl(rest)}`
    return word[0] === 'l' ? 'l?' : word
  }

  #unique(unique: string): string {
    if (unique === '0') return '0'
    const known = this.#uniques.get(unique)
    const order = known ?? this.#uniques.size + 1
    this.#uniques.set(unique, order)
    if (BigInt(unique) !== this.#newest) {
      this.#earlier = this.#newest
      this.#newest = BigInt(unique)
    }
    return `#${order}`
  }
}

function evenTtl(text: string): string {
  const seconds = Number(text)
  if (seconds > WRAPPED) return '0'
  if (seconds > TTL_MAX) return '(far)'
  return String(Math.round(seconds / TTL_STEP) * TTL_STEP)
}
