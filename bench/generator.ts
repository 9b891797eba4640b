/**
 * A load generator (load/load.ts) as the bench sees it: a forked process with one job. It
 * stays, so that what it took can be read, until it is told to end.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { join } from 'node:path'
import type { Job, LoadMessage, LoadResult } from './load/job.ts'

const PROGRAM = join(import.meta.dirname, 'load', 'load.js')

export class Generator {
  /** When its measured time begins, and when that ends. */
  readonly begun: Promise<void>
  readonly ended: Promise<void>
  readonly result: Promise<LoadResult>
  readonly #child: ChildProcess

  constructor(job: Job) {
    const child = fork(PROGRAM)
    this.#child = child
    this.begun = new Promise((resolve) => {
      child.on('message', ({ type }: LoadMessage) => type === 'begun' && resolve())
    })
    this.ended = new Promise((resolve) => {
      child.on('message', ({ type }: LoadMessage) => type === 'ended' && resolve())
    })
    this.result = new Promise((resolve, reject) => {
      child.on('message', (message: LoadMessage) => {
        if (message.type === 'result') resolve(message.result)
      })
      child.on('error', reject)
      child.on('exit', (code, signal) => {
        reject(new Error(`a load generator ended early (${signal ?? code})`))
      })
    })
    child.send(job)
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  end(): void {
    if (this.#child.connected) this.#child.disconnect()
  }
}
