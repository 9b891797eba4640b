/**
 * What one connection says in one protocol, and how it understands what it hears. Pure but
 * for `send`.
 *
 * Requests of a connection are numbered from 0; a reply is reported by the number of its
 * request, in whatever order replies come. What is received is only valid during the call.
 */
import type { Script } from './script.ts'

export interface SessionEvents {
  readonly send: (bytes: Buffer) => void
  /** The connection can be asked. */
  readonly onReady: () => void
  readonly onReply: (number: number) => void
  /** Instead of the reply that was expected; onReply follows. */
  readonly onError: (what: string) => void
}

export interface Session {
  /** The connection stands. */
  open(): void
  /** Sends so many of the script's requests, fewer than all of it: the next ones, and round. */
  request(count: number): void
  receive(bytes: Buffer, length: number): void
}

/** @returns the requests of a script from `at` on, without a copy, up to its end at the most. */
export function pieceOf({ bytes, offsets, length }: Script, at: number, count: number): Buffer {
  return bytes.subarray(offsets[at], offsets[Math.min(length, at + count)])
}
