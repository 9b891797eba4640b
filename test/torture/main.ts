/**
 * npm run torture -- --seconds 60                a real cluster under faults, for so long
 * npm run torture -- --servers 5 --no-netns      of five servers; without cut links
 * npm run torture -- --reads lease               with reads under a lease
 *
 * Two scenarios, one after the other, each for so many seconds. First processes
 * on loopback, killed, stopped and sent junk. Then, as root on Linux, each process
 * in a network namespace of its own, and links are cut as well. Real sockets,
 * real disks; a minute more for the end of each.
 *
 * Exit status 1 where the clients saw what one copy of the data could not have
 * answered, where the servers differ in the end, where a process died by itself,
 * or where the cluster did not recover. What is needed to see why is kept then.
 */
import { Command, InvalidArgumentError, Option } from 'commander'
import { READ_MODES, type ReadMode } from '../../src/protocol/status.ts'
import type { Place } from '../e2e/cluster.ts'
import { cutFaults } from './cuts.ts'
import { junkFaults, processFaults } from './nemesis.ts'
import { Network } from './netns.ts'
import { runScenario } from './scenario.ts'

interface Flags {
  readonly seconds: number
  readonly servers: number
  readonly reads: ReadMode
  /** undefined: both scenarios. */
  readonly netns?: boolean
}

const LOOPBACK: Place = { cip: '127.0.0.1', sip: '127.0.0.1', command: [] }
const ENDED_BY_SIGNAL = 130

const print = (line: string) => void process.stdout.write(`${line}\n`)
let endNow = async () => {}

const flags = new Command('torture')
  .description('Runs a real cluster under faults and checks what its clients saw.')
  .option('--seconds <count>', 'of faults, for each scenario', parseNumber(1, 86_400), 60)
  .option('--servers <count>', 'how many', parseNumber(2, 5), 3)
  .addOption(
    new Option('--reads <mode>', 'how reads are confirmed').choices(READ_MODES).default('quorum'),
  )
  .option('--netns', 'only the scenario in network namespaces')
  .option('--no-netns', 'only the scenario on loopback')
  .parse()
  .opts<Flags>()

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, async () => {
    await endNow()
    process.exit(ENDED_BY_SIGNAL)
  })
}

const isLoopbackGood = flags.netns === true || (await onLoopback())
const isNetnsGood = flags.netns === false || (await inNamespaces())
process.exit(isLoopbackGood && isNetnsGood ? 0 : 1)

function onLoopback(): Promise<boolean> {
  return runScenario({
    name: 'on loopback',
    seconds: flags.seconds,
    reads: flags.reads,
    places: {
      balancer: LOOPBACK,
      servers: Array.from({ length: flags.servers }, () => LOOPBACK),
    },
    faults: (cluster, nemesis) => [...processFaults(cluster, nemesis), ...junkFaults(cluster)],
    print,
    onStart: (end) => {
      endNow = end
    },
  })
}

async function inNamespaces(): Promise<boolean> {
  let network: Network
  try {
    network = await Network.create(flags.servers + 1)
  } catch (error) {
    const [why] = (error instanceof Error ? error.message : String(error)).split('\n', 1)
    print(`in network namespaces: skipped, they can't be made here: ${why}`)
    return true
  }
  const servers = network.machines.slice(0, -1).map(({ place }) => place)
  const [balancer = LOOPBACK] = network.machines.slice(-1).map(({ place }) => place)
  try {
    return await runScenario({
      name: 'in network namespaces',
      seconds: flags.seconds,
      reads: flags.reads,
      places: { balancer, servers },
      faults: (cluster, nemesis) => [
        ...processFaults(cluster, nemesis),
        ...cutFaults(network, nemesis),
      ],
      print,
      onStart: (end) => {
        endNow = end
      },
    })
  } finally {
    network.remove()
  }
}

function parseNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (Number.isInteger(value) && value >= min && value <= max) return value
    throw new InvalidArgumentError(`a number from ${min} to ${max} is needed`)
  }
}
