/** Servers that want a login, memcached clients that have one, and our own commands. */
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { EXIT } from '../../bin/client/outcome.ts'
import { connect } from '../../src/client/client.ts'
import { withLogin } from '../../src/client/login.ts'
import { commandPath, io, type ServerProcess, TestCluster } from './cluster.ts'
import { TextClient } from './text-client.ts'

const run = promisify(execFile)
const LOGIN = { user: 'anna', password: 'käse: 2 kg' }

let cluster: TestCluster
let authFile: string
let wrongFile: string

beforeAll(async () => {
  cluster = await TestCluster.prepare(3)
  authFile = join(cluster.directory, 'users')
  wrongFile = join(cluster.directory, 'wrong')
  writeFileSync(authFile, `${LOGIN.user}:${LOGIN.password}\nbob:builder\n`)
  writeFileSync(wrongFile, 'anna:wrong\n')
  cluster.serversIo = withLogin(io, LOGIN)
  cluster.startBalancer()
  for (const server of cluster.servers) cluster.startServer(server, '--auth-file', authFile)
  await cluster.ready()
}, 60_000)

afterAll(() => cluster?.stop())

async function leaderAndFollower(): Promise<[ServerProcess, ServerProcess]> {
  const leader = await cluster.leader()
  const follower = cluster.servers.find((server) => server !== leader)
  if (!follower) throw new Error('no follower')
  return [leader, follower]
}

async function open({ cport }: ServerProcess): Promise<TextClient> {
  const client = await TextClient.connect(cport)
  if (!client) throw new Error(`nobody listens at ${cport}`)
  return client
}

function logIn(client: TextClient, user: string, password: string): Promise<string> {
  const token = `${user} ${password}`
  return client.request(`set auth 0 0 ${Buffer.byteLength(token)}\r\n${token}\r\n`)
}

describe('a memcached client', () => {
  test('is refused before it has logged in, whatever it asks', async () => {
    for (const server of await leaderAndFollower()) {
      const client = await open(server)
      const requests = ['get k', 'mg k v', 'delete k', 'flush_all', 'stats', 'version', 'shutdown']
      const own = ['status', 'backup', 'item-size-max 2048', 'read-mode lease']
      for (const request of [...requests, ...own]) {
        expect(await client.request(`${request}\r\n`)).toBe('CLIENT_ERROR unauthenticated')
      }
      client.close()
    }
  })

  test('with a wrong password stays out, with the right one gets in', async () => {
    for (const server of await leaderAndFollower()) {
      const client = await open(server)
      const failure = 'CLIENT_ERROR authentication failure'
      expect(await logIn(client, 'anna', 'wrong')).toBe(failure)
      expect(await logIn(client, 'anna', 'builder')).toBe(failure)
      expect(await logIn(client, 'nobody', 'builder')).toBe(failure)
      expect(await client.request('get k\r\n')).toBe('CLIENT_ERROR unauthenticated')
      expect(await logIn(client, 'bob', 'builder')).toBe('STORED')
      expect(await client.set('k', `at ${server.cport}`)).toBe('STORED')
      expect((await client.get(['k', 'auth'])).get('k')).toBe(`at ${server.cport}`)
      // What named the user was no key.
      expect((await client.get(['auth'])).size).toBe(0)
      const second = await open(server)
      expect(await second.request('get k\r\n')).toBe('CLIENT_ERROR unauthenticated')
      second.close()
      client.close()
    }
  })
})

describe('the library', () => {
  const balancer = () => ({ host: '127.0.0.1', port: cluster.lbcport })

  test('logs in', async () => {
    const client = await connect(balancer(), { login: LOGIN })
    await client.set('library', 'value')
    expect(String(await client.get('library'))).toBe('value')
    await client.close()
  })

  test('without a login stores nothing, even where a value looks like one', async () => {
    const client = await connect(balancer())
    const token = `${LOGIN.user} ${LOGIN.password}`
    await expect(client.set('k', token)).rejects.toMatchObject({ code: 'login', definite: true })
    await expect(client.get('k')).rejects.toThrow('wants a login')
    await client.close()
  })
})

