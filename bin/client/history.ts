/**
 * What was typed at the prompt, kept in a file, a line each, the newest last.
 *
 * It is for its owner's eyes alone, as values may be typed. Each line is appended when it is
 * entered, so that nothing is lost to a kill, and two prompts may share the file; what is too
 * much is cut off at the next start. A file that can't be written is no reason not to work:
 * that is said once, and goes on without.
 */
import {
  appendFileSync,
  chmodSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

export const HISTORY_LINES_MAX = 1_000
/** A longer one was pasted, and nobody looks for it here. */
const LINE_CHARACTERS_MAX = 4_096
const OWNER_ONLY = 0o600

/**
 * @param environment `RAFTCACHED_HISTORY` names the file; empty, there is none.
 * @param home Throws where this user has none; without a file that is named, there is none then.
 */
export function historyPath(environment: NodeJS.ProcessEnv, home = homedir): string | null {
  const named = environment.RAFTCACHED_HISTORY
  if (named !== undefined) return named === '' ? null : named
  try {
    return join(home(), '.raftcached_history')
  } catch {
    return null
  }
}

export class History {
  readonly #path: string | null
  readonly #warn: (text: string) => void
  #isBroken = false
  #latest = ''

  constructor(path: string | null, warn: (text: string) => void) {
    this.#path = path
    this.#warn = warn
  }

  /** The newest first, as node:readline wants them. */
  load(): string[] {
    return this.#attempt((path) => {
      const lines = readLines(path)
      const kept = lines.slice(-HISTORY_LINES_MAX)
      if (lines.length > kept.length) {
        writeFileSync(`${path}.tmp`, asText(kept), { mode: OWNER_ONLY })
        renameSync(`${path}.tmp`, path)
      }
      this.#latest = kept.at(-1) ?? ''
      return kept.reverse()
    }, [])
  }

  add(line: string): void {
    const isWorth = line.trim() !== '' && line.length <= LINE_CHARACTERS_MAX
    if (!isWorth || line === this.#latest) return
    this.#latest = line
    this.#attempt((path) => {
      appendFileSync(path, asText([line]), { mode: OWNER_ONLY })
      // It may have been there before, readable to others; a device, as /dev/null, is everybody's.
      if (statSync(path).isFile()) chmodSync(path, OWNER_ONLY)
    }, undefined)
  }

  #attempt<T>(use: (path: string) => T, otherwise: T): T {
    if (this.#path === null || this.#isBroken) return otherwise
    try {
      return use(this.#path)
    } catch (error) {
      this.#isBroken = true
      const code = error instanceof Error && 'code' in error ? error.code : error
      this.#warn(`history is not kept: ${this.#path} (${code}); see RAFTCACHED_HISTORY`)
      return otherwise
    }
  }
}

function readLines(path: string): string[] {
  try {
    return readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return []
    throw error
  }
}

function asText(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join('')
}
