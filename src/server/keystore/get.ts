/**
 * What a get with options does to an item, and what it answers. Pure: the state
 * machine does it when it applies the command; a server asks beforehand whether
 * it would do anything, because only then it has to be logged.
 */
import type { CasUnique } from '../../protocol/cas-unique.ts'
import type { Options } from '../../protocol/commands.ts'
import type { ItemReply } from '../../protocol/replies.ts'
import { type Item, STALE, WON } from './arena.ts'
import { expiryOf, isExpired, secondsLeft } from './expiry.ts'

export interface GetResult {
  /** null where there is none. */
  readonly reply: ItemReply | null
  /** What the item becomes: null where it is gone, undefined where it stays as it is. */
  readonly after: Item | null | undefined
}

const EMPTY = Buffer.alloc(0)

/** @param nextUnique Of an item that is made. */
export function getItem(
  item: Item | undefined,
  options: Options,
  nextUnique: CasUnique,
  timeMs: number,
): GetResult {
  if (!item && !options.has('vivify')) return { reply: null, after: undefined }
  const casUnique = options.get('unique') ?? nextUnique
  const before = item ?? { flags: 0, expiresAtMs: 0, casUnique, marks: 0, value: EMPTY }
  let { expiresAtMs } = before
  const hadWinner = (before.marks & WON) !== 0
  const isStale = (before.marks & STALE) !== 0
  let wins = options.has('win') && isStale && !hadWinner
  for (const [name, seconds] of options) {
    const atMs = name === 'unique' || name === 'win' ? 0 : expiryOf(Number(seconds), timeMs)
    if (name === 'exptime') expiresAtMs = atMs
    if (name === 'vivify' && !item) {
      expiresAtMs = atMs
      wins = true
    }
    if (name === 'recache' && item && !hadWinner && expiresAtMs !== 0) {
      wins ||= secondsLeft(expiresAtMs, timeMs) < secondsLeft(atMs, timeMs)
    }
  }
  const marks = wins ? before.marks | WON : before.marks
  const isChanged = !item || expiresAtMs !== item.expiresAtMs || marks !== item.marks
  const after = isExpired(expiresAtMs, timeMs) ? null : { ...before, expiresAtMs, marks }
  const { flags, value } = before
  return {
    reply: {
      flags,
      ttlBeforeS: secondsLeft(before.expiresAtMs, timeMs),
      ttlS: secondsLeft(expiresAtMs, timeMs),
      casUnique: before.casUnique,
      valueBytes: value.length,
      marks: `${hadWinner ? 'Z' : ''}${isStale ? 'X' : ''}${wins ? 'W' : ''}`,
      value,
    },
    after: isChanged ? after : undefined,
  }
}
