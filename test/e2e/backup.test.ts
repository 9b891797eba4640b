/** `store backup` of a cluster under load, `store restore`, and the cluster that begins with it. */
import { execFile } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { commandPath, eventually, io, makeDirectory, TestCluster } from './cluster.ts'
import { Load } from './load.ts'
import { TextClient } from './text-client.ts'

vi.setConfig({ testTimeout: 120_000, hookTimeout: 30_000 })

let directory: string
let clusters: TestCluster[] = []

beforeEach(() => {
  directory = makeDirectory()
})

afterEach(async (context) => {
  if (context.task.result?.state === 'fail') {
    for (const { log } of clusters) console.error(log.slice(-4_000))
  }
  await Promise.all(clusters.map((cluster) => cluster.stop()))
  clusters = []
  rmSync(directory, { recursive: true, force: true })
})

interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

function store(...args: (string | number)[]): Promise<Ended> {
  return new Promise((resolve) => {
    const argv = [commandPath('store'), ...args.map(String)]
    const options = { cwd: directory, maxBuffer: 256 * 1024 * 1024 }
    execFile(process.execPath, argv, options, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
    )
  })
}

async function clusterOf(serverCount: number): Promise<TestCluster> {
  const cluster = await TestCluster.start(serverCount)
  clusters.push(cluster)
  return cluster
}

const sorted = (text: string) => text.trimEnd().split('\n').sort()

test('a backup under load has all that was acknowledged before it, and a new cluster begins with it', async () => {
  const cluster = await clusterOf(3)
  const client = await TextClient.connect(cluster.servers[0]?.cport ?? 0)
  for (let at = 0; at < 20; at++) await client?.set(`large-${at}`, 'x'.repeat(500_000))
  client?.close()
  const load = new Load(cluster, 4)
  await eventually('some writes', () => load.stored.size > 500)
  const before = new Map(load.stored)
  const { code, stdout, stderr } = await store('backup', 'b.1', '--lbport', cluster.lbcport)
  expect([code, stderr]).toEqual([0, ''])
  const said = /^server 127.0.0.1:(\d+), as of entry (\d+), (\d+) items, (\d+) bytes\n$/.exec(
    stdout,
  )
  expect(said?.map(Number).slice(1)).toEqual([
    expect.any(Number),
    expect.any(Number),
    expect.any(Number),
    readFileSync(join(directory, 'b.1')).length,
  ])
  expect(Number(said?.[1])).not.toBe((await cluster.leader()).cport)
  const afterMs = performance.now()
  await eventually('writes go on', () => load.latestStartMs > afterMs)
  await load.stop()
  const { stdout: dump } = await store('keystore', '--full', 'b.1')
  const items = new Map(
    sorted(dump).map((line) => [line.split(' ')[0], line.split(' ').slice(4).join(' ')]),
  )
  expect([...before].filter(([key, value]) => items.get(key) !== value)).toEqual([])
  expect(items.size).toBe(Number(said?.[3]))
  const verified = await store('verify', 'b.1')
  expect(verified.stdout).toMatch(/^b\.1: \d+ items, .*\nall is well\n$/)

  // Every item is what the log says at that index.
  const { stdout: log } = await store('log', join(cluster.servers[0]?.directory ?? ''))
  const atIndex = new Map<string, string>()
  for (const line of log.trimEnd().split('\n')) {
    const [index, key = '', ...value] = line.split(' ')
    if (Number(index) <= Number(said?.[2])) atIndex.set(key, value.join(' '))
  }
  expect(new Map([...items].filter(([key]) => key?.startsWith('key-')))).toEqual(
    new Map([...atIndex].filter(([key]) => key.startsWith('key-'))),
  )
  await cluster.killAll()

  const restored = await TestCluster.prepare(3)
  clusters.push(restored)
  const [first, ...others] = restored.servers
  if (!first) throw new Error('no server')
  const { cport, sport } = first
  const made = await store(
    'restore',
    'b.1',
    '--data',
    first.directory,
    '--cport',
    cport,
    '--sport',
    sport,
  )
  expect([made.code, made.stderr]).toEqual([0, ''])
  const { stdout: copied } = await store('keystore', '--full', first.directory)
  expect(sorted(copied)).toEqual(sorted(dump))
  expect((await store('verify', first.directory)).code).toBe(0)
  restored.startBalancer()
  restored.startServer(first)
  const alone = await eventually('the server answers', () => TextClient.connect(cport))
  const [key = '', value] = [...before][0] ?? []
  await eventually('its items', async () => (await alone.get([key])).get(key) === value)
  expect(await alone.set('k', 'v')).toMatch(/^SERVER_ERROR not stored: the cluster has one voter/)
  for (const server of others) restored.startServer(server)
  await restored.ready()
  expect(await alone.set('k', 'v')).toBe('STORED')
  alone.close()
  for (const server of restored.servers) {
    const reader = await TextClient.connect(server.cport)
    const keys = [...items.keys()].map(String)
    for (let at = 0; at < keys.length; at += 100) {
      const some = keys.slice(at, at + 100)
      expect(await reader?.get(some)).toEqual(new Map(some.map((each) => [each, items.get(each)])))
    }
    reader?.close()
  }
  // And a backup of that has the same items, with their CAS uniques, and one more.
  const again = await store('backup', 'b.2', '--server', `127.0.0.1:${cport}`)
  expect([again.code, again.stderr]).toEqual([0, ''])
  const lines = sorted((await store('keystore', '--full', 'b.2')).stdout)
  expect(lines.filter((line) => !line.startsWith('k '))).toEqual(sorted(dump))
  expect(lines).toHaveLength(items.size + 1)
})

