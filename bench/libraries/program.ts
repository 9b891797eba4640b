/** A program that uses a library (load.ts), as the bench sees it: a forked process. */
import { type ChildProcess, fork } from 'node:child_process'
import { join } from 'node:path'
import type { LibraryJob, LibraryMessage, LibraryResult } from './library.ts'

const PROGRAM = join(import.meta.dirname, 'load.js')

export class LibraryProgram {
  readonly #child: ChildProcess
  readonly #what: string

  private constructor(job: LibraryJob) {
    this.#what = `${job.library}, ${job.work}`
    this.#child = fork(PROGRAM)
    this.#child.send(job)
  }

  /** Waits until it is warm. @throws where it fails. */
  static async start(job: LibraryJob): Promise<LibraryProgram> {
    const program = new LibraryProgram(job)
    await program.#hear()
    return program
  }

  async measure(): Promise<LibraryResult> {
    const heard = this.#hear()
    this.#child.send('measure')
    const message = await heard
    if (message.type !== 'result') throw new Error(`${this.#what}: no result`)
    return message.result
  }

  end(): void {
    if (this.#child.connected) this.#child.disconnect()
  }

  #hear(): Promise<LibraryMessage> {
    return new Promise((resolve, reject) => {
      const onExit = (code: number | null) => fail(`ended early (${code})`)
      const fail = (why: string) => {
        this.end()
        reject(new Error(`${this.#what}: ${why}`))
      }
      this.#child.once('exit', onExit)
      this.#child.once('message', (message: LibraryMessage) => {
        this.#child.off('exit', onExit)
        if (message.type === 'failed') fail(message.why)
        else resolve(message)
      })
    })
  }
}
