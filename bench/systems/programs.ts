/**
 * Programs that the bench starts: found on the path, run in a directory of their own with
 * what they write in a file there, ended by pid.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import {
  accessSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
} from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { eventually, kill } from '../../test/e2e/cluster.ts'
import { atEnd } from '../ending.ts'
import type { Endpoint } from '../load/job.ts'

const LOG_CHARACTERS = 2_000
/** A busy machine may take long to start a system. */
export const READY_MS = 60_000
const ASK_TIMEOUT_MS = 5_000

/** null where it is not installed. */
export function findProgram(name: string): string | null {
  const directories = (process.env.PATH ?? '').split(delimiter)
  return directories.map((directory) => join(directory, name)).find(isExecutable) ?? null
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** Programs that belong together. */
export class Programs {
  readonly directory = mkdtempSync(join(tmpdir(), 'raftcached-bench-'))
  readonly #children = new Map<string, ChildProcess>()

  /** @param args of the program whose directory this is, named like it. */
  start(
    name: string,
    path: string,
    args: (directory: string) => readonly (string | number)[],
  ): void {
    const directory = join(this.directory, name)
    mkdirSync(directory)
    const output = openSync(this.#logOf(name), 'w')
    const child = spawn(path, args(directory).map(String), { stdio: ['ignore', output, output] })
    child.on('error', () => {})
    this.#children.set(name, child)
  }

  pidOf(name: string): number {
    return this.#children.get(name)?.pid ?? 0
  }

  /** Waits until it gives something; where one of them ends before, says what that wrote. */
  async ready<T>(what: string, test: () => Promise<T | null | false>): Promise<T> {
    const look = async () => this.#ended() ?? test()
    const found = await eventually<T | Error>(what, look, READY_MS).catch(asError)
    if (!(found instanceof Error)) return found
    const logs = [...this.#children.keys()].map((name) => readFileSync(this.#logOf(name), 'utf8'))
    const ends = logs.map((log) => log.slice(-LOG_CHARACTERS))
    throw new Error([found.message, ...ends].join('\n'))
  }

  #ended(): Error | null {
    for (const [name, { exitCode, signalCode }] of this.#children) {
      if (exitCode !== null || signalCode !== null) return new Error(`${name} ended`)
    }
    return null
  }

  /** Ends them and removes their directories. */
  readonly stop = atEnd(async () => {
    await Promise.all([...this.#children.values()].map((child) => kill(child)))
    rmSync(this.directory, { recursive: true, force: true })
  })

  #logOf(name: string): string {
    return join(this.directory, `${name}.log`)
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}

/** Sends a request on a connection of its own, and returns the reply once it ends so. */
export function ask({ host, port }: Endpoint, request: string, end: RegExp): Promise<string> {
  return new Promise((resolve, reject) => {
    let reply = ''
    const socket = net.connect({ host, port }, () => socket.write(request))
    socket.setTimeout(ASK_TIMEOUT_MS, () => socket.destroy(new Error('no answer')))
    socket.on('data', (chunk) => {
      reply += chunk.toString('latin1')
      if (!end.test(reply)) return
      resolve(reply)
      socket.destroy()
    })
    socket.on('error', reject)
    socket.on('close', () => reject(new Error(`the connection was closed after: ${reply}`)))
  })
}
