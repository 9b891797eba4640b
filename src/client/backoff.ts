/** How long to wait before trying again: doubling, with a bound, and never all at the same time. */
import type { Random } from '../io/io.ts'

const FIRST_MS = 20
const LAST_MS = 1_000

/** @param failureCount How often it failed; from 1 on. */
export function backoffMs(failureCount: number, random: Random): number {
  const wholeMs = Math.min(FIRST_MS * 2 ** (failureCount - 1), LAST_MS)
  return wholeMs * (0.5 + random.float() / 2)
}
