/**
 * What a shell can complete of a command line, read off commander programs, so that it is
 * always what they take. Out: values for completion-scripts.ts.
 */
import { type Argument, Command, type Option } from 'commander'

/** What stands at a place: one of these words, or a file, or what nobody can guess. */
export type Value = readonly string[] | 'file' | 'anything'

export interface Flag {
  /** `--discover`, `-h`. */
  readonly names: readonly string[]
  readonly about: string
  /** null for a switch. */
  readonly value: Value | null
}

export interface CommandWords {
  /** Its name, and others for it. */
  readonly names: readonly string[]
  readonly about: string
  readonly flags: readonly Flag[]
  readonly values: readonly Value[]
  /** Whether the last of these may be there several times. */
  readonly isVariadic: boolean
}

export interface ProgramWords {
  readonly name: string
  /** Without any command. */
  readonly flags: readonly Flag[]
  readonly commands: readonly CommandWords[]
}

/** @throws Error where commands have commands of their own: nothing here needs it. */
export function wordsOf(program: Command): ProgramWords {
  const global = flagsOf(program)
  const all = program.commands.map((command) => command.name())
  const commands = program
    .createHelp()
    .visibleCommands(program)
    .map((command): CommandWords => {
      if (command.commands.length > 0) throw new Error(`${command.name()} has commands of its own`)
      const own = flagsOf(command)
      const names = new Set(own.flatMap((flag) => flag.names))
      const rest = global.filter((flag) => !flag.names.some((name) => names.has(name)))
      return {
        names: [command.name(), ...command.aliases()],
        about: command.description(),
        flags: [...own, ...rest],
        values: command.registeredArguments.map((argument) => valueOfArgument(argument, all)),
        isVariadic: command.registeredArguments.at(-1)?.variadic ?? false,
      }
    })
  return { name: program.name(), flags: global, commands }
}

function flagsOf(command: Command): Flag[] {
  return command
    .createHelp()
    .visibleOptions(command)
    .map((option) => ({
      names: [option.long, option.short].filter((name) => typeof name === 'string'),
      about: option.description,
      value: valueOfOption(option),
    }))
}

function valueOfOption(option: Option): Value | null {
  if (!option.required && !option.optional) return null
  return option.argChoices ?? valueNamed(/[<[]([^>\]]*)/.exec(option.flags)?.[1] ?? '')
}

/** @param commands What `help` takes. */
function valueOfArgument(argument: Argument, commands: readonly string[]): Value {
  if (argument.name() === 'command') return commands
  return argument.argChoices ?? valueNamed(argument.name())
}

function valueNamed(name: string): Value {
  return /^(file|path|dir|image)$/i.test(name.replace('...', '')) ? 'file' : 'anything'
}

/**
 * The program of an entry point, which would run it. It is taken where it begins to parse.
 * @param load Imports the entry point, for the first time in this process.
 */
export async function programOf(load: () => Promise<unknown>): Promise<Command> {
  const { parse, parseAsync } = Command.prototype
  const found: Command[] = []
  const take = function (this: Command) {
    found.push(this)
    return this
  }
  Object.assign(Command.prototype, { parse: take, parseAsync: take })
  try {
    await load()
  } finally {
    Object.assign(Command.prototype, { parse, parseAsync })
  }
  const [program] = found
  if (!program) throw new Error('this entry point parses no command line')
  return program
}
