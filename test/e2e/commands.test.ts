/** The commands themselves: `store up`, clear refusals, clean ends. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { EXIT } from '../../bin/client/outcome.ts'
import { fetchStatus } from '../../bin/status.ts'
import { commandPath, eventually, freePorts, io, kill, makeDirectory } from './cluster.ts'
import { TextClient } from './text-client.ts'

const run = promisify(execFile)
const store = commandPath('store')

let directory: string
let firstPort: number
const started: ChildProcess[] = []

beforeEach(async () => {
  directory = makeDirectory()
  firstPort = await freePorts(20)
})

afterEach(async () => {
  for (const child of started.splice(0)) await kill(child)
  await eventually('no member left', async () => (await memberPids()).length === 0)
  rmSync(directory, { recursive: true, force: true })
})

interface Running {
  readonly child: ChildProcess
  readonly output: () => string
}

function start(...args: (string | number)[]): Running {
  return startIn({}, ...args)
}

function startIn(environment: NodeJS.ProcessEnv, ...args: (string | number)[]): Running {
  const child = spawn(process.execPath, [store, ...args.map(String)], {
    cwd: directory,
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  started.push(child)
  let output = ''
  const collect = (chunk: Buffer) => {
    output += chunk
  }
  child.stdout?.on('data', collect)
  child.stderr?.on('data', collect)
  return { child, output: () => output }
}

async function up(...flags: string[]): Promise<Running> {
  // What it takes from there is for itself: its members know their load balancer.
  const environment = { RAFTCACHED_LB: '127.0.0.1:1', RAFTCACHED_CPORT: String(firstPort) }
  const running = startIn(
    environment,
    'up',
    ...['--sport', firstPort + 5],
    ...['--lbcport', firstPort + 10, '--lbsport', firstPort + 11],
    ...flags,
  )
  await eventually('the table', () => running.output().includes('Ctrl-C stops all of it'), 30_000)
  return running
}

/** Runs a command that is to fail, and returns how. */
async function failure(...args: (string | number)[]): Promise<{ code: number; stderr: string }> {
  const ended = await run(process.execPath, [store, ...args.map(String)], {
    cwd: directory,
    timeout: 10_000,
  }).catch((error) => error)
  return { code: ended.code, stderr: ended.stderr }
}

const isListening = async (port: number) => {
  const client = await TextClient.connect(port)
  client?.close()
  return client !== null
}

/** Process ids of the members that are running, found by the ports they were given. */
async function memberPids(): Promise<number[]> {
  const ports = [0, 1, 2, 10].map((at) => String(firstPort + at))
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  return pids.map(Number).filter((pid) => {
    try {
      const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
      const isMember = args.includes('addsrv') || args.includes('addlb')
      return isMember && ports.includes(args[args.indexOf('--cport') + 1] ?? '')
    } catch {
      return false // it ended meanwhile
    }
  })
}

