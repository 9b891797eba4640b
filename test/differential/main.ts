/**
 * npm run differential -- --memcached PATH                 a program to be started
 * npm run differential -- --memcached HOST:PORT            or one that is running
 *   --sequences 100000 --seed 1                            so many, from this seed on
 *   --follower                                             ask a follower, not the leader
 *   --against PATH|HOST:PORT                               another memcached, for a check of the check
 *
 * Random sequences of requests against memcached and against a real cluster of three
 * servers; every reply must be the same, byte for byte, but for what even.ts replaces
 * and what differences.ts names. Exit status 1 where one is not.
 */
import { Command } from 'commander'
import { parseCount } from '../../bin/run.ts'
import { TestCluster } from '../e2e/cluster.ts'
import { Comparison, describeFinding } from './comparison.ts'
import type { Endpoint } from './conversation.ts'
import { differencesFrom, Excuses } from './differences.ts'
import { startReference } from './reference.ts'

interface Flags {
  readonly memcached: string
  readonly sequences: number
  readonly seed: number
  readonly parallel: number
  readonly follower?: boolean
  readonly against?: string
}

const flags = new Command('differential')
  .description('Compares what memcached answers with what this store does.')
  .requiredOption('--memcached <path|host:port>', 'the memcached to compare with')
  .option('--sequences <count>', 'how many', parseCount, 100_000)
  .option('--seed <number>', 'the first one', parseCount, 1)
  .option('--parallel <count>', 'how many at once', parseCount, 32)
  .option('--follower', 'compare with a follower')
  .option('--against <path|host:port>', 'compare with another memcached instead of this store')
  .parse()
  .opts<Flags>()

const print = (line: string) => void process.stdout.write(`${line}\n`)

const ends: (() => Promise<void>)[] = []
let ending: Promise<void> | null = null
/** A signal and the error it makes both wait for the one end: no process is left behind. */
const endAll = () => {
  ending ??= (async () => {
    for (let end = ends.pop(); end; end = ends.pop()) await end()
  })()
  return ending
}
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => void endAll().then(() => process.exit(130)))
}

try {
  const reference = await startReference(flags.memcached)
  ends.push(reference.stop)
  const subject = await startSubject()
  process.exitCode = (await compare(reference.endpoint, subject, reference.version)) ? 0 : 1
} finally {
  await endAll()
}

async function startSubject(): Promise<Endpoint> {
  if (flags.against !== undefined) {
    const other = await startReference(flags.against)
    ends.push(other.stop)
    return other.endpoint
  }
  const cluster = await TestCluster.start(3)
  ends.push(() => cluster.stop())
  const leader = await cluster.leader()
  const follower = cluster.servers.find((server) => server !== leader)
  const { place, cport } = (flags.follower ? follower : leader) ?? leader
  return { host: place.cip, port: cport, isMemcached: false }
}

async function compare(reference: Endpoint, subject: Endpoint, version: string): Promise<boolean> {
  const excuses = new Excuses(differencesFrom(version, flags.follower))
  const startMs = performance.now()
  let requests = 0
  const differing = await new Comparison(reference, subject).run({
    firstSeed: flags.seed,
    count: flags.sequences,
    parallel: flags.parallel,
    isExcused: excuses.isExcused,
    onFinding: (finding) => print(describeFinding(finding)),
    onProgress: (done, requestCount) => {
      requests = requestCount
      if (done % 10_000 === 0) print(`${done} sequences, ${requestCount} requests`)
    },
  })
  const seconds = (performance.now() - startMs) / 1_000
  print(
    `${flags.sequences} sequences of ${requests} requests against memcached ${version} in ` +
      `${seconds.toFixed(0)} s (${(flags.sequences / seconds).toFixed(0)} a second): ${differing} differ`,
  )
  for (const [name, times] of excuses.counts) print(`left out ${times} times: ${name}`)
  return differing === 0
}
