/**
 * What the fuzzer feeds: valid conversations, spoilt ones, raw bytes.
 *
 * In: dice. Out: bytes as latin1, and where all requests are whole, and none closes the
 * connection, how many they are.
 */
import type { Dice } from './dice.ts'
import { mutate, rawBytes } from './mutate.ts'
import { countOf, render, SAMPLE, textOf } from './request.ts'
import { randomRequest } from './requests.ts'
import { EVERYTHING, type Taste } from './words.ts'

export interface Input {
  readonly text: string
  /** How many requests it is, where the connection is in step behind it; else null. */
  readonly count: number | null
}

/** Values near the largest take a thousand times as long as others. */
const MODEST: Taste = { ...EVERYTHING, big: false }
const REQUESTS_MAX = 5

export function randomInput(dice: Dice): Input {
  if (dice.chance(0.05)) return { text: rawBytes(dice), count: null }
  const taste = dice.chance(0.0005) ? EVERYTHING : MODEST
  const requests = Array.from({ length: dice.integer(1, REQUESTS_MAX) }, () =>
    randomRequest(dice, taste),
  )
  const text = render(requests.map(textOf).join(''), SAMPLE)
  if (dice.chance(0.5)) return { text: mutate(text, dice), count: null }
  const isInStep = requests.every(({ framing }) => framing === 'tight')
  return { text, count: isInStep ? requests.reduce((sum, one) => sum + countOf(one), 0) : null }
}
