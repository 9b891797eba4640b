/**
 * The client library beside others, on the same cluster's leader.
 *
 *     npm run bench:client -- --rounds 15 --seconds 0.5 --in-flight 50
 *
 * Three servers (real processes, on loopback), and for each kind of work a program for each
 * library, so that none has the other's garbage and compiled code. They work one after the
 * other, each for a short while, again and again: what else the machine has to do meets all
 * alike. What is printed are medians over the rounds, of ratios too.
 */
import { Command } from 'commander'
import { parseCount, runCommand } from '../bin/run.ts'
import { type ServerProcess, TestCluster } from '../test/e2e/cluster.ts'
import { atEnd, endOnSignals } from './ending.ts'
import { LIBRARIES, type LibraryJob, type LibraryResult, WORKS } from './libraries/library.ts'
import { LibraryProgram } from './libraries/program.ts'
import type { Endpoint } from './load/job.ts'
import { say } from './measure.ts'
import { median } from './results.ts'
import { alignRight } from './table.ts'

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
  .option('--rounds <count>', 'measurements of each library in each work', parseCount, 15)
  .option('--seconds <count>', 'of a measurement', Number, 0.5)
  .option('--warm-up <seconds>', 'of each library in each work', Number, 1)
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
    say(describe(await measureAll(cluster)))
  } finally {
    await stop()
  }
})

type Seen = ReadonlyMap<string, readonly LibraryResult[]>

async function measureAll(cluster: TestCluster): Promise<Map<string, LibraryResult[]>> {
  const seen = new Map<string, LibraryResult[]>()
  const servers = {
    balancer: { host: '127.0.0.1', port: cluster.lbcport },
    leader: endpointOf(await cluster.leader()),
  }
  for (const work of works) {
    const programs = new Map<string, LibraryProgram>()
    try {
      for (const library of names) programs.set(library, await start({ library, work, servers }))
      for (let round = 0; round < flags.rounds; round++) {
        for (const [library, program] of programs) {
          const name = `${work} ${library}`
          seen.set(name, [...(seen.get(name) ?? []), await program.measure()])
        }
      }
    } finally {
      for (const program of programs.values()) program.end()
    }
  }
  return seen
}

function start(job: Pick<LibraryJob, 'library' | 'work' | 'servers'>): Promise<LibraryProgram> {
  return LibraryProgram.start({
    ...{ ...job, inFlight: flags.inFlight, keyCount: KEY_COUNT, valueBytes: VALUE_BYTES },
    ...{ warmUpMs: 1_000 * flags.warmUp, measureMs: 1_000 * flags.seconds },
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
