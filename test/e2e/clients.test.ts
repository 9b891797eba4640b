/** Clients that know nothing of this store, without a library (test/clients has those). */
import { execFile, spawnSync } from 'node:child_process'
import dgram from 'node:dgram'
import { readdirSync, readFileSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { EXIT } from '../../bin/client/outcome.ts'
import { commandPath, eventually, type ServerProcess, TestCluster } from './cluster.ts'

const run = promisify(execFile)
const hasNc = spawnSync('nc', ['-h']).error === undefined

let cluster: TestCluster

beforeAll(async () => {
  cluster = await TestCluster.start()
})

afterAll(() => cluster.stop())

/** Sends everything, ends its half, and returns what comes back until the other half ends. */
function sendAndEnd(port: number, bytes: string | Buffer): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    let text = ''
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
    })
    socket.on('end', () => resolve(text))
    socket.on('error', reject)
    socket.end(bytes)
  })
}

function servers(): [string, ServerProcess][] {
  return cluster.servers.map((server, at) => [`server ${at + 1}`, server])
}

describe('plain sockets', () => {
  test.runIf(hasNc)(
    'nc gets its replies from every server (skipped where nc is missing)',
    async () => {
      for (const [, { cport }] of servers()) {
        const shell = `printf 'set k 0 0 5\\r\\nhello\\r\\nget k\\r\\n' | nc -q1 127.0.0.1 ${cport}`
        const { stdout } = await run('sh', ['-c', shell])
        expect(stdout).toBe('STORED\r\nVALUE k 0 5\r\nhello\r\nEND\r\n')
      }
    },
  )

  test('a client that ended its half gets every reply, from every server', async () => {
    for (const [name, { cport }] of servers()) {
      const text = await sendAndEnd(
        cport,
        `set h 7 0 5\r\n${name.slice(-5)}\r\nget h missing h\r\ndelete h\r\nget h\r\nversion\r\n`,
      )
      const value = `VALUE h 7 5\r\n${name.slice(-5)}\r\n`
      expect(text).toBe(`STORED\r\n${value}${value}END\r\nDELETED\r\nEND\r\nVERSION 1.6.45\r\n`)
    }
  })

  test('thousands of requests in one packet are answered in order', async () => {
    for (const [, { cport }] of servers()) {
      const count = 3_000
      const writes = Array.from(
        { length: count },
        (_, at) => `set p${at} 0 0 4\r\n${1_000 + at}\r\n`,
      )
      const reads = Array.from({ length: count }, (_, at) => `get p${at}\r\n`)
      const text = await sendAndEnd(cport, writes.join('') + reads.join(''))
      const values = Array.from(
        { length: count },
        (_, at) => `VALUE p${at} 0 4\r\n${1_000 + at}\r\nEND\r\n`,
      )
      expect(text).toBe('STORED\r\n'.repeat(count) + values.join(''))
    }
  })

  test('many clients with many requests in flight, at a follower', async () => {
    const leader = await cluster.leader()
    const follower = cluster.servers.find((server) => server !== leader)
    const count = 2_000
    const sets = Array.from({ length: count }, (_, at) => `set q${at} 0 0 1\r\nx\r\n`).join('')
    const clients = Array.from({ length: 20 }, () => sendAndEnd(follower?.cport ?? 0, sets))
    for (const text of await Promise.all(clients)) expect(text).toBe('STORED\r\n'.repeat(count))
  })

  test('reads and writes in turn on one connection see each other, in order', async () => {
    for (const [, { cport }] of servers()) {
      const turns = Array.from({ length: 50 }, (_, at) => `set t 0 0 2\r\n${10 + at}\r\nget t\r\n`)
      const replies = Array.from(
        { length: 50 },
        (_, at) => `STORED\r\nVALUE t 0 2\r\n${10 + at}\r\nEND\r\n`,
      )
      expect(await sendAndEnd(cport, turns.join(''))).toBe(replies.join(''))
    }
  })

  test('noreply, add, cas and errors, as memcached answers them', async () => {
    const [, second] = cluster.servers
    const text = await sendAndEnd(
      second?.cport ?? 0,
      'delete n noreply\r\nadd n 0 0 1\r\na\r\nadd n 0 0 1\r\nb\r\nset n 0 0 1 noreply\r\nc\r\nget n\r\n' +
        'cas n 0 0 1 1\r\nd\r\ncas nowhere 0 0 1 1\r\nd\r\nset n 0 0 -1\r\nget\r\nbogus\r\nset n 0 0 1\r\nxyz\r\nquit\r\n',
    )
    expect(text).toBe(
      'STORED\r\nNOT_STORED\r\nVALUE n 0 1\r\nc\r\nEND\r\nEXISTS\r\nNOT_FOUND\r\n' +
        'CLIENT_ERROR bad command line format\r\nCLIENT_ERROR bad command line format\r\nERROR\r\n' +
        'CLIENT_ERROR bad data chunk\r\nCLIENT_ERROR bad command line format\r\n',
    )
  })

  test('a value of 1 MiB of any bytes is the same on every server', async () => {
    const value = Buffer.alloc(1024 * 1024)
    for (let at = 0; at < value.length; at++) value[at] = (at * 7 + (at >> 8)) % 256
    const [first] = cluster.servers
    const set = Buffer.concat([
      Buffer.from(`set big 0 0 ${value.length}\r\n`),
      value,
      Buffer.from('\r\n'),
    ])
    expect(await sendAndEnd(first?.cport ?? 0, set)).toBe('STORED\r\n')
    for (const [, { cport }] of servers()) {
      const text = await sendAndEnd(cport, 'get big\r\n')
      expect(text.length).toBe(
        `VALUE big 0 ${value.length}\r\n`.length + value.length + '\r\nEND\r\n'.length,
      )
      expect(Buffer.from(text, 'latin1').includes(value)).toBe(true)
    }
  })

  test('an item expires, on every server, within the second that log time may lag', async () => {
    const [first] = cluster.servers
    await sendAndEnd(first?.cport ?? 0, 'set e 0 1 1\r\nx\r\n')
    for (const [, { cport }] of servers()) {
      expect(await sendAndEnd(cport, 'get e\r\n')).toBe('VALUE e 0 1\r\nx\r\nEND\r\n')
    }
    await new Promise((resolve) => setTimeout(resolve, 3_000))
    for (const [, { cport }] of servers())
      expect(await sendAndEnd(cport, 'get e\r\n')).toBe('END\r\n')
  })

  test('a registration that makes no sense harms nothing', async () => {
    const socket = dgram.createSocket('udp4')
    const server = { id: 'junk', cip: 'x', cport: 1, sip: '127.0.0.1', sport: 0, cluster: null }
    const state = { role: 'follower', voter: false, term: 0, leader: null, lastTerm: 0 }
    const report = { ...server, ...state, lastIndex: 0, commitIndex: 0, appliedIndex: 0 }
    socket.send(JSON.stringify({ type: 'register', server: report }), cluster.lbsport, '127.0.0.1')
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    socket.close()
    const { members } = await cluster.status()
    expect(members.map(({ id }) => id)).not.toContain('junk')
    expect(await sendAndEnd(cluster.servers[0]?.cport ?? 0, 'set j 0 0 1\r\nj\r\n')).toBe(
      'STORED\r\n',
    )
  })

  test('quit closes the connection after the replies', async () => {
    const socket = net.connect({
      port: cluster.servers[1]?.cport ?? 0,
      host: '127.0.0.1',
      allowHalfOpen: true,
    })
    const ended = new Promise((resolve) => socket.once('end', resolve))
    socket.write('version\r\nquit\r\nversion\r\n')
    let text = ''
    socket.on('data', (chunk) => {
      text += chunk
    })
    await ended
    expect(text).toBe('VERSION 1.6.45\r\n')
    socket.destroy()
  })

  test('connections that never say who they are do not keep servers apart', async () => {
    const leader = await cluster.leader()
    const idle = cluster.servers.flatMap(({ sport }) =>
      Array.from({ length: 140 }, () => net.connect(sport, '127.0.0.1').on('error', () => {})),
    )
    await new Promise((resolve) => setTimeout(resolve, 200))
    await cluster.killServer(leader)
    cluster.startServer(leader)
    await eventually('a write through the server that came back', async () => {
      const text = await sendAndEnd(leader.cport, 'set i 0 0 1\r\ni\r\n').catch(String)
      return text === 'STORED\r\n'
    })
    for (const socket of idle) socket.destroy()
  })

  test('garbage on every port harms nothing', async () => {
    const garbage = Buffer.from(Array.from({ length: 4_000 }, (_, at) => (at * 31 + 7) % 256))
    for (const { cport, sport } of cluster.servers) {
      for (const port of [cport, sport, cluster.lbcport]) {
        await Promise.race([
          sendAndEnd(port, garbage).catch(() => ''),
          new Promise((resolve) => setTimeout(resolve, 500)),
        ])
      }
    }
    await sendAndEnd(cluster.servers[0]?.cport ?? 0, 'set half 0 0 100\r\nonly a part')
    expect(await sendAndEnd(cluster.servers[0]?.cport ?? 0, 'set g 0 0 1\r\ng\r\n')).toBe(
      'STORED\r\n',
    )
  })
})

