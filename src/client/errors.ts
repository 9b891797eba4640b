/** How a call fails. docs/ERRORS.md has the same codes, with what to do about each. */

/** Each with whether the call certainly had no effect. */
export const ERROR_CODES = {
  /** The call itself was wrong: a key, a value, a number, an option. */
  invalid: true,
  /** The value is longer than the cluster takes. */
  tooLarge: true,
  /** incr or decr of a value that is no number. */
  notNumber: true,
  /** The cluster is out of memory or disk space for it. */
  noRoom: true,
  /** It was not stored, and never will be. */
  notStored: true,
  /** Nothing was read. */
  notRead: true,
  /** No server could be reached, so that nothing was sent. */
  unreachable: true,
  /** A server refused this client's login, or wants one. */
  login: true,
  /** `update` met somebody else each time. */
  conflict: true,
  /** The client was closed before the call. */
  closed: true,
  /** Too many calls of this client wait already. */
  busy: true,
  /** It was sent, and whether it happened, or will, is not known. */
  unknown: false,
  /** The time was over before an answer came; `definite` where nothing was sent. */
  timeout: false,
  /** The signal ended it; `definite` where nothing was sent. */
  aborted: false,
  /** The server answered what no server of this version answers. */
  protocol: false,
} as const

export type ErrorCode = keyof typeof ERROR_CODES

export class StoreError extends Error {
  readonly code: ErrorCode
  /** Whether the call certainly had no effect, and never will have. */
  readonly definite: boolean

  constructor(code: ErrorCode, message: string, definite: boolean = ERROR_CODES[code]) {
    super(message)
    this.name = 'StoreError'
    this.code = code
    this.definite = definite
  }
}
