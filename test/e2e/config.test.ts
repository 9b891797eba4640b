/** The settings of a cluster, which every server and its log keep. */
import { execFile, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { commandPath, type ServerProcess, TestCluster } from './cluster.ts'
import { TextClient } from './text-client.ts'

const run = promisify(execFile)
const MIB = 1024 * 1024
const LARGE = 'x'.repeat(3 * MIB)
const TOO_LARGE = 'SERVER_ERROR object too large for cache'

let cluster: TestCluster

beforeAll(async () => {
  cluster = await TestCluster.start(3)
}, 60_000)

afterAll(() => cluster?.stop())

const config = (...args: string[]) =>
  run(process.execPath, [commandPath('store'), 'config', ...args])
const itemSize = (...args: string[]) => config('item-size', ...args)
const balancer = () => ['--lbport', `${cluster.lbcport}`]

async function withClient<T>(
  { cport }: ServerProcess,
  use: (client: TextClient) => Promise<T>,
): Promise<T> {
  const client = await TextClient.connect(cport)
  if (!client) throw new Error(`nobody listens at ${cport}`)
  return use(client).finally(() => client.close())
}

async function leaderAndFollowers(): Promise<[ServerProcess, ServerProcess, ServerProcess]> {
  const leader = await cluster.leader()
  const [one, two] = cluster.servers.filter((server) => server !== leader)
  if (!one || !two) throw new Error('three servers expected')
  return [leader, one, two]
}

test('raised, large values are kept, through kill -9 of all; lowered, what is there stays', {
  timeout: 120_000,
}, async () => {
  expect((await itemSize(...balancer())).stdout).toBe(
    'item-size: values may have up to 1048576 bytes\n',
  )
  for (const server of cluster.servers) {
    expect(await withClient(server, (client) => client.set('large', LARGE))).toBe(TOO_LARGE)
  }
  const raised = 'item-size: values may have up to 4194304 bytes\n'
  expect((await itemSize('4m', ...balancer())).stdout).toBe(raised)
  await cluster.ready() // every server has applied it
  const [, follower, another] = await leaderAndFollowers()
  expect(await withClient(follower, (client) => client.set('large', LARGE))).toBe('STORED')

  await cluster.killAll()
  cluster.startBalancer()
  for (const server of cluster.servers) cluster.startServer(server)
  await cluster.ready()
  const read = async (server: ServerProcess) =>
    (await withClient(server, (client) => client.get(['large']))).get('large') === LARGE
  expect(await read(another)).toBe(true)
  // Asked of a follower, without a load balancer.
  const atServer = ['--server', `127.0.0.1:${another.cport}`]
  expect((await itemSize(...atServer)).stdout).toBe(raised)

  const lowered = 'item-size: values may have up to 1048576 bytes\n'
  expect((await itemSize('1m', ...atServer)).stdout).toBe(lowered)
  await cluster.ready()
  for (const server of cluster.servers) {
    const longer = 'y'.repeat(MIB + 1)
    expect(await withClient(server, (client) => client.set('large', longer))).toBe(TOO_LARGE)
    expect(await read(server)).toBe(true)
    const longest = 'y'.repeat(MIB)
    expect(await withClient(server, (client) => client.set('other', longest))).toBe('STORED')
  }
  expect((await itemSize(...balancer())).stdout).toBe(lowered)
})

interface Ended {
  readonly code: number | null
  readonly stderr: string
}

/** Runs a command of `store` whose output goes there; a reader that is gone has read nothing. */
function runInto(output: 'reader that is gone' | 'full disk', ...args: string[]): Promise<Ended> {
  const shell = `exec "$0" "$@" ${output === 'full disk' ? '>/dev/full' : ''}`
  const child = spawn('sh', ['-c', shell, process.execPath, commandPath('store'), ...args])
  child.stdout.destroy()
  let stderr = ''
  child.stderr.on('data', (chunk) => {
    stderr += chunk
  })
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, stderr })))
}

test.each(['reader that is gone', 'full disk'] as const)(
  'what is done is done, whoever hears of it: a %s',
  async (output) => {
    const done = { code: 0, stderr: '' }
    const path = join(cluster.directory, `backup for a ${output}`)
    expect(await runInto(output, 'config', 'item-size', '1m', ...balancer())).toEqual(done)
    expect(await runInto(output, 'backup', path, ...balancer())).toEqual(done)
    expect(await runInto(output, 'restore', path, '--data', `${path}-restored`)).toEqual(done)
    expect([path, `${path}-restored`].map(existsSync)).toEqual([true, true])
  },
)

test('what can only be printed fails on a full disk, and not where nobody reads on', async () => {
  for (const args of [
    ['config', ...balancer()],
    ['status', ...balancer()],
    ['completion', 'bash'],
  ]) {
    expect(await runInto('reader that is gone', ...args)).toEqual({ code: 0, stderr: '' })
    expect(await runInto('full disk', ...args)).toEqual({
      code: 1,
      stderr: `store ${args[0]}: standard output can't be written (ENOSPC)\n`,
    })
  }
})

test('sizes that no cluster has, and a cluster without a leader, are refused with the reason', {
  timeout: 60_000,
}, async () => {
  for (const size of ['1023', '17m', '0', 'large']) {
    await expect(itemSize(size, ...balancer())).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/at least 1024 and at most 16777216 bytes|a size is like/),
    })
  }
  const [leader, one, two] = await leaderAndFollowers()
  await cluster.killServer(leader)
  await cluster.killServer(one)
  const atServer = ['--server', `127.0.0.1:${two.cport}`]
  await expect(itemSize('2m', ...atServer, '--timeout', '1000')).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining('(given up)'),
  })
})
