/**
 * Client libraries, unchanged, at the leader and at a follower, through the death of leaders.
 *
 * One kill -9 of the leader meets all programs at work; with LONG=1 five leaders die. Half of
 * the libraries are at one follower, half at the other: one of them leads next, the other
 * forwards to it. The leader that was killed comes back under its address, and its libraries
 * with it.
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
/** Scenarios that run at once, and how often one is begun. */
const AT_ONCE = 6
const ATTEMPTS = 5
/** Less than the programs allow their libraries: who waits for a leader gets an answer. */
const REQUEST_TIMEOUT_MS = 8_000

const missing = LIBRARIES.filter((library) => !library.isInstalled())
const installed = LIBRARIES.filter((library) => !missing.includes(library))
const places = process.env.MEMCACHED ? ['memcached'] : ['the leader', 'a follower']

/** A library at a place, and what became of its program there. */
class Run {
  program: Program | null = null
  kept = ''
  error: unknown = null
  readonly library: Library
  readonly place: string
  readonly #port: number
  #attempts = 0

  constructor(library: Library, place: string, port: number) {
    this.library = library
    this.place = place
    this.#port = port
  }

  /**
   * Begins the program, and resolves when its scenario is over and it writes. Where a leader
   * changed meanwhile (the machine may have much else to do), outcomes may rightly have been
   * unknown: the scenario is begun anew, with other keys.
   */
  async begin(): Promise<void> {
    const term = await termNow()
    const name = `${this.library.name}-${this.place}`.replace(/[^A-Za-z-]/g, '')
    const prefix = `${name}-${++this.#attempts}-`
    const [command, ...args] = this.library.command(`127.0.0.1:${this.#port}`, prefix)
    this.program = new Program(command, args)
    await this.program.hear(/^writing\n/m).catch(async (error) => {
      if (this.#attempts === ATTEMPTS || term === (await termNow())) throw error
      await this.program?.stop()
      await this.begin()
    })
  }

  /** Its program's next step, if it has got so far. */
  async go(step: (program: Program) => Promise<unknown>): Promise<void> {
    if (this.error !== null || this.program === null) return
    await step(this.program).catch((error) => {
      this.error = error
    })
  }
}

let cluster: TestCluster | undefined
let memcached: ChildProcess | undefined
const runs: Run[] = []

async function termNow(): Promise<number> {
  const members = (await cluster?.status())?.members ?? []
  return Math.max(...members.map(({ term }) => term ?? 0))
}

async function startMemcached(): Promise<void> {
  const port = await freePorts(1)
  const args = ['-p', port, '-l', '127.0.0.1', '-u', 'nobody'].map(String)
  memcached = spawn('memcached', args, { stdio: 'ignore' })
  await eventually('memcached', () => {
    const socket = net.connect(port, '127.0.0.1')
    return new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    }).finally(() => socket.destroy())
  })
  for (const library of installed) runs.push(new Run(library, 'memcached', port))
}

async function startCluster(): Promise<void> {
  cluster = await TestCluster.start(3, '--request-timeout', String(REQUEST_TIMEOUT_MS))
  const leader = await cluster.leader()
  const followers = cluster.servers.filter((server) => server !== leader)
  for (const [at, library] of installed.entries()) {
    const follower = followers[at % 2] as ServerProcess
    runs.push(new Run(library, 'the leader', leader.cport))
    runs.push(new Run(library, 'a follower', follower.cport))
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
  await (process.env.MEMCACHED ? startMemcached() : startCluster())
  for (let at = 0; at < runs.length; at += AT_ONCE) {
    const begun = runs.slice(at, at + AT_ONCE)
    await Promise.all(
      begun.map((run) =>
        run.begin().catch((error) => {
          run.error = error
        }),
      ),
    )
  }
  for (let death = 0; cluster && death < DEATHS; death++) await killLeader(cluster)
  await Promise.all(
    runs.map((run) =>
      run.go(async (program) => {
        program.say('settled')
        run.kept = await program.hear(/^kept .*\n/m)
      }),
    ),
  )
  for (const run of runs) {
    // One by one: each takes everybody's items.
    await run.go((program) => {
      program.say('flush')
      return program.hear(/^done\n/m)
    })
  }
}, 300_000)

afterAll(async () => {
  await Promise.all(runs.map(({ program }) => program?.stop()))
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
