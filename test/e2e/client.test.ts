/**
 * The `client` command against a real cluster: at a terminal, through pipes, by its exit
 * status, and with an import that is interrupted.
 */
import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { commandPath, eventually, makeDirectory, TestCluster } from './cluster.ts'
import { KEYS, Terminal } from './terminal.ts'

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

const IMAGES = join(import.meta.dirname, '..', 'testdata', 'images')
const PROMPT = 'raftcached> '

let cluster: TestCluster
let directory: string

beforeAll(async () => {
  cluster = await TestCluster.start(3)
})

afterAll(() => cluster.stop())

beforeEach(() => {
  directory = makeDirectory()
})

afterEach(() => rmSync(directory, { recursive: true, force: true }))

interface Ended {
  readonly code: number | null
  readonly signal: string | null
  readonly stdout: Buffer
  readonly stderr: string
}

/** @param shell What runs the command, where something else does. */
function start(
  args: readonly string[],
  input: string | Buffer = '',
  shell: readonly string[] = [],
) {
  const [command = '', ...words] = [...shell, process.execPath, commandPath('client'), ...args]
  const child = spawn(command, words, { cwd: directory })
  const stdout: Buffer[] = []
  let stderr = ''
  child.stdout.on('data', (chunk) => stdout.push(chunk))
  child.stderr.on('data', (chunk) => {
    stderr += chunk
  })
  child.stdin.on('error', () => {}) // it may end before it has read all
  child.stdin.end(input)
  const ended = new Promise<Ended>((resolve) => {
    child.on('close', (code, signal) =>
      resolve({ code, signal, stdout: Buffer.concat(stdout), stderr }),
    )
  })
  return { child, ended }
}

const toCluster = () => ['--lbport', String(cluster.lbcport)]

async function client(args: readonly string[], input?: string | Buffer) {
  const { code, stdout, stderr } = await start([...args, ...toCluster()], input).ended
  return { code, stdout: String(stdout), stderr, bytes: stdout }
}

