/** Exptimes as memcached reads them. Times are log times in Unix milliseconds; 0 is never. */

/** Exptimes up to 30 days count from now, later ones are Unix time. */
const RELATIVE_EXPTIME_MAX_SECONDS = 30 * 24 * 60 * 60

/** @returns when an item with this exptime is gone. */
export function expiryOf(exptime: number, timeMs: number): number {
  if (exptime === 0) return 0
  if (exptime < 0) return 1
  if (exptime <= RELATIVE_EXPTIME_MAX_SECONDS) return timeMs + exptime * 1000
  return exptime * 1000
}

export function isExpired(expiresAtMs: number, timeMs: number): boolean {
  return expiresAtMs !== 0 && expiresAtMs <= timeMs
}

/** Whole seconds, the last one counted whole; -1 for ever. */
export function secondsLeft(expiresAtMs: number, timeMs: number): number {
  if (expiresAtMs === 0) return -1
  return Math.max(0, Math.ceil((expiresAtMs - timeMs) / 1000))
}
