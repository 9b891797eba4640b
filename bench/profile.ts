/**
 * npm run bench:profile -- --row 'write 50x16'     where the time goes
 *   --seconds 10 --warm-up 2 --out DIR --top 30
 *
 * Runs a row against this store with Node's CPU profiler in each server, and leaves what
 * that writes at the end, leader.cpuprofile and follower.cpuprofile: a browser's tools for
 * developers, or an editor, open them. Prints the functions in which the leader was most of
 * the time. The profiles are of the whole life of the servers: long runs drown the start.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { Command } from 'commander'
import { parseCount, runCommand } from '../bin/run.ts'
import { type ServerProcess, TestCluster } from '../test/e2e/cluster.ts'
import { type CpuProfile, describeSelfTimes, selfTimes } from './cpu-profile.ts'
import { atEnd, endOnSignals } from './ending.ts'
import { say } from './measure.ts'
import { fill, measure } from './measurement.ts'
import { summarize } from './results.ts'
import { findRow, type Row } from './rows.ts'
import { READY_MS } from './systems/programs.ts'
import { Raftcached, readUnderLease } from './systems/raftcached.ts'
import type { System } from './systems/system.ts'
import { describeResults } from './table.ts'

interface Flags {
  readonly row: string
  readonly seconds: number
  readonly warmUp: number
  readonly out: string
  readonly top: number
}

const { row, seconds, warmUp, out, top } = new Command('bench:profile')
  .description('Profiles this store under load.')
  .option('--row <name>', 'what load, by its name in bench/rows.ts', 'write 50x16')
  .option('--seconds <count>', 'how long', Number, 10)
  .option('--warm-up <seconds>', 'before that', Number, 2)
  .option('--out <dir>', 'where the profiles are left', './profiles')
  .option('--top <count>', 'so many functions are printed', parseCount, 30)
  .parse()
  .opts<Flags>()

const HOST = '127.0.0.1'

const NAMES = ['srv-1', 'srv-2', 'srv-3']

endOnSignals()
await runCommand('bench:profile', async () => {
  const found = findRow(row)
  mkdirSync(out, { recursive: true })
  const written = mkdtempSync(join(out, 'written-'))
  const removeWritten = atEnd(async () => rmSync(written, { recursive: true }))
  const place = { cip: HOST, sip: HOST, command: [] }
  const cluster = await TestCluster.launch({
    balancer: place,
    servers: NAMES.map((name) => ({
      ...place,
      nodeFlags: ['--cpu-prof', `--cpu-prof-dir=${join(written, name)}`],
    })),
  })
  const system = new Raftcached(cluster)
  try {
    await cluster.ready(READY_MS)
    if (found.reads === 'lease') await readUnderLease(cluster)
    await profile(cluster, system, found, written)
  } finally {
    await system.stop()
    await removeWritten()
  }
})

async function profile(
  cluster: TestCluster,
  system: System,
  row: Row,
  written: string,
): Promise<void> {
  await fill(system, row)
  const plan = { warmUpMs: 1_000 * warmUp, measureMs: 1_000 * seconds, generatorCount: 1 }
  const measurement = await measure(system, row, plan, null)
  say(describeResults([{ row, subjects: [summarize('raftcached', [measurement])] }]))

  const leader = await cluster.leader()
  const followers = cluster.servers.filter((server) => server !== leader)
  // Followers first: nobody has to take over.
  for (const server of followers) await cluster.killServer(server, 'SIGTERM')
  await cluster.killServer(leader, 'SIGTERM')
  const [follower] = followers
  if (follower) say(take(cluster, follower, written, 'follower'))
  const path = take(cluster, leader, written, 'leader')
  say(`${path}\n\nThe leader's time, without what it was idle:`)
  const read: CpuProfile = JSON.parse(readFileSync(path, 'utf8'))
  say(describeSelfTimes(selfTimes(read), top))
}

/** The profile that a server wrote, under its name from now on. */
function take(
  { servers }: TestCluster,
  server: ServerProcess,
  written: string,
  role: string,
): string {
  const directory = join(written, NAMES[servers.indexOf(server)] ?? '')
  const file = readdirSync(directory).find((name) => name.endsWith('.cpuprofile'))
  if (file === undefined) throw new Error(`no profile in ${directory}`)
  const path = join(out, `${role}.cpuprofile`)
  renameSync(join(directory, file), path)
  return path
}
