/**
 * Flags that also come from the environment: `--auth-file` from RAFTCACHED_AUTH_FILE.
 *
 * Out: a commander program; the flags of all commands that are added to it look there, what
 * is typed wins, and `--help` names the variables. A switch is on with 1, true, yes or on,
 * and off with 0, false, no or off; a variable that is empty is none.
 */
import { Command, type Option } from 'commander'

const PREFIX = 'RAFTCACHED_'

/** What can't be taken back has to be typed each time; and a version is only asked for. */
const TYPED_ONLY = ['--force', '--version']

/** Ways to say where the cluster is, by the names of their flags: one goes before those behind it. */
const PLACES = [['server'], ['lb'], ['lbip', 'lbport']]

const ON = ['1', 'true', 'yes', 'on']
const OFF = ['0', 'false', 'no', 'off']

export function createProgram(name: string): Command {
  const program = new EnvironmentCommand(name)
  return program.hook('preAction', (_, command) => {
    for (const one of [program, command]) {
      for (const option of one.options) readSwitch(one, option)
    }
    preferTypedPlace(command)
  })
}

/** An option has to know its variable when it is added: later commander would only show it. */
class EnvironmentCommand extends Command {
  override createCommand(name?: string): Command {
    return new EnvironmentCommand(name)
  }

  override addOption(option: Option): this {
    addVariable(option)
    return super.addOption(option)
  }
}

/** For processes that are told all they need by flags. */
export function environmentWithout(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(environment).filter(([name]) => !name.startsWith(PREFIX)),
  )
}

function addVariable(option: Option): void {
  const { long } = option
  if (!long || TYPED_ONLY.includes(long)) return
  const variable = PREFIX + long.slice(2).replaceAll('-', '_').toUpperCase()
  if (process.env[variable] === '') delete process.env[variable]
  option.env(variable)
}

/** Commander turns a switch on where its variable is there, whatever that says. */
function readSwitch(command: Command, option: Option): void {
  const { envVar } = option
  const name = option.attributeName()
  const isSwitch = option.isBoolean() || option.negate
  if (!isSwitch || envVar === undefined || command.getOptionValueSource(name) !== 'env') return
  const word = process.env[envVar]?.toLowerCase() ?? ''
  if (ON.includes(word)) return
  if (OFF.includes(word)) return forget(command, option)
  command.error(
    `error: option '${option.flags}' value '${word}' from env '${envVar}' is invalid. 1 for on, or 0 for off.`,
  )
}

/** `--lbport 6002`, typed, is meant, whatever RAFTCACHED_LB or RAFTCACHED_SERVER says. */
function preferTypedPlace(command: Command): void {
  const isTyped = (name: string) => command.getOptionValueSource(name) === 'cli'
  const at = PLACES.findIndex((names) => names.some(isTyped))
  for (const name of PLACES.slice(0, Math.max(0, at)).flat()) {
    const option = command.options.find((one) => one.attributeName() === name)
    if (option && command.getOptionValueSource(name) === 'env') forget(command, option)
  }
}

function forget(command: Command, option: Option): void {
  const value = option.negate ? true : option.defaultValue
  command.setOptionValueWithSource(option.attributeName(), value, 'default')
}
