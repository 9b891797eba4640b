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

const RESTART_MS = 1_000
const RESTART_MS_MAX = 30_000
/** A member that ran this long starts again without a longer wait. */
const STEADY_MS = 60_000
const STOP_MS = 10_000
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

interface Member {
  readonly name: string
  readonly args: readonly string[]
  process: ChildProcess | null
  restartMs: number
}

export async function up(io: Io, command: string, options: UpOptions): Promise<void> {
  const members = membersOf(options)
  const balancer = { host: '127.0.0.1', port: options.lbcport }
  const say = (text: string) => process.stdout.write(`${text}\n`)
  let isStopping = false
  let isReady = false

  const stop = async (): Promise<void> => {
    if (isStopping) return
    isStopping = true
    say('stopping')
    await Promise.all(members.map((member) => stopMember(member)))
  }
  const run = (member: Member): void => {
    const startedMs = io.clock.monotonicMs()
    const child = fork(command, member.args, {
      detached: true,
      env: environmentWithout(process.env), // or RAFTCACHED_LB would tie it to another cluster
      stdio: ['ignore', 1, 2, 'ipc'],
    })
    member.process = child
    child.on('error', (error) => say(`${member.name}: ${error.message}`))
    child.on('exit', (code, signal) => {
      member.process = null
      if (isStopping) return
      const how = signal ? `was ended by ${signal}` : `ended with exit status ${code}`
      if (!isReady) {
        say(`${member.name} ${how} before the cluster was ready`)
        process.exitCode = 1
        void stop()
      } else if (!options.restart || code === 0) {
        // By itself and without a fault: it was removed, or a client shut it down.
        say(`${member.name} ${how}`)
      } else {
        const isSteady = io.clock.monotonicMs() - startedMs > STEADY_MS
        member.restartMs = isSteady ? RESTART_MS : member.restartMs
        say(`${member.name} ${how}: starting it again in ${member.restartMs / 1000} s`)
        setTimeout(() => {
          if (!isStopping) run(member)
        }, member.restartMs)
        member.restartMs = Math.min(2 * member.restartMs, RESTART_MS_MAX)
      }
    })
  }

  const stopped = new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(signal, () => void stop().then(resolve))
    }
  })
  for (const member of members) run(member)

  const deadlineMs = io.clock.monotonicMs() + READY_MS
  for (;;) {
    if (isStopping) break
    const status = await fetchStatus(io, [balancer]).catch(() => null)
    if (status && isComplete(status, options)) {
      isReady = true
      say(`\n${describeStatus(status)}\n${examples(options)}`)
      break
    }
    if (io.clock.monotonicMs() > deadlineMs) {
      isReady = true
      say(
        status
          ? `not complete yet\n\n${describeStatus(status)}`
          : 'the load balancer does not answer',
      )
      break
    }
    await delay(100)
  }
  if (process.exitCode === 1) return waitForMembers(members)
  await stopped
  process.exit()
}

function membersOf(options: UpOptions): Member[] {
  const { servers, data, cport, sport, lbcport, lbsport } = options
  const { memoryLimit, diskReserve, maxConnections, idleTimeout, authFile } = options
  const flags = [
    ...(memoryLimit === undefined ? [] : ['--memory-limit', memoryLimit]),
    ...(diskReserve === undefined ? [] : ['--disk-reserve', diskReserve]),
    ...['--max-connections', maxConnections, '--idle-timeout', idleTimeout],
    ...(authFile === undefined ? [] : ['--auth-file', authFile]),
    ...(options.enableShutdown ? ['--enable-shutdown'] : []),
  ]
  const member = (name: string, args: (string | number)[]): Member => ({
    name,
    args: args.map(String),
    process: null,
    restartMs: RESTART_MS,
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

async function stopMember(member: Member): Promise<void> {
  const child = member.process
  if (!child) return
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  child.kill('SIGTERM')
  const kill = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
  await exited
  clearTimeout(kill)
}

async function waitForMembers(members: readonly Member[]): Promise<void> {
  while (members.some((member) => member.process)) await delay(50)
}
