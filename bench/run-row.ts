/**
 * A row, from the start of its systems to their results.
 *
 * All of its systems are started afresh and filled, so that no row suffers from what those
 * before it left; each round then measures every system in turn, so that a machine that
 * gets slower meanwhile is as slow for all. While one is measured the others wait: started,
 * their keys in memory, with nothing to do but their heartbeats.
 */
import { fill, type Measurement, measure, type Plan } from './measurement.ts'
import { type RowResult, type SubjectResult, summarize } from './results.ts'
import type { Row } from './rows.ts'
import { startSystem } from './systems/start.ts'
import {
  type SubjectName,
  type System,
  type SystemName,
  UnavailableError,
} from './systems/system.ts'

/** Of the run that only counts syncs, where that makes a system slower. */
const TRACE_MS = 1_000

export interface RowOptions extends Plan {
  readonly rounds: number
  /** Where others took more of the machine than this, a measurement is made again. */
  readonly othersShareMax: number
  /** Of this store and its peers. */
  readonly systems: readonly SystemName[]
  readonly say: (line: string) => void
}

/** A machine that others keep busy is not waited for any longer. */
const ATTEMPTS_MAX = 10

/** What is measured in turn. */
interface Subject {
  readonly name: SubjectName
  readonly system: System
  readonly row: Row
}

/** @returns null where this store can't do what the row asks for. */
export async function runRow(row: Row, options: RowOptions): Promise<RowResult | null> {
  const names = options.systems.filter(
    (name) => name === 'raftcached' || row.against.includes(name),
  )
  const starts = await Promise.allSettled(names.map((name) => start(name, row, options.say)))
  const systems = starts.flatMap((each) => (each.status === 'fulfilled' && each.value) || [])
  try {
    for (const each of starts) if (each.status === 'rejected') throw each.reason
    if (systems[0]?.name !== 'raftcached') return null
    for (const system of systems) if (system.name !== 'bare') await fill(system, row)
    return { row, subjects: await measureInTurn(subjectsOf(row, systems), options) }
  } finally {
    await Promise.all(systems.map((system) => system.stop()))
  }
}

async function start(
  name: SystemName,
  row: Row,
  say: (line: string) => void,
): Promise<System | null> {
  try {
    return await startSystem(name, row)
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error
    say(`${row.name}: ${name === 'raftcached' ? 'left out' : `without ${name}`}: ${error.message}`)
    return null
  }
}

function subjectsOf(row: Row, systems: readonly System[]): Subject[] {
  return systems.flatMap((system): Subject[] => {
    const { name } = system
    const subject = { name, system, row }
    if (name !== 'raftcached' || row.to === 'leader') return [subject]
    return [subject, { name: 'leader', system, row: { ...row, to: 'leader' } }]
  })
}

async function measureInTurn(
  subjects: readonly Subject[],
  options: RowOptions,
): Promise<SubjectResult[]> {
  const rounds = subjects.map((): Measurement[] => [])
  for (let round = 0; round < options.rounds; round++) {
    const rate = await rateFor(subjects[0], options)
    for (const [at, subject] of subjects.entries()) {
      rounds[at]?.push(await measureOnce(subject, options, rate))
    }
  }
  const results: SubjectResult[] = []
  for (const [at, { name, system, row }] of subjects.entries()) {
    const { median, ...result } = summarize(name, rounds[at] ?? [])
    const isTraced = system.traceSyncs !== undefined && row.kind !== 'read'
    const plan = { ...options, warmUpMs: 0, measureMs: TRACE_MS, isTraced }
    const traced = isTraced ? await measure(system, row, plan, null) : median
    results.push({ ...result, median: { ...median, syncsPerWrite: traced.syncsPerWrite } })
  }
  return results
}

/** The first measurement that others did not disturb too much, or else the one they disturbed least. */
async function measureOnce(
  { system, row }: Subject,
  options: RowOptions,
  rate: number | null,
): Promise<Measurement> {
  let best = await measure(system, row, options, rate)
  for (let attempt = 1; attempt < ATTEMPTS_MAX; attempt++) {
    if (best.othersShare <= options.othersShareMax) break
    const next = await measure(system, row, options, rate)
    if (next.othersShare < best.othersShare) best = next
  }
  return best
}

/** The rate at which all of a row are measured; null for as fast as each goes. */
async function rateFor(store: Subject | undefined, plan: Plan): Promise<number | null> {
  if (!store?.row.isHalfRate) return null
  return (await measure(store.system, store.row, plan, null)).rate / 2
}
