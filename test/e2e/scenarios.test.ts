/**
 * Eighteen ways in which an earlier system of this kind, a load balancer with a
 * leader and followers, lost data, hung or fell over. Each is played here with
 * real processes, and survived: a test is named after what went wrong then, and
 * says what is right.
 */
import { execFile } from 'node:child_process'
import dgram from 'node:dgram'
import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterEach, expect, test, vi } from 'vitest'
import { fetchStatus } from '../../bin/status.ts'
import { connect } from '../../src/client/client.ts'
import { DEFAULT_COORDINATOR_TIMING } from '../../src/lb/coordinator.ts'
import type { ClusterStatus, MemberStatus } from '../../src/protocol/status.ts'
import {
  commandPath,
  eventually,
  freePorts,
  io,
  type Place,
  type ServerProcess,
  TestCluster,
} from './cluster.ts'
import { Load } from './load.ts'
import { TextClient } from './text-client.ts'

const run = promisify(execFile)

const HERE: Place = { cip: '127.0.0.1', sip: '127.0.0.1', command: [] }
const REQUEST_TIMEOUT_MS = 500
const IMPATIENT = ['--request-timeout', String(REQUEST_TIMEOUT_MS)]
/** What a busy machine may add to it. */
const SLACK_MS = 1_000
/** A server that has not answered by then hangs. */
const ANSWER_MS = 10_000

const STORED = 'STORED\r\n'
const STORED_LINE = 'STORED\n'
const REFUSED = /^SERVER_ERROR not stored: \S.*\r\n$/
const REFUSED_OR_UNKNOWN = /^SERVER_ERROR (not stored|outcome unknown): \S.*\r\n$/

vi.setConfig({ testTimeout: 60_000 })

let cluster: TestCluster

afterEach(async (context) => {
  if (context.task.result?.state === 'fail') {
    console.error(cluster.log.slice(-8_000), await cluster.status().catch(String))
  }
  await cluster.stop()
})

// -------------------------------------------------------------------- servers

/** A cluster of so many servers, all of them voters. */
async function start(count: number, ...flags: string[]): Promise<void> {
  await launch(count, ...flags)
  await cluster.ready()
}

async function launch(count: number, ...flags: string[]): Promise<void> {
  const servers = Array.from({ length: count }, () => HERE)
  cluster = await TestCluster.launch({ balancer: HERE, servers }, ...flags)
}

/** Starts one more server, with an empty directory. */
async function addServer(): Promise<ServerProcess> {
  const { lbcport, lbsport, servers, directory } = cluster
  // Those that are dead just now come back.
  const taken = [lbcport, lbsport, ...servers.flatMap(({ cport, sport }) => [cport, sport])]
  let port = await freePorts(2)
  while (taken.includes(port) || taken.includes(port + 1)) port = await freePorts(2)
  const server: ServerProcess = {
    place: HERE,
    cport: port,
    sport: port + 1,
    directory: join(directory, `srv-${servers.length + 1}`),
    process: null,
  }
  servers.push(server)
  cluster.startServer(server)
  return server
}

function live(): ServerProcess[] {
  return cluster.servers.filter(({ process }) => process)
}

function othersThan(...servers: readonly ServerProcess[]): ServerProcess[] {
  return live().filter((server) => !servers.includes(server))
}

function first<T>(list: readonly T[]): T {
  const [item] = list
  if (item === undefined) throw new Error('a list is empty that should not be')
  return item
}

function pause(...servers: readonly ServerProcess[]): void {
  for (const server of servers) server.process?.kill('SIGSTOP')
}

function resume(...servers: readonly ServerProcess[]): void {
  for (const server of servers) server.process?.kill('SIGCONT')
}

/** No process has ended that was not killed here. */
function expectAllRunning(): void {
  const ended = live().filter(({ process }) => process?.exitCode !== null || process.signalCode)
  expect(ended.map(({ directory }) => directory)).toEqual([])
}

/** What a server knows, asked itself. */
function statusOf({ cport }: ServerProcess): Promise<ClusterStatus> {
  return fetchStatus(io, [{ host: '127.0.0.1', port: cport }], 'server')
}

