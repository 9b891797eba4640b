#!/usr/bin/env node
/** The `store` command: parses flags, calls src, handles signals. */
import { fileURLToPath } from 'node:url'
import { Argument, type Command, Option } from 'commander'
import type { Logger } from '../src/io/logger.ts'
import { createNodeIo, machineMemoryBytes, openFilesMax } from '../src/io/node.ts'
import { DISCOVER_POLICIES, type DiscoverPolicy } from '../src/lb/coordinator.ts'
import { Balancer } from '../src/lb/lb.ts'
import { SEGMENT_BYTES } from '../src/server/log/log-store.ts'
import { SCRUB_INTERVAL_MS } from '../src/server/scrub.ts'
import { CONNECTIONS_MAX, Server } from '../src/server/server.ts'
import { readAuthFile, usersOf } from './auth-file.ts'
import { backUp } from './backup.ts'
import { addClusterFlags, type ClusterFlags, clusterOf } from './cluster.ts'
import { programOf, wordsOf } from './completion.ts'
import { completionScript, SHELLS, type Shell } from './completion-scripts.ts'
import { changeConfig, printConfig, SETTING_NAMES, type SettingName } from './config.ts'
import { createProgram } from './environment.ts'
import { ESCAPES, type LogFlags, printKeystore, printLog } from './inspect.ts'
import { ignoreUnwritten, printing } from './output.ts'
import { recoverServer } from './recover.ts'
import { removeServer } from './remove.ts'
import { restoreFrom } from './restore.ts'
import {
  addBalancersFlags,
  type BalancersFlags,
  balancersOf,
  createLogger,
  explain,
  parseBytes,
  parseCount,
  parseEvictAfter,
  parsePort,
  parseSeconds,
  parseSegmentBytes,
  parseServers,
  parseVoters,
  runCommand,
} from './run.ts'
import { type StatusFlags, showStatus } from './show-status.ts'
import { STARTED } from './supervisor.ts'
import { type UpOptions, up } from './up.ts'
import { verifyPath } from './verify.ts'

const io = createNodeIo()

ignoreUnwritten()

/** What a server has open besides its clients' connections: logs, peers, backups. */
const OWN_FILES_MAX = 250

const program = createProgram('store')
  .description('A durable, replicated key-value store that any memcached client can use.')
  .showHelpAfterError()

addClientsFlags(program.command('up'))
  .description('run a local cluster in the foreground: a load balancer and servers')
  .option('--servers <count>', 'how many servers, from 2 on', parseServers, 3)
  .option('--data <dir>', 'directory for all data', './data')
  .option('--cport <port>', 'first server port for clients', parsePort, 7001)
  .option('--sport <port>', 'first server port for peers', parsePort, 6001)
  .option('--lbcport <port>', "load balancer's port for clients", parsePort, 5002)
  .option('--lbsport <port>', "load balancer's port for servers", parsePort, 5001)
  .option(
    '--memory-limit <size>',
    "each server's (default: a share of half of the memory)",
    parseBytes,
  )
  .option(
    '--disk-reserve <size>',
    "each server's (default: 256m, on a small disk less)",
    parseBytes,
  )
  .option('--no-restart', 'leave a member that died dead')
  .addHelpText('after', '\nExample:\n  store up --servers 5 --data /var/lib/raftcached')
  .action((flags: UpOptions) =>
    runCommand('store up', () => {
      const memoryLimit = flags.memoryLimit ?? defaultMemoryLimit(flags.servers)
      return up(io, fileURLToPath(import.meta.url), { ...flags, memoryLimit })
    }),
  )

/** Who may connect to a server, and what for. */
function addClientsFlags(command: Command): Command {
  return command
    .option(
      '--max-connections <count>',
      'of clients to a server, at the same time',
      parseCount,
      CONNECTIONS_MAX,
    )
    .option(
      '--idle-timeout <seconds>',
      'close a connection over which nothing was asked for so long; 0 for never',
      parseSeconds,
      0,
    )
    .option('--auth-file <path>', 'clients have to log in: lines user:password')
    .option('--enable-shutdown', "a client's shutdown command stops the server it is sent to")
}

