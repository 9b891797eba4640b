/**
 * `store up`: a local cluster in the foreground, each member a process of its own.
 *
 * Members are tied to this process by their IPC channel: when it closes,
 * however this process ended, they stop. They are in process groups of their
 * own, so that Ctrl-C reaches only this process, which then stops them in order.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { setTimeout as delay } from 'node:timers/promises'
import type { Io } from '../src/io/io.ts'
import type { ClusterStatus } from '../src/protocol/status.ts'
import { environmentWithout } from './environment.ts'
import { describeStatus, fetchStatus } from './status.ts'
import { type MemberOptions, Supervisor } from './supervisor.ts'

const READY_MS = 30_000

export interface UpOptions {
  readonly servers: number
  readonly data: string
  readonly cport: number
  readonly sport: number
  readonly lbcport: number
  readonly lbsport: number
  readonly memoryLimit?: number
  readonly diskReserve?: number
  readonly maxConnections: number
  readonly idleTimeout: number
  readonly authFile?: string
  readonly enableShutdown?: boolean
  readonly restart: boolean
}

export async function up(io: Io, command: string, options: UpOptions): Promise<void> {
  const say = (text: string) => process.stdout.write(`${text}\n`)
  let end = () => {}
  const ended = new Promise<void>((resolve) => {
    end = resolve
  })
  const stop = () => void supervisor.stop().then(end)
  const supervisor = new Supervisor(membersOf(options), {
    io,
    fork: (args) => forkMember(command, args),
    say,
    restart: options.restart,
    onFailure() {
      process.exitCode = 1
      stop()
    },
  })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop)
  supervisor.start()
  await awaitReady(io, supervisor, options, say)
  await ended
  process.exit()
}

function forkMember(command: string, args: readonly string[]): ChildProcess {
  return fork(command, args, {
    detached: true,
    env: environmentWithout(process.env), // or RAFTCACHED_LB would tie it to another cluster
    stdio: ['ignore', 1, 2, 'ipc'],
  })
}

/** Says when all is there, or after a while what is. */
async function awaitReady(
  io: Io,
  supervisor: Supervisor,
  options: UpOptions,
  say: (text: string) => void,
): Promise<void> {
  const balancer = { host: '127.0.0.1', port: options.lbcport }
  const deadlineMs = io.clock.monotonicMs() + READY_MS
  while (!supervisor.isStopping) {
    const { isStarted } = supervisor
    const status = isStarted ? await fetchStatus(io, [balancer]).catch(() => null) : null
    if (supervisor.isStopping) return
    if (status && isComplete(status, options)) {
      supervisor.becomeReady()
      return say(`\n${describeStatus(status)}\n${examples(options)}`)
    }
    if (io.clock.monotonicMs() > deadlineMs) {
      supervisor.becomeReady()
      if (status) return say(`not complete yet\n\n${describeStatus(status)}`)
      return say(isStarted ? 'the load balancer does not answer' : 'not all have started yet')
    }
    await delay(100)
  }
}

function membersOf(options: UpOptions): MemberOptions[] {
  const { servers, data, cport, sport, lbcport, lbsport } = options
  const { memoryLimit, diskReserve, maxConnections, idleTimeout, authFile } = options
  const flags = [
    ...(memoryLimit === undefined ? [] : ['--memory-limit', memoryLimit]),
    ...(diskReserve === undefined ? [] : ['--disk-reserve', diskReserve]),
    ...['--max-connections', maxConnections, '--idle-timeout', idleTimeout],
    ...(authFile === undefined ? [] : ['--auth-file', authFile]),
    ...(options.enableShutdown ? ['--enable-shutdown'] : []),
  ]
  const member = (name: string, args: (string | number)[]): MemberOptions => ({
    name,
    args: args.map(String),
  })
  const balancer = member(`lb-${lbcport}`, [
    'addlb',
    ...['--cport', lbcport, '--sport', lbsport, '--data', `${data}/lb-${lbcport}`],
  ])
  const rest = Array.from({ length: servers }, (_, k) =>
    member(`srv-${cport + k}`, [
      'addsrv',
      ...['--cport', cport + k, '--sport', sport + k],
      ...['--lbport', lbsport, '--data', `${data}/srv-${cport + k}`],
      ...flags,
    ]),
  )
  return [balancer, ...rest]
}

function isComplete(status: ClusterStatus, { servers, cport }: UpOptions): boolean {
  const ours = status.members.filter(
    (member) => member.alive && member.cport >= cport && member.cport < cport + servers,
  )
  const voters = ours.filter((member) => member.voter)
  return status.leader !== null && ours.length >= servers && voters.length >= Math.min(servers, 5)
}

function examples({ cport, lbcport, authFile }: UpOptions): string {
  const login = authFile === undefined ? '' : ` --auth-file ${authFile}`
  const flag = (lbcport === 5002 ? '' : ` --lbport ${lbcport}`) + login
  return [
    'Try:',
    `  npx client set greeting hello${flag}`,
    `  npx client get greeting${flag}`,
    ...(login
      ? []
      : [`  printf 'set k 0 0 5\\r\\nhello\\r\\nget k\\r\\n' | nc -q1 127.0.0.1 ${cport}`]),
    '',
    'Ctrl-C stops all of it.',
  ].join('\n')
}
