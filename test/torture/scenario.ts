/**
 * One scenario: a cluster, clients, a nemesis for some time; then peace, in which
 * every server must come to say the same, and a check of all that was heard.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { ReadMode } from '../../src/protocol/status.ts'
import { type Places, TestCluster } from '../e2e/cluster.ts'
import { byKey } from '../simulation/linearizability.ts'
import { Clients, readAll } from './clients.ts'
import { History } from './history.ts'
import { type Fault, type FaultEvent, Nemesis } from './nemesis.ts'

const READY_MS = 30_000
/** In peace, with clients. */
const PEACE_MS = 1_500
/**
 * A server gives up a request after 2 s: what is unknown until then happens now or never; and
 * what is to expire or to be flushed does so within 3 s more, so that none goes between two reads.
 */
const SETTLE_MS = 7_000
const DEATH_WATCH_MS = 100
const LINES_MAX = 60

export interface ScenarioOptions {
  readonly name: string
  readonly seconds: number
  readonly places: Places
  readonly reads: ReadMode
  readonly faults: (cluster: TestCluster, nemesis: Nemesis) => readonly Fault[]
  readonly print: (line: string) => void
  /** Called if all must end at once; to be awaited. */
  readonly onStart: (end: () => Promise<void>) => void
}

/** @returns whether all was well. */
export async function runScenario(options: ScenarioOptions): Promise<boolean> {
  const { name, seconds, print } = options
  const servers = `${options.places.servers.length} servers, reads by ${options.reads}`
  print(`${name}: ${servers}, ${seconds} s of faults`)
  // Servers that stop for long are evicted, and come back.
  const cluster = await TestCluster.launch(options.places, '--evict-after', '5000')
  options.onStart(async () => {
    await cluster.killAll()
    rmSync(cluster.directory, { recursive: true, force: true })
  })
  const scenario = new Scenario(cluster, options)
  let problems: string[]
  try {
    await cluster.ready(READY_MS)
    await cluster.setReads(options.reads)
    problems = await scenario.run()
  } catch (error) {
    problems = [`did not come to an end: ${error instanceof Error ? error.stack : error}`]
  }
  const status = await cluster.status().catch(String)
  await cluster.killAll()
  for (const line of scenario.report()) print(`  ${line}`)
  if (problems.length === 0) {
    await cluster.stop()
    print('  0 violations')
    return true
  }
  for (const problem of problems) print(`\n${problem}`)
  print(`\nstatus at the end: ${JSON.stringify(status)}`)
  print(`${problems.length} violations; kept: ${scenario.keepEvidence(problems)}`)
  return false
}

class Scenario {
  readonly #cluster: TestCluster
  readonly #options: ScenarioOptions
  readonly #history = new History()
  readonly #nemesis: Nemesis
  readonly #deaths: string[] = []
  #checked = ''

  constructor(cluster: TestCluster, options: ScenarioOptions) {
    this.#cluster = cluster
    this.#options = options
    this.#nemesis = new Nemesis(cluster, (nemesis) => options.faults(cluster, nemesis))
  }

