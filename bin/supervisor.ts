/**
 * Runs the members of a local cluster: starts their processes, starts those again that died,
 * and ends them.
 *
 * In: what each is called, what it is given, and how a process is made of that. Out: `say`, in
 * lines for a person; `onFailure`, once, where one ended before it had ever started, or before
 * the cluster was ready.
 */
import type { ChildProcess } from 'node:child_process'
import type { Io } from '../src/io/io.ts'

/** What a member sends to whoever forked it, once it has its ports and its data. */
export const STARTED = 'started'

const RESTART_MS = 1_000
const RESTART_MS_MAX = 30_000
/** A member that ran this long starts again without a longer wait. */
const STEADY_MS = 60_000
const STOP_MS = 10_000

export interface MemberOptions {
  readonly name: string
  readonly args: readonly string[]
}

export interface SupervisorOptions {
  readonly io: Pick<Io, 'clock' | 'timers'>
  readonly fork: (args: readonly string[]) => ChildProcess
  readonly say: (text: string) => void
  readonly restart: boolean
  readonly onFailure: () => void
}

interface Member extends MemberOptions {
  process: ChildProcess | null
  /** At least once: its flags are good, and nobody else had what it needs. */
  hasStarted: boolean
  restartMs: number
}

export class Supervisor {
  readonly #options: SupervisorOptions
  readonly #members: readonly Member[]
  #isReady = false
  #stopping: Promise<void> | null = null

  constructor(members: readonly MemberOptions[], options: SupervisorOptions) {
    this.#options = options
    this.#members = members.map((member) => ({
      ...member,
      process: null,
      hasStarted: false,
      restartMs: RESTART_MS,
    }))
  }

  get isStopping(): boolean {
    return this.#stopping !== null
  }

  /** Whoever answers where a member should before that may be another cluster's. */
  get isStarted(): boolean {
    return this.#members.every(({ hasStarted }) => hasStarted)
  }

  start(): void {
    for (const member of this.#members) this.#run(member)
  }

  /** From now on a member that dies is started again. */
  becomeReady(): void {
    this.#isReady = true
  }

  /** Resolves once none is left, for whoever asks. */
  stop(): Promise<void> {
    this.#stopping ??= this.#endAll()
    return this.#stopping
  }

  async #endAll(): Promise<void> {
    this.#options.say('stopping')
    await Promise.all(this.#members.map((member) => this.#end(member)))
  }

  #run(member: Member): void {
    if (this.isStopping) return
    const { io, fork, say } = this.#options
    const startedMs = io.clock.monotonicMs()
    const onEnd = (how: string, isInOrder = false) => {
      this.#handleEnd(member, how, startedMs, isInOrder)
    }
    // Of what the system may lack Node throws some, and tells the rest later.
    const onRefused = ({ message }: Error) => onEnd(`got no process (${message})`)
    try {
      const child = fork(member.args)
      member.process = child
      child.on('error', (error) => {
        if (child.pid) say(`${member.name}: ${error.message}`)
        else onRefused(error)
      })
      child.on('message', (message) => {
        if (message === STARTED) member.hasStarted = true
      })
      child.on('exit', (code, signal) => {
        onEnd(signal ? `was ended by ${signal}` : `ended with exit status ${code}`, code === 0)
      })
    } catch (error) {
      onRefused(error as Error)
    }
  }

  /** @param isInOrder By itself and without a fault: it was removed, or a client shut it down. */
  #handleEnd(member: Member, how: string, startedMs: number, isInOrder: boolean): void {
    const { io, say, restart, onFailure } = this.#options
    member.process = null
    if (this.isStopping) return
    if (!member.hasStarted || !this.#isReady) {
      const what = member.hasStarted ? 'the cluster was ready' : 'it had started'
      say(`${member.name} ${how} before ${what}`)
      onFailure()
    } else if (!restart || isInOrder) {
      say(`${member.name} ${how}`)
    } else {
      const isSteady = io.clock.monotonicMs() - startedMs > STEADY_MS
      member.restartMs = isSteady ? RESTART_MS : member.restartMs
      say(`${member.name} ${how}: starting it again in ${member.restartMs / 1000} s`)
      io.timers.after(member.restartMs, () => this.#run(member))
      member.restartMs = Math.min(2 * member.restartMs, RESTART_MS_MAX)
    }
  }

  async #end(member: Member): Promise<void> {
    const child = member.process
    if (!child?.pid) return
    const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
    child.kill('SIGTERM')
    const kill = this.#options.io.timers.after(STOP_MS, () => child.kill('SIGKILL'))
    await exited
    kill.cancel()
  }
}
