/**
 * Many calls that wait for one AbortSignal, with one listener: Node takes more than ten for a
 * leak, and says so on the program's standard error.
 */
const waiting = new WeakMap<AbortSignal, Set<() => void>>()

/**
 * @param fn Called once, when the signal is aborted; it is not yet.
 * @returns what makes it forgotten.
 */
export function onAbort(signal: AbortSignal, fn: () => void): () => void {
  const known = waiting.get(signal)
  const all = known ?? listenTo(signal)
  all.add(fn)
  return () => all.delete(fn)
}

function listenTo(signal: AbortSignal): Set<() => void> {
  const all = new Set<() => void>()
  waiting.set(signal, all)
  const call = () => {
    for (const fn of all) fn()
    all.clear()
  }
  signal.addEventListener('abort', call, { once: true })
  return all
}
