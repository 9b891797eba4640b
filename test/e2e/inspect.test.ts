/** `store log`, `store keystore` and `store verify` on real files. */
import { execFile, spawn } from 'node:child_process'
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { LogStore } from '../../src/server/log/log-store.ts'
import { RecordWriter } from '../../src/server/log/record.ts'
import { appendTo, makeData } from '../server/inspect/data.ts'
import { commandPath, eventually, io, makeDirectory } from './cluster.ts'

let directory: string
let data: string

beforeEach(async () => {
  directory = makeDirectory()
  data = join(directory, 'srv')
  await makeData(io.disk, data)
})

afterEach(() => rmSync(directory, { recursive: true, force: true }))

interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

function store(...args: string[]): Promise<Ended> {
  return new Promise((resolve) => {
    const argv = [commandPath('store'), ...args]
    execFile(process.execPath, argv, { cwd: directory }, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
    )
  })
}

const paths = () => readdirSync(directory, { recursive: true, encoding: 'utf8' }).sort()

/** Names, contents and times of all files. */
const everything = () =>
  paths().map((path) => {
    const { mtimeMs, size } = statSync(join(directory, path))
    return [path, mtimeMs, size]
  })

const segment = (sequence: number) => join(data, `groups/0/log/00000000000${sequence}.log`)

function damage(path: string, text: string): void {
  const bytes = readFileSync(path)
  bytes.write('?', bytes.indexOf(text))
  writeFileSync(path, bytes)
}

describe('store log', () => {
  test('prints index, key and value of the writes in effect', async () => {
    expect(await store('log', 'srv')).toEqual({
      code: 0,
      stderr: '',
      stdout: [
        '3 greeting hello',
        '4 other seal 1 1 1 00000000\\r\\n',
        '5 greeting C:\\\\ ü \\x00',
        '8 last x',
        '',
      ].join('\n'),
    })
  })

  test('--full prints every entry', async () => {
    const { stdout } = await store('log', '--full', 'srv/groups/0/')
    expect(stdout.split('\n').map((line) => line.replace(/config .*/, 'config'))).toEqual([
      '1 1 2026-01-02T03:04:05.001Z config',
      '2 1 2026-01-02T03:04:05.002Z noop',
      '3 1 2026-01-02T03:04:05.003Z set greeting 5 0 5 hello',
      '4 1 2026-01-02T03:04:05.004Z add other 5 0 21 seal 1 1 1 00000000\\r\\n',
      '5 2 2026-01-02T03:04:05.005Z cas greeting 5 0 8 3 C:\\\\ ü \\x00',
      '6 2 2026-01-02T03:04:05.006Z delete other',
      '7 2 2026-01-02T03:04:05.007Z time',
      '8 2 2026-01-02T03:04:05.008Z set last 5 0 1 x',
      '',
    ])
  })

  test('prints each command of an entry that has several', async () => {
    const commands = 'set a 0 0 2\r\n\r\n\r\ndelete a\r\nset b 1 0 1\r\nx\r\n'
    await appendTo(io.disk, data, [9], commands)
    const { stdout } = await store('log', 'srv')
    expect(stdout).toMatch(/\n8 last x\n9 a \\r\\n\n9 b x\n$/)
    const full = (await store('log', '--full', 'srv')).stdout
    const at = '9 2 2026-01-02T03:04:05.009Z'
    expect(full).toContain(`\n${at} set a 0 0 2 \\r\\n\n${at} delete a\n${at} set b 1 0 1 x\n`)
  })

  test('--follow prints the newest lines, and then what is written', async () => {
    const values = Array.from({ length: 12 }, (_, at) => `set key-${at} 0 0 1\r\nx\r\n`)
    await appendTo(io.disk, data, [9], values.join(''))
    const child = spawn(process.execPath, [commandPath('store'), 'log', '--follow', 'srv'], {
      cwd: directory,
    })
    let stdout = ''
    let stderr = ''
    child.stdout.on('data', (chunk) => (stdout += chunk))
    child.stderr.on('data', (chunk) => (stderr += chunk))
    try {
      const newest = values.slice(2).map((_, at) => `9 key-${at + 2} x\n`)
      await eventually('the newest lines', () => stdout === newest.join(''))
      await appendTo(io.disk, data, [10])
      await eventually('another line', () => stdout.endsWith('\n10 again x\n'))
      await appendTo(io.disk, data, [11], 'delete again\r\n')
      await appendTo(io.disk, data, [12])
      await eventually('the next one', () => stdout.endsWith('\n10 again x\n12 again x\n'))
      expect(stderr).toBe('')
    } finally {
      child.kill()
      await new Promise((resolve) => child.once('close', resolve))
    }
  })

  test('of a damaged log prints what can be read, and says what is missing', async () => {
    damage(segment(3), 'delete other')
    const { code, stdout, stderr } = await store('log', 'srv')
    expect(stdout).toMatch(/^5 greeting .*\n8 last x\n$/m)
    expect(stderr).toMatch(/^store log: srv\/.*3\.log: DAMAGED at byte \d+, entry 6: .*\n$/)
    expect(code).toBe(1)
  })

  test('a log of many megabytes waits for its reader, and ends when that one does', {
    timeout: 60_000,
  }, async () => {
    const big = join(directory, 'big')
    mkdirSync(big)
    const options = { disk: io.disk, timers: io.timers, directory: big, clusterId: 'c', group: 0 }
    const { log } = await LogStore.open(options)
    const writer = new RecordWriter('c')
    const value = 'v'.repeat(100_000)
    const command = Buffer.from(`set k 0 0 ${value.length}\r\n${value}\r\n`)
    const entries = Array.from({ length: 300 }, (_, at) =>
      writer.createEntry({ term: 1, index: at + 1 }, 1, { kind: 'command', command }),
    )
    log.append(entries)
    await log.close()

    const child = spawn(process.execPath, [commandPath('store'), 'log', big])
    const ended = new Promise((resolve) => child.once('close', resolve))
    let stderr = ''
    child.stderr.on('data', (chunk) => {
      stderr += chunk
    })
    await new Promise((resolve) => child.stdout.once('data', resolve))
    child.stdout.destroy()
    expect([await ended, stderr]).toEqual([0, ''])

    const whole = spawn(process.execPath, [commandPath('store'), 'log', big])
    let bytes = 0
    for await (const chunk of whole.stdout) {
      bytes += (chunk as Buffer).length
      if (bytes < 1_000_000) await new Promise((resolve) => setTimeout(resolve, 20))
    }
    const indexBytes = entries.reduce((sum, { index }) => sum + String(index).length, 0)
    expect(bytes).toBe(300 * (value.length + ' k \n'.length) + indexBytes)
  })
})

