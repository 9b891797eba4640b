/** What `--help` says, of every command of both programs. */
import type { Command } from 'commander'
import { describe, expect, test } from 'vitest'
import { programOf } from '../../bin/completion.ts'

const store = await programOf(() => import('../../bin/store.ts'))
const client = await programOf(() => import('../../bin/client.ts'))

function helpOf(command: Command): string {
  let text = ''
  command.configureOutput({
    writeOut: (part) => {
      text += part
    },
  })
  command.outputHelp()
  return text
}

test('both programs are here', () => {
  expect([store.name(), client.name()]).toEqual(['store', 'client'])
  expect(store.commands.map((command) => command.name())).toContain('status')
  expect(client.commands.map((command) => command.name())).toContain('get')
})

/** Meant where no command is typed. */
const DEFAULT = 'client prompt'

const commands = [store, client].flatMap((program) =>
  program.commands.map((command) => [`${program.name()} ${command.name()}`, command] as const),
)

describe.each(commands)('%s', (name, command) => {
  const help = helpOf(command)

  test('has an example of itself', () => {
    const [, examples = ''] = /\nExamples?:\n((?: {2}.*\n)+)/.exec(help) ?? []
    expect(examples).toContain(name === DEFAULT ? 'client' : name)
  })

  test('says what it is for', () => {
    expect(command.description()).not.toBe('')
  })
})

test('every flag names its variable, but for those that have to be typed', () => {
  const flags = [store, client].flatMap(({ commands }) =>
    commands.flatMap(({ options }) => options),
  )
  const without = flags.filter(({ envVar }) => envVar === undefined).map(({ long }) => long)
  expect(new Set(without)).toEqual(new Set(['--force']))
  const status = store.commands.find((command) => command.name() === 'status')
  const text = status ? helpOf(status).replace(/\s+/g, ' ') : ''
  expect(text).toContain('(default: 5002, env: RAFTCACHED_LBPORT)')
  expect(text).toContain('(env: RAFTCACHED_AUTH_FILE)')
})