describe('at a terminal', () => {
  let terminal: Terminal
  let history: string

  beforeEach(() => {
    history = join(directory, 'history')
  })

  afterEach(() => terminal.kill())

  /** A prompt, ready to be typed at. */
  async function open(...args: string[]): Promise<Terminal> {
    const command = [process.execPath, commandPath('client'), ...toCluster(), ...args]
    terminal = new Terminal(command, { RAFTCACHED_HISTORY: history })
    await terminal.until(PROMPT)
    return terminal
  }

  /** @returns what the screen got between the line and the next prompt. */
  async function enter(line: string): Promise<string> {
    terminal.type(line)
    await terminal.until(line)
    terminal.type(KEYS.enter)
    return terminal.until(PROMPT)
  }

  test('lines are answered, errors too, and Ctrl-D ends it with 0', async () => {
    await open()
    expect(await enter('write greeting "hello world"')).toContain('STORED\r\n')
    expect(await enter('read greeting')).toContain('hello world\r\n')
    expect(await enter('cas greeting hi hello')).toContain('not swapped: it is "hello world"\r\n')
    expect(await enter('write greeting hello world')).toMatch(/error: too many words: .*quote/)
    expect(await enter('read no-such-key')).toContain('no such key: no-such-key\r\n')
    expect(await enter('help')).toMatch(/ {2}write <key> <value> +the same as set\r\n/)
    expect(await enter('help cas')).toContain('cas <key> <expected> <value>')
    expect(await enter('status')).toMatch(/cluster \w+: server \w+ leads/)
    terminal.type(KEYS.ctrlD)
    expect(await terminal.ended()).toBe(0)
  })

  test('quit ends it too', async () => {
    await open()
    terminal.type('quit', KEYS.enter)
    expect(await terminal.ended()).toBe(0)
  })

  test('Tab completes commands, and keys of this session', async () => {
    await open()
    terminal.type('wri', KEYS.tab)
    await terminal.until('write ')
    terminal.type('user:1 one', KEYS.enter)
    await terminal.until('STORED')
    await terminal.until(PROMPT)
    terminal.type('read us', KEYS.tab)
    await terminal.until('user:1 ')
    terminal.type(KEYS.enter)
    await terminal.until('one\r\n')
    await terminal.until(PROMPT)
    await enter('write user:2 two')
    terminal.type('get us', KEYS.tab)
    await terminal.until('get user:')
    terminal.type(KEYS.tab)
    await terminal.until(/user:1 +user:2/)
  })

  test('the arrow brings lines back, in the next session as well', async () => {
    await open()
    await enter('write counter 41')
    await enter('incr counter')
    terminal.type(KEYS.up)
    await terminal.until('incr counter')
    terminal.type(KEYS.enter)
    await terminal.until('43\r\n')
    terminal.type(KEYS.ctrlD)
    expect(await terminal.ended()).toBe(0)
    expect(readFileSync(history, 'utf8')).toBe('write counter 41\nincr counter\n')
    expect(statSync(history).mode & 0o777).toBe(0o600)

    await open()
    terminal.type(KEYS.up, KEYS.up)
    await terminal.until('write counter 41')
    terminal.type(KEYS.enter)
    await terminal.until('STORED')
  })

  test('Ctrl-C clears the line; on an empty one, twice, it ends', async () => {
    await open()
    await enter('write k v')
    terminal.type('write k wrong')
    await terminal.until('wrong')
    terminal.type(KEYS.ctrlC)
    expect(await enter('read k')).toContain('v\r\n')
    terminal.type(KEYS.ctrlC)
    await terminal.until('Ctrl-C again')
    await terminal.until(PROMPT)
    // Something was typed in between: once more is not twice.
    terminal.type('x')
    await terminal.until('x')
    terminal.type(KEYS.ctrlC)
    expect(await enter('read k')).toContain('v\r\n')
    terminal.type(KEYS.ctrlC)
    await terminal.until('Ctrl-C again')
    terminal.type(KEYS.ctrlC)
    expect(await terminal.ended()).toBe(0)
  })

  test('Ctrl-C ends what is on its way, and the prompt goes on', async () => {
    await open('--timeout', '3600000')
    await enter('write k v')
    for (const server of cluster.servers) server.process?.kill('SIGSTOP')
    try {
      terminal.type('write k w')
      await terminal.until('write k w')
      terminal.type(KEYS.enter)
      await terminal.until('\r\n')
      terminal.type(KEYS.ctrlC)
      expect(await terminal.until(PROMPT)).toContain('error: ')
    } finally {
      for (const server of cluster.servers) server.process?.kill('SIGCONT')
    }
    await cluster.ready()
    expect(await enter('read k')).toMatch(/[vw]\r\n/)
  })

  test('a value can do no harm to the screen', async () => {
    await client(['set', 'harm', '-'], 'a\x1b]0;title\x07b\n')
    const command = [process.execPath, commandPath('client'), 'get', 'harm', ...toCluster()]
    terminal = new Terminal(command)
    await terminal.until('harm a\\x1b]0;title\\x07b\\n\r\n')
    expect(await terminal.ended()).toBe(0)
  })
})

