/**
 * What the files of a server take: bounded by the live data while it is overwritten again
 * and again, and not written anew all the time while there is little of it.
 */
import { readdirSync, statSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { eventually, type ServerProcess, TestCluster } from './cluster.ts'
import { TextClient } from './text-client.ts'

const MIB = 2 ** 20
const SEGMENT_BYTES = MIB
const KEY_COUNT = 2_000
const VALUE_BYTES = 1_000
/** All keys once a round: 150 MiB of values. */
const ROUND_COUNT = 80
/** So many writes are on their way at a time. */
const WINDOW = 100
const WATCH_MS = 50
const KEYSTORE = 'groups/0/keystore'
const STORED = 'STORED\r\n'
/** With a record's header and its command line. */
const RECORD_BYTES = VALUE_BYTES + 100
/**
 * Beyond the promise: the writes in flight, of which each batch may end past a limit; identity,
 * vote and lock; and what comes in while a busy machine writes and syncs a keystore file,
 * which is some hundred KiB when it has nothing else to do.
 */
const SLACK_BYTES = 2 * WINDOW * RECORD_BYTES + 16 * 1024 + SEGMENT_BYTES
/** A little, slowly: one write every few milliseconds. */
const SLOW_COUNT = 1_000
const SLOW_MS = 3_000

let cluster: TestCluster | undefined

afterEach(async () => {
  await cluster?.stop()
  cluster = undefined
})

/** The paths and sizes of all files below; those that vanish meanwhile are gone. */
function filesUnder(directory: string): Map<string, number> {
  const files = new Map<string, number>()
  for (const name of readdirSync(directory, { recursive: true }) as string[]) {
    const stats = statSync(join(directory, name), { throwIfNoEntry: false })
    if (stats?.isFile()) files.set(name, stats.size)
  }
  return files
}

function bytesOf(files: ReadonlyMap<string, number>): number {
  return [...files.values()].reduce((sum, bytes) => sum + bytes, 0)
}

function namesOf({ directory }: ServerProcess, part: string): string[] {
  return [...filesUnder(directory).keys()].filter((name) => name.includes(part))
}

const keyOf = (at: number) => `key-${at}`
const valueFor = (at: number, round: number) => `${round}:${at}:`.padEnd(VALUE_BYTES, 'v')

/** Overwrites all keys in each round; no more than the window is without an answer. */
async function overwrite({ cport }: ServerProcess, roundCount: number): Promise<void> {
  const socket = net.connect({ port: cport, host: '127.0.0.1', noDelay: true })
  const total = roundCount * KEY_COUNT
  let sentCount = 0
  let text = ''
  let answeredCount = 0
  await new Promise<void>((resolve, reject) => {
    const send = () => {
      let commands = ''
      for (; sentCount < total && sentCount - answeredCount < WINDOW; sentCount++) {
        const at = sentCount % KEY_COUNT
        const value = valueFor(at, Math.floor(sentCount / KEY_COUNT))
        commands += `set ${keyOf(at)} 0 0 ${VALUE_BYTES}\r\n${value}\r\n`
      }
      if (commands !== '') socket.write(commands)
    }
    socket.on('error', reject)
    socket.on('close', () => reject(new Error('closed by the server')))
    socket.on('connect', send)
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      while (text.startsWith(STORED)) {
        text = text.slice(STORED.length)
        answeredCount++
      }
      if (!STORED.startsWith(text)) reject(new Error(text))
      else if (answeredCount === total) resolve()
      else send()
    })
  }).finally(() => socket.destroy())
}

async function expectAll(server: ServerProcess, round: number): Promise<void> {
  const client = await connect(server)
  for (let first = 0; first < KEY_COUNT; first += 100) {
    const ats = Array.from({ length: 100 }, (_, at) => first + at)
    const found = await client.get(ats.map(keyOf))
    expect(ats.filter((at) => found.get(keyOf(at)) !== valueFor(at, round))).toEqual([])
  }
  client.close()
}

async function connect({ cport }: ServerProcess): Promise<TextClient> {
  const client = await TextClient.connect(cport)
  if (!client) throw new Error(`nobody listens on ${cport}`)
  return client
}

test('files take at most three times the live data and two segments', {
  timeout: 120_000,
}, async () => {
  cluster = await TestCluster.start(3, '--segment-bytes', `${SEGMENT_BYTES}`)
  const { servers } = cluster
  let most = 0
  let keystoreBytes = 0
  const look = () => {
    for (const { directory } of servers) {
      const files = filesUnder(directory)
      most = Math.max(most, bytesOf(files))
      keystoreBytes = Math.max(keystoreBytes, files.get(KEYSTORE) ?? 0)
    }
  }
  const timer = setInterval(look, WATCH_MS)
  await overwrite(await cluster.leader(), ROUND_COUNT).finally(() => clearInterval(timer))
  await cluster.ready()
  look()

  // The keystore file holds the live data and little else.
  expect(keystoreBytes).toBeGreaterThan(KEY_COUNT * VALUE_BYTES)
  expect(keystoreBytes).toBeLessThan(KEY_COUNT * RECORD_BYTES)
  expect(most).toBeGreaterThan(2 * keystoreBytes)
  expect(most).toBeLessThanOrEqual(3 * keystoreBytes + 2 * SEGMENT_BYTES + SLACK_BYTES)
  for (const server of servers) {
    // What is being written when it is looked at is soon done.
    await eventually('one keystore file', () => namesOf(server, 'keystore').length === 1)
    const logBytes = keystoreBytes + 2 * SEGMENT_BYTES + SLACK_BYTES
    expect(namesOf(server, '.log').length).toBeLessThanOrEqual(Math.ceil(logBytes / SEGMENT_BYTES))
  }

  const [server] = servers
  if (!server) throw new Error('unreachable')
  await cluster.killServer(server)
  cluster.startServer(server)
  await cluster.ready()
  await expectAll(server, ROUND_COUNT - 1)
})

test('a little data is not written again', { timeout: 60_000 }, async () => {
  cluster = await TestCluster.start()
  const { servers } = cluster
  const segments = servers.map((server) => namesOf(server, '.log'))
  const found = new Set<string>()
  const look = () => {
    for (const server of servers) {
      for (const name of namesOf(server, 'keystore')) found.add(`${server.cport}: ${name}`)
    }
  }
  const timer = setInterval(look, WATCH_MS)
  const client = await connect(await cluster.leader())
  try {
    const startMs = performance.now()
    for (let at = 0; at < SLOW_COUNT; at++) {
      await delay(startMs + (at * SLOW_MS) / SLOW_COUNT - performance.now())
      expect(await client.set(keyOf(at), valueFor(at, 0))).toBe('STORED')
    }
  } finally {
    clearInterval(timer)
    client.close()
  }
  await cluster.ready()
  look()
  expect([...found]).toEqual([])
  expect(servers.map((server) => namesOf(server, '.log'))).toEqual(segments)
})
