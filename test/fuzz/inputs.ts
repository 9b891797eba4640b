/**
 * What the fuzzer feeds: valid conversations, spoilt ones, raw bytes.
 *
 * In: dice. Out: bytes as latin1, and whether the connection is in step behind them: all
 * requests whole, and none that closes it.
 */
import type { Dice } from './dice.ts'
import { mutate, rawBytes } from './mutate.ts'
import { EVERYTHING, randomRequest, render, SAMPLE, type Taste, textOf } from './requests.ts'

export interface Input {
  readonly text: string
  readonly isInStep: boolean
}

/** Values near the largest take a thousand times as long as others. */
const MODEST: Taste = { ...EVERYTHING, big: false }
const REQUESTS_MAX = 5

export function randomInput(dice: Dice): Input {
  if (dice.chance(0.05)) return { text: rawBytes(dice), isInStep: false }
  const taste = dice.chance(0.0005) ? EVERYTHING : MODEST
  const requests = Array.from({ length: dice.integer(1, REQUESTS_MAX) }, () =>
    randomRequest(dice, taste),
  )
  const text = render(requests.map(textOf).join(''), SAMPLE)
  if (dice.chance(0.5)) return { text: mutate(text, dice), isInStep: false }
  return { text, isInStep: requests.every(({ framing }) => framing === 'tight') }
}
