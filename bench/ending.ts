/**
 * What has to be ended and removed, however the bench ends: at its end, after an error, or
 * when a signal says so.
 */
const ends = new Set<() => Promise<void>>()

/** @returns what ends it now, and is to be called once it is not needed any more. */
export function atEnd(end: () => Promise<void>): () => Promise<void> {
  ends.add(end)
  return async () => {
    if (ends.delete(end)) await end()
  }
}

export function endOnSignals(): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, async () => {
      await Promise.allSettled([...ends].map((end) => end()))
      process.exit(130)
    })
  }
}
