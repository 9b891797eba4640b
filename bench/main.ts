/**
 * npm run bench                                    everything; about half an hour
 *   --rows '^write'                                only rows whose names match
 *   --against etcd,redis,memcached,bare            only these beside this store; none: ''
 *   --rounds 3 --seconds 5 --warm-up 1.5           of each measurement
 *   --generators 2                                 load generators at once
 *   --json FILE                                    all measurements; - for standard output
 *
 * This store side by side with what one would run instead, on loopback, each with its
 * default settings: rates, latencies, and what they cost. See docs/TESTING.md.
 */
import { writeFileSync } from 'node:fs'
import { Command } from 'commander'
import { parseCount } from '../bin/run.ts'
import type { RowResult } from './results.ts'
import { ROWS } from './rows.ts'
import { runRow } from './run-row.ts'
import type { System, SystemName } from './systems/system.ts'
import { describeResults, LEGEND } from './table.ts'

interface Flags {
  readonly rows: string
  readonly against: string
  readonly rounds: number
  readonly seconds: number
  readonly warmUp: number
  readonly generators: number
  readonly json?: string
}

const PEERS: readonly SystemName[] = ['etcd', 'redis', 'memcached', 'bare']

const flags = new Command('bench')
  .description('Measures this store against others.')
  .option('--rows <regex>', 'only rows whose names match', '')
  .option('--against <names>', `of ${PEERS.join(', ')}, where installed`, PEERS.join(','))
  .option('--rounds <count>', 'measurements of each system in each row', parseCount, 3)
  .option('--seconds <count>', 'of a measurement', Number, 5)
  .option('--warm-up <seconds>', 'before each measurement', Number, 1.5)
  .option('--generators <count>', 'processes that make the load', parseCount, 1)
  .option('--json <file>', 'write all that was measured to this file; - for standard output')
  .parse()
  .opts<Flags>()

/** With the results on standard output, what is said meanwhile goes elsewhere. */
const say = (text: string) =>
  void (flags.json === '-' ? process.stderr : process.stdout).write(`${text}\n`)

const started = new Set<System>()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, async () => {
    await Promise.all([...started].map((system) => system.stop()))
    process.exit(130)
  })
}

const pattern = new RegExp(flags.rows)
const rows = ROWS.filter(({ name }) => pattern.test(name))
if (rows.length === 0)
  throw new Error(`no row matches; there are ${ROWS.map(({ name }) => name).join(', ')}`)
const wanted = flags.against.split(',').filter(Boolean)
const unknown = wanted.filter((name) => !(PEERS as readonly string[]).includes(name))
if (unknown.length > 0)
  throw new Error(`--against knows ${PEERS.join(', ')}, not ${unknown.join(', ')}`)
const systems: SystemName[] = ['raftcached', ...PEERS.filter((name) => wanted.includes(name))]

const results: RowResult[] = []
for (const row of rows) {
  const result = await runRow(row, {
    ...{ warmUpMs: 1_000 * flags.warmUp, measureMs: 1_000 * flags.seconds },
    ...{ rounds: flags.rounds, generatorCount: flags.generators, systems, say },
    onStarted: (system) => started.add(system),
  })
  started.clear()
  if (!result) continue
  results.push(result)
  say(describeResults([result]))
}
say(`${describeResults(results)}\n${LEGEND}`)
if (flags.json === '-') process.stdout.write(`${JSON.stringify(results)}\n`)
else if (flags.json !== undefined)
  writeFileSync(flags.json, `${JSON.stringify(results, null, 1)}\n`)
