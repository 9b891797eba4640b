/**
 * A row, from the start of its systems to their results.
 *
 * All of its systems are started afresh and filled, so that no row suffers from what those
 * before it left; each round then measures every system in turn, so that a machine that
 * gets slower meanwhile is as slow for all. While one is measured the others wait: started,
 * their keys in memory, with nothing to do but their heartbeats.
 */
import { fill, type Measurement, measure, type Plan } from './measurement.ts'
import { type RowResult, summarize } from './results.ts'
import type { Row } from './rows.ts'
import { startSystem } from './systems/start.ts'
import { type System, type SystemName, UnavailableError } from './systems/system.ts'

export interface RowOptions extends Plan {
  readonly rounds: number
  /** Of this store and its peers. */
  readonly systems: readonly SystemName[]
  readonly say: (line: string) => void
  /** Called with each system that was started. */
  readonly onStarted: (system: System) => void
}

/** @returns null where this store can't do what the row asks for, or nothing is wanted of it. */
export async function runRow(row: Row, options: RowOptions): Promise<RowResult | null> {
  const names = options.systems.filter(
    (name) => name === 'raftcached' || row.against.includes(name),
  )
  const systems: System[] = []
  try {
    for (const name of names) {
      const system = await startSystem(name, row).catch((error) => {
        if (!(error instanceof UnavailableError)) throw error
        options.say(`${row.name}: without ${name}: ${error.message}`)
        return null
      })
      if (system) {
        options.onStarted(system)
        systems.push(system)
      } else if (name === 'raftcached') {
        return null
      }
    }
    if (systems.length === 0) return null
    for (const system of systems) if (system.name !== 'bare') await fill(system, row)
    const measured = new Map<SystemName, Measurement[]>(systems.map(({ name }) => [name, []]))
    for (let round = 0; round < options.rounds; round++) {
      for (const system of systems) {
        measured.get(system.name)?.push(await measureRow(system, row, options))
      }
    }
    return { row, systems: [...measured.values()].map(summarize) }
  } finally {
    await Promise.all(systems.map((system) => system.stop()))
  }
}

async function measureRow(system: System, row: Row, plan: Plan): Promise<Measurement> {
  const full = await measure(system, row, plan, null)
  return row.isHalfRate ? measure(system, row, plan, full.rate / 2) : full
}
