/**
 * Completion scripts for bash, zsh and fish, from the words of a program. Pure.
 *
 * Each is one text to be sourced. A shell that has no words for a place offers files only
 * where one is meant.
 *
 * Sources: bash's manual, "Programmable Completion"; zsh's, "_arguments"; fish's `complete`.
 */
import type { CommandWords, Flag, ProgramWords, Value } from './completion.ts'

export const SHELLS = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof SHELLS)[number]

export function completionScript(shell: Shell, programs: readonly ProgramWords[]): string {
  const write = { bash, zsh, fish }[shell]
  return programs.map(write).join('\n')
}

/** One word for a shell, whatever is in it. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}

function list(words: readonly string[]): string {
  return quoted(words.join(' '))
}

const WITH_VALUE = ({ value }: Flag) => value !== null

// ---------------------------------------------------------------- bash

/**
 * Bash splits a word at `=` and `:`, so what stands behind one of them is the rest of a value.
 * `-o default` is for files, and not in bash 3.
 */
function bash({ name, flags, commands }: ProgramWords): string {
  const valueFlags = [...flags, ...commands.flatMap((command) => command.flags)].filter(WITH_VALUE)
  const takesValue = [...new Set(namesOf(valueFlags))].join('|')
  const none = { names: [''], flags }
  const values = [none, ...commands].flatMap((command) =>
    command.flags
      .filter(({ value }) => value !== null && value !== 'anything')
      .map((flag) => `      ${cases(command, flag)}) ${bashValue(flag.value)} ;;`),
  )
  const args = commands.flatMap((command) =>
    command.values.flatMap((value, at) => {
      if (value === 'anything') return []
      const isLast = at === command.values.length - 1
      const count = command.isVariadic && isLast ? '*' : at
      const keys = command.names.map((word) => `${quoted(word)}:${count}`)
      return [`    ${keys.join('|')}) ${bashValue(value)} ;;`]
    }),
  )
  const own = commands.map(
    (command) =>
      `    ${command.names.map(quoted).join('|')}) words=${list(namesOf(command.flags))} ;;`,
  )
  const names = commands.flatMap((command) => command.names)
  return `\
# Completion of ${name} for bash.
_${name}_complete() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]}
  local command='' count=0 skip='' word words=''
  COMPREPLY=()
  if [[ $prev == '=' ]]; then prev=\${COMP_WORDS[COMP_CWORD-2]}; fi
  if [[ $cur == '=' ]]; then cur=''; fi
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    if [[ $word == [=:] ]]; then skip=1; continue; fi
    if [[ $skip ]]; then skip=''; continue; fi
    case $word in
${takesValue ? `      ${takesValue}) skip=1 ;;\n` : ''}\
      -*) ;;
      *) if [[ $command ]]; then ((++count)); else command=$word; fi ;;
    esac
  done
  if [[ $skip ]]; then
    case $command:$prev in
${values.join('\n')}
    esac
    return
  fi
  if [[ $cur == -* ]]; then
    case $command in
${own.join('\n')}
    *) words=${list(namesOf(flags))} ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
    return
  fi
  case $command:$count in
    :*) COMPREPLY=($(compgen -W ${list(names)} -- "$cur")) ;;
${args.join('\n')}
  esac
}
complete -F _${name}_complete ${name}
`
}

function cases({ names }: Pick<CommandWords, 'names'>, flag: Flag): string {
  return names.flatMap((word) => flag.names.map((one) => `${quoted(word)}:${one}`)).join('|')
}

function bashValue(value: Value | null): string {
  if (value === null || typeof value === 'string') return 'compopt -o default 2>/dev/null'
  return `COMPREPLY=($(compgen -W ${list(value)} -- "$cur"))`
}

function namesOf(flags: readonly Flag[]): string[] {
  return flags.flatMap((flag) => flag.names)
}

// ---------------------------------------------------------------- zsh

function zsh({ name, flags, commands }: ProgramWords): string {
  const described = commands.flatMap(({ names, about }) =>
    names.map((word) => `        ${quoted(`${word.replaceAll(':', '\\:')}:${about}`)}`),
  )
  const rest = commands.map(({ names, flags: own, values, isVariadic }) => {
    const args = values.map((value, at) => {
      const count = isVariadic && at === values.length - 1 ? '*' : at + 1
      return quoted(`${count}: :${zshValue(value)}`)
    })
    const specs = [...own.flatMap(zshFlag), ...args]
    const lines = specs.map((spec) => `            ${spec}`).join(' \\\n')
    return `        ${names.map(quoted).join('|')})\n          _arguments -s \\\n${lines} ;;`
  })
  return `\
# Completion of ${name} for zsh.
_${name}_complete() {
  local state line curcontext=$curcontext
  local -a commands
  _arguments -C \\
${flags
  .flatMap(zshFlag)
  .map((spec) => `    ${spec} \\\n`)
  .join('')}\
    '1: :->command' '*:: :->rest'
  case $state in
    command)
      commands=(
${described.join('\n')}
      )
      _describe command commands ;;
    rest)
      case $line[1] in
${rest.join('\n')}
      esac ;;
  esac
}
compdef _${name}_complete ${name}
`
}

function zshFlag({ names, about, value }: Flag): string[] {
  const text = about.replace(/[\\[\]:]/g, '\\$&')
  const takes = value === null ? '' : `: :${zshValue(value)}`
  return names.map((name) => quoted(`${name}[${text}]${takes}`))
}

function zshValue(value: Value): string {
  if (value === 'file') return '_files'
  return value === 'anything' ? '' : `(${value.join(' ')})`
}

// ---------------------------------------------------------------- fish

function fish({ name, flags, commands }: ProgramWords): string {
  const complete = (when: string, rest: string) => `complete -c ${name} -n ${quoted(when)} ${rest}`
  const top = '__fish_use_subcommand'
  const lines = [
    `# Completion of ${name} for fish.`,
    `complete -c ${name} -f`,
    ...flags.map((flag) => complete(top, fishFlag(flag))),
    ...commands.flatMap(({ names, about }) =>
      names.map((word) => complete(top, `-a ${fishQuoted(word)} -d ${fishQuoted(about)}`)),
    ),
    ...commands.flatMap(({ names, flags: own, values }) => {
      const when = `__fish_seen_subcommand_from ${names.join(' ')}`
      const args = values.flatMap((value) => {
        if (value === 'anything') return []
        return complete(when, value === 'file' ? '-F' : `-a ${fishQuoted(value.join(' '))}`)
      })
      return [...own.map((flag) => complete(when, fishFlag(flag))), ...new Set(args)]
    }),
  ]
  return `${lines.join('\n')}\n`
}

function fishFlag({ names, about, value }: Flag): string {
  const words = names.map((name) =>
    name.startsWith('--') ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`,
  )
  const takes =
    value === null
      ? []
      : value === 'file'
        ? ['-r', '-F']
        : value === 'anything'
          ? ['-x']
          : ['-x', `-a ${fishQuoted(value.join(' '))}`]
  return [...words, ...takes, `-d ${fishQuoted(about)}`].join(' ')
}

/** In fish's quotes a backslash quotes quotes and itself. */
function fishQuoted(text: string): string {
  return `'${text.replace(/[\\']/g, '\\$&')}'`
}
