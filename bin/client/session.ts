/**
 * What somebody who types lines talks to, at the prompt or in a script.
 *
 * In: lines, one at a time, and what is to be completed. Out: what is to be said to each. It
 * remembers the keys that were named, to complete them.
 */
import { COMMANDS, type Command, type Context, OPTIONS } from './commands.ts'
import { UsageError } from './outcome.ts'
import { paramsOf, parseLine, usageOf } from './parse.ts'
import { done, type Reply } from './reply.ts'

const KEYS_MAX = 1_000

const HELP: Command = {
  name: 'help',
  params: '[command]',
  options: [],
  help: 'print what there is, or all about one command',
  example: 'help set',
  run: async (_context, [about]) => {
    if (about === undefined) return [done(overview(), { commands: WORDS.map(usageOf) })]
    const command = WORDS.find(({ name }) => name === String(about))
    if (!command) throw new UsageError(`no such command: ${about}; help lists them`)
    return [done(manual(command), { usage: usageOf(command), help: command.help })]
  },
}

const QUIT: Command = {
  name: 'quit',
  params: '',
  options: [],
  help: 'end; so does Ctrl-D',
  example: 'quit',
  run: async () => [],
}

const EXIT: Command = { ...QUIT, name: 'exit', example: 'exit' }

export const WORDS: readonly Command[] = [...COMMANDS, HELP, QUIT, EXIT]

export class Session {
  readonly #context: Context
  /** Named so far, the latest last. */
  readonly #keys = new Set<string>()

  constructor(context: Context) {
    this.#context = context
  }

  /**
   * @param signal Ends it before it is done.
   * @returns null where the line says to end all.
   * @throws UsageError, StoreError, ...: outcome.ts has what each means.
   */
  async run(line: string, signal?: AbortSignal): Promise<readonly Reply[] | null> {
    const call = parseLine(line, WORDS)
    if (!call) return []
    const { command, args, options } = call
    if (command === QUIT || command === EXIT) return null
    const replies = await command.run({ ...this.#context, signal }, args, options)
    this.#rememberKeys(command, args)
    return replies
  }

  /**
   * As node:readline wants it.
   * @returns what the last word may become, and that word.
   */
  complete(line: string): [hits: string[], word: string] {
    const words = line.trimStart().split(/[ \t]+/)
    const word = words.pop() ?? ''
    return [this.#hits(words, word).map((hit) => `${hit} `), word]
  }

  #hits(before: readonly string[], word: string): string[] {
    const [name] = before
    const isFitting = (text: string) => text.startsWith(word)
    if (name === undefined) return namesOf(WORDS).filter(isFitting)
    const command = WORDS.find((command) => command.name === name.toLowerCase())
    if (!command) return []
    if (word.startsWith('-'))
      return command.options.map((option) => `--${option}`).filter(isFitting)
    const params = paramsOf(command)
    const param = params[Math.min(before.length, params.length) - 1]
    if (!param || (before.length > params.length && !param.isMany)) return []
    if (param.name === 'command') return namesOf(WORDS).filter(isFitting)
    return param.name === 'key' ? [...this.#keys].filter(isFitting).sort() : []
  }

  #rememberKeys(command: Command, args: readonly Buffer[]): void {
    const [param] = paramsOf(command)
    if (param?.name !== 'key') return
    for (const arg of param.isMany ? args : args.slice(0, 1)) {
      const key = String(arg)
      this.#keys.delete(key)
      this.#keys.add(key)
    }
    for (const key of this.#keys) {
      if (this.#keys.size <= KEYS_MAX) break
      this.#keys.delete(key)
    }
  }
}

function namesOf(commands: readonly Command[]): string[] {
  return commands.map(({ name }) => name).sort()
}

function overview(): string {
  const rows = WORDS.map(({ name, params, help }) => [`${name} ${params}`.trimEnd(), help] as const)
  const width = Math.max(...rows.map(([usage]) => usage.length))
  return [
    ...rows.map(([usage, help]) => `  ${usage.padEnd(width)}  ${help}`),
    '',
    'Quote a word that has blanks: "a \\"b\\"\\n" with escapes, or \'as it is\'. Behind # is a',
    'comment. help <command> has the options of a command.',
  ].join('\n')
}

function manual(command: Command): string {
  const options = command.options.map((name) => {
    const { value, help } = OPTIONS[name]
    return `  ${`--${name} ${value ?? ''}`.padEnd(20)}  ${help}`
  })
  const example = `example: ${command.example}`
  return [usageOf(command), `  ${command.help}`, ...options, example].join('\n')
}
