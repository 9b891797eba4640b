/**
 * npm run bench                                    everything; half an hour and more
 *   --rows '^write'                                only rows whose names match
 *   --against etcd,redis,memcached,bare            only these beside this store; none: ''
 *   --rounds 3 --seconds 5 --warm-up 3             of each measurement
 *   --others 10                                    again where others took more per cent
 *   --generators 2                                 load generators at once
 *   --json FILE --svg FILE                         all measurements; - for standard output
 *   --long --hour-of 10000                         the rate after 36,000,000 writes
 *
 * This store side by side with what one would run instead, on loopback, each with its
 * default settings: rates, latencies, and what they cost. See docs/TESTING.md.
 */
import { writeFileSync } from 'node:fs'
import { Command } from 'commander'
import { parseCount, runCommand } from '../bin/run.ts'
import { endOnSignals } from './ending.ts'
import { describeLong, runLong } from './long.ts'
import { describeMarks } from './musts.ts'
import type { RowResult } from './results.ts'
import { ROWS, type Row } from './rows.ts'
import { runRow } from './run-row.ts'
import { drawResults } from './svg.ts'
import type { SystemName } from './systems/system.ts'
import { describeResults, LEGEND } from './table.ts'

interface Flags {
  readonly rows?: string
  readonly against: string
  readonly rounds: number
  readonly seconds: number
  readonly warmUp: number
  readonly generators: number
  readonly others: number
  readonly json?: string
  readonly svg?: string
  readonly long?: boolean
  readonly hourOf: number
}

const PEERS: readonly SystemName[] = ['etcd', 'redis', 'memcached', 'bare']

const flags = new Command('bench')
  .description('Measures this store against others.')
  .option('--rows <regex>', 'only rows whose names match')
  .option('--against <names>', `of ${PEERS.join(', ')}, where installed`, PEERS.join(','))
  .option('--rounds <count>', 'measurements of each system in each row', parseCount, 3)
  .option('--seconds <count>', 'of a measurement', Number, 5)
  .option('--warm-up <seconds>', 'before each measurement', Number, 3)
  .option('--generators <count>', 'processes that make the load', parseCount, 1)
  .option('--others <percent>', 'measure again where others took more of the machine', Number, 100)
  .option('--json <file>', 'write all that was measured to this file; - for standard output')
  .option('--svg <file>', 'draw the results')
  .option('--long', "whether an hour's worth of writes makes it slower; without --rows only that")
  .option('--hour-of <rate>', 'writes a second that the hour is made of', parseCount, 10_000)
  .parse()
  .opts<Flags>()

const TITLE = 'Operations a second, on one machine, everything on loopback'
const NOTHING = '(?!)'

/** With the results on standard output, what is said meanwhile goes elsewhere. */
const say = (text: string) =>
  void (flags.json === '-' ? process.stderr : process.stdout).write(`${text}\n`)

endOnSignals()
await runCommand('bench', async () => {
  const rows = wantedRows()
  const systems: SystemName[] = ['raftcached', ...wantedPeers()]
  const plan = {
    ...{ warmUpMs: 1_000 * flags.warmUp, measureMs: 1_000 * flags.seconds },
    ...{ generatorCount: flags.generators, rounds: flags.rounds },
    othersShareMax: flags.others / 100,
  }
  const results: RowResult[] = []
  for (const row of rows) {
    const result = await runRow(row, { ...plan, systems, say })
    if (!result) continue
    results.push(result)
    say(describeResults([result]))
  }
  const writeCount = 3_600 * flags.hourOf
  const long = flags.long ? await runLong({ ...plan, writeCount, say }) : null
  if (results.length > 0) say(`${describeResults(results)}\n${LEGEND}\n`)
  if (long) say(`${describeLong(long)}\n`)
  const longRatio = long && long.oldRate / long.freshRate
  say(describeMarks({ rows: results, longRatio }))
  if (flags.svg !== undefined) writeFileSync(flags.svg, drawResults(results, TITLE))
  const json = JSON.stringify({ rows: results, long }, null, 1)
  if (flags.json === '-') process.stdout.write(`${json}\n`)
  else if (flags.json !== undefined) writeFileSync(flags.json, `${json}\n`)
})

function wantedRows(): readonly Row[] {
  const pattern = new RegExp(flags.rows ?? (flags.long ? NOTHING : ''))
  const rows = ROWS.filter(({ name }) => pattern.test(name))
  if (rows.length > 0 || flags.long) return rows
  throw new Error(`no row matches; there are: ${ROWS.map(({ name }) => name).join(', ')}`)
}

function wantedPeers(): readonly SystemName[] {
  const names = flags.against.split(',').filter(Boolean)
  const unknown = names.filter((name) => !PEERS.some((peer) => peer === name))
  if (unknown.length === 0) return PEERS.filter((peer) => names.includes(peer))
  throw new Error(`--against: ${PEERS.join(', ')} are known, ${unknown.join(', ')} is not`)
}
