/**
 * One command, given on the command line.
 *
 * What was asked for goes to standard output, why it is not there to standard error. With
 * --json all of it is objects on standard output, a line each.
 */
import type { Command, Context, Options } from './commands.ts'
import { openInput, readValue } from './input.ts'
import { EXIT, UsageError } from './outcome.ts'
import { paramsOf } from './parse.ts'
import type { Reply } from './reply.ts'

export interface SingleFlags extends Options {
  readonly json?: boolean
  readonly raw?: boolean
}

/** A value that is to be read from standard input. */
const STDIN = '-'

/** @returns the exit status. */
export async function runSingle(
  command: Command,
  words: readonly string[],
  flags: SingleFlags,
  context: Context,
): Promise<number> {
  if (flags.raw && words.length !== 1) throw new UsageError('--raw is for one key')
  for (const word of words) assertIntact(word)
  const args = await argsOf(command, words)
  const replies = await command.run(context, args, flags)
  for (const reply of replies) {
    if (flags.json) process.stdout.write(`${JSON.stringify(reply.json)}\n`)
    else if (reply.isDone) process.stdout.write(outputOf(reply, flags.raw === true))
    else process.stderr.write(`client: ${reply.text}\n`)
  }
  return replies.every(({ isDone }) => isDone) ? EXIT.done : EXIT.no
}

/** A terminal gets nothing that could harm it. */
function outputOf({ text, bytes, value }: Reply, isRaw: boolean): Buffer {
  if (isRaw && value) return value
  const line = process.stdout.isTTY || !bytes ? Buffer.from(text) : bytes
  return Buffer.concat([line, Buffer.from('\n')])
}

/** Node has put U+FFFD for what was not UTF-8, and nobody can tell any more. */
function assertIntact(word: string): void {
  if (!word.includes('\ufffd')) return
  const ways = 'a value - is read from standard input, and in a line of a script \\xHH is a byte'
  throw new UsageError(`not UTF-8, or U+FFFD: ${word}; ${ways}`)
}

async function argsOf(command: Command, words: readonly string[]): Promise<Buffer[]> {
  if (command.takesRest) {
    const [first = '', ...rest] = words
    return [Buffer.from(first), Buffer.from(rest.join(' '))]
  }
  const params = paramsOf(command)
  const args: Buffer[] = []
  for (const [at, word] of words.entries()) {
    const isInput = word === STDIN && params[at]?.name === 'value'
    args.push(isInput ? await readValue(openInput()) : Buffer.from(word))
  }
  return args
}