interface BalancerFlags {
  readonly cip: string
  readonly cport: number
  readonly sip: string
  readonly sport: number
  readonly data?: string
}

program
  .command('addlb')
  .description('start a load balancer, in the foreground')
  .option('--cip <host>', 'address for clients (TCP)', '127.0.0.1')
  .option('--cport <port>', 'port for clients (TCP)', parsePort, 5002)
  .option('--sip <host>', 'address for servers (UDP)', '127.0.0.1')
  .option('--sport <port>', 'port for servers (UDP)', parsePort, 5001)
  .option('--data <dir>', 'directory for its data (default: ./data/lb-<cport>)')
  .addOption(
    new Option('--discover <policy>', 'which servers get-servers names')
      .choices(DISCOVER_POLICIES)
      .default('leader'),
  )
  .addHelpText('after', '\nExample:\n  store addlb --cip 0.0.0.0 --sip 0.0.0.0')
  .action((flags: BalancerFlags & { discover: DiscoverPolicy }) =>
    runCommand('store addlb', async () => {
      const { cip, cport, sip, sport } = flags
      const directory = flags.data ?? `./data/lb-${cport}`
      const log = createLogger(`lb-${cport}`)
      await runUntilStopped(() =>
        Balancer.start({
          io,
          log,
          client: { host: cip, port: cport },
          server: { host: sip, port: sport },
          directory,
          discover: flags.discover,
          onFailure: failWith(log, directory),
        }),
      )
      log.info(
        { directory },
        `load balancer for clients at ${cip}:${cport}, for servers at ${sip}:${sport}`,
      )
    }),
  )

interface ServerFlags extends BalancerFlags, BalancersFlags {
  readonly advertiseCip?: string
  readonly advertiseSip?: string
  readonly requestTimeout: number
  readonly evictAfter: number
  readonly maxVoters: number
  readonly segmentBytes: number
  readonly scrubInterval: number
  readonly memoryLimit?: number
  readonly diskReserve?: number
  readonly maxConnections: number
  readonly idleTimeout: number
  readonly authFile?: string
  readonly enableShutdown?: boolean
}

addClientsFlags(addBalancersFlags(program.command('addsrv'), 5001, 'servers'))
  .description('start a server, in the foreground')
  .option('--cip <host>', 'address for clients (TCP)', '127.0.0.1')
  .option('--cport <port>', 'port for clients (TCP)', parsePort, 7001)
  .option('--sip <host>', 'address for peers (TCP and UDP)', '127.0.0.1')
  .option('--sport <port>', 'port for peers (TCP and UDP)', parsePort, 6001)
  .option('--data <dir>', 'directory for its data (default: ./data/srv-<cport>)')
  .option('--advertise-cip <host>', 'what clients are told, where it differs from --cip')
  .option('--advertise-sip <host>', 'what peers are told, where it differs from --sip')
  .option('--request-timeout <ms>', 'how long a request waits for a leader', parseCount, 2_000)
  .option('--evict-after <ms>', 'a server silent for so long is replaced', parseEvictAfter, 30_000)
  .option('--max-voters <count>', 'more servers than that stand by; an odd number', parseVoters, 5)
  .option('--segment-bytes <bytes>', 'of a file of the log', parseSegmentBytes, SEGMENT_BYTES)
  .option(
    '--scrub-interval <ms>',
    'so often what is on disk is read again, and mended where it rotted',
    parseCount,
    SCRUB_INTERVAL_MS,
  )
  .option(
    '--memory-limit <size>',
    'for items, like 512m or 2g; 0 for none (default: half of the memory)',
    parseBytes,
  )
  .option(
    '--disk-reserve <size>',
    'writes are refused rather than less left free; 0 for none (default: 256m, on a small disk less)',
    parseBytes,
  )
  .addHelpText(
    'after',
    '\nExample:\n  store addsrv --cport 7002 --sport 6002 --lb lb1.example:5001,lb2.example:5001',
  )
  .action((flags: ServerFlags) =>
    runCommand('store addsrv', async () => {
      const { cip, cport, sip, sport } = flags
      const directory = flags.data ?? `./data/srv-${cport}`
      const log = createLogger(`srv-${cport}`)
      const { authFile } = flags
      const users = authFile === undefined ? null : await readAuthFile(io.disk, authFile)
      const connectionsMax = await connectionsFor(log, flags.maxConnections)
      const stop = () => process.kill(process.pid, 'SIGTERM')
      const server = await runUntilStopped(() =>
        Server.start({
          io,
          log,
          directory,
          client: { host: cip, port: cport },
          peer: { host: sip, port: sport },
          advertiseCip: advertised('cip', cip, flags.advertiseCip),
          advertiseSip: advertised('sip', sip, flags.advertiseSip),
          balancers: balancersOf(flags),
          requestTimeoutMs: flags.requestTimeout,
          membership: { evictAfterMs: flags.evictAfter, votersMax: flags.maxVoters },
          segmentBytes: flags.segmentBytes,
          scrubIntervalMs: flags.scrubInterval,
          limits: {
            memoryBytes: (flags.memoryLimit ?? defaultMemoryLimit(1)) || Number.POSITIVE_INFINITY,
            diskReserveBytes: flags.diskReserve ?? null,
          },
          connectionsMax,
          idleTimeoutMs: flags.idleTimeout * 1000,
          ...(users ? { users: usersOf(users) } : {}),
          ...(flags.enableShutdown ? { onShutdown: stop } : {}),
          onLeave: () => {
            log.info('removed from the cluster: stopping; started again, it joins again')
            stop()
          },
          onFailure: failWith(log, directory),
        }),
      )
      log.info(
        { directory },
        `server ${server.id} for clients at ${cip}:${cport}, for peers at ${sip}:${sport}`,
      )
    }),
  )

