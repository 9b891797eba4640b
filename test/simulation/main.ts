/**
 * npm run sim -- --seeds 1-500      runs those seeds
 * npm run sim -- --seed 17 --trace  replays one, every event as a line of text
 * npm run sim -- --bug NAME         plants a bug and counts the seeds until it is found
 * npm run sim -- --bugs             all of them, as a table
 *
 * Exit status 1 at the first violation, with the seed, the checker that spoke,
 * and the last events; with --bug, when the bug is not found.
 */
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { Command } from 'commander'
import { CANARIES, type Canary, plant } from './canaries.ts'
import { type SimulationResult, simulate } from './simulation.ts'

const LAST_EVENTS = 80
/** A bug that so many seeds do not find means a weak simulator. */
const BUG_SEEDS_MAX = 2_000
/** Most of what a run makes dies soon: with more room for it less is moved about. */
const YOUNG_MB = 64
const COMPILED = join(import.meta.dirname, '..', '..')

interface Flags {
  readonly seeds: string
  readonly seed?: number
  readonly trace?: boolean
  readonly bug?: string
  readonly bugs?: boolean
}

interface WorkerTask {
  readonly first: number
  readonly last: number
  readonly step: number
}

interface Run {
  readonly results: readonly SimulationResult[]
  readonly failed: SimulationResult | null
  readonly seconds: number
}

if (isMainThread) process.exitCode = await main()
else await work(workerData as WorkerTask)

async function main(): Promise<number> {
  const program = new Command('sim')
    .description('Runs the cluster under simulated time and faults, from seeds.')
    .option('--seeds <first-last>', 'seeds to run', '1-200')
    .option('--seed <number>', 'one seed', Number)
    .option('--trace', 'print every event of that seed')
    .option('--bug <name>', `plant a bug: ${CANARIES.map(({ name }) => name).join(', ')}`)
    .option('--bugs', 'plant every bug in turn')
    .parse()
  const flags = program.opts<Flags>()
  if (flags.bugs) return findBugs(CANARIES)
  if (flags.bug !== undefined) return findBugs(CANARIES.filter(({ name }) => name === flags.bug))
  if (flags.seed !== undefined) return replay(flags.seed, flags.trace === true)
  const [first = 1, last = first] = flags.seeds.split('-').map(Number)
  return checkSeeds(first, last)
}

async function replay(seed: number, isTraced: boolean): Promise<number> {
  const lines: string[] = []
  const result = await simulate(seed, (line) => {
    if (isTraced) process.stdout.write(`${line}\n`)
    else if (lines.push(line) > 2 * LAST_EVENTS) lines.splice(0, LAST_EVENTS)
  })
  if (result.violation !== null) {
    if (!isTraced) process.stdout.write(`${lines.slice(-LAST_EVENTS).join('\n')}\n`)
    process.stdout.write(`\n${result.state}\n\nseed ${seed}: ${result.violation}\n`)
    return 1
  }
  process.stdout.write(`${describe([result])}\n`)
  return 0
}

async function checkSeeds(first: number, last: number): Promise<number> {
  const { results, failed, seconds } = await runSeeds(first, last, COMPILED)
  process.stdout.write(`${describe(results)}\n`)
  const rate = (results.length / seconds).toFixed(1)
  process.stdout.write(`${results.length} seeds in ${seconds.toFixed(1)} s, ${rate} a second\n`)
  const undecided = results.filter(({ isUndecided }) => isUndecided).map(({ seed }) => seed)
  if (undecided.length > 0) {
    process.stdout.write(`${undecided.length} histories undecided: seeds ${undecided.join(' ')}\n`)
  }
  if (failed === null) {
    process.stdout.write('0 violations\n')
    return 0
  }
  process.stdout.write('\n1 violation; the same seed again:\n\n')
  await replay(failed.seed, false)
  return 1
}

async function findBugs(canaries: readonly Canary[]): Promise<number> {
  if (canaries.length === 0) throw new Error('no such bug: see --help')
  let missedCount = 0
  process.stdout.write('| bug | what | found after seeds | in | by |\n|---|---|---|---|---|\n')
  for (const canary of canaries) {
    const { results, failed, seconds } = await runSeeds(1, BUG_SEEDS_MAX, plant(canary, COMPILED))
    const checker = failed?.violation?.split(':')[0] ?? ''
    if (failed === null) missedCount++
    const count = failed === null ? `not in ${results.length}` : results.length
    const time = `${seconds.toFixed(0)} s`
    process.stdout.write(`| ${canary.name} | ${canary.what} | ${count} | ${time} | ${checker} |\n`)
  }
  return missedCount === 0 ? 0 : 1
}

/** Runs seeds, spread over the processors, up to the first violation. */
async function runSeeds(first: number, last: number, compiled: string): Promise<Run> {
  const step = Math.max(1, Math.min(availableParallelism(), last - first + 1))
  const startMs = performance.now()
  const results: SimulationResult[] = []
  let failed: SimulationResult | null = null
  const workers: Worker[] = []
  const main = pathToFileURL(join(compiled, 'test', 'simulation', 'main.js'))
  await new Promise<void>((resolve, reject) => {
    for (let at = 0; at < step; at++) {
      const task: WorkerTask = { first: first + at, last, step }
      const worker = new Worker(main, {
        workerData: task,
        resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MB },
      })
      workers.push(worker)
      worker.on('error', reject)
      worker.on('message', (result: SimulationResult) => {
        results.push(result)
        if (result.violation !== null) failed ??= result
        if (failed !== null || results.length === last - first + 1) resolve()
        if (results.length % 1_000 === 0) process.stderr.write(`${results.length} seeds\n`)
      })
    }
  })
  for (const worker of workers) await worker.terminate()
  return { results, failed, seconds: (performance.now() - startMs) / 1000 }
}

async function work({ first, last, step }: WorkerTask): Promise<void> {
  for (let seed = first; seed <= last; seed += step) parentPort?.postMessage(await simulate(seed))
}

function describe(results: readonly SimulationResult[]): string {
  const counts = new Map<string, number>()
  const total = { operationCount: 0, storedCount: 0, refusedCount: 0, unknownCount: 0 }
  let events = 0
  let leases = 0
  let operationsMin = Number.POSITIVE_INFINITY
  let faultsMin = Number.POSITIVE_INFINITY
  for (const { faults, stats, eventCount, leaseCount } of results) {
    for (const [kind, count] of faults) counts.set(kind, (counts.get(kind) ?? 0) + count)
    for (const name of Object.keys(total) as (keyof typeof total)[]) total[name] += stats[name]
    events += eventCount
    leases += leaseCount
    operationsMin = Math.min(operationsMin, stats.operationCount)
    const faultCount = [...faults.values()].reduce((a, b) => a + b, 0)
    faultsMin = Math.min(faultsMin, faultCount)
  }
  const faults = [...counts].sort((a, b) => b[1] - a[1]).map(([kind, count]) => `${kind} ${count}`)
  const sum = [...counts.values()].reduce((a, b) => a + b, 0)
  return [
    `${sum} faults: ${faults.join(', ')}`,
    `${total.operationCount} operations checked: ${total.storedCount} stored, ${total.refusedCount} refused, ${total.unknownCount} of unknown outcome; ${events} events, ${Math.round((100 * leases) / events)} % under a lease`,
    `at least ${operationsMin} operations and ${faultsMin} faults a seed`,
  ].join('\n')
}