/** What a server says of itself. */
async function selfOf(server: ServerProcess): Promise<MemberStatus> {
  const { members } = await statusOf(server)
  const self = members.find(({ cport }) => cport === server.cport)
  if (!self) throw new Error(`${server.directory} is no member yet`)
  return self
}

/** The leader that all of these name, itself included, and nobody else leads. */
function agreedLeader(servers: readonly ServerProcess[]): Promise<ServerProcess> {
  return eventually('all name one leader', async () => {
    const leaders = servers.map(async (server) => (await statusOf(server)).leader)
    const named = new Set(await Promise.all(leaders))
    const selves = await Promise.all(servers.map(selfOf))
    const leading = servers.filter((_, at) => selves[at]?.role === 'leader')
    const isAgreed = named.size === 1 && leading.length === 1
    const [leader] = leading
    return isAgreed && leader && named.has((await selfOf(leader)).id) ? leader : null
  })
}

// -------------------------------------------------------------------- requests

/** Sends all of it and ends its half. @returns once it is sent; the answer comes later. */
function send(port: number, request: string): Promise<{ readonly reply: Promise<string> }> {
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  const timer = setTimeout(
    () => socket.destroy(new Error(`no answer in ${ANSWER_MS} ms`)),
    ANSWER_MS,
  )
  let text = ''
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1')
  })
  const reply = new Promise<string>((resolve, reject) => {
    socket.on('error', reject)
    socket.on('end', () => resolve(text))
    socket.on('close', () => clearTimeout(timer))
  })
  reply.catch(() => {}) // whoever waits for it hears of it
  return new Promise((resolve, reject) => {
    socket.on('error', reject)
    socket.end(request, 'latin1', () => resolve({ reply }))
  })
}

async function exchange(port: number, request: string): Promise<string> {
  return (await send(port, request)).reply
}

/** Values here are of one byte a character. */
function setRequest(key: string, value: string): string {
  return `set ${key} 0 0 ${value.length}\r\n${value}\r\n`
}

function set({ cport }: ServerProcess, key: string, value: string): Promise<string> {
  return exchange(cport, setRequest(key, value))
}

/** Sets until it is acknowledged. */
async function store(server: ServerProcess, key: string, value: string): Promise<void> {
  await eventually(`${key} stored`, async () => (await set(server, key, value)) === STORED)
}

/** @returns null where the server says that there is none. @throws where it says an error. */
async function get({ cport }: ServerProcess, key: string): Promise<string | null> {
  const text = await exchange(cport, `get ${key}\r\n`)
  if (text === 'END\r\n') return null
  const [line = ''] = text.split('\r\n')
  const length = new RegExp(`^VALUE ${key} 0 (\\d+)$`).exec(line)?.[1]
  if (length === undefined) throw new Error(text)
  const value = text.slice(line.length + 2, line.length + 2 + Number(length))
  expect(text).toBe(`${line}\r\n${value}\r\nEND\r\n`)
  return value
}

/** Asks until a server answers other than with an error. That answer has to be right. */
async function answered(server: ServerProcess, key: string): Promise<string | null> {
  const answer = await eventually(`${server.cport} answers`, async () => {
    return { value: await get(server, key) }
  })
  return answer.value
}

async function expectEverywhere(key: string, value: string | null): Promise<void> {
  for (const server of live()) {
    expect(await answered(server, key), `${key} on ${server.cport}`).toBe(value)
  }
}

async function timed<T>(what: () => Promise<T>): Promise<{ result: T; tookMs: number }> {
  const startMs = performance.now()
  const result = await what()
  return { result, tookMs: performance.now() - startMs }
}

function client(...args: string[]): Promise<{ stdout: string; stderr: string }> {
  const lbport = String(cluster.lbcport)
  return run(process.execPath, [commandPath('client'), ...args, '--lbport', lbport])
}

// -------------------------------------------------------------------- scenarios