  /** @returns what is wrong. */
  async run(): Promise<string[]> {
    const cluster = this.#cluster
    const history = this.#history
    const watch = setInterval(() => this.#watchForDeaths(), DEATH_WATCH_MS)
    history.start()
    const clients = new Clients(cluster.servers, history)
    const problems: string[] = []
    try {
      await this.#nemesis.run(performance.now() + this.#options.seconds * 1_000)
      await cluster.ready(READY_MS)
      await delay(PEACE_MS)
      history.countGap(performance.now())
      await clients.stop()
      await delay(SETTLE_MS)
      problems.push(...(await this.#finalReads()))
    } catch (error) {
      problems.push(`no peace after the faults: ${error instanceof Error ? error.message : error}`)
    } finally {
      clearInterval(watch)
      await clients.stop()
    }
    problems.push(...this.#deaths, ...this.#checkHistory())
    return problems
  }

  /** A process that ended without having been killed. */
  #watchForDeaths(): void {
    const all = [
      ...this.#cluster.servers.map(({ cport, process }) => [`server ${cport}`, process] as const),
      ['load balancer', this.#cluster.balancer] as const,
    ]
    for (const [who, child] of all) {
      if (!child || (child.exitCode === null && child.signalCode === null)) continue
      const what = `${who} ended by itself: ${child.exitCode ?? child.signalCode}`
      if (this.#deaths.includes(what)) continue
      this.#deaths.push(what)
      this.#nemesis.isStopped = true
    }
  }

  async #finalReads(): Promise<string[]> {
    const keys = [...byKey(this.#history.entries).keys()]
    const [first, ...others] = await Promise.all(
      this.#cluster.servers.map(async (server) => ({
        server,
        found: await readAll(server, keys, this.#history),
      })),
    )
    return others.flatMap(({ server, found }) =>
      keys
        .filter((key) => found.get(key) !== first?.found.get(key))
        .map(
          (key) =>
            `servers differ: ${key} is ${first?.found.get(key)} on ${first?.server.cport}, ` +
            `${found.get(key)} on ${server.cport}`,
        ),
    )
  }

  #checkHistory(): string[] {
    const startMs = performance.now()
    const history = this.#history
    const { keyCount, violations, undecidedKeys, longest } = history.check()
    const tookMs = Math.round(performance.now() - startMs)
    this.#checked =
      `checked ${keyCount} keys, at most ${longest} operations each, in ${tookMs} ms: ` +
      `${undecidedKeys.length} undecided`
    return [
      ...history.surprises.map((surprise) => `not an answer of memcached's: ${surprise}`),
      ...violations.map(({ key, unplaced, history: operations }) => {
        const isUnplaced = new Set<unknown>(unplaced)
        const lines = operations.map(
          (entry) => `${isUnplaced.has(entry) ? '>' : ' '} ${history.line(entry)}`,
        )
        const at = Math.max(0, lines.findIndex((line) => line.startsWith('>')) - LINES_MAX / 2)
        return [
          `${key} is not linearizable; no place found for those marked (start, end, client, server):`,
          ...lines.slice(at, at + LINES_MAX),
        ].join('\n')
      }),
    ]
  }

  report(): string[] {
    const history = this.#history
    const { gap, startMs } = history
    const names = count(this.#nemesis.events.map((event) => event.name))
    const operations = [...history.outcomes].map(([kind, outcomes]) => {
      const sorted = [...outcomes].sort((a, b) => b[1] - a[1])
      return `    ${kind}: ${sorted.map(([outcome, times]) => `${outcome} ${times}`).join(', ')}`
    })
    const total = [...history.outcomes.values()]
      .flatMap((outcomes) => [...outcomes.values()])
      .reduce((sum, times) => sum + times, 0)
    const meanwhile = this.#nemesis.events.filter(
      (event) => event.startMs < gap.untilMs && event.endMs > gap.sinceMs,
    )
    return [
      `${this.#nemesis.events.length} faults`,
      ...[...names].sort((a, b) => b[1] - a[1]).map(([fault, times]) => `    ${times} ${fault}`),
      `${total} operations`,
      ...operations.sort(),
      `longest time without an acknowledged write: ${Math.round(gap.untilMs - gap.sinceMs)} ms, ` +
        `${((gap.sinceMs - startMs) / 1_000).toFixed(1)} s after the start`,
      `    meanwhile: ${meanwhile.map((event) => this.#describe(event)).join('; ') || 'nothing'}`,
      this.#checked,
    ]
  }

  #describe({ name, startMs, endMs }: FaultEvent): string {
    const at = (ms: number) => ((ms - this.#history.startMs) / 1_000).toFixed(1)
    return `${name} (${at(startMs)} to ${at(endMs)} s)`
  }

  /** @returns the directory with the data, the history and what the processes wrote. */
  keepEvidence(problems: readonly string[]): string {
    const directory = join(this.#cluster.directory, 'torture')
    mkdirSync(directory, { recursive: true })
    const write = (file: string, lines: readonly string[]) =>
      writeFileSync(join(directory, file), `${lines.join('\n')}\n`)
    write('problems', problems)
    write('log', [this.#cluster.log])
    write(
      'faults',
      this.#nemesis.events.map((event) => this.#describe(event)),
    )
    write(
      'history',
      this.#history.entries.map((entry) => this.#history.line(entry)),
    )
    return this.#cluster.directory
  }
}

function count(names: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1)
  return counts
}