describe('through a pipe', () => {
  test('values are bytes, from standard input and to standard output', async () => {
    const value = Buffer.from(Array.from({ length: 100_000 }, (_, at) => (at * 7) % 256))
    expect(await client(['set', 'bytes', '-'], value)).toMatchObject({
      code: 0,
      stdout: 'STORED\n',
    })
    for (const command of ['get', 'read']) {
      const { code, bytes } = await client([command, 'bytes', '--raw'])
      expect([code, bytes.equals(value)]).toEqual([0, true])
    }
    const { bytes } = await client(['get', 'bytes'])
    expect(bytes.equals(Buffer.concat([Buffer.from('bytes '), value, Buffer.from('\n')]))).toBe(
      true,
    )
    const { stdout } = await client(['get', 'bytes', '--json'])
    expect(Buffer.from(JSON.parse(stdout).base64, 'base64').equals(value)).toBe(true)
  })

  test('lines are a script: a reply each, and one status for all', async () => {
    const good = await client([], 'write s "a b"\n# a comment\nread s\ncas s "a b" c\n')
    expect(good).toMatchObject({
      code: 0,
      stdout: 'STORED\na b\nswapped: it was "a b"\n',
      stderr: '',
    })
    const bad = await client([], 'read s\nfrobnicate\nread s')
    expect(bad).toMatchObject({
      code: 2,
      stdout: 'c\nerror: line 2: no such command: frobnicate; help lists them\nc\n',
      stderr: 'client: 1 command failed on line 2: no such command: frobnicate; help lists them\n',
    })
  })

  test('whoever reads only the beginning has enough', async () => {
    const script = `write big ${'x'.repeat(100_000)}\n${'read big\n'.repeat(200)}`
    const { child, ended } = start(toCluster(), script)
    child.stdout.once('data', () => child.stdout.destroy())
    expect(await ended).toMatchObject({ code: 0, stderr: '' })
  })

  test('images, from the command line', async () => {
    const image = join(IMAGES, 'photo.jpg')
    const words = ['a', 'cat', 'asleep  on the', 'keyboard']
    expect(await client(['iset', image, ...words])).toMatchObject({
      code: 0,
      stdout: 'STORED e0c0c143671fefff\n',
    })
    expect((await client(['iget', image])).stdout).toBe('a cat asleep  on the keyboard\n')
    expect(await client(['iget', join(IMAGES, 'none.jpg')])).toMatchObject({
      code: 6,
      stderr: `client: image ${join(IMAGES, 'none.jpg')} is not there\n`,
    })
  })
})