addClusterFlags(program.command('status'))
  .description('print what is wrong, the members, what they hold and do, and who leads')
  .option('--json', 'print one JSON object; docs/STATUS.md has its fields')
  .option('--watch', 'again every second, in place on a terminal, until Ctrl-C')
  .addHelpText(
    'after',
    `
  behind    entries of the leader's log that a server is not known to have
  heard     how long ago whom was asked last heard from it
  log       entries that the keystore file does not have; both are on its disk
  reads/s   keys read and writes made by the clients of that server

Examples:
  store status --watch
  store status --json | jq '.problems[].text'`,
  )
  .action((flags: ClusterFlags & StatusFlags) =>
    runCommand('store status', async () => showStatus(await clusterOf(io, flags), flags)),
  )

addClusterFlags(program.command('remove <id>'))
  .description('take a server out of the cluster; it stops, and its data stays where it is')
  .option('--timeout <ms>', 'give up after so long, and say why', parseCount, 30_000)
  .addHelpText('after', '\nExample:\n  store remove 4e1b20c7')
  .action((id: string, flags: ClusterFlags & { timeout: number }) =>
    runCommand('store remove', async () =>
      removeServer(await clusterOf(io, flags), id, flags.timeout),
    ),
  )

addClusterFlags(program.command('config'))
  .addArgument(new Argument('[setting]', 'one of them').choices(SETTING_NAMES))
  .argument('[value]', 'a new one, for it')
  .description('print the settings of this cluster, or change one')
  .option('--timeout <ms>', 'give up after so long, and say why', parseCount, 30_000)
  .addHelpText(
    'after',
    `
All servers have the same, and keep them.

  item-size  how long a value may be, from 1k to 16m, and 1m at first. What is stored
             stays when it becomes smaller.
  reads      quorum, as at first: before a read is answered a majority confirms that the
             leader leads; no clock is trusted. lease: the leader answers alone, faster,
             and the cluster relies on clocks that run equally fast, within 10 %. After a
             leader died, the next one is elected up to 600 ms later.

Examples:
  store config item-size 4m
  store config reads lease`,
  )
  .action(
    (
      setting: SettingName | undefined,
      value: string | undefined,
      flags: ClusterFlags & { timeout: number },
    ) =>
      runCommand('store config', async () => {
        const cluster = await clusterOf(io, flags)
        if (setting === undefined || value === undefined) await printConfig(cluster, setting)
        else await changeConfig(cluster, setting, value, flags.timeout)
      }),
  )

