/**
 * Runs a program of the examples or of README.md, with the project's folder as its own, so
 * that it imports this package by its name. Ends only what it started.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { kill } from '../e2e/cluster.ts'

const ROOT = join(import.meta.dirname, '..', '..')

export class Script {
  /** What it wrote, errors included. */
  output = ''
  readonly #child: ChildProcess
  readonly #ended: Promise<number | null>
  #onOutput = (): void => {}

  constructor(command: string, args: readonly string[], env: NodeJS.ProcessEnv) {
    this.#child = spawn(command, args, { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'pipe'] })
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text) => {
        this.output += text
        this.#onOutput()
      })
    }
    this.#ended = new Promise((resolve, reject) => {
      this.#child.once('error', reject).once('close', resolve)
    })
  }

  /** What it wrote until its end. @throws where it failed. */
  async end(): Promise<string> {
    const code = await this.#ended
    if (code !== 0) throw new Error(`ended with ${code}: ${this.output}`)
    return this.output
  }

  /** Waits until it has written that. @returns the match. @throws where it ends before. */
  hear(pattern: RegExp): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      this.#onOutput = () => {
        const match = pattern.exec(this.output)
        if (match) resolve(match)
      }
      this.#onOutput()
      this.#ended.then(() => reject(new Error(`ended without ${pattern}: ${this.output}`)), reject)
    })
  }

  stop(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    return kill(this.#child, signal)
  }
}
