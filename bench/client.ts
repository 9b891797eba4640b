/**
 * The client library beside others, on the same cluster's leader.
 *
 *     npm run bench:client -- --rounds 3 --seconds 2 --in-flight 50
 *
 * Three servers (real processes, on loopback); in each round every library does every kind of
 * work, each time in a process of its own, so that none has the other's garbage and compiled
 * code. What is printed are medians over the rounds, and the rate in that of each other
 * library, of which both were measured one after the other.
 */
import { fork } from 'node:child_process'
import { join } from 'node:path'
import { Command } from 'commander'
import { parseCount, runCommand } from '../bin/run.ts'
import { type ServerProcess, TestCluster } from '../test/e2e/cluster.ts'
import { atEnd, endOnSignals } from './ending.ts'
import { LIBRARIES, type LibraryJob, type LibraryResult, WORKS } from './libraries/library.ts'
import type { Endpoint } from './load/job.ts'
import { say } from './measure.ts'
import { median } from './results.ts'
import { alignRight } from './table.ts'

const PROGRAM = join(import.meta.dirname, 'libraries', 'load.js')
const KEY_COUNT = 1_000
const VALUE_BYTES = 100
const OURS = 'raftcached'
/** What its rate has to be in that of the package memcached. */
const MUST = 1.5

interface Flags {
  readonly rounds: number
  readonly seconds: number
  readonly warmUp: number
  readonly inFlight: number
  readonly only: string
  readonly works: string
}

const flags = new Command('bench:client')
  .description('Measures the client library against others.')
  .option('--rounds <count>', 'measurements of each library in each work', parseCount, 3)
  .option('--seconds <count>', 'of a measurement', Number, 2)
  .option('--warm-up <seconds>', 'before each measurement', Number, 1)
  .option('--in-flight <count>', 'calls at once', parseCount, 50)
  .option('--only <regex>', 'only libraries whose names match', '')
  .option('--works <regex>', 'only work whose name matches', '')
  .parse()
  .opts<Flags>()

const names = Object.keys(LIBRARIES).filter((name) => new RegExp(flags.only).test(name))
const works = WORKS.filter((work) => new RegExp(flags.works).test(work))

endOnSignals()
await runCommand('bench:client', async () => {
  const cluster = await TestCluster.start(3)
  const stop = atEnd(() => cluster.stop())
  try {
    const seen = await measureAll(cluster)
    say(describe(seen))
  } finally {
    await stop()
  }
})

type Seen = ReadonlyMap<string, readonly LibraryResult[]>

async function measureAll(cluster: TestCluster): Promise<Map<string, LibraryResult[]>> {
  const seen = new Map<string, LibraryResult[]>()
  for (let round = 0; round < flags.rounds; round++) {
    for (const work of works) {
      for (const library of names) {
        const servers = {
          balancer: { host: '127.0.0.1', port: cluster.lbcport },
          leader: endpointOf(await cluster.leader()),
        }
        const result = await measure({
          ...{ library, work, servers, inFlight: flags.inFlight, keyCount: KEY_COUNT },
          ...{ valueBytes: VALUE_BYTES, warmUpMs: 1_000 * flags.warmUp },
          measureMs: 1_000 * flags.seconds,
        })
        if (result.error) throw new Error(`${library}, ${work}: ${result.error}`)
        seen.set(`${work} ${library}`, [...(seen.get(`${work} ${library}`) ?? []), result])
      }
    }
    say(`round ${round + 1} of ${flags.rounds} done`)
  }
  return seen
}

function measure(job: LibraryJob): Promise<LibraryResult> {
  return new Promise((resolve, reject) => {
    const child = fork(PROGRAM)
    child.once('message', (result) => resolve(result as LibraryResult))
    child.once('error', reject)
    child.once('exit', (code) => reject(new Error(`a program ended early (${code})`)))
    child.send(job)
  })
}

function describe(seen: Seen): string {
  const lines = works.flatMap((work) => names.map((name) => cells(seen, work, name)))
  return alignRight([['', '', 'calls/s', 'CPU us/call', 'ours is', ''], ...lines])
}

function cells(seen: Seen, work: string, name: string): string[] {
  const resultsOf = (library: string) => seen.get(`${work} ${library}`) ?? []
  const results = resultsOf(name)
  const ours = resultsOf(OURS)
  const first = name === names[0] ? work : ''
  const rate = String(Math.round(median(results.map(({ rate }) => rate))))
  const cpu = median(results.map(({ cpuUs }) => cpuUs)).toFixed(1)
  if (name === OURS || ours.length === 0) return [first, name, rate, cpu, '', '']
  const ratio = median(results.map(({ rate }, round) => (ours[round]?.rate ?? 0) / rate))
  const isHeld = ratio >= MUST ? 'holds' : 'NOT REACHED'
  const verdict = name.startsWith('memcached') ? isHeld : ''
  return [first, name, rate, cpu, `${ratio.toFixed(2)} x`, verdict]
}

function endpointOf({ place, cport }: ServerProcess): Endpoint {
  return { host: place.cip, port: cport }
}