program
  .command('recover')
  .description('when a majority of the disks is lost for good: let one survivor go on alone')
  .requiredOption('--data <dir>', "the survivor's data directory; the server must not run")
  .option('--force', 'do it; without, it only says what would be lost')
  .addHelpText('after', '\nExample:\n  store recover --data ./data/srv-7001 --force')
  .action((flags: { data: string; force?: boolean }) =>
    runCommand('store recover', () =>
      recoverServer(io, createLogger('recover'), flags.data, flags.force === true),
    ),
  )

addClusterFlags(program.command('backup <file>'), 'take it from this server')
  .description('write all items of a live cluster, as of one entry of its log, to a file')
  .option('--force', 'replace a file that is there')
  .addHelpText(
    'after',
    `
Everything that was acknowledged before it began is in it, and the cluster goes on meanwhile.
A follower is asked where there is one. The file is checked before it takes its name;
store keystore prints it, store verify checks it again, store restore makes a cluster of it.

Example:
  store backup ./backup-$(date +%F)`,
  )
  .action((path: string, flags: ClusterFlags & { force?: boolean }) =>
    runCommand('store backup', async () =>
      backUp(await clusterOf(io, flags), path, flags.force === true),
    ),
  )

interface RestoreFlags {
  readonly data: string
  readonly cip: string
  readonly cport: number
  readonly sip: string
  readonly sport: number
  readonly advertiseCip?: string
  readonly advertiseSip?: string
}

program
  .command('restore <file>')
  .description('make a backup the data of the first server of a new cluster')
  .requiredOption('--data <dir>', "the server's data directory: empty, or not there yet")
  .option('--cip <host>', 'address for clients (TCP)', '127.0.0.1')
  .option('--cport <port>', 'port for clients (TCP)', parsePort, 7001)
  .option('--sip <host>', 'address for peers (TCP and UDP)', '127.0.0.1')
  .option('--sport <port>', 'port for peers (TCP and UDP)', parsePort, 6001)
  .option('--advertise-cip <host>', 'what clients are told, where it differs from --cip')
  .option('--advertise-sip <host>', 'what peers are told, where it differs from --sip')
  .addHelpText(
    'after',
    `
Name the addresses that store addsrv will be given; where they differ, those count.
Then start a load balancer with fresh data, this server, and others with empty directories.
The cluster takes writes when it has two. Items whose time has come meanwhile expire then.

Example:
  store restore ./backup-2026-01-31 --data ./restored/srv-7001`,
  )
  .action((path: string, flags: RestoreFlags) =>
    runCommand('store restore', () => {
      const { cip, cport, sip, sport } = flags
      return restoreFrom(io, path, flags.data, {
        ...{ cport, sport },
        cip: advertised('cip', cip, flags.advertiseCip),
        sip: advertised('sip', sip, flags.advertiseSip),
      })
    }),
  )

program
  .command('log <dir>')
  .description("print the writes in a server's log: index, key and value, a line each")
  .option('--full', 'every entry: index, term, time, command and value')
  .option('-f, --follow', 'the newest ten lines, and then what is written, until Ctrl-C')
  .addHelpText(
    'after',
    `
Prints the set, add and cas entries that are in effect, in order; what a later leader
replaced is left out. An add or cas stands here whether or not it stored anything, and
deletes only with --full, as all other entries. The newest ones may not be committed yet:
with --follow a line on standard error says so when a later leader has replaced some.

${ESCAPES}

Only reads, also while the server runs, and copies as well.

Examples:
  store log ./data/srv-7001 | tail
  store log --follow ./data/srv-7001 | grep greeting
  diff <(store log ./data/srv-7001) <(store log ./data/srv-7002)`,
  )
  .action((directory: string, flags: LogFlags) =>
    runCommand('store log', () => printLog(io, directory, flags)),
  )

program
  .command('keystore <path>')
  .description(
    "print the items in a server's keystore file, or in a backup: key and value, a line each",
  )
  .option(
    '--full',
    'key, flags, when it expires or -, cas unique (,stale ,won where marked) and value',
  )
  .addHelpText(
    'after',
    `
Prints them in the order of the file, which differs between servers: sort before you
compare. The file is as of some entry of the log, and store verify says of which.

${ESCAPES}

Only reads, also while the server runs, and copies as well.

Examples:
  store keystore ./data/srv-7001 | grep '^user:'
  diff <(store keystore ./data/srv-7001 | sort) <(store keystore ./data/srv-7002 | sort)`,
  )
  .action((path: string, flags: { full?: boolean }) =>
    runCommand('store keystore', () => printKeystore(io, path, flags.full === true)),
  )

