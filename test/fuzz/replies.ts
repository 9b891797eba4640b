/**
 * What a server answers, cut into replies.
 *
 * In: all that a connection sent, as latin1. Out: its lines, those that announce
 * data together with the data; and whether each is one that memcached's text
 * protocol knows.
 */

export interface Reply {
  /** Without its end. */
  readonly line: string
  /** The data that the line announces. */
  readonly data: string | null
}

const CRLF = '\r\n'

/** @returns the replies, and what is left behind the last whole one. */
export function cutReplies(text: string): { readonly replies: Reply[]; readonly rest: string } {
  const replies: Reply[] = []
  let start = 0
  for (;;) {
    const lineEnd = text.indexOf(CRLF, start)
    if (lineEnd === -1) break
    const line = text.slice(start, lineEnd)
    const dataStart = lineEnd + CRLF.length
    const bytes = announcedBytes(line)
    if (bytes === null) {
      replies.push({ line, data: null })
      start = dataStart
      continue
    }
    const dataEnd = dataStart + bytes
    if (text.length < dataEnd + CRLF.length || !text.startsWith(CRLF, dataEnd)) break
    replies.push({ line, data: text.slice(dataStart, dataEnd) })
    start = dataEnd + CRLF.length
  }
  return { replies, rest: text.slice(start) }
}

function announcedBytes(line: string): number | null {
  const [, bytes] =
    /^VALUE [^ ]+ \d+ (\d+)(?: \d+)?$/s.exec(line) ?? /^VA (\d+)(?: |$)/.exec(line) ?? []
  return bytes === undefined ? null : Number(bytes)
}

/** Flags of a meta reply: each one letter, the ones with a token behind it. */
const META_FLAG = '(?: (?:k[^ ]+|O[^ ]*|c\\d+|f\\d+|h[01]|l\\d+|s\\d+|t(?:-1|\\d+)|[bWXZ]))*'

const LINES: readonly RegExp[] = [
  /^(?:STORED|NOT_STORED|EXISTS|NOT_FOUND|DELETED|TOUCHED|OK|RESET|END|ERROR|MN)$/,
  /^(?:CLIENT_ERROR|SERVER_ERROR:?|ERROR) [\x20-\x7e]+$/,
  /^(?:BUSY|BADCLASS|NOSPARE|SAME|NOTSTARTED|MEMLIMIT_[A-Z_]+) [\x20-\x7e]+$/,
  /^VALUE [^ ]{1,250} \d{1,10} \d{1,7}(?: \d{1,20})?$/s,
  /^VERSION \d+\.\d+\.\d+$/,
  /^\d{1,20}$/,
  new RegExp(`^(?:HD|EN|NF|NS|EX|VA \\d{1,7})${META_FLAG}$`, 's'),
  /^ME [^ ]+(?: b)?(?: [a-z]+=[^ ]+)+$/s,
  /^STAT [^ ]+ [\x20-\x7e]*$/,
  /^PREFIX [^ ]+ get \d+ hit \d+ set \d+ del \d+$/s,
]

/** What is wrong with all that a connection sent, or null. */
export function findMalformed(text: string): string | null {
  const { replies, rest } = cutReplies(text)
  let open = ''
  for (const { line } of replies) {
    if (!LINES.some((known) => known.test(line))) return `no reply of memcached's: ${line}`
    const [word = ''] = line.split(' ', 1)
    const isListed = word === 'VALUE' || word === 'STAT' || word === 'PREFIX'
    // A list goes on with its like, and ends with END, or in an error.
    if (open !== '' && word !== open && !/^(?:END|CLIENT_ERROR|SERVER_ERROR)$/.test(word)) {
      return `${line} in a list of ${open}`
    }
    open = isListed ? word : ''
  }
  if (open !== '') return `a list of ${open} without its END`
  return rest === '' ? null : `an unfinished reply: ${rest.slice(0, 200)}`
}
