/**
 * npm run sim -- --seeds 1-500      runs those seeds
 * npm run sim -- --seed 17 --trace  replays one, every event as a line of text
 *
 * Exit status 1 at the first violation, with the seed, the checker that spoke,
 * and the last events.
 */
import { availableParallelism } from 'node:os'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { Command } from 'commander'
import { type SimulationResult, simulate } from './simulation.ts'

const LAST_EVENTS = 80

interface Flags {
  readonly seeds?: string
  readonly seed?: number
  readonly trace?: boolean
}

interface WorkerTask {
  readonly first: number
  readonly last: number
  readonly step: number
}

if (isMainThread) await main()
else await work(workerData as WorkerTask)

async function main(): Promise<void> {
  const program = new Command('sim')
    .description('Runs the cluster under simulated time and faults, from seeds.')
    .option('--seeds <first-last>', 'seeds to run', '1-200')
    .option('--seed <number>', 'one seed', Number)
    .option('--trace', 'print every event')
    .parse()
  const flags = program.opts<Flags>()
  if (flags.seed !== undefined) {
    process.exitCode = await replay(flags.seed, flags.trace === true)
    return
  }
  const [first = 1, last = first] = (flags.seeds ?? '').split('-').map(Number)
  process.exitCode = await runSeeds(first, last)
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

async function runSeeds(first: number, last: number): Promise<number> {
  const step = Math.max(1, Math.min(availableParallelism(), last - first + 1))
  const startMs = performance.now()
  const results: SimulationResult[] = []
  let failed: SimulationResult | null = null
  const workers: Worker[] = []
  await new Promise<void>((resolve, reject) => {
    for (let at = 0; at < step; at++) {
      const task: WorkerTask = { first: first + at, last, step }
      const worker = new Worker(new URL(import.meta.url), { workerData: task })
      workers.push(worker)
      worker.on('error', reject)
      worker.on('message', (result: SimulationResult) => {
        results.push(result)
        if (result.violation !== null) {
          failed ??= result
          resolve()
        } else if (results.length === last - first + 1) resolve()
        if (results.length % 1_000 === 0) process.stderr.write(`${results.length} seeds\n`)
      })
    }
  })
  for (const worker of workers) await worker.terminate()
  const seconds = (performance.now() - startMs) / 1000
  process.stdout.write(`${describe(results)}\n`)
  process.stdout.write(
    `${results.length} seeds in ${seconds.toFixed(1)} s, ${(results.length / seconds).toFixed(1)} a second\n`,
  )
  if (failed === null) {
    process.stdout.write('0 violations\n')
    return 0
  }
  process.stdout.write('\n1 violation; the same seed again:\n\n')
  await replay((failed as SimulationResult).seed, false)
  return 1
}

async function work({ first, last, step }: WorkerTask): Promise<void> {
  for (let seed = first; seed <= last; seed += step) parentPort?.postMessage(await simulate(seed))
}

function describe(results: readonly SimulationResult[]): string {
  const counts = new Map<string, number>()
  const total = { operationCount: 0, storedCount: 0, refusedCount: 0, unknownCount: 0 }
  let events = 0
  for (const { faults, stats, eventCount } of results) {
    for (const [kind, count] of faults) counts.set(kind, (counts.get(kind) ?? 0) + count)
    for (const name of Object.keys(total) as (keyof typeof total)[]) total[name] += stats[name]
    events += eventCount
  }
  const faults = [...counts].sort((a, b) => b[1] - a[1]).map(([kind, count]) => `${kind} ${count}`)
  const sum = [...counts.values()].reduce((a, b) => a + b, 0)
  return [
    `${sum} faults: ${faults.join(', ')}`,
    `${total.operationCount} operations checked: ${total.storedCount} stored, ${total.refusedCount} refused, ${total.unknownCount} of unknown outcome; ${events} events`,
  ].join('\n')
}