test('1. One server alone: it refuses a set in time; with a second one sets work', async () => {
  await launch(1, ...IMPATIENT)
  const alone = first(cluster.servers)
  await eventually('its registration', async () => {
    return /a new cluster needs two/.test((await cluster.status()).whyNoLeader ?? '')
  })
  const { result, tookMs } = await timed(() => set(alone, 'early', 'x'))
  expect(result).toMatch(REFUSED)
  expect(tookMs).toBeLessThan(REQUEST_TIMEOUT_MS + SLACK_MS)
  await expect(get(alone, 'early')).rejects.toThrow(/^SERVER_ERROR \S/)
  const kept = await TextClient.connect(alone.cport)
  expect(await kept?.set('early', 'x')).toMatch(/^SERVER_ERROR not stored: \S/)

  const second = await addServer()
  const isStored = async () => (await kept?.set('key', 'value')) === 'STORED'
  await eventually('a set on the connection from before', isStored)
  kept?.close()
  expect(await answered(second, 'key')).toBe('value')
  await expectEverywhere('early', null)
})

test('2. Values of 1,000 bytes and more: every follower stores them and lives', async () => {
  await start(3)
  for (const size of [1_000, 65_536, 1_048_576]) {
    for (const server of live()) {
      const key = `key-${size}-${server.cport}`
      const value = `${server.cport} `.repeat(size).slice(0, size)
      expect(await set(server, key, value)).toBe(STORED)
      await expectEverywhere(key, value)
    }
  }
  expectAllRunning()
})

test('3. Sixty sets, then a server joins: it has all of them and counts', async () => {
  await start(2)
  const values = Array.from({ length: 60 }, (_, at) => `${at} `.repeat(1_000))
  const sets = values.map((value, at) => setRequest(`key-${at}`, value)).join('')
  expect(await exchange(first(live()).cport, sets)).toBe(STORED.repeat(60))
  const joiner = await addServer()
  await cluster.ready()
  for (const [at, value] of values.entries()) {
    expect(await answered(joiner, `key-${at}`)).toBe(value)
  }
  expectAllRunning()
  // Without its vote there is no majority any more.
  await cluster.killServer(first(othersThan(joiner)))
  await store(joiner, 'after', 'value')
})

test('4. A follower dies, then the leader: those that are left elect one', async () => {
  await start(5, ...IMPATIENT)
  const leader = await cluster.leader()
  const follower = first(othersThan(leader))
  await cluster.killServer(follower)
  await cluster.killServer(leader)
  await store(first(live()), 'key', 'three of five')
  const second = await agreedLeader(live())

  // And again, until two are left: then one that comes back makes the majority.
  await cluster.killServer(second)
  expect(await set(first(live()), 'key', 'two of five')).toMatch(REFUSED_OR_UNKNOWN)
  cluster.startServer(follower)
  await store(first(live()), 'key', 'three again')
  await agreedLeader(live())
  await expectEverywhere('key', 'three again')
})

test('5. A server joins under writes: it has all that was acknowledged when elected', async () => {
  await start(2)
  const load = new Load(cluster, 4)
  await eventually('writes', () => load.stored.size > 100)
  const joiner = await addServer()
  await cluster.ready()
  const leader = await cluster.leader()
  const others = othersThan(joiner)
  const stays = others.includes(leader) ? leader : first(others)
  const misses = first(othersThan(joiner, stays))
  await cluster.killServer(misses)
  const sinceMs = performance.now()
  await eventually('writes without it', () => load.latestStartMs > sinceMs)
  await load.stop()

  // Of these two only the joiner can have all that was acknowledged: it has to lead.
  await cluster.killServer(stays)
  cluster.startServer(misses)
  expect((await agreedLeader([joiner, misses])).cport).toBe(joiner.cport)
  for (const server of live()) await load.check(server)
})

test('6. All killed, a fresh server registers first: it never leads empty', async () => {
  await start(2, ...IMPATIENT)
  await store(first(live()), 'key', 'value')
  for (const isBalancerEmpty of [false, true]) {
    await cluster.killAll()
    if (isBalancerEmpty) rmSync(join(cluster.directory, 'lb'), { recursive: true })
    const old = [...cluster.servers]
    cluster.startBalancer()
    const fresh = await addServer()
    await eventually('its registration', async () => {
      return (await cluster.status()).members.some(({ cport }) => cport === fresh.cport)
    })
    // From now on it may refuse to answer, and not say that there is no such key.
    const answer = answered(fresh, 'key')
    if (isBalancerEmpty) await delay(DEFAULT_COORDINATOR_TIMING.formAfterMs)
    expect((await cluster.status()).leader).toBeNull()
    for (const server of old) cluster.startServer(server)
    expect(await answer).toBe('value')
    await expectEverywhere('key', 'value')
  }
})

