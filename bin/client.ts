#!/usr/bin/env node
/**
 * The `client` command: parses flags, calls bin/client, and ends with a status that says how
 * it went (client/outcome.ts).
 */
import type { Command } from 'commander'
import { createNodeIo } from '../src/io/node.ts'
import { COMMANDS, OPTIONS, type Command as Word } from './client/commands.ts'
import { type ClientFlags, withClient } from './client/connection.ts'
import { History, historyPath } from './client/history.ts'
import { openInput } from './client/input.ts'
import { EXIT, EXIT_HELP, errorJson, exitStatusOf, graver, UsageError } from './client/outcome.ts'
import { paramsOf } from './client/parse.ts'
import { runPrompt } from './client/prompt.ts'
import { runScript } from './client/script.ts'
import { Session } from './client/session.ts'
import { runSingle, type SingleFlags } from './client/single.ts'
import { runExport, runImport } from './client/transfer.ts'
import { addClusterFlags } from './cluster.ts'
import { createProgram } from './environment.ts'
import { explain, parseCount } from './run.ts'

/** Those that can hand out a value alone. */
const HAS_RAW = ['get', 'read', 'iget']

const io = createNodeIo()

const program = createProgram('client')
  .description('Reads and writes keys of a raftcached cluster, found through its load balancer.')
  .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? EXIT.done : EXIT.usage))
  .showHelpAfterError()
  .addHelpText(
    'after',
    `
Without a command it opens a prompt, or runs the lines of standard input: client prompt --help.

${EXIT_HELP}

Examples:
  client set greeting "hello world"
  client`,
  )

addFlags(program.command('prompt', { isDefault: true }))
  .description('open a prompt, or run the lines of standard input where it is no terminal')
  .allowExcessArguments()
  .addHelpText(
    'after',
    `
At the prompt help lists the commands, Tab completes them and the keys named so far, Ctrl-C
clears the line, Ctrl-D ends. What was typed is kept in ~/.raftcached_history, or in the file
that $RAFTCACHED_HISTORY names.

A script gets a reply a line, in order; error: line N: why for a line that failed. The lines
behind that one are run all the same, unless no server can be reached. The exit status is
that of the gravest failure, 0 where there was none.

Examples:
  client
  client prompt --lb lb1.example:5002
  printf 'write k "two words"\\nread k\\n' | client`,
  )
  .action((flags: ClientFlags, command: Command) =>
    run(flags, async () => {
      const [unknown] = command.args
      if (unknown !== undefined) {
        const hint = 'flags stand behind it, and client --help lists them'
        throw new UsageError(`no such command: ${unknown}; ${hint}`)
      }
      return withClient(io, flags, async (context) => {
        const session = new Session(context)
        const isJson = flags.json === true
        if (!process.stdin.isTTY) {
          const { stdout: output, stderr: errors } = process
          return runScript(session, { input: openInput(), output, errors }, isJson)
        }
        const history = new History(historyPath(process.env), (text) =>
          process.stderr.write(`client: ${text}\n`),
        )
        await runPrompt(session, history, isJson)
        return EXIT.done
      })
    }),
  )

for (const word of COMMANDS) addWord(word)

addFlags(program.command('import <file>'))
  .description('store the items of a file of JSON lines, as client export writes them')
  .addHelpText(
    'after',
    `
A line an item: {"key":"k","value":"v","flags":0,"expiresAt":"2026-12-31T23:59:59Z"}. A value
that is not text is in "base64" instead; flags and expiresAt may be left out. What has expired
is left out.

Interrupted, or failed, it leaves <file>.progress, which says how many lines are stored for
good, and the same command goes on from there.

A line is set again where nobody knows what became of it, and the first may take effect yet,
from a server that hangs: then a later line of its key is not set (exit status 4) until the
command is given again. What others have set since it may undo; and so may what an import had
sent that ended before it was done, later lines too.

Example:
  client import ./items.jsonl`,
  )
  .action((path: string, flags: ClientFlags) =>
    run(flags, () =>
      withClient(io, flags, (context) => runImport(io, context, path, flags.json === true)),
    ),
  )

addFlags(program.command('export <file>'))
  .description('write all items, as of one moment, to a file of JSON lines')
  .option('--force', 'replace a file that is there')
  .addHelpText(
    'after',
    `
Takes a backup into <file>.backup, as store backup does, makes lines out of it, and removes
it. Interrupted when the backup is whole, the same command goes on with it, and has the items
as of then; interrupted before, it begins anew. CAS uniques are not kept.

Example:
  client export ./items.jsonl`,
  )
  .action((path: string, flags: ClientFlags & { force?: boolean }) =>
    run(flags, () =>
      withClient(io, flags, (context, cluster) => runExport(cluster, context, path, flags)),
    ),
  )

function addFlags(command: Command): Command {
  return addClusterFlags(command)
    .option('--json', 'print JSON, an object a line, failures too')
    .option('--timeout <ms>', 'give up after so long', parseCount)
}

/** One of the table, as a command. */
function addWord(word: Word): void {
  const command = addFlags(program.command(`${word.name} ${word.params}`.trimEnd()))
  for (const name of word.options) {
    const { value, help } = OPTIONS[name]
    command.option(value === null ? `--${name}` : `--${name} ${value}`, help)
  }
  const notes: string[] = []
  if (HAS_RAW.includes(word.name)) {
    command.option('--raw', 'the bytes of the value of one key, and nothing else')
    notes.push('On a terminal control characters are escaped; elsewhere values are as they are.\n')
  }
  if (paramsOf(word).some(({ name }) => name === 'value')) {
    notes.push('A value - is read from standard input. Behind -- nothing is a flag.\n')
  }
  command
    .description(word.help)
    .addHelpText('after', ['', ...notes, `Example:\n  client ${word.example}`].join('\n'))
    .action((...given: unknown[]) => {
      const flags = given.at(-2) as ClientFlags & SingleFlags
      const words = given.slice(0, -2).flat() as (string | undefined)[]
      const typed = words.filter((word) => word !== undefined)
      return run(flags, () =>
        withClient(io, flags, (context) => runSingle(word, typed, flags, context)),
      )
    })
}

/** Where what there is to say can't be said. */
function endWhereUnwritten(): void {
  process.stdout.on('error', ({ code }: NodeJS.ErrnoException) => {
    if (code === 'EPIPE') process.exit() // whoever read has enough: | head
    process.stderr.write(`client: standard output can't be written (${code})\n`)
    // A status of its own, for it says nothing of what was asked for, unless that failed for more.
    process.exit(graver(Number(process.exitCode ?? EXIT.done), EXIT.file))
  })
  process.stderr.on('error', () => {}) // the exit status says how it went, too
}

/** A failure is one line. */
async function run(flags: ClientFlags, command: () => Promise<number>): Promise<void> {
  endWhereUnwritten()
  try {
    process.exitCode = await command()
  } catch (error) {
    const message = explain(error)
    if (flags.json) process.stdout.write(`${JSON.stringify(errorJson(error, message))}\n`)
    else process.stderr.write(`client: ${message}\n`)
    process.exitCode = exitStatusOf(error)
  }
}

await program.parseAsync()
