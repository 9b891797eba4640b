/**
 * How a command of the client ends, as its exit status says it: a number for each kind of
 * failure, so that a script knows whether it may try again without looking at words.
 */
import { StoreError } from '../../src/client/errors.ts'
import { LoginError } from '../../src/client/login.ts'

export const EXIT = {
  done: 0,
  /** The store answered, and the answer is no: no such key, not stored, not swapped. */
  no: 1,
  usage: 2,
  /** It failed, and certainly had no effect. */
  notDone: 3,
  /** It failed, and may have had its effect, or may have it yet. */
  unknown: 4,
  /** Nobody answered, or a login is wanted. */
  unreachable: 5,
  /** A file of this machine, or an image, can't be read or written. */
  file: 6,
  /** Ctrl-C, as shells have it. */
  interrupted: 130,
} as const

/** For --help. */
export const EXIT_HELP = `Exit status:
  0  done
  1  no such key, or not stored or swapped because of what is there
  2  the command itself is wrong
  3  failed, and certainly had no effect
  4  failed, and whether it had an effect is not known
  5  no server can be reached, or it refuses the login
  6  a file, or standard output, can't be read or written
  130  interrupted`

/** What was typed can't be done. */
export class UsageError extends Error {}

/** A file of this machine. */
export class FileError extends Error {}

/** For what a disk rejected with. @throws FileError */
export function cantWrite(path: string): (error: NodeJS.ErrnoException) => never {
  return (error) => {
    throw new FileError(`${path} can't be written (${error.code ?? error.message})`)
  }
}

export function exitStatusOf(error: unknown): number {
  if (error instanceof UsageError) return EXIT.usage
  if (error instanceof LoginError) return EXIT.unreachable
  if (error instanceof StoreError) {
    switch (error.code) {
      case 'invalid':
        return EXIT.usage
      case 'unreachable':
      case 'login':
        return EXIT.unreachable
      default:
        return error.definite ? EXIT.notDone : EXIT.unknown
    }
  }
  if (error instanceof FileError) return EXIT.file
  const isOfSystem = error instanceof Error && 'path' in error && 'code' in error
  return isOfSystem ? EXIT.file : EXIT.unknown
}

/** The one that a script of several commands ends with. */
export function graver(a: number, b: number): number {
  const order: readonly number[] = [
    ...[EXIT.done, EXIT.no, EXIT.usage, EXIT.file],
    ...[EXIT.notDone, EXIT.unreachable, EXIT.unknown, EXIT.interrupted],
  ]
  return order.indexOf(a) >= order.indexOf(b) ? a : b
}

/** For --json: what a program needs to decide what to do. */
export function errorJson(error: unknown, message: string): Record<string, unknown> {
  const code = error instanceof StoreError ? error.code : kindOf(error)
  const definite = exitStatusOf(error) !== EXIT.unknown
  return { error: code, definite, message }
}

function kindOf(error: unknown): string {
  if (error instanceof UsageError) return 'usage'
  if (error instanceof LoginError) return 'login'
  return exitStatusOf(error) === EXIT.file ? 'file' : 'other'
}
