/** Spoils bytes: valid conversations become ones that nobody would write on purpose. */
import type { Dice } from './dice.ts'

const INTERESTING = [
  ...['\r', '\n', '\r\n', ' ', '  ', '\0', '\xff', '\x80', '-', '+', '0', '9', '\t'],
  ...['noreply', '4294967295', '2147483647', '18446744073709551616', '-1', ' q', ' b', ' k', ' v'],
  ...['get ', 'set ', 'mg ', 'ms ', 'quit\r\n', 'HTTP/', 'k'.repeat(251), 'x'.repeat(2_049)],
]

/** @param text latin1 */
export function mutate(text: string, dice: Dice): string {
  let mutated = text
  for (let count = dice.pick([1, 1, 1, 2, 4]); count > 0; count--) mutated = once(mutated, dice)
  return mutated
}

function once(text: string, dice: Dice): string {
  const at = dice.integer(0, text.length)
  const end = Math.min(text.length, at + dice.pick([1, 1, 2, 5, 20]))
  const before = text.slice(0, at)
  switch (dice.integer(0, 5)) {
    case 0:
      return before + text.slice(end)
    case 1:
      return before + text.slice(at, end) + text.slice(at)
    case 2:
      return before + dice.pick(INTERESTING) + text.slice(at)
    case 3:
      return before + dice.pick(INTERESTING) + text.slice(end)
    case 4:
      return before + String.fromCharCode(dice.integer(0, 255)) + text.slice(at + 1)
    default:
      return before
  }
}

/** Bytes of no meaning; more line ends than chance would have. */
export function rawBytes(dice: Dice): string {
  const codes = Array.from({ length: dice.integer(1, 80) }, () => {
    return dice.chance(0.1) ? dice.pick([10, 13, 32]) : dice.integer(0, 255)
  })
  return String.fromCharCode(...codes)
}
