/**
 * Reads a .cpuprofile, as Node writes it with --cpu-prof: how much time each function took
 * itself, without those that it called. Pure.
 *
 * Source: the Chrome DevTools protocol, Profiler.Profile.
 */
export interface CpuProfile {
  readonly nodes: readonly ProfileNode[]
  /** Which node ran at each sample, and microseconds since the one before. */
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
}

interface ProfileNode {
  readonly id: number
  readonly callFrame: {
    readonly functionName: string
    readonly url: string
    readonly lineNumber: number
  }
}

export interface SelfTime {
  readonly name: string
  /** File and line; empty for what is not JavaScript. */
  readonly place: string
  readonly ms: number
}

const IDLE = '(idle)'

/** @returns busy functions, the busiest first; their times add up to all that was not idle */
export function selfTimes({ nodes, samples, timeDeltas }: CpuProfile): SelfTime[] {
  const functions = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]))
  const times = new Map<string, SelfTime>()
  for (const [at, id] of samples.entries()) {
    const { functionName = '', url = '', lineNumber = 0 } = functions.get(id) ?? {}
    if (functionName === IDLE) continue
    const name = functionName || '(anonymous)'
    const file = url.split('/').at(-1) ?? ''
    const place = file === '' ? '' : `${file}:${lineNumber + 1}`
    const key = `${name} ${url} ${lineNumber}`
    const ms = (times.get(key)?.ms ?? 0) + (timeDeltas[at] ?? 0) / 1_000
    times.set(key, { name, place, ms })
  }
  return [...times.values()].sort((a, b) => b.ms - a.ms)
}

export function describeSelfTimes(times: readonly SelfTime[], count: number): string {
  const totalMs = times.reduce((sum, { ms }) => sum + ms, 0)
  return times
    .slice(0, count)
    .map(({ name, place, ms }) => {
      const share = `${((100 * ms) / totalMs).toFixed(1)} %`
      return `${share.padStart(7)} ${`${ms.toFixed(0)} ms`.padStart(9)}  ${name}  ${place}\n`
    })
    .join('')
}
