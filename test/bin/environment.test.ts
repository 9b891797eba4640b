import { CommanderError, InvalidArgumentError } from 'commander'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { createProgram, environmentWithout } from '../../bin/environment.ts'

afterEach(() => vi.unstubAllEnvs())

interface Ran {
  readonly flags: Readonly<Record<string, unknown>>
  readonly error: string
}

/** A program like ours, run in this environment. */
async function run(environment: Readonly<Record<string, string>>, ...args: string[]): Promise<Ran> {
  for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value)
  const [flags, errors]: [Record<string, unknown>, string[]] = [{}, []]
  const program = createProgram('prog').exitOverride().option('--deep', 'of every command')
  const output = { writeErr: (text: string) => void errors.push(text) }
  program.configureOutput(output)
  program
    .command('ask')
    .exitOverride()
    .configureOutput(output)
    .option('--lb <list>', 'load balancers')
    .option('--lbip <host>', 'one', '127.0.0.1')
    .option('--lbport <port>', 'its port', parsePort, 5002)
    .option('--server <host:port>', 'instead')
    .option('--auth-file <path>', 'login')
    .option('--json', 'as JSON')
    .option('--no-restart', 'leave it dead')
    .option('--force', 'do it')
    .action((given) => {
      Object.assign(flags, given, program.opts())
    })
  try {
    await program.parseAsync(['ask', ...args], { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
  }
  return { flags, error: errors.join('') }
}

function parsePort(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('a port is a number.')
  return Number(text)
}

const DEFAULTS = { lbip: '127.0.0.1', lbport: 5002, restart: true }

test('a flag that is not typed comes from its variable, else it is the default', async () => {
  expect((await run({})).flags).toEqual(DEFAULTS)
  const environment = { RAFTCACHED_LBPORT: '6002', RAFTCACHED_AUTH_FILE: 'users' }
  expect((await run(environment)).flags).toEqual({ ...DEFAULTS, lbport: 6002, authFile: 'users' })
  expect((await run(environment, '--lbport', '7002')).flags).toMatchObject({ lbport: 7002 })
})

test('a bad value is the error of the flag, and names the variable', async () => {
  const { error, flags } = await run({ RAFTCACHED_LBPORT: 'many' })
  expect(error).toBe(
    "error: option '--lbport <port>' value 'many' from env 'RAFTCACHED_LBPORT' is invalid. a port is a number.\n",
  )
  expect(flags).toEqual({})
  expect((await run({ RAFTCACHED_LBPORT: 'many' }, '--lbport', '7002')).error).toBe('')
})

test('an empty variable is none', async () => {
  const empty = { RAFTCACHED_LBPORT: '', RAFTCACHED_JSON: '', RAFTCACHED_AUTH_FILE: '' }
  expect(await run(empty)).toEqual({ flags: DEFAULTS, error: '' })
})

describe('a switch', () => {
  test.each(['1', 'true', 'YES', 'on'])('is on with %s', async (word) => {
    const on = { RAFTCACHED_JSON: word, RAFTCACHED_NO_RESTART: word, RAFTCACHED_DEEP: word }
    expect((await run(on)).flags).toEqual({ ...DEFAULTS, json: true, restart: false, deep: true })
  })

  test.each(['0', 'false', 'No', 'off'])('is off with %s', async (word) => {
    const off = { RAFTCACHED_JSON: word, RAFTCACHED_NO_RESTART: word, RAFTCACHED_DEEP: word }
    expect((await run(off)).flags).toEqual(DEFAULTS)
    expect((await run(off, '--json')).flags).toMatchObject({ json: true })
  })

  test('takes no other word', async () => {
    const { error, flags } = await run({ RAFTCACHED_JSON: 'maybe' })
    expect(error).toBe(
      "error: option '--json' value 'maybe' from env 'RAFTCACHED_JSON' is invalid. 1 for on, or 0 for off.\n",
    )
    expect(flags).toEqual({})
  })
})

test('a place that is typed wins over another that a variable names', async () => {
  const environment = { RAFTCACHED_LB: 'a:1,b:2', RAFTCACHED_SERVER: 'c:3', RAFTCACHED_LBIP: 'd' }
  const { flags } = await run(environment)
  expect(flags).toMatchObject({ lb: 'a:1,b:2', server: 'c:3', lbip: 'd' })
  expect((await run(environment, '--lbport', '7')).flags).toEqual({
    ...{ ...DEFAULTS, lbip: 'd', lbport: 7 },
    ...{ lb: undefined, server: undefined },
  })
  const typed = await run(environment, '--lb', 'e:4')
  expect(typed.flags).toMatchObject({ lb: 'e:4', server: undefined })
  expect((await run(environment, '--server', 'f:5')).flags).toMatchObject({ server: 'f:5' })
})

test('what can not be taken back has to be typed', async () => {
  expect((await run({ RAFTCACHED_FORCE: '1' })).flags).toEqual(DEFAULTS)
  expect((await run({}, '--force')).flags).toMatchObject({ force: true })
})

test('members of a local cluster get none of it', () => {
  const environment = { RAFTCACHED_LB: 'a:1', PATH: '/bin', NO_COLOR: '1' }
  expect(environmentWithout(environment)).toEqual({ PATH: '/bin', NO_COLOR: '1' })
})
