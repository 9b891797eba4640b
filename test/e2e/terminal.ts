/**
 * A command on a terminal of its own, as `script` of util-linux makes one: what is typed goes
 * in, what the screen gets comes out, and nothing waits for time.
 */
import { type ChildProcess, spawn } from 'node:child_process'

export const KEYS = {
  enter: '\r',
  tab: '\t',
  up: '\x1b[A',
  ctrlC: '\x03',
  ctrlD: '\x04',
} as const

const TIMEOUT_MS = 20_000

export class Terminal {
  readonly #child: ChildProcess
  readonly #exit: Promise<number | null>
  /** What the screen got and no `until` has found yet. */
  #rest = ''
  #onChange: () => void = () => {}

  /** @param command Its words need no quotes of a shell. */
  constructor(command: readonly string[], environment: NodeJS.ProcessEnv = {}) {
    const line = `stty cols 100 rows 40 && exec ${command.join(' ')}`
    this.#child = spawn('script', ['--quiet', '--return', '--command', line, '/dev/null'], {
      env: { ...process.env, TERM: 'xterm', SHELL: '/bin/sh', ...environment },
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    this.#child.stdout?.setEncoding('utf8').on('data', (text) => {
      this.#rest += text
      this.#onChange()
    })
    this.#exit = new Promise((resolve) => {
      this.#child.once('close', (code) => {
        resolve(code)
        this.#onChange()
      })
    })
  }

  type(...keys: string[]): void {
    this.#child.stdin?.write(keys.join(''))
  }

  /**
   * Waits until the screen got this, behind what was waited for before.
   * @returns all up to its end.
   */
  async until(expected: string | RegExp): Promise<string> {
    const deadlineMs = performance.now() + TIMEOUT_MS
    for (;;) {
      const at = this.#rest.search(typeof expected === 'string' ? literal(expected) : expected)
      if (at !== -1) {
        const found = typeof expected === 'string' ? expected : expected.exec(this.#rest)?.[0]
        const end = at + (found?.length ?? 0)
        const text = this.#rest.slice(0, end)
        this.#rest = this.#rest.slice(end)
        return text
      }
      const leftMs = deadlineMs - performance.now()
      if (leftMs <= 0 || this.#child.exitCode !== null) {
        throw new Error(`no ${expected} on the screen, but ${JSON.stringify(this.#rest)}`)
      }
      await new Promise<void>((resolve) => {
        this.#onChange = resolve
        setTimeout(resolve, leftMs).unref()
      })
    }
  }

  /** @returns the exit status of the command. */
  ended(): Promise<number | null> {
    return this.#exit
  }

  /** In case it did not end by itself. */
  async kill(): Promise<void> {
    if (this.#child.exitCode === null) this.#child.kill('SIGKILL')
    await this.#exit
  }
}

function literal(text: string): RegExp {
  return new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
}