/** What each command of this project says, as it is given a file or not. */
describe('our commands', () => {
  const store = (...args: string[]) => run(process.execPath, [commandPath('store'), ...args])
  const client = (...args: string[]) =>
    run(process.execPath, [commandPath('client'), ...args, '--lbport', `${cluster.lbcport}`])
  const atServer = ({ cport }: ServerProcess) => ['--server', `127.0.0.1:${cport}`]

  /** @param code The exit status. */
  async function expectRefusals(command: (...flags: string[]) => Promise<unknown>, code = 1) {
    await expect(command()).rejects.toMatchObject({
      code,
      stderr: expect.stringMatching(
        /^[^\n]*server 127\.0\.0\.1:\d+:? wants a login: add --auth-file/,
      ),
    })
    await expect(command('--auth-file', wrongFile)).rejects.toMatchObject({
      code,
      stderr: expect.stringMatching(
        /^[^\n]*server 127\.0\.0\.1:\d+:? refused user anna: check --auth-file/,
      ),
    })
  }

  test('client set and get', async () => {
    await expectRefusals((...flags) => client('set', 'mine', 'value', ...flags), EXIT.unreachable)
    await expectRefusals((...flags) => client('get', 'mine', ...flags), EXIT.unreachable)
    const login = ['--auth-file', authFile]
    await expect(client('get', 'mine', ...login)).rejects.toMatchObject({
      stderr: 'client: no such key: mine\n',
    })
    expect((await client('set', 'mine', 'value', ...login)).stdout).toBe('STORED\n')
    expect((await client('get', 'mine', ...login)).stdout).toBe('mine value\n')
  }, 30_000)

  test('a file that is not there', async () => {
    await expect(client('get', 'mine', '--auth-file', `${authFile}.none`)).rejects.toMatchObject({
      code: EXIT.file,
      stderr: `client: ${authFile}.none is not there: check --auth-file\n`,
    })
  })

  test('store status: of a server; a load balancer asks nobody who they are', async () => {
    const [leader, follower] = await leaderAndFollower()
    await expectRefusals((...flags) => store('status', ...atServer(follower), ...flags))
    const told = await store('status', ...atServer(follower), '--auth-file', authFile)
    expect(told.stdout).toContain(`leads, 127.0.0.1:${leader.cport}`)
    const { stdout } = await store('status', '--lbport', `${cluster.lbcport}`)
    expect(stdout).toContain(`leads, 127.0.0.1:${leader.cport}`)
  }, 30_000)

  test('store config', async () => {
    const config = (...args: string[]) => store('config', ...args, '--lbport', `${cluster.lbcport}`)
    await expectRefusals((...flags) => config('item-size', '2m', ...flags))
    const { stdout } = await config('item-size', '--auth-file', authFile)
    expect(stdout).toBe('item-size: values may have up to 1048576 bytes\n')
  }, 30_000)

  test('store backup', async () => {
    const file = join(cluster.directory, 'backup')
    const balancer = ['--lbport', `${cluster.lbcport}`]
    await expectRefusals((...flags) => store('backup', file, ...balancer, ...flags))
    await store('backup', file, ...balancer, '--auth-file', authFile)
    await store('verify', file)
    const [, follower] = await leaderAndFollower()
    await store('backup', file, '--force', ...atServer(follower), '--auth-file', authFile)
    await store('verify', file)
  }, 30_000)

  test('store remove', async () => {
    const [, follower] = await leaderAndFollower()
    const { members } = await cluster.status()
    const id = members.find(({ cport }) => cport === follower.cport)?.id ?? ''
    const remove = (...flags: string[]) =>
      store('remove', id, '--lbport', `${cluster.lbcport}`, '--timeout', '500', ...flags)
    await expectRefusals(remove)
    // It gets through, and hears that three voters are the floor.
    await expect(remove('--auth-file', authFile)).rejects.toMatchObject({
      stderr: expect.stringContaining('kept: removing it would leave 2 voters'),
    })
  }, 30_000)
})

test('--auth-file to servers that want no login: they are used all the same, and told no password', async () => {
  const open = await TestCluster.start(2)
  try {
    const client = await connect({ host: '127.0.0.1', port: open.lbcport }, { login: LOGIN })
    await client.set('k', 'value')
    expect(String(await client.get('k'))).toBe('value')
    expect(await client.get('auth')).toBeNull()
    await client.close()
  } finally {
    await open.stop()
  }
}, 60_000)