describe('the exit status', () => {
  test('0 and 1: what the store answered', async () => {
    const steps: [args: string[], code: number, stdout: string][] = [
      [['set', 'e', '1', '--flags', '7', '--expires', '1000'], 0, 'STORED\n'],
      [['add', 'e', '2'], 1, ''],
      [['replace', 'none', '2'], 1, ''],
      [['append', 'e', '0'], 0, 'STORED\n'],
      [['prepend', 'none', '0'], 1, ''],
      [['incr', 'e', '5'], 0, '15\n'],
      [['decr', 'none'], 1, ''],
      [['cas', 'e', '15', '16'], 0, 'swapped: it was "15"\n'],
      [['cas', 'e', '15', '16'], 1, ''],
      [['touch', 'e', '0'], 0, 'TOUCHED\n'],
      [['get', 'e', 'none'], 1, 'e 16\n'],
      [['delete', 'e'], 0, 'DELETED\n'],
      [['delete', 'e'], 1, ''],
    ]
    for (const [args, code, stdout] of steps) {
      const { stderr, ...ended } = await client(args)
      expect({ args, ...ended }).toMatchObject({ args, code, stdout })
      expect(stderr).toMatch(code === 0 ? /^$/ : /^client: \S.*\n$/)
    }
  })

  test('set --cas takes what gets shows', async () => {
    await client(['set', 'u', '1'])
    const shown = JSON.parse((await client(['gets', 'u', '--json'])).stdout)
    expect((await client(['set', 'u', '2', '--cas', shown.casUnique])).code).toBe(0)
    expect((await client(['set', 'u', '3', '--cas', shown.casUnique])).code).toBe(1)
    expect((await client(['read', 'u'])).stdout).toBe('2\n')
  })

  test('2: what can not be done as it is typed', async () => {
    for (const args of [
      ['get'],
      ['frobnicate'],
      ['get', 'k', '--frobnicate'],
      ['set', 'k', 'v', '--flags', 'x'],
      ['set', 'two words', 'v'],
      ['get', 'a', 'b', '--raw'],
      ['incr', 'k', 'x'],
      ['get', 'k', '--timeout', '0'],
    ]) {
      expect([args, (await client(args)).code]).toEqual([args, 2])
    }
  })

  test('3: certainly not done', async () => {
    await client(['set', 'word', 'hello'])
    expect((await client(['incr', 'word'])).code).toBe(3)
    const { code, stdout, stderr } = await client(['incr', 'word', '--json'])
    expect([code, stderr]).toEqual([3, ''])
    expect(JSON.parse(stdout)).toMatchObject({ error: 'notNumber', definite: true })
  })

  test('4: nobody knows', async () => {
    const { member, server } = await silentServer()
    const args = ['set', 'k', 'v', '--timeout', '500', '--server', `127.0.0.1:${member}`]
    const { code, stderr } = await start(args).ended
    server.close()
    expect([code, stderr]).toEqual([4, expect.stringMatching(/^client: \S.*\n$/)])
  })

  test('5: nobody is there', async () => {
    const { code, stderr } = await start(['get', 'k', '--lbport', '1']).ended
    expect([code, stderr]).toEqual([5, expect.stringMatching(/^client: .*can't be reached.*\n$/)])
    expect((await start(['--lbport', '1'], 'read k\n').ended).code).toBe(5)
  })

  test('6: a file', async () => {
    expect(await client(['import', 'none.jsonl'])).toMatchObject({
      code: 6,
      stderr: 'client: none.jsonl is not there\n',
    })
  })

  test.runIf(process.platform === 'linux')('6: standard output, on a full disk', async () => {
    const shell = (text: string, args: string[], input = '') =>
      start([...args, ...toCluster()], input, ['sh', '-c', text])
    const intoFull = (args: string[], input?: string) =>
      shell('exec "$0" "$@" >/dev/full', args, input).ended
    const told = {
      code: 6,
      stderr: "client: standard output can't be written (ENOSPC)\n",
    }
    await client(['set', 'told', '1'])
    expect(await intoFull(['get', 'told'])).toMatchObject(told)
    expect(await intoFull(['incr', 'told'])).toMatchObject(told)
    expect(await intoFull([], 'incr told\nincr told\n')).toMatchObject(told)
    expect((await client(['read', 'told'])).stdout).toBe('3\n') // the second line was not run
    // What is graver stays.
    await client(['set', 'word', 'hello'])
    expect(await intoFull(['incr', 'word', '--json'])).toMatchObject({ ...told, code: 3 })
    const deaf = shell('exec "$0" "$@" 2>/dev/full', ['get', 'none'])
    expect(await deaf.ended).toMatchObject({ code: 1 })
  })
})

/** One that takes a write and never answers it. */
async function silentServer(): Promise<{ member: number; server: net.Server }> {
  const server = net.createServer((socket) => {
    const { port } = server.address() as net.AddressInfo
    socket.on('error', () => {})
    const members = [{ id: 'one', cip: '127.0.0.1', cport: port, cluster: 'c', alive: true }]
    const answers: Record<string, string> = {
      version: 'VERSION 1.6.45\r\n',
      status: `${JSON.stringify({ leader: 'one', members })}\r\nend\r\n`,
    }
    createInterface({ input: socket }).on('line', (line) => {
      const answer = answers[line]
      if (answer !== undefined) socket.write(answer)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { member: (server.address() as net.AddressInfo).port, server }
}

describe('import and export', () => {
  const COUNT = 100_000
  const sortedLines = (name: string) =>
    readFileSync(join(directory, name), 'utf8').trimEnd().split('\n').sort()

  test('an import that is interrupted, killed, and loses its leader goes on until all is there', async () => {
    await client(['flush'])
    const lines = Array.from(
      { length: COUNT },
      (_, at) => `{"key":"key-${at}","value":"value ${at}"}`,
    )
    writeFileSync(join(directory, 'items.jsonl'), `${lines.join('\n')}\n`)
    const progress = join(directory, 'items.jsonl.progress')
    const linesDone = () => Number(JSON.parse(readFileSync(progress, 'utf8')).lines)
    const begin = () => start(['import', 'items.jsonl', ...toCluster()])

    const first = begin()
    await eventually('a checkpoint', () => linesDone() > 0)
    first.child.kill('SIGINT')
    const interrupted = await first.ended
    const firstDone = linesDone()
    expect(interrupted).toMatchObject({ code: 130, signal: null })
    expect(interrupted.stderr).toBe(
      `client: interrupted: ${firstDone} lines of items.jsonl stored; the same command goes on\n`,
    )
    expect(firstDone).toBeLessThan(COUNT)

    const note = `client: goes on behind line ${firstDone}, as items.jsonl.progress says\n`
    const second = begin()
    await new Promise((resolve) => second.child.stderr.once('data', resolve))
    second.child.kill('SIGKILL')
    expect((await second.ended).stderr).toBe(note)
    expect(linesDone()).toBeGreaterThanOrEqual(firstDone)
    expect(linesDone()).toBeLessThan(COUNT)

    // The last one meets a leader that dies.
    const third = begin()
    await new Promise((resolve) => third.child.stderr.once('data', resolve))
    const leader = await cluster.leader()
    await cluster.killServer(leader)
    const last = await third.ended
    cluster.startServer(leader)
    await cluster.ready()
    expect([last.code, String(last.stdout)]).toEqual([0, `imported ${COUNT} lines\n`])
    expect(existsSync(progress)).toBe(false)

    expect(await client(['export', 'out.jsonl'])).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^exported 100000 items, as of entry \d+\n$/),
    })
    expect(sortedLines('out.jsonl')).toEqual(lines.sort())
    expect(readdirSync(directory).sort()).toEqual(['items.jsonl', 'out.jsonl'])
  })

  test('what is exported can be imported again, flags, times and odd bytes included', async () => {
    await client(['flush'])
    await client(['set', 'flags', 'v', '--flags', '9'])
    await client(['set', 'soon', 'v', '--expires', '5000'])
    await client(['set', 'bytes', '-'], Buffer.from([0, 255, 10, 13]))
    await client(['set', 'grüße', '"\\\n'])
    expect((await client(['export', 'one.jsonl'])).code).toBe(0)
    expect((await client(['export', 'one.jsonl'])).code).toBe(2)
    await client(['flush'])
    expect((await client(['import', 'one.jsonl'])).stdout).toBe('imported 4 lines\n')
    expect((await client(['export', 'two.jsonl'])).code).toBe(0)
    // Times are stored in whole seconds of the log's time.
    const withoutTimes = (name: string) =>
      sortedLines(name).map((line) => line.replace(/("expiresAt":")[^"]+/, '$1'))
    expect(withoutTimes('two.jsonl')).toEqual(withoutTimes('one.jsonl'))
    const { bytes } = await client(['read', 'bytes', '--raw'])
    expect([...bytes]).toEqual([0, 255, 10, 13])
  })

  test('an export goes on with the backup that an interrupted one left', async () => {
    await client(['flush'])
    await client(['set', 'then', '1'])
    const { code } = await start(['export', 'out.jsonl', ...toCluster()]).ended
    expect(code).toBe(0)
    await storeBackup('out.jsonl.backup')
    await client(['set', 'now', '2'])
    const resumed = await client(['export', 'out.jsonl', '--force'])
    expect(resumed).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(/^client: goes on with out.jsonl.backup, as of entry \d+; /),
    })
    expect(sortedLines('out.jsonl')).toEqual(['{"key":"then","value":"1"}'])
    expect(readdirSync(directory)).toEqual(['out.jsonl'])
  })

  /** As it lies there when the lines are being made. */
  async function storeBackup(name: string): Promise<void> {
    const args = [commandPath('store'), 'backup', name, ...toCluster()]
    const child = spawn(process.execPath, args, { cwd: directory, stdio: 'ignore' })
    expect(await new Promise((resolve) => child.on('close', resolve))).toBe(0)
  }
})