test('flags, expiry and cas unique are kept, and what expires meanwhile does', async () => {
  const cluster = await clusterOf(2)
  const { cport } = await cluster.leader()
  const socket = net.connect(cport, '127.0.0.1')
  const soonSeconds = Math.floor(Date.now() / 1_000) + 3
  const laterSeconds = soonSeconds + 1_000
  socket.write(`set soon 1 ${soonSeconds} 1\r\na\r\nset later 2 ${laterSeconds} 1\r\nb\r\n`)
  await eventually('both', async () => socket.read()?.toString() === 'STORED\r\nSTORED\r\n')
  socket.destroy()
  await store('backup', 'b', '--lbport', cluster.lbcport)
  const { stdout } = await store('keystore', '--full', 'b')
  expect(sorted(stdout).map((line) => line.replace(/\d+ (.)$/, 'n $1'))).toEqual([
    `later 2 ${new Date(laterSeconds * 1_000).toISOString()} n b`,
    `soon 1 ${new Date(soonSeconds * 1_000).toISOString()} n a`,
  ])
  await delay(soonSeconds * 1_000 + 100 - Date.now())
  expect((await store('restore', 'b', '--data', 'srv')).code).toBe(0)
  expect(sorted((await store('keystore', '--full', 'srv')).stdout)).toEqual(sorted(stdout))
  const restored = await TestCluster.prepare(2)
  clusters.push(restored)
  const [first, second] = restored.servers
  if (!first || !second) throw new Error('no servers')
  // At other addresses than it was restored for.
  restored.startBalancer()
  const moved = { ...first, directory: join(directory, 'srv') }
  restored.servers[0] = moved
  restored.startServer(moved)
  restored.startServer(second)
  await restored.ready()
  const client = await TextClient.connect(second.cport)
  expect([...((await client?.get(['soon', 'later'])) ?? [])]).toEqual([['later', 'b']])
  client?.close()
})

describe('what goes wrong is one clear line, and leaves nothing half', () => {
  const files = () => readdirSync(directory).sort()

  test('no server, a file that is there, a restore over data', async () => {
    const cluster = await clusterOf(2)
    writeFileSync(join(directory, 'b'), 'mine')
    const args = ['backup', 'b', '--lbport', cluster.lbcport]
    expect(await store(...args)).toEqual({
      ...{ code: 1, stdout: '' },
      stderr: 'store backup: b is there already: add --force to replace it\n',
    })
    expect(readFileSync(join(directory, 'b'), 'utf8')).toBe('mine')
    expect((await store(...args, '--force')).code).toBe(0)
    expect((await store('verify', 'b')).code).toBe(0)

    const bytes = readFileSync(join(directory, 'b'))
    writeFileSync(join(directory, 'bad'), bytes.subarray(0, -4))
    const bad = await store('restore', 'bad', '--data', 'srv')
    expect(bad.stderr).toMatch(/^store restore: bad: .* byte \d+.*\n$/)
    expect([bad.code, existsSync(join(directory, 'srv'))]).toEqual([1, false])
    expect((await store('verify', 'bad')).stdout).toMatch(/^bad: DAMAGED: .*byte \d+/)
    expect(await store('restore', 'b', '--data', '.')).toMatchObject({
      ...{ code: 1 },
      stderr: 'store restore: . is not empty: name a directory that is, or is not there yet\n',
    })

    await cluster.killAll()
    const gone = await store('backup', 'c', '--lbport', cluster.lbcport)
    expect([gone.code, gone.stderr.split('\n').length]).toEqual([1, 2])
    expect(files()).toEqual(['b', 'bad'])
  })

  /** A server that says its version, answers whatever asks with these bytes, and closes. */
  async function answering(text: string): Promise<net.Server & { port: number }> {
    const server = net.createServer((socket) => socket.end(`VERSION 1.6.45\r\n${text}`))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return Object.assign(server, { port: (server.address() as net.AddressInfo).port })
  }

  test.each([
    ['an early end', 'BACKUP 100\r\nkeystore 1 ', 'it closed the connection before the end'],
    ['a file that is none', 'BACKUP 4\r\nnone\r\nEND\r\n', 'what came is damaged: b.tmp: '],
    ['more than was said', 'BACKUP 4\r\nnone more than that', 'it sent more than it said'],
    ['a reason', 'SERVER_ERROR no backup: busy\r\n', 'no backup: busy'],
    ['another protocol', 'ERROR\r\n', 'it makes no backups'],
  ])('%s', async (_what, text, why) => {
    const server = await answering(text)
    const { code, stderr } = await store('backup', 'b', '--server', `127.0.0.1:${server.port}`)
    server.close()
    expect(stderr).toMatch(/^store backup: .*\n$/)
    expect(stderr).toContain(why)
    expect(code).toBe(1)
    expect(files()).toEqual([])
  })
})

test('a client that reads slowly, or goes away, holds up nobody', async () => {
  const cluster = await clusterOf(2)
  const { cport } = await cluster.leader()
  const client = await TextClient.connect(cport)
  for (let at = 0; at < 40; at++) await client?.set(`k${at}`, 'x'.repeat(1_000_000))
  const slow = net.connect(cport, '127.0.0.1')
  slow.write('backup\r\n')
  await new Promise((resolve) => slow.once('readable', resolve))
  for (let at = 0; at < 50; at++) {
    const startMs = performance.now()
    expect(await client?.set('k', String(at))).toBe('STORED')
    expect(performance.now() - startMs).toBeLessThan(2_000)
  }
  slow.destroy()
  for (let round = 0; round < 3; round++) {
    const { code, stderr } = await store('backup', `b${round}`, '--server', `127.0.0.1:${cport}`)
    expect([code, stderr]).toEqual([0, ''])
  }
  client?.close()
  expect(await io.disk.list(directory)).toEqual(['b0', 'b1', 'b2'])
})
