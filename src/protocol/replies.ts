/** What a command answers, before it is put into the words of the client's own request. */
import type { CasUnique } from './cas-unique.ts'

export const FORMAT_ERROR = 'CLIENT_ERROR bad command line format'

export interface CommandReply {
  /** The line of the classic command, without its end: a word, a number, an error; empty for entries no client sent. */
  readonly line: string
  /** Of a get always, of others where it can't be told from the command itself. */
  readonly item?: ItemReply | undefined
}

export interface ItemReply {
  readonly flags: number
  /** Seconds it has left, before the command and after it; -1 for one that never expires. */
  readonly ttlBeforeS: number
  readonly ttlS: number
  readonly casUnique: CasUnique
  readonly valueBytes: number
  /** Z: somebody else has won. X: it is stale. W: this request has won. In this order. */
  readonly marks: string
  /** Only of a get. */
  readonly value?: Buffer | undefined
}
