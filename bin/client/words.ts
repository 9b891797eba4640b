/**
 * A typed line, cut into words.
 *
 * Words stand apart by blanks. One that begins with a quote goes on to the next such quote,
 * blanks included, and a blank or the end of the line must follow:
 *
 * - 'as it is', with no way to have a ' in it;
 * - "with escapes": \" \\ \n \r \t and \xHH, a byte. So what is printed can be typed.
 *
 * Elsewhere quotes and backslashes are characters as all others, so that {"a":1} is a word.
 * Words are bytes, in UTF-8 but for what \xHH says.
 *
 * Source: the rules are redis-cli's.
 */
import { UsageError } from './outcome.ts'

export interface Word {
  readonly bytes: Buffer
  readonly isQuoted: boolean
  /** Where in the line the word ends. */
  readonly end: number
}

const ESCAPES: Readonly<Record<string, string>> = {
  '\\': '\\',
  '"': '"',
  n: '\n',
  r: '\r',
  t: '\t',
}

/** @throws UsageError that says what is wrong with which word. */
export function splitWords(line: string): Word[] {
  const words: Word[] = []
  for (let at = 0; ; ) {
    while (isBlank(line[at])) at++
    if (at >= line.length) return words
    const word = readWord(line, at)
    words.push(word)
    at = word.end
    if (at < line.length && !isBlank(line[at])) {
      throw new UsageError(`a blank must follow the quote that ends ${line.slice(0, at)}`)
    }
  }
}

export function isBlank(character: string | undefined): boolean {
  return character === ' ' || character === '\t'
}

function readWord(line: string, start: number): Word {
  const quote = line[start]
  if (quote === '"') return readEscaped(line, start)
  if (quote === "'") {
    const end = line.indexOf("'", start + 1)
    if (end === -1) throw unended(line, start)
    return { bytes: Buffer.from(line.slice(start + 1, end)), isQuoted: true, end: end + 1 }
  }
  let end = start
  while (end < line.length && !isBlank(line[end])) end++
  return { bytes: Buffer.from(line.slice(start, end)), isQuoted: false, end }
}

function readEscaped(line: string, start: number): Word {
  const pieces: Buffer[] = []
  let at = start + 1
  for (;;) {
    // Plain text in one piece: a character may be two in a string.
    const next = line.slice(at).search(/["\\]/)
    if (next === -1) throw unended(line, start)
    pieces.push(Buffer.from(line.slice(at, at + next)))
    at += next
    if (line[at] === '"') return { bytes: Buffer.concat(pieces), isQuoted: true, end: at + 1 }
    const hex = /^\\x([0-9a-f]{2})/i.exec(line.slice(at, at + 4))?.[1]
    const plain = ESCAPES[line[at + 1] ?? '']
    if (hex !== undefined) pieces.push(Buffer.from(hex, 'hex'))
    else if (plain !== undefined) pieces.push(Buffer.from(plain))
    else if (at + 1 >= line.length) throw unended(line, start)
    else {
      const what = line.slice(at, at + 2)
      throw new UsageError(`no such escape: ${what}; there are \\\\ \\" \\n \\r \\t \\xHH`)
    }
    at += hex === undefined ? 2 : 4
  }
}

function unended(line: string, start: number): UsageError {
  return new UsageError(`the quote that begins ${line.slice(start)} has no end`)
}
