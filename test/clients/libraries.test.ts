/**
 * Client libraries, unchanged, at the leader and at a follower, through the death of leaders.
 *
 * All programs run at once, so that one kill -9 of the leader meets all of them at work; with
 * LONG=1 five leaders die. Half of the libraries are at one follower, half at the other: one of
 * them leads next, the other forwards to it. The leader that was killed comes back under its
 * address, and its libraries with it.
 *
 * MEMCACHED=1 has the same programs meet a real memcached, which nobody kills: what fails there
 * is the program's fault.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import net from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { eventually, freePorts, kill, type ServerProcess, TestCluster } from '../e2e/cluster.ts'
import { LIBRARIES, type Library } from './libraries.ts'
import { Program } from './program.ts'

const DEATHS = process.env.LONG ? 5 : 1

const missing = LIBRARIES.filter((library) => !library.isInstalled())
const installed = LIBRARIES.filter((library) => !missing.includes(library))
const places = process.env.MEMCACHED ? ['memcached'] : ['the leader', 'a follower']

/** What became of a library's program at a place. */
interface Run {
  readonly library: Library
  readonly place: string
  readonly program: Program
  kept: string
  error: unknown
}

let cluster: TestCluster | undefined
let memcached: ChildProcess | undefined
const runs: Run[] = []

function start(library: Library, place: string, port: number): void {
  const prefix = `${library.name}-${place}-`.replace(/[^A-Za-z-]/g, '')
  const [command, ...args] = library.command(`127.0.0.1:${port}`, prefix)
  runs.push({ library, place, program: new Program(command, args), kept: '', error: null })
}

/** The next step of all programs that have got so far. */
async function forAll(step: (run: Run) => Promise<unknown>): Promise<void> {
  const going = runs.filter(({ error }) => error === null)
  await Promise.all(
    going.map((run) =>
      step(run).catch((error) => {
        run.error = error
      }),
    ),
  )
}

async function startAtMemcached(): Promise<void> {
  const port = await freePorts(1)
  const args = ['-p', port, '-l', '127.0.0.1', '-u', 'nobody'].map(String)
  memcached = spawn('memcached', args, { stdio: 'ignore' })
  await eventually('memcached', () => {
    const socket = net.connect(port, '127.0.0.1')
    return new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    }).finally(() => socket.destroy())
  })
  for (const library of installed) start(library, 'memcached', port)
}

async function startAtCluster(): Promise<void> {
  cluster = await TestCluster.start()
  const leader = await cluster.leader()
  const followers = cluster.servers.filter((server) => server !== leader)
  for (const [at, library] of installed.entries()) {
    start(library, 'the leader', leader.cport)
    start(library, 'a follower', (followers[at % 2] as ServerProcess).cport)
  }
}

async function killLeader(cluster: TestCluster): Promise<void> {
  const leader = await cluster.leader()
  await cluster.killServer(leader)
  await cluster.leader()
  cluster.startServer(leader)
  await cluster.ready()
}

beforeAll(async () => {
  await (process.env.MEMCACHED ? startAtMemcached() : startAtCluster())
  await forAll(({ program }) => program.hear(/^writing\n/m))
  for (let death = 0; cluster && death < DEATHS; death++) await killLeader(cluster)
  await forAll(async (run) => {
    run.program.say('settled')
    run.kept = await run.program.hear(/^kept .*\n/m)
  })
  for (const { error, program } of runs) {
    // Each for itself: it takes everybody's items.
    if (error !== null) continue
    program.say('flush')
    await program.hear(/^done\n/m).catch(() => {})
  }
  await forAll(({ program }) => program.hear(/^done\n/m))
}, 240_000)

afterAll(async () => {
  await Promise.all(runs.map(({ program }) => program.stop()))
  await kill(memcached ?? null)
  await cluster?.stop()
})

for (const library of installed) {
  test.each(places)(`${library.name} at %s`, async (place) => {
    const run = runs.find((run) => run.library === library && run.place === place)
    if (run?.error) throw run.error
    expect(run?.kept).toMatch(/^kept \d+, \d+ failed\n$/)
  })
}

for (const { name, packages } of missing) {
  test.skip(`${name}: needs apt-get install ${packages}`, () => {})
}