describe('the client command', () => {
  const client = (...args: string[]) =>
    run(process.execPath, [commandPath('client'), ...args, '--lbport', String(cluster.lbcport)])

  test('set prints STORED, get prints key and value', async () => {
    expect(await client('set', 'cli', 'hello world')).toEqual({ stdout: 'STORED\n', stderr: '' })
    expect(await client('get', 'cli')).toEqual({ stdout: 'cli hello world\n', stderr: '' })
  })

  test('a missing key is named on standard error, exit status 1', async () => {
    await client('set', 'there', 'abc')
    const failure = await client('get', 'there', 'not-there').catch((error) => error)
    expect(failure).toMatchObject({
      code: 1,
      stdout: 'there abc\n',
      stderr: 'client: no such key: not-there\n',
    })
  })

  test('a key that can be none is refused in one line', async () => {
    const failure = await client('set', 'a b', 'x').catch((error) => error)
    expect(failure.code).toBe(EXIT.usage)
    expect(failure.stderr).toMatch(/^client: set: a key is 1 to 250 bytes of text.*: "a b"\n$/)
  })
})

test('log and keystore are text: what a client wrote can be read off them', async () => {
  const [first] = cluster.servers
  if (!first) throw new Error('no server')
  await sendAndEnd(first.cport, 'set readable 7 0 11\r\nhello world\r\n')
  const group = join(first.directory, 'groups', '0')
  const readLog = () =>
    readdirSync(join(group, 'log'))
      .sort()
      .map((segment) => readFileSync(join(group, 'log', segment), 'utf8'))
      .join('')
  expect(readLog()).toMatch(/^log 2 [0-9a-f]{16} 0 1 0 0 0 [0-9a-f]{8}\n/)
  expect(readLog()).toMatch(
    /\n\d+ \d+ \d{13} 34 [0-9a-f]{8}\nset readable 7 0 11\r\nhello world\r\n/,
  )
  // An idle log is sealed after 10 ms.
  await eventually('a seal', () => /\nseal \d+ \d+ \d+ \d+ [0-9a-f]{8}\n/.test(readLog()))

  // The keystore file is written on a clean stop.
  await cluster.killServer(first, 'SIGTERM')
  cluster.startServer(first)
  await cluster.ready()
  const keystore = readFileSync(join(group, 'keystore'), 'latin1')
  expect(keystore).toMatch(/^keystore 2 [0-9a-f]{16} 0 \d+ \d+ \d{13} 0 \d+ \{"members":/)
  expect(keystore).toMatch(/\nreadable 7 0 \d+ 0 11\r\nhello world\r\n/)
  expect(keystore).toMatch(/\nend [0-9a-f]{8}\n$/)
})
