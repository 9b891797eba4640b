/** What a server grants its clients: how many, how long, and whether they may end it. */
import net from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { eventually, type ServerProcess, TestCluster } from './cluster.ts'
import { TextClient } from './text-client.ts'

const CONNECTIONS_MAX = 3
const VERSION = /^VERSION /

let cluster: TestCluster
let bounded: ServerProcess
let impatient: ServerProcess
let obedient: ServerProcess

beforeAll(async () => {
  cluster = await TestCluster.prepare(3)
  const [first, second, third] = cluster.servers
  if (!first || !second || !third) throw new Error('three servers expected')
  bounded = first
  impatient = second
  obedient = third
  cluster.startBalancer()
  cluster.startServer(bounded, '--max-connections', `${CONNECTIONS_MAX}`)
  cluster.startServer(impatient, '--idle-timeout', '1')
  cluster.startServer(obedient, '--enable-shutdown')
  await cluster.ready()
}, 60_000)

afterAll(() => cluster?.stop())

/** A client that the server has taken. */
function admitted({ cport }: ServerProcess): Promise<TextClient> {
  return eventually('room for a client', async () => {
    const client = await TextClient.connect(cport)
    if (client && VERSION.test(await client.request('version\r\n'))) return client
    client?.close()
    return null
  })
}

async function setting(client: TextClient, name: string): Promise<string | undefined> {
  let found: string | undefined
  let line = await client.request('stats settings\r\n')
  for (; line.startsWith('STAT '); line = await client.line()) {
    const [, key, value] = line.split(' ')
    if (key === name) found = value
  }
  expect(line).toBe('END')
  return found
}

test('one client more than --max-connections is told so and closed; one that leaves makes room', async () => {
  const clients: TextClient[] = []
  while (clients.length < CONNECTIONS_MAX) clients.push(await admitted(bounded))
  expect(await setting(clients[0] as TextClient, 'maxconns')).toBe(`${CONNECTIONS_MAX}`)
  for (let time = 0; time < 3; time++) {
    const refused = await TextClient.connect(bounded.cport)
    expect(await refused?.line()).toBe('ERROR Too many open connections')
    await eventually('its end', () => refused?.isClosed)
  }
  for (const client of clients) expect(await client.request('version\r\n')).toMatch(VERSION)
  clients.pop()?.close()
  clients.push(await admitted(bounded))
  for (const client of clients) client.close()
})

test('of many more than --max-connections, not all are told so: each would take a file', async () => {
  const clients: TextClient[] = []
  while (clients.length < CONNECTIONS_MAX) clients.push(await admitted(bounded))
  // They do not close their halves.
  const to = { port: bounded.cport, host: '127.0.0.1', allowHalfOpen: true }
  const sockets = Array.from({ length: 200 }, () => net.connect(to))
  const ends = sockets.map((socket) => {
    return new Promise<string>((resolve) => {
      let text = ''
      socket.on('data', (chunk) => {
        text += chunk
      })
      socket.on('error', () => {})
      socket.on('end', () => resolve(text))
      socket.on('close', () => resolve(text))
    })
  })
  const told = (await Promise.all(ends)).filter((text) => text !== '')
  for (const socket of sockets) socket.destroy()
  expect(told.length).toBeGreaterThan(0)
  expect(told.length).toBeLessThan(ends.length)
  for (const client of clients) client.close()
})

test('--idle-timeout: a connection over which nothing is asked is closed, not sooner', async () => {
  const client = await admitted(impatient)
  expect(await setting(client, 'idle_timeout')).toBe('1')
  const beforeMs = performance.now()
  expect(await client.request('version\r\n')).toMatch(VERSION)
  await eventually('its end', () => client.isClosed)
  expect(performance.now() - beforeMs).toBeGreaterThan(1_000)
})

test('shutdown: not unless it was enabled; then in order, and the others go on', async () => {
  for (const server of [bounded, impatient]) {
    const client = await admitted(server)
    expect(await setting(client, 'shutdown_command')).toBe('no')
    expect(await client.request('shutdown\r\n')).toBe('SERVER_ERROR: shutdown not enabled')
    expect(await client.set('k', 'still here')).toBe('STORED')
    client.close()
  }
  const client = await admitted(obedient)
  expect(await setting(client, 'shutdown_command')).toBe('yes')
  expect(await client.request('shutdown now\r\n')).toBe('CLIENT_ERROR invalid shutdown mode')
  const { process: child } = obedient
  expect(await client.request('set k 0 0 4\r\nlast\r\nshutdown\r\n')).toBe('STORED')
  expect(await client.line()).toBe('CLOSED')
  await eventually('its end', () => child?.exitCode === 0)
  const other = await admitted(bounded)
  expect(await eventually('a reader', () => other.get(['k']).catch(() => null))).toEqual(
    new Map([['k', 'last']]),
  )
  expect(await other.set('k', 'without it')).toBe('STORED')
  other.close()
})
