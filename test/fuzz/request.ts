/**
 * A request of memcached's text protocol, as test code makes it: latin1, one character a
 * byte, but for the marks below, which `render` replaces once what they stand for is
 * known. Everything has the same length for every server: a cas unique is written with
 * twenty digits.
 */

/** The newest cas unique this client has seen, and the one before it. */
export const NEWEST_UNIQUE = '\u0100'
export const EARLIER_UNIQUE = '\u0101'
/** What all keys begin with: six bytes, so that their base64 stands alone. */
export const PREFIX = '\u0102'
export const PREFIX_BASE64 = '\u0103'
export const PREFIX_BYTES = 6

export const KEY_BYTES_MAX = 250
export const VALUE_BYTES_MAX = 1024 * 1024
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