test('7. All restarted, a fresh follower, leader killed: the last write is there', async () => {
  await start(3, ...IMPATIENT)
  await store(first(live()), 'before', 'the restart')
  await cluster.killAll()
  cluster.startBalancer()
  for (const server of cluster.servers) cluster.startServer(server)
  await addServer()
  await store(first(live()), 'after', 'the restart too')
  await cluster.killServer(await cluster.leader())
  await expectEverywhere('before', 'the restart')
  await expectEverywhere('after', 'the restart too')
})

test('8. The leader pauses and wakes: nothing stale, no acknowledged set is lost', async () => {
  await start(3)
  const load = new Load(cluster, 4)
  const old = await cluster.leader()
  const next = first(othersThan(old))
  await store(old, 'key', 'old')
  pause(old)
  await store(next, 'key', 'new')
  // The first that it sees when it wakes.
  const gets = await send(old.cport, 'get key\r\n'.repeat(50))
  const late = await send(old.cport, setRequest('late', 'x'))
  resume(old)
  expect((await gets.reply).replaceAll('VALUE key 0 3\r\nnew\r\nEND\r\n', '')).toMatch(
    /^(SERVER_ERROR \S.*\r\n)*$/,
  )
  const reply = await late.reply
  expect(reply).toMatch(/^(STORED|SERVER_ERROR \S.*)\r\n$/)
  if (reply === STORED) await expectEverywhere('late', 'x')
  if (REFUSED.test(reply)) await expectEverywhere('late', null)
  await load.stop()
  await expectEverywhere('key', 'new')
  for (const server of live()) await load.check(server)
  expect(load.stored.size).toBeGreaterThan(0)
})

test('9. Junk datagrams to every port: the leader stays', async () => {
  await start(3)
  const leader = await cluster.leader()
  const { id, term } = await selfOf(leader)
  const far = { term: 1_000_000, index: 1_000_000 }
  const stranger = { cluster: 'another', group: 0, from: 'stranger', to: id, term: far.term }
  const report = {
    ...{ id: 'stranger', cip: '127.0.0.1', cport: 1, sip: '127.0.0.1', sport: 1 },
    ...{ cluster: 'another', role: 'leader', voter: true, term: far.term, leader: 'stranger' },
    ...{ lastTerm: far.term, lastIndex: far.index, commitIndex: far.index },
    ...{ appliedIndex: far.index, requestCount: 0 },
  }
  const messages: readonly unknown[] = [
    ...[null, [], {}, { type: 'elect' }, { type: 'constructor' }, { type: 'campaign' }],
    { ...stranger, type: 'vote', last: far, handover: true },
    { ...stranger, type: 'heartbeat', commitIndex: far.index, round: 1 },
    { ...stranger, type: 'voteResp', granted: true, wallMs: 0 },
    { type: 'form', cluster: 'another' },
    { type: 'registered', cluster: 'another', servers: [], place: 0 },
    { type: 'register', server: { id, role: 'follower' }, place: 0 },
    { type: 'register', server: report, place: 0 },
    { type: 'lbHeartbeatResp', server: { ...report, cluster: null, term: -1 } },
    { type: 'statusResp', server: { ...report, id: null } },
  ]
  const junk = ['', '\0', 'junk', 'ok\r\n', '{"type":', '['.repeat(20_000), '\xff'.repeat(60_000)]
  const datagrams = [...junk, ...messages.map((message) => JSON.stringify(message))]

  const socket = dgram.createSocket('udp4')
  const ports = [leader.sport, cluster.lbsport, ...othersThan(leader).map(({ sport }) => sport)]
  const send = promisify((bytes: Buffer, port: number, done: (error: Error | null) => void) =>
    socket.send(bytes, port, '127.0.0.1', done),
  )
  for (let round = 0; round < 20; round++) {
    for (const text of datagrams) {
      for (const port of ports) await send(Buffer.from(text, 'latin1'), port)
    }
    expect(await set(leader, 'round', String(round))).toBe(STORED)
  }
  socket.close()
  await expectEverywhere('round', '19')
  expect((await agreedLeader(live())).cport).toBe(leader.cport)
  expect((await cluster.leader()).cport).toBe(leader.cport)
  expect(await selfOf(leader)).toMatchObject({ id, term, role: 'leader' })
  expectAllRunning()
})