describe('store keystore', () => {
  test('prints key and value of the items', async () => {
    const expected = { code: 0, stderr: '', stdout: 'greeting hello\nsoon a\\nb\n' }
    expect(await store('keystore', 'srv')).toEqual(expected)
  })

  test('--full prints flags, expiry, cas unique and marks too', async () => {
    const { stdout } = await store('keystore', '--full', 'srv')
    expect(stdout).toBe('greeting 5 - 3 hello\nsoon 0 2026-01-02T03:04:05.000Z 4,stale,won a\\nb\n')
  })

  test('one that is missing or damaged is one clear line and exit status 1', async () => {
    damage(join(data, 'groups/0/keystore'), 'hello')
    const damaged = await store('keystore', 'srv')
    expect(damaged.stderr).toMatch(/^store keystore: srv\/groups\/0\/keystore: .*\n$/)
    expect(damaged.code).toBe(1)
    rmSync(join(data, 'groups/0/keystore'))
    const missing = await store('keystore', 'srv')
    expect(missing.stderr).toMatch(/^store keystore: srv holds no keystore file; .*\n$/)
    expect(missing.code).toBe(1)
  })
})

describe('store verify', () => {
  test('prints a line for each file and exits with 0 where all is well', async () => {
    const { code, stdout, stderr } = await store('verify', 'srv')
    expect([code, stderr]).toEqual([0, ''])
    const lines = stdout.trimEnd().split('\n')
    expect(lines).toHaveLength(8)
    expect(lines[0]).toBe('srv/identity: server a of cluster c1')
    expect(lines.at(-1)).toBe('all is well: the log ends at entry 8, 4 is known committed')
  })

  test('names what is damaged and exits with 1', async () => {
    damage(segment(3), 'delete other')
    damage(join(data, 'vote'), 'vote')
    const { code, stdout, stderr } = await store('verify', 'srv')
    expect(stdout.match(/.*DAMAGED.*/g)).toEqual([
      expect.stringMatching(/^srv\/.*3\.log: DAMAGED at byte \d+, entry 6: no whole record/),
      'srv/vote: DAMAGED at byte 0: this copy does not verify; the other copy counts',
    ])
    expect([code, stderr]).toEqual([1, 'store verify: srv: 2 things are damaged\n'])
  })

  test('a torn end is a note', async () => {
    writeFileSync(segment(4), Buffer.concat([readFileSync(segment(4)), Buffer.from('9 2 17')]))
    const { code, stdout } = await store('verify', 'srv')
    expect(stdout).toMatch(/4\.log: note at byte \d+, entry 9: the 6 bytes from here on /)
    expect(code).toBe(0)
  })
})

test('nothing is changed, locked or created, and files that nobody may write will do', async () => {
  const lock = await io.disk.lock(join(data, 'lock'))
  for (const path of paths()) chmodSync(join(directory, path), path.includes('.') ? 0o444 : 0o555)
  const before = everything()
  for (const command of ['log', 'keystore', 'verify']) {
    expect((await store(command, 'srv')).code).toBe(0)
  }
  expect(everything()).toEqual(before)
  for (const path of paths()) chmodSync(join(directory, path), 0o755)
  await lock?.release()
})

test("a directory that is no server's is one clear line, with one that is", async () => {
  expect(await store('verify', '.')).toEqual({
    code: 1,
    stdout: '',
    stderr: "store verify: . is no server's data: name a server's directory, such as ./srv\n",
  })
  for (const [name, why] of [
    ['nowhere', 'is empty or missing'],
    ['srv/identity', 'is a file'],
  ]) {
    const { code, stderr } = await store('log', `${name}`)
    expect(stderr).toContain(`store log: ${name} ${why}: name `)
    expect(code).toBe(1)
  }
})