describe('store up', () => {
  test('prints the members, who leads and what to try; Ctrl-C ends all of it; data is kept', {
    timeout: 60_000,
  }, async () => {
    const first = await up()
    expect(first.output()).toMatch(/server [0-9a-f]{8} leads, 127\.0\.0\.1:\d+/)
    expect(first.output()).toMatch(/npx client set greeting hello/)
    const client = await TextClient.connect(firstPort)
    expect(await client?.set('kept', 'between runs')).toBe('STORED')
    client?.close()

    const exited = new Promise((resolve) => first.child.once('exit', resolve))
    first.child.kill('SIGINT')
    expect(await exited).toBe(0)
    for (const at of [0, 1, 2, 10]) expect(await isListening(firstPort + at)).toBe(false)

    await up()
    const again = await TextClient.connect(firstPort + 1)
    expect((await again?.get(['kept']))?.get('kept')).toBe('between runs')
    again?.close()
  })

  test('a member that dies is reported and started again', { timeout: 60_000 }, async () => {
    const running = await up()
    const [victim] = await memberPids()
    process.kill(victim ?? 0, 'SIGKILL')
    await eventually('the report', () =>
      /was ended by SIGKILL: starting it again/.test(running.output()),
    )
    await eventually('all back', async () => {
      const { members } = await fetchStatus(io, [{ host: '127.0.0.1', port: firstPort + 10 }])
      return members.filter(({ alive }) => alive).length === 3 && (await memberPids()).length === 4
    })
  })

  test('--no-restart leaves it dead', { timeout: 60_000 }, async () => {
    const running = await up('--no-restart')
    const [victim] = await memberPids()
    process.kill(victim ?? 0, 'SIGKILL')
    await eventually('the report', () => /was ended by SIGKILL\n/.test(running.output()))
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    expect(await memberPids()).toHaveLength(3)
  })

  test('hands its flags about clients to its servers; one that a client shuts down stays down', {
    timeout: 60_000,
  }, async () => {
    writeFileSync(join(directory, 'users'), 'anna:secret\n')
    const flags = ['--max-connections', '50', '--idle-timeout', '600', '--enable-shutdown']
    const running = await up(...flags, '--auth-file', 'users')
    expect(running.output()).toMatch(/npx client get greeting .*--auth-file users\n/)
    const client = await TextClient.connect(firstPort)
    if (!client) throw new Error('nobody listens')
    expect(await client.request('get k\r\n')).toBe('CLIENT_ERROR unauthenticated')
    expect(await client.request('set auth 0 0 11\r\nanna secret\r\n')).toBe('STORED')
    const settings: string[] = []
    let line = await client.request('stats settings\r\n')
    for (; line.startsWith('STAT '); line = await client.line()) settings.push(line.slice(5))
    expect(settings).toEqual(expect.arrayContaining(['maxconns 50', 'idle_timeout 600']))
    expect(await client.request('shutdown\r\n')).toBe('CLOSED')
    await eventually('the report', () =>
      running.output().includes(`srv-${firstPort} ended with exit status 0\n`),
    )
    expect(await memberPids()).toHaveLength(3)
  })

  test('killed with -9, it takes its members along', { timeout: 60_000 }, async () => {
    const running = await up()
    expect(await memberPids()).toHaveLength(4)
    await kill(running.child)
    await eventually('no member left', async () => (await memberPids()).length === 0)
  })

  test.each([60, 150, 300])(
    'killed with -9 after %i ms, while its members start, it takes them along',
    { timeout: 60_000 },
    async (afterMs) => {
      const running = start(
        'up',
        ...['--cport', firstPort, '--sport', firstPort + 5],
        ...['--lbcport', firstPort + 10, '--lbsport', firstPort + 11],
      )
      await new Promise((resolve) => setTimeout(resolve, afterMs))
      await kill(running.child)
      await new Promise((resolve) => setTimeout(resolve, 500))
      await eventually('no member left', async () => (await memberPids()).length === 0)
    },
  )

  test('a port in use ends it with one clear line', { timeout: 60_000 }, async () => {
    const blocker = net.createServer().listen(firstPort + 1, '127.0.0.1')
    const running = start(
      'up',
      ...[
        '--cport',
        firstPort,
        '--sport',
        firstPort + 5,
        '--lbcport',
        firstPort + 10,
        '--lbsport',
        firstPort + 11,
      ],
    )
    const code = await new Promise((resolve) => running.child.once('exit', resolve))
    blocker.close()
    expect(code).toBe(1)
    expect(running.output()).toMatch(new RegExp(`port ${firstPort + 1} of 127.0.0.1 is in use`))
    expect(await memberPids()).toEqual([])
  })

  test('goes on, and ends in order, when nobody reads what it says', {
    timeout: 60_000,
  }, async () => {
    const { child } = await up()
    child.stdout?.destroy()
    child.stderr?.destroy()
    const [victim] = await memberPids()
    process.kill(victim ?? 0, 'SIGKILL')
    await eventually('another in its place', async () => {
      const pids = await memberPids()
      return pids.length === 4 && !pids.includes(victim ?? 0)
    })
    const exited = new Promise((resolve) => child.once('exit', resolve))
    child.kill('SIGINT')
    expect(await exited).toBe(0)
    expect(await memberPids()).toEqual([])
  })

  test('a second one on the same ports is none, and leaves the first alone', {
    timeout: 60_000,
  }, async () => {
    await up()
    const pids = await memberPids()
    const second = start(
      'up',
      ...['--cport', firstPort, '--sport', firstPort + 5, '--data', 'other'],
      ...['--lbcport', firstPort + 10, '--lbsport', firstPort + 11],
    )
    const code = await new Promise((resolve) => second.child.once('exit', resolve))
    expect(code).toBe(1)
    expect(second.output()).toMatch(/^store \w+: port \d+ of 127\.0\.0\.1 is in use: /m)
    expect(second.output()).not.toContain('Ctrl-C stops all of it')
    expect(await memberPids()).toEqual(pids)
  })
})

