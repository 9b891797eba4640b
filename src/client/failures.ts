/**
 * What a server's error line means for a call: which error it is, and whether trying again may
 * help. Pure. docs/PROTOCOL.md has the lines, docs/ERRORS.md the codes.
 */
import { type ErrorCode, StoreError } from './errors.ts'
import { type Request, shownKey } from './requests.ts'

/** An error that nobody has seen yet: calls that are repeated fail more often than they say. */
export interface Failure {
  readonly code: ErrorCode
  /** In the words that follow the call and its key. */
  readonly why: string
}

export interface Refusal extends Failure {
  /** It did not happen, and may do next time. */
  readonly isTransient: boolean
}

/** A line's beginning, what it means, whether that passes, and what to do. */
const MEANINGS: readonly (readonly [
  start: string,
  code: ErrorCode,
  isTransient: boolean,
  advice: string,
])[] = [
  ['SERVER_ERROR not stored', 'notStored', true, 'try again later'],
  ['SERVER_ERROR outcome unknown', 'unknown', false, 'read the key before you repeat it'],
  [
    'SERVER_ERROR out of memory storing object',
    'noRoom',
    false,
    'delete something, or raise --memory-limit',
  ],
  ['SERVER_ERROR out of disk space', 'noRoom', false, 'make room on the disks of the servers'],
  [
    'SERVER_ERROR object too large',
    'tooLarge',
    false,
    'store less, or raise the limit: store config item-size',
  ],
  ['SERVER_ERROR out of memory writing', 'tooLarge', false, 'ask for fewer keys at once'],
  [
    'CLIENT_ERROR cannot increment or decrement',
    'notNumber',
    false,
    'store a decimal number below 2^64 first',
  ],
  ['CLIENT_ERROR unauthenticated', 'login', false, 'give a login'],
  ['CLIENT_ERROR', 'invalid', false, 'change the call'],
]

/** @param line That no request of its kind expects. */
export function refusalOf(line: string, request: Request, server: string): Refusal {
  const meaning = MEANINGS.find(([start]) => line.startsWith(start))
  const what = line.replace(/^(SERVER|CLIENT)_ERROR /, '')
  if (meaning) {
    const [, code, isTransient, advice] = meaning
    return { code, isTransient, why: `${what}, says server ${server}: ${advice}` }
  }
  // What is not known of a read is only whether there will ever be an answer.
  if (request.isRead && line.startsWith('SERVER_ERROR ')) {
    const why = `${what}, says server ${server}: try again later`
    return { code: 'notRead', isTransient: true, why }
  }
  const shown = JSON.stringify(line.slice(0, 100))
  const why = `server ${server} answered ${shown}: is it of another version?`
  return { code: 'protocol', isTransient: false, why }
}

/** @param definite Where it differs from what the code says; of reads it always is. */
export function errorOf(request: Request, { code, why }: Failure, definite?: boolean): StoreError {
  const what = request.key === '' ? request.verb : `${request.verb} ${shownKey(request.key)}`
  return new StoreError(code, `${what}: ${why}`, request.isRead ? true : definite)
}
