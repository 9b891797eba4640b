/**
 * The words of random requests: keys, numbers, values, good ones and bad.
 *
 * Nothing here depends on how much time passes meanwhile: what expires has expired
 * already or does so after a thousand seconds and more.
 */
import type { Dice } from './dice.ts'
import {
  EARLIER_UNIQUE,
  KEY_BYTES_MAX,
  NEWEST_UNIQUE,
  PREFIX,
  PREFIX_BASE64,
  PREFIX_BYTES,
} from './request.ts'

export interface Taste {
  /** incr, decr, ma. */
  readonly arithmetic: boolean
  /** Stale items, items to be filled, who won, and who was hit. */
  readonly marks: boolean
  /** Values near the largest. */
  readonly big: boolean
  readonly flush: boolean
  /** How many of a hundred requests are spoilt. */
  readonly spoiltPercent: number
}

export const EVERYTHING: Taste = {
  arithmetic: true,
  marks: true,
  big: true,
  flush: true,
  spoiltPercent: 15,
}

const KEY_ENDS = ['a', 'a', 'a', 'a', 'b', 'b', 'c']
const ODD_KEY_ENDS = [
  '\x01\x7f\x80\xff\t',
  '\r',
  ':a:b',
  'k'.repeat(KEY_BYTES_MAX - PREFIX_BYTES),
  'noreply',
]
const LONG_KEY_ENDS = ['k'.repeat(KEY_BYTES_MAX - PREFIX_BYTES + 1), 'k'.repeat(400)]

const BINARY_KEY_END = 'x y\n\0\xff'

const EXPTIMES = ['0', '0', '0', '0', '1000', '100000', '2592000', '2147483647', '-1', '-5000']
export const ODD_EXPTIMES = ['2592001', '1000000000', '+1000', '01000', '-0', '-2147483648']
const BAD_NUMBERS = [
  'abc',
  '-',
  '1.5',
  '1a',
  '0x10',
  '-9223372036854775809',
  '9'.repeat(30),
  '\t1000',
]
const OVERFLOWN_EXPTIMES = ['2147483648', '4294967295', '99999999999']
export const FLAGS = ['0', '0', '0', '7000', '65535', '2147483648', '4294967295']
export const ODD_FLAGS = ['0007000', '+7000', '4294967296', '-1', '18446744073709551616']
export const DELTAS = ['1', '1', '1', '10', '0', '99', '18446744073709551615']
export const ODD_DELTAS = ['007', '+3', '-1', '18446744073709551616']
const NUMERIC_VALUES = ['0', '1', '9', '10', '99', '100', '18446744073709551615']
const ODD_NUMERIC_VALUES = ['009', ' 12 ', '18446744073709551616', '-1', '12a', '9 ', '+4', '\t7']
const TEXT_VALUES = ['', 'x', 'abc', 'a\r\nb', 'END\r\n', '\0\xff', 'VALUE a 0 1', 'a b']
/** Server's cas uniques never come as far as these. */
export const CHOSEN_UNIQUES = ['1000000000000000', '2000000000000000', '18446744073709551615']
const OTHER_UNIQUES = ['0', '999999999999999', '+1000000000000000', ...CHOSEN_UNIQUES]

/** Makes sure of what flush_all does: all keys that a sequence may have used are gone. */
export const REMOVE_ALL_KEYS = [...new Set([...KEY_ENDS, ...ODD_KEY_ENDS, 'k'.repeat(180)])]
  .map((end) => `delete ${PREFIX}${end} noreply\r\n`)
  .concat(
    `ms ${PREFIX_BASE64}${Buffer.from(BINARY_KEY_END, 'latin1').toString('base64')} 0 b q T-1\r\n\r\n`,
  )
  .join('')

export function key(dice: Dice): string {
  const ends = dice.weighted([
    [40, KEY_ENDS],
    [3, ODD_KEY_ENDS],
    [1, LONG_KEY_ENDS],
  ])
  return PREFIX + dice.pick(ends)
}

/** A binary key in base64, mostly one that a plain command may name as well. */
export function base64Key(dice: Dice): string {
  const end = dice.weighted([
    [12, 'a'],
    [4, 'b'],
    [2, BINARY_KEY_END],
    [1, 'k'.repeat(180)],
    [1, 'k'.repeat(KEY_BYTES_MAX - PREFIX_BYTES)], // fits, but its base64 does not
  ])
  return PREFIX_BASE64 + Buffer.from(end, 'latin1').toString('base64')
}

export function number(dice: Dice, good: readonly string[], odd: readonly string[]): string {
  const from = dice.weighted([
    [40, good],
    [4, odd],
    [1, BAD_NUMBERS],
  ])
  return dice.pick(from)
}

export function exptime(dice: Dice): string {
  return number(dice, EXPTIMES, dice.chance(0.2) ? OVERFLOWN_EXPTIMES : ODD_EXPTIMES)
}

export function unique(dice: Dice): string {
  if (dice.chance(0.65)) return NEWEST_UNIQUE
  return dice.chance(0.5) ? EARLIER_UNIQUE : number(dice, OTHER_UNIQUES, ODD_DELTAS)
}

export function value(dice: Dice, taste: Taste): string {
  if (taste.big && dice.chance(0.3)) {
    return 'v'.repeat(dice.pick([1_000_000, 1_047_552, 1_048_577, 1_100_000]))
  }
  return dice.weighted([
    [taste.arithmetic ? 60 : 5, dice.pick(NUMERIC_VALUES)],
    [taste.arithmetic ? 12 : 3, dice.pick(ODD_NUMERIC_VALUES)],
    [16, dice.pick(TEXT_VALUES)],
    [2, 'w'.repeat(dice.integer(50, 2_000))],
    [1, 'w'.repeat(dice.pick([9_000, 17_000, 70_000]))],
  ])
}

export function noreply(dice: Dice): string {
  return dice.weighted([
    [20, ''],
    [2, ' noreply'],
    [1, ' bogus'],
  ])
}
