/**
 * A client program: a process that uses one library against one server, as a user would.
 *
 * It runs through all that the library offers, and then talks with the test, line by line:
 *
 *     program: writing             from now on it writes, whatever happens
 *     test:    settled             whoever died is back
 *     program: kept 812, 9 failed  the library recovered, and all that was acknowledged is there
 *     test:    flush               nobody else needs his items any more
 *     program: done                flush_all worked; it ends with status 0
 *
 * What goes wrong is on its standard error, and ends it.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { eventually, kill } from '../e2e/cluster.ts'

/** Far more than any step takes. */
const STEP_MS = 60_000
const ERRORS_SHOWN = 4_000

export const PROGRAMS = join(import.meta.dirname, 'programs')

export class Program {
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>
  #output = ''
  #errors = ''
  #ended: string | null = null

  constructor(command: string, args: readonly string[]) {
    this.#child = spawn(command, args, { cwd: PROGRAMS, stdio: 'pipe' })
    // Two listeners for one end: a command that is missing has no exit.
    this.#child.on('error', (error) => {
      this.#ended = String(error)
    })
    this.#child.on('close', (status, signal) => {
      this.#ended = `ended with ${signal ?? `status ${status}`}`
    })
    this.#child.stdin.on('error', () => {}) // It has ended: whoever waits for it is told.
    this.#child.stdout.on('data', (chunk) => {
      this.#output += chunk
    })
    this.#child.stderr.on('data', (chunk) => {
      this.#errors = (this.#errors + chunk).slice(-ERRORS_SHOWN)
    })
  }

  /** What matches in its output, once it has come. @throws if the program ends before, or hangs. */
  async hear(line: RegExp): Promise<string> {
    const heard = () => this.#output.match(line)?.[0]
    await eventually(`${line}`, () => heard() ?? this.#ended, STEP_MS).catch((error) => {
      throw new Error(`${error.message}\n${this.#errors}`)
    })
    const found = heard()
    if (found === undefined) throw new Error(`${this.#ended} before ${line}\n${this.#errors}`)
    return found
  }

  say(line: string): void {
    this.#child.stdin.write(`${line}\n`)
  }

  stop(): Promise<void> {
    return kill(this.#child)
  }
}
