/**
 * What very many writes leave behind: the rate of a cluster that has taken them, against
 * that of its own first minute and, since a machine may be another one an hour later,
 * against that of a fresh cluster, both in turn. Written as fast as it goes, 50 x 16.
 */
import { fill, measure, type Plan } from './measurement.ts'
import { median } from './results.ts'
import { findRow } from './rows.ts'
import { startRaftcached } from './systems/raftcached.ts'
import type { System } from './systems/system.ts'

const ROW = 'write 50x16'
const FIRST_MS = 60_000

export interface LongOptions extends Plan {
  readonly writeCount: number
  readonly rounds: number
  readonly say: (line: string) => void
}

export interface LongResult {
  readonly writeCount: number
  /** Medians of writes a second. */
  readonly firstRate: number
  readonly oldRate: number
  readonly freshRate: number
}

export async function runLong(options: LongOptions): Promise<LongResult> {
  const { writeCount, rounds, say, measureMs } = options
  const row = findRow(ROW)
  const started: System[] = []
  const start = async () => {
    const system = await startRaftcached(row)
    started.push(system)
    await fill(system, row)
    return system
  }
  const rateOf = async (system: System, plan: Plan) => (await measure(system, row, plan, null)).rate
  try {
    const old = await start()
    const first: number[] = []
    let written = 0
    const write = async (ms: number): Promise<number> => {
      const rate = await rateOf(old, { ...options, warmUpMs: 0, measureMs: ms })
      written += (rate * ms) / 1_000
      return rate
    }
    for (let ms = 0; ms < FIRST_MS && written < writeCount; ms += measureMs) {
      first.push(await write(measureMs))
    }
    while (written < writeCount) {
      const rate = await write(FIRST_MS)
      say(`${Math.round(written / 1e6)} million writes, ${Math.round(rate)}/s`)
    }
    const fresh = await start()
    const rates: [number[], number[]] = [[], []]
    for (let round = 0; round < rounds; round++) {
      rates[0].push(await rateOf(old, options))
      rates[1].push(await rateOf(fresh, options))
    }
    const [oldRate, freshRate] = [median(rates[0]), median(rates[1])]
    return { writeCount: written, firstRate: median(first), oldRate, freshRate }
  } finally {
    await Promise.all(started.map((system) => system.stop()))
  }
}

export function describeLong({ writeCount, firstRate, oldRate, freshRate }: LongResult): string {
  const [old, fresh, first] = [oldRate, freshRate, firstRate].map(Math.round)
  return [
    `after ${Math.round(writeCount)} writes: ${old}/s`,
    `${(oldRate / freshRate).toFixed(2)} x a fresh cluster in turn with it (${fresh}/s)`,
    `${(oldRate / firstRate).toFixed(2)} x its own first minute (${first}/s)`,
  ].join('; ')
}
