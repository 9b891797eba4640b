import { expect, test } from 'vitest'
import { expiryOf, isExpired, secondsLeft } from '../../../src/server/keystore/expiry.ts'

const NOW_MS = 1_700_000_000_500
const DAYS_30 = 30 * 24 * 60 * 60

test.each([
  [0, 0],
  [1, NOW_MS + 1_000],
  [DAYS_30, NOW_MS + DAYS_30 * 1_000],
  // Above, it is Unix time.
  [DAYS_30 + 1, (DAYS_30 + 1) * 1_000],
  [1_700_000_060, 1_700_000_060_000],
  [99_999_999_999, 99_999_999_999_000],
  [-1, 1],
])('an item with exptime %d is gone at %d', (exptime, atMs) => {
  expect(expiryOf(exptime, NOW_MS)).toBe(atMs)
})

test.each([
  [0, false],
  [1, true],
  [NOW_MS - 1, true],
  [NOW_MS, true],
  [NOW_MS + 1, false],
])('whether %d is over', (atMs, isOver) => {
  expect(isExpired(atMs, NOW_MS)).toBe(isOver)
})

test.each([
  [0, -1],
  [NOW_MS + 1_000, 1],
  [NOW_MS + 1, 1],
  [NOW_MS + 1_001, 2],
  [NOW_MS, 0],
  [1, 0],
])('of %d so many seconds are left: %d', (atMs, seconds) => {
  expect(secondsLeft(atMs, NOW_MS)).toBe(seconds)
})
