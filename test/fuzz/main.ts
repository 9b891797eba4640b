/**
 * npm run fuzz -- --inputs 10000000            one of a hundred against a live server
 *   --seed 1                                   from this seed on
 *   --live HOST:PORT                           that server, instead of a cluster of its own
 *
 * Feeds the decoder and a real server what nobody would send on purpose. Exit status 1
 * with the input that showed a fault.
 */
import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import { parseCount } from '../../bin/run.ts'
import { TestCluster } from '../e2e/cluster.ts'
import { fuzzDecoder, fuzzEndlessStreams } from './decoder.ts'
import { fuzzLive, type Target } from './live.ts'

/** Of a server that holds next to nothing. */
const RSS_BYTES_MAX = 768 * 1024 * 1024
const PARALLEL = 16
const ENDLESS_BYTES = 64 * 1024 * 1024

const flags = new Command('fuzz')
  .description('Feeds the decoder and a live server what nobody would send on purpose.')
  .option('--inputs <count>', 'how many', parseCount, 10_000_000)
  .option('--seed <number>', 'the first one', parseCount, 1)
  .option('--live <host:port>', 'a server that is running')
  .parse()
  .opts<{ inputs: number; seed: number; live?: string }>()

const print = (line: string) => void process.stdout.write(`${line}\n`)
const { inputs, seed } = flags
const liveCount = Math.ceil(inputs / 100)

let stopCluster = async () => {}
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => void stopCluster().finally(() => process.exit(130)))
}

try {
  await timed(`${liveCount} inputs to a live server`, fuzzServer)
  await timed('streams without end', async () =>
    print(`held at most ${fuzzEndlessStreams(ENDLESS_BYTES)} bytes`),
  )
  const decoderCount = inputs - liveCount
  await timed(`${decoderCount} inputs to the decoder`, async () => {
    fuzzDecoder(seed, decoderCount, (done) => print(`  ${done}`))
  })
} catch (error) {
  print(error instanceof Error ? error.message : String(error))
  process.exitCode = 1
} finally {
  await stopCluster()
}

async function fuzzServer(): Promise<void> {
  const [, host, port] = /^(.+):(\d+)$/.exec(flags.live ?? '') ?? []
  if (host !== undefined) return fuzzTarget({ host, port: Number(port) }, () => {})
  const cluster = await TestCluster.start(3)
  stopCluster = () => cluster.stop()
  const { servers } = cluster
  const leader = await cluster.leader()
  await fuzzTarget({ host: leader.place.cip, port: leader.cport }, () => {
    for (const { process: child } of servers) {
      if (!child?.pid || child.exitCode !== null) throw new Error('a server has died')
      const bytes = rssBytes(child.pid)
      if (bytes > RSS_BYTES_MAX) throw new Error(`a server has grown to ${bytes} bytes`)
    }
  })
  const mebibytes = servers.map(({ process: child }) =>
    Math.round(rssBytes(child?.pid ?? 0) / 2 ** 20),
  )
  print(`resident, in MiB: ${mebibytes.join(', ')}`)
}

function fuzzTarget(target: Target, check: () => void): Promise<void> {
  return fuzzLive(target, seed, liveCount, PARALLEL, (done) => {
    check()
    if (done % 10_000 === 0) print(`  ${done}`)
  })
}

function rssBytes(pid: number): number {
  const [, kibibytes] =
    /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
  return Number(kibibytes) * 1024
}

async function timed(what: string, run: () => Promise<void>): Promise<void> {
  const startMs = performance.now()
  await run()
  print(`${what}: ${((performance.now() - startMs) / 1_000).toFixed(1)} s`)
}
