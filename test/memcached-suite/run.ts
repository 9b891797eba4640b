/**
 * Runs one test program to its end, or to its time limit, and hands over what it
 * printed. Its standard error is among the lines, where it was written. It ends
 * nothing but the process group that it started.
 */
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'

/** Failures quote whole values; of a line so much is kept. */
const LINE_CHARACTERS_MAX = 400
/** Perl's exit status where a program died, and the shell's where there is none. Others count failures. */
const DIED = 255
const NOT_FOUND = 127
const GRACE_MS = 5_000

export interface Outcome {
  readonly lines: readonly string[]
  /** Why it did not end by itself as a test program does; null where it did. */
  readonly problem: string | null
}

export interface RunOptions {
  readonly cwd: string
  readonly env: Readonly<Record<string, string>>
  readonly seconds: number
  readonly signal: AbortSignal
}

export async function run(command: readonly string[], options: RunOptions): Promise<Outcome> {
  // One pipe for both keeps their order.
  const child = spawn('sh', ['-c', 'exec "$@" 2>&1', 'sh', ...command], {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  })
  const end = (signal: NodeJS.Signals) => {
    try {
      if (child.pid) process.kill(-child.pid, signal)
    } catch {
      // It has ended.
    }
  }
  let isLate = false
  const timers = [
    setTimeout(() => {
      isLate = true
      end('SIGTERM')
    }, options.seconds * 1_000),
    setTimeout(() => end('SIGKILL'), options.seconds * 1_000 + GRACE_MS),
  ]
  const abort = () => end('SIGTERM')
  options.signal.addEventListener('abort', abort)
  const lines: string[] = []
  createInterface({ input: child.stdout, crlfDelay: Number.POSITIVE_INFINITY }).on('line', (line) =>
    lines.push(line.slice(0, LINE_CHARACTERS_MAX)),
  )
  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>(
    (resolve, reject) => {
      child.once('error', reject)
      child.once('close', (...ended) => resolve(ended))
    },
  )
  for (const timer of timers) clearTimeout(timer)
  options.signal.removeEventListener('abort', abort)
  return {
    lines,
    problem: isLate ? `not done after ${options.seconds} s` : problemOf(code, signal),
  }
}

function problemOf(code: number | null, signal: NodeJS.Signals | null): string | null {
  if (signal !== null) return `ended by ${signal}`
  if (code === NOT_FOUND) return 'is not installed'
  return code === DIED ? 'died' : null
}