test('10. An unknown server is to be removed: nobody goes', async () => {
  await start(4) // one more than are always kept
  const leader = await cluster.leader()
  const membersOf = async () => (await statusOf(leader)).members.map(({ id, voter }) => [id, voter])
  const before = await membersOf()
  const { id } = await selfOf(first(othersThan(leader)))
  // No part of a name is one either.
  const names = ['nosuch', '', id.slice(0, -1), `${id}0`, '*', '0', '127.0.0.1']
  for (const name of names) {
    for (const { cport } of live()) {
      expect(await exchange(cport, `remove-server ${name}\r\n`)).toMatch(/\r\nend\r\n$/)
    }
  }
  const lbport = String(cluster.lbcport)
  const command = ['remove', 'nosuch', '--lbport', lbport, '--timeout', '2000']
  const said = await run(process.execPath, [commandPath('store'), ...command]).catch(
    (error) => error,
  )
  expect(`${said.stdout}${said.stderr}`).toMatch(/^.*nosuch.*\n$/)

  for (const server of live()) expect(await set(server, 'key', String(server.cport))).toBe(STORED)
  await cluster.ready()
  expect(await membersOf()).toEqual(before)
  expect((await agreedLeader(live())).cport).toBe(leader.cport)
  expectAllRunning()
})

test('11. The leader is killed and back at once: one leads, all follow it', async () => {
  await start(2)
  const check = async (value: string) => {
    const restarted = await cluster.leader()
    await store(restarted, 'key', value)
    await cluster.killServer(restarted)
    cluster.startServer(restarted)
    await agreedLeader(live())
    await expectEverywhere('key', value)
    await store(restarted, 'key', `${value} again`)
    await expectEverywhere('key', `${value} again`)
  }
  // The other one alone can't elect: when it is back it is the first to notice.
  await check('with two')
  await addServer()
  await cluster.ready()
  await check('with three')
})

test('12. The load balancer restarts: it knows who leads, and new servers join', async () => {
  await start(2)
  for (const isEmpty of [false, true]) {
    const { leader, cluster: name } = await cluster.status()
    await cluster.killBalancer()
    if (isEmpty) rmSync(join(cluster.directory, 'lb'), { recursive: true })
    cluster.startBalancer()
    await cluster.ready()
    expect(await cluster.status()).toMatchObject({ leader, cluster: name })
    await addServer()
    await cluster.ready()
    expect(await client('set', 'key', `value ${isEmpty}`)).toMatchObject({ stdout: STORED_LINE })
    await expectEverywhere('key', `value ${isEmpty}`)
  }
})

test('13. Of two servers the leader is killed: the other one refuses in time', async () => {
  await start(2, ...IMPATIENT)
  const leader = await cluster.leader()
  const survivor = first(othersThan(leader))
  await store(survivor, 'key', 'value')
  await cluster.killServer(leader)
  // On its way to the leader, the first one may have got there.
  for (const [key, right] of [
    ['first', REFUSED_OR_UNKNOWN],
    ['second', REFUSED],
  ] as const) {
    const { result, tookMs } = await timed(() => set(survivor, key, 'x'))
    expect(result).toMatch(right)
    expect(tookMs).toBeLessThan(REQUEST_TIMEOUT_MS + SLACK_MS)
  }
  const { tookMs } = await timed(() =>
    expect(get(survivor, 'key')).rejects.toThrow(/^SERVER_ERROR \S/),
  )
  expect(tookMs).toBeLessThan(REQUEST_TIMEOUT_MS + SLACK_MS)

  cluster.startServer(leader)
  await store(survivor, 'after', 'value')
  await expectEverywhere('after', 'value')
  await expectEverywhere('key', 'value')
  await expectEverywhere('second', null)
})