describe('refusals are one clear line and exit status 1', () => {
  test('a port in use', async () => {
    const blocker = net.createServer().listen(firstPort, '127.0.0.1')
    const line = new RegExp(`^store \\w+: port ${firstPort} of 127.0.0.1 is in use: .*\\n$`)
    for (const command of ['addsrv', 'addlb']) {
      const { code, stderr } = await failure(
        command,
        '--cport',
        firstPort,
        '--sport',
        firstPort + 1,
      )
      expect(code).toBe(1)
      expect(stderr).toMatch(line)
    }
    blocker.close()
  })

  test('a directory that is none', async () => {
    writeFileSync(join(directory, 'file'), '')
    const { code, stderr } = await failure('addsrv', '--cport', firstPort, '--data', 'file/data')
    expect(code).toBe(1)
    expect(stderr).toMatch(/^store addsrv: .*file.* choose another --data\n$/)
  })

  test('a directory in use by another process', async () => {
    const ports = ['--cport', firstPort, '--sport', firstPort + 1]
    const first = start('addsrv', ...ports, '--data', 'here')
    await eventually('the first server', () => first.output().includes('for clients at'))
    const others = ['--cport', firstPort + 2, '--sport', firstPort + 3]
    const { code, stderr } = await failure('addsrv', ...others, '--data', 'here')
    expect(code).toBe(1)
    expect(stderr).toBe('store addsrv: here is in use by another process\n')
    // kill -9 leaves no lock behind.
    await kill(first.child)
    const second = start('addsrv', ...others, '--data', 'here')
    await eventually('the second server', () => second.output().includes('for clients at'))
  })

  test('a load balancer that is not there', async () => {
    const { code, stderr } = await failure('status', '--lbport', firstPort)
    expect(code).toBe(1)
    expect(stderr).toMatch(/^store status: load balancer .* can't be reached .*\n$/)
    const client = await run(process.execPath, [
      commandPath('client'),
      'get',
      'k',
      '--lbport',
      String(firstPort),
    ]).catch((error) => error)
    expect(client.code).toBe(EXIT.unreachable)
    expect(client.stderr).toMatch(/^client: connect: load balancer .* can't be reached .*\n$/)
  })

  test('an address that others could not use', async () => {
    const { code, stderr } = await failure('addsrv', '--sip', '0.0.0.0', '--cport', firstPort)
    expect(code).toBe(1)
    expect(stderr).toBe(
      "store addsrv: --sip 0.0.0.0 can't be told to others: add --advertise-sip <host>\n",
    )
  })

  test.each([
    ['--cport', 'many', /a port is a number from 1 to 65535/],
    ['--max-connections', '0', /a whole number from 1 on/],
    ['--idle-timeout', '-1', /seconds, a whole number from 0 on/],
    ['--idle-timeout', '1.5', /seconds, a whole number from 0 on/],
  ])('a flag that is none: %s %s', async (flag, value, why) => {
    const { code, stderr } = await failure('addsrv', flag, value)
    expect(code).toBe(1)
    expect(stderr).toMatch(why)
  })

  test('users that are none', async () => {
    writeFileSync(join(directory, 'users'), 'anna:secret\nbob\n')
    const flags = ['--cport', firstPort, '--sport', firstPort + 1, '--auth-file']
    const malformed = await failure('addsrv', ...flags, 'users')
    expect(malformed.code).toBe(1)
    expect(malformed.stderr).toMatch(/^store addsrv: users: line 2 is not user:password.*\n$/)
    const missing = await failure('addsrv', ...flags, 'none')
    expect(missing.code).toBe(1)
    expect(missing.stderr).toBe('store addsrv: none is not there: check --auth-file\n')
    const unreadable = await failure('addsrv', ...flags, '.')
    expect(unreadable.stderr).toBe("store addsrv: . can't be read (EISDIR): check --auth-file\n")
    expect(readdirSync(directory)).toEqual(['users']) // nothing was begun
  })

  test('a damaged identity', async () => {
    const ports = ['--cport', firstPort, '--sport', firstPort + 1]
    const first = start('addsrv', ...ports, '--data', 'here')
    await eventually('the first server', () => first.output().includes('for clients at'))
    await kill(first.child)
    writeFileSync(join(directory, 'here', 'identity'), 'raftcached 1 00000000 - 00000000\n')
    const { code, stderr } = await failure('addsrv', ...ports, '--data', 'here')
    expect(code).toBe(1)
    expect(stderr).toMatch(/^store addsrv: here\/identity: damaged; .*\n$/)
  })
})

describe('a server on its own', () => {
  test.runIf(process.platform === 'linux')(
    'says at its start that it may not have as many open files as connections',
    async () => {
      const shell = 'ulimit -n 500; exec "$0" "$@"'
      const ports = ['--cport', firstPort, '--sport', firstPort + 1].map(String)
      const warned = run('sh', ['-c', shell, process.execPath, store, 'addsrv', ...ports], {
        cwd: directory,
      })
      started.push(warned.child)
      warned.catch(() => {}) // it is killed
      let log = ''
      warned.child.stderr?.on('data', (chunk) => {
        log += chunk
      })
      await eventually('the server', () => log.includes('for clients at'))
      expect(log).toMatch(/--max-connections 10000 needs \d+ open files, and .* may have 500:/)
    },
  )

  test.runIf(process.platform === 'linux')(
    'lives, and ends in order, where the disk of its log is full',
    async () => {
      const ports = ['--cport', firstPort, '--sport', firstPort + 1].map(String)
      for (const command of ['addsrv', 'addlb']) {
        const shell = 'exec "$0" "$@" 2>/dev/full'
        const child = spawn('sh', ['-c', shell, process.execPath, store, command, ...ports], {
          cwd: directory,
          stdio: 'ignore',
        })
        started.push(child)
        const exited = new Promise((resolve) => child.once('exit', resolve))
        await eventually('the port', () => isListening(firstPort))
        child.kill('SIGTERM')
        expect(await exited).toBe(0)
      }
    },
  )

  test('keeps trying its load balancer, says so, and refuses writes with the reason', {
    timeout: 30_000,
  }, async () => {
    const server = start(
      'addsrv',
      '--cport',
      firstPort,
      '--sport',
      firstPort + 1,
      '--lbport',
      firstPort + 2,
      '--request-timeout',
      300,
    )
    await eventually('the port', () => isListening(firstPort))
    const client = await TextClient.connect(firstPort)
    expect(await client?.set('k', 'v')).toMatch(
      /^SERVER_ERROR not stored: this server has not joined a cluster yet/,
    )
    client?.close()
    await eventually('the complaint', () => server.output().includes('does not answer: trying on'))
  })

  test('host names work', { timeout: 30_000 }, async () => {
    start(
      'addlb',
      '--cip',
      'localhost',
      '--sip',
      'localhost',
      '--cport',
      firstPort + 10,
      '--sport',
      firstPort + 11,
    )
    for (const at of [0, 1]) {
      start(
        'addsrv',
        '--cip',
        'localhost',
        '--sip',
        'localhost',
        '--lbip',
        'localhost',
        ...['--cport', firstPort + at, '--sport', firstPort + 5 + at, '--lbport', firstPort + 11],
      )
    }
    const client = async (...args: string[]) =>
      run(process.execPath, [
        commandPath('client'),
        ...args,
        '--lbip',
        'localhost',
        '--lbport',
        String(firstPort + 10),
      ])
    await eventually(
      'a cluster of two',
      async () => (await client('set', 'k', 'by name')).stdout === 'STORED\n',
    )
    expect((await client('get', 'k')).stdout).toBe('k by name\n')
  })
})