program
  .command('verify <path>')
  .description("check every checksum and index in a server's data, or a backup; exit 1 if damaged")
  .addHelpText(
    'after',
    `
Prints a line for each file, and for all that is off its file, byte, entry and what it is.
What a crash leaves, such as a torn end of the log, is a note and no damage.

Only reads, also while the server runs, and copies as well. A server that runs may write
its keystore and cut its log meanwhile; what does not fit then does at the next look, or
in the next copy.

Example:
  store verify ./data/srv-7001`,
  )
  .action((path: string) => runCommand('store verify', () => verifyPath(io, path)))

program
  .command('completion')
  .addArgument(new Argument('<shell>', 'for which').choices(SHELLS))
  .description('print a script that completes store and client in a shell')
  .addHelpText(
    'after',
    `
To be sourced when the shell starts. It has what this version takes: nothing has to run,
and no cluster is asked.

Examples:
  source <(store completion bash)      in ~/.bashrc
  source <(store completion zsh)       in ~/.zshrc, after compinit
  store completion fish | source       in ~/.config/fish/config.fish`,
  )
  .action((shell: Shell) =>
    runCommand('store completion', async () => {
      const client = await programOf(() => import('./client.ts'))
      const script = completionScript(shell, [program, client].map(wordsOf))
      await printing(async (out) => out.line(script.trimEnd()))
    }),
  )

/** The rest is for the log's tail, for connections and for the system. */
function defaultMemoryLimit(serverCount: number): number {
  return Math.floor(machineMemoryBytes() / 2 / serverCount)
}

/** A server whose files the system refuses ends; one that refuses connections goes on. */
async function connectionsFor(log: Logger, wanted: number): Promise<number> {
  const openMax = await openFilesMax()
  if (openMax === null || openMax >= wanted + OWN_FILES_MAX) return wanted
  const granted = Math.max(1, openMax - OWN_FILES_MAX)
  log.warn(
    {},
    `--max-connections ${wanted} needs ${wanted + OWN_FILES_MAX} open files, and this process may have ${openMax}: takes ${granted} connections; raise its limit (ulimit -n, LimitNOFILE=), or lower --max-connections`,
  )
  return granted
}

/** What others are told; an address that means "every address of this machine" is none. */
function advertised(flag: 'cip' | 'sip', bound: string, said: string | undefined): string {
  if (said !== undefined) return said
  if (bound !== '0.0.0.0' && bound !== '::') return bound
  throw new Error(`--${flag} ${bound} can't be told to others: add --advertise-${flag} <host>`)
}

function failWith(log: Logger, directory: string): (error: Error) => never {
  return (error) => {
    log.error({ directory }, `stopping: ${explain(error)}`)
    process.exit(1)
  }
}

interface Stoppable {
  stop(): Promise<void>
}

/**
 * Starts something that ends cleanly on a signal, or when the process that
 * supervises this one is gone. A signal during the start ends it at once: every
 * start is safe after a crash.
 */
async function runUntilStopped<T extends Stoppable>(start: () => Promise<T>): Promise<T> {
  let running: T | null = null
  let isStopping = false
  const end = async () => {
    if (isStopping) return
    isStopping = true
    try {
      await running?.stop()
      process.exit(0)
    } catch (error) {
      process.stderr.write(`${explain(error)}\n`)
      process.exit(1)
    }
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, end)
  if (process.send) {
    process.on('disconnect', end)
    if (!process.connected) process.exit(0)
  }
  try {
    running = await start()
    // Where that fails whoever supervises it is gone, and its end is on its way.
    if (process.connected) process.send?.(STARTED, undefined, undefined, () => {})
    return running
  } catch (error) {
    isStopping = true
    if (process.connected) process.disconnect() // or the channel would keep this process alive
    throw error
  }
}

await program.parseAsync()