test('14. Two dead followers: no get waits behind a set', async () => {
  await start(5, ...IMPATIENT)
  const leader = await cluster.leader()
  const [one, two] = othersThan(leader)
  if (!one || !two) throw new Error('five servers expected')
  await store(leader, 'key', 'value')
  await Promise.all([cluster.killServer(one), cluster.killServer(two)])
  for (const server of live()) {
    const { result, tookMs } = await timed(() =>
      Promise.all([
        exchange(server.cport, `${setRequest('other', 'x')}get key\r\n`),
        get(server, 'key'),
      ]),
    )
    expect(result).toEqual([`${STORED}VALUE key 0 5\r\nvalue\r\nEND\r\n`, 'value'])
    expect(tookMs).toBeLessThan(SLACK_MS)
  }

  // With a third one dead there is no majority: both are refused, neither waits for the other.
  await cluster.killServer(first(othersThan(leader)))
  const { result, tookMs } = await timed(() =>
    Promise.all([set(leader, 'key', 'x'), exchange(leader.cport, 'get key\r\n')]),
  )
  expect(result[0]).toMatch(REFUSED_OR_UNKNOWN)
  expect(result[1]).toMatch(/^SERVER_ERROR \S.*\r\n$/)
  expect(tookMs).toBeLessThan(REQUEST_TIMEOUT_MS + SLACK_MS)
})

test('15. Values with spaces and empty ones: they come back as they are', async () => {
  await start(2)
  const values = ['hello world', '', ' ', '  two  spaces  ', '\t', '\r\n', 'END\r\n', '0', '\0\xff']
  for (const value of values) {
    for (const server of live()) {
      expect(await set(server, 'key', value)).toBe(STORED)
      await expectEverywhere('key', value)
    }
  }
  for (const value of ['hello world', '']) {
    expect((await client('set', 'key', value)).stdout).toBe(STORED_LINE)
    expect((await client('get', 'key')).stdout).toBe(`key ${value}\n`)
  }
})

test('16. Half a request, then gone: nobody spins, and the connection is closed', async () => {
  await start(2)
  const pids = [cluster.balancer, ...live().map(({ process }) => process)].map(
    (child) => child?.pid ?? 0,
  )
  const openFiles = () => pids.map((pid) => readdirSync(`/proc/${pid}/fd`).length)
  const before = openFiles()
  const halves = ['s', 'get hal', 'set half 0 0 4', 'set half 0 0 4\r\n', 'set half 0 0 4\r\nhal']
  const ports = [cluster.lbcport, ...live().map(({ cport }) => cport)]
  for (const port of ports) {
    for (const half of halves) {
      await exchange(port, half)
      for (const leave of ['destroy', 'resetAndDestroy'] as const) {
        const socket = net.connect(port, '127.0.0.1')
        await new Promise((resolve) => socket.write(half, resolve))
        socket[leave]()
      }
    }
  }
  await eventually('all connections are gone', () =>
    openFiles().every((count, at) => count <= (before[at] ?? 0)),
  )
  const startNs = pids.map(wantedNs)
  const startMs = performance.now()
  await delay(1_000)
  const elapsedNs = (performance.now() - startMs) * 1e6
  for (const [at, pid] of pids.entries()) {
    expect((wantedNs(pid) - (startNs[at] ?? 0)) / elapsedNs).toBeLessThan(0.5)
  }
  await expectEverywhere('half', null)
  expectAllRunning()
})

/** For how long a process has run, or waited for a processor that others had. */
function wantedNs(pid: number): number {
  const [ran = 0, waited = 0] = readFileSync(`/proc/${pid}/schedstat`, 'utf8')
    .split(' ')
    .map(Number)
  return ran + waited
}

test('17. A key of several letters: the client asks for it, not for each letter', async () => {
  await start(2)
  for (const key of ['a', 'b', 'c', 'abc']) await store(first(live()), key, `value of ${key}`)
  expect((await client('get', 'abc')).stdout).toBe('abc value of abc\n')
  expect((await client('get', 'a', 'abc', 'c')).stdout).toBe(
    'a value of a\nabc value of abc\nc value of c\n',
  )
  const missing = await client('get', 'cba').catch((error) => error)
  expect(missing).toMatchObject({ code: 1, stdout: '', stderr: 'client: no such key: cba\n' })
})

test('18. Late, lost and cut: nothing is miscounted, unapplied, gone or confused', async () => {
  await start(3, ...IMPATIENT)
  await countLateAcknowledgements()
  await loseCommits()
  await confuseClients()
  await cutKeystores()
})

