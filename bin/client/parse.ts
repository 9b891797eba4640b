/**
 * A typed line, as a call of one of the commands.
 *
 * In: the line and the commands there are. Out: which, with its arguments and options, or
 * null for a line that says nothing: an empty one, or a comment, which begins with #.
 *
 * An option stands behind the command's name, as on a command line; a word in quotes is none,
 * and neither is what the command has no such option for, nor anything behind --.
 */
import { type Command, OPTIONS, type OptionName, type Options } from './commands.ts'
import { UsageError } from './outcome.ts'
import { splitWords, type Word } from './words.ts'

export interface Param {
  /** `key`, whatever else it is. */
  readonly name: string
  readonly isNeeded: boolean
  readonly isMany: boolean
}

export interface Call {
  readonly command: Command
  readonly args: readonly Buffer[]
  readonly options: Options
}

/** Of the syntax that `Command.params` has. */
export function paramsOf({ params }: Pick<Command, 'params'>): Param[] {
  return [...params.matchAll(/([<[])([\w-]+)(\.\.\.)?[>\]]/g)].map(([, bracket, name, dots]) => ({
    name: name ?? '',
    isNeeded: bracket === '<',
    isMany: dots !== undefined,
  }))
}

/** How it is typed, options included. */
export function usageOf({ name, params, options }: Command): string {
  const optional = options.map((option) => {
    const { value } = OPTIONS[option]
    return value === null ? `[--${option}]` : `[--${option} ${value}]`
  })
  return [name, params, ...optional].filter((part) => part !== '').join(' ')
}

/** @throws UsageError */
export function parseLine<C extends Command>(
  line: string,
  commands: readonly C[],
): (Call & { command: C }) | null {
  if (/^[ \t]*(#|$)/.test(line)) return null
  const name = /^[ \t]*([^ \t]*)/.exec(line)?.[1] ?? ''
  const command = commands.find((command) => command.name === name.toLowerCase())
  if (!command) throw new UsageError(`no such command: ${name}; help lists them`)
  if (command.takesRest) return parseRest(line, command)
  const [, ...words] = splitWords(line)
  const { args, options } = takeOptions(words, command)
  assertFits(command, args.length)
  return { command, args: args.map(({ bytes }) => bytes), options }
}

/** One word, and then the rest as it is, unless it is quoted as a whole. */
function parseRest<C extends Command>(line: string, command: C): Call & { command: C } {
  const behindName = line.replace(/^[ \t]*[^ \t]+/, '')
  const first = firstWord(behindName)
  if (!first) throw missing(command)
  // One blank is between them; any other is part of the rest.
  const rest = behindName.slice(first.end + 1)
  if (rest.trim() === '') throw missing(command)
  return { command, args: [first.bytes, unquotedRest(rest)], options: {} }
}

/** The rest of the line may be anything, so it is not split. */
function firstWord(text: string): Word | null {
  const begin = /[^ \t]/.exec(text)?.index
  if (begin === undefined) return null
  const quote = text[begin]
  if (quote !== '"' && quote !== "'") {
    const length = /^[^ \t]+/.exec(text.slice(begin))?.[0].length ?? 0
    return splitWords(text.slice(0, begin + length))[0] ?? null
  }
  const pattern = quote === '"' ? /^"(?:[^"\\]|\\.)*"/ : /^'[^']*'/
  const length = pattern.exec(text.slice(begin))?.[0].length
  return splitWords(length === undefined ? text : text.slice(0, begin + length))[0] ?? null
}

function unquotedRest(rest: string): Buffer {
  if (!/^["']/.test(rest)) return Buffer.from(rest)
  try {
    const [word, other] = splitWords(rest)
    if (word?.isQuoted && !other) return word.bytes
  } catch {
    // It only begins with a quote.
  }
  return Buffer.from(rest)
}

function takeOptions(words: readonly Word[], command: Command): { args: Word[]; options: Options } {
  const args: Word[] = []
  const options: Partial<Record<OptionName, string>> = {}
  for (let at = 0; at < words.length; at++) {
    const word = words[at] as Word
    const text = String(word.bytes)
    if (text === '--' && !word.isQuoted) {
      args.push(...words.slice(at + 1))
      break
    }
    const name = command.options.find((option) => text === `--${option}` && !word.isQuoted)
    if (name === undefined) {
      args.push(word)
      continue
    }
    if (OPTIONS[name].value === null) {
      options[name] = ''
      continue
    }
    const value = words[++at]
    if (!value) throw new UsageError(`--${name} needs ${OPTIONS[name].value}`)
    options[name] = String(value.bytes)
  }
  return { args, options }
}

function assertFits(command: Command, count: number): void {
  const params = paramsOf(command)
  const needed = params.filter(({ isNeeded }) => isNeeded).length
  if (count < needed) throw missing(command)
  const takesMany = params.some(({ isMany }) => isMany)
  if (takesMany || count <= params.length) return
  const hint = params.length > 1 ? '; quote a value that has blanks' : ''
  throw new UsageError(`too many words: ${usageOf(command)}${hint}`)
}

function missing(command: Command): UsageError {
  return new UsageError(`too few words: ${usageOf(command)}`)
}