/** An acknowledgement that comes late counts for what it acknowledges, not for what is set then. */
async function countLateAcknowledgements(): Promise<void> {
  const leader = await cluster.leader()
  const [slow, other] = othersThan(leader)
  const client = await TextClient.connect(leader.cport)
  if (!slow || !other || !client) throw new Error('three servers expected')
  await client.get(['none'])
  pause(slow)
  const keys = Array.from({ length: 20 }, (_, at) => `early-${at}`)
  const sets = keys.map((key) => setRequest(key, 'x')).join('')
  expect(await exchange(leader.cport, sets)).toBe(STORED.repeat(keys.length))
  const { commitIndex } = await selfOf(leader)
  // When the leader wakes it finds one more set, and only then these late acknowledgements.
  pause(leader)
  const reply = client.set('late', 'x')
  resume(slow)
  await eventually('it has all but the last', async () => {
    return ((await selfOf(slow)).appliedIndex ?? 0) >= (commitIndex ?? 0) - 1
  })
  pause(slow, other)
  resume(leader)
  expect(await reply).toMatch(/^SERVER_ERROR (not stored|outcome unknown): \S/)
  client.close()
  resume(slow, other)
  for (const key of keys) await expectEverywhere(key, 'x')
}

/** A server that missed that a write was committed applies it, though no other write follows. */
async function loseCommits(): Promise<void> {
  const leader = await agreedLeader(live())
  for (const server of othersThan(leader)) {
    await store(leader, 'last', String(server.cport))
    await cluster.killServer(server)
    const { commitIndex } = await selfOf(leader)
    cluster.startServer(server)
    await eventually('it has applied the last write', async () => {
      return ((await selfOf(server)).appliedIndex ?? 0) >= (commitIndex ?? 0)
    })
  }
}

/** A value may look like the protocol; a reply that ends too early is an error. */
async function confuseClients(): Promise<void> {
  const value = 'a\r\nEND\r\nVALUE other 0 1\r\nb\r\nEND\r\nSERVER_ERROR no\r\n'
  expect((await client('set', 'lines', value)).stdout).toBe(STORED_LINE)
  expect((await client('get', 'lines')).stdout).toBe(`lines ${value}\n`)
  const library = await connect({ host: '127.0.0.1', port: cluster.lbcport })
  const many = await Promise.all(['lines', 'none', 'lines', 'last'].map((key) => library.get(key)))
  await library.close()
  expect(many.map((found) => found?.length ?? null)).toEqual([value.length, null, value.length, 5])

  for (const cut of ['VALUE lines 0 5\r\nhel', 'VALUE lines 0 5\r\nhello\r\n', 'VALUE', '']) {
    const server = net.createServer((socket) => {
      const { port } = server.address() as net.AddressInfo
      socket.on('error', () => {})
      socket.on('data', (request) => {
        const members = [{ id: 'one', cip: '127.0.0.1', cport: port, cluster: 'c', alive: true }]
        const status = JSON.stringify({ leader: 'one', members })
        if (String(request).startsWith('status')) socket.write(`${status}\r\nend\r\n`)
        else if (String(request).startsWith('get')) socket.end(cut)
        else socket.write('VERSION 1.6.45\r\n')
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as net.AddressInfo
    const broken = await connect({ host: '127.0.0.1', port })
    await expect(broken.get('lines', { timeoutMs: 500 })).rejects.toThrow('closed the connection')
    await broken.close()
    server.close()
  }
}

/** A keystore file that is missing, cut or half written costs nothing: the log has it all. */
async function cutKeystores(): Promise<void> {
  await Promise.all(live().map((server) => cluster.killServer(server, 'SIGTERM')))
  const [one, two, three] = cluster.servers.map(({ directory }) => join(directory, 'groups', '0'))
  if (!one || !two || !three) throw new Error('three servers expected')
  const whole = readFileSync(join(one, 'keystore'))
  rmSync(join(one, 'keystore'))
  const half = Math.floor(whole.length / 2)
  writeFileSync(join(one, 'keystore.tmp'), whole.subarray(0, half))
  truncateSync(join(two, 'keystore'), half)
  rmSync(join(three, 'keystore'))
  for (const server of cluster.servers) cluster.startServer(server)
  await expectEverywhere('early-19', 'x')
  expect(await answered(first(live()), 'lines')).toContain('SERVER_ERROR no')
  await store(first(live()), 'after', 'value')
  await expectEverywhere('after', 'value')
  expectAllRunning()
}
