/** How a backup, or an export, that can't be taken fails, as of servers that the test plays. */
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { takeBackup } from '../../bin/backup.ts'
import { exportFile } from '../../bin/client/export.ts'
import { EXIT, exitStatusOf } from '../../bin/client/outcome.ts'
import { explain } from '../../bin/run.ts'
import { withLogin } from '../../src/client/login.ts'
import type { Io } from '../../src/io/io.ts'
import { FakeCluster, watch } from '../client/fake-cluster.ts'
import { io, makeDirectory } from '../e2e/cluster.ts'

let directory: string
let played: FakeCluster

beforeEach(() => {
  directory = makeDirectory()
  played = new FakeCluster()
})

afterEach(() => rmSync(directory, { recursive: true }))

/** @returns what taking it from these servers fails with. */
async function failure(ports: readonly number[], disk: Io['disk'] = io.disk): Promise<Error> {
  const servers = withLogin({ ...played.io, disk }, { user: 'anna', password: 'secret' })
  const asked = ports.map((port) => ({ host: 'host', port }))
  const cluster = { asked, whom: 'server', io: servers, servers } as const
  const taken = watch(takeBackup(cluster, join(directory, 'backup')))
  while (!taken.isOver) await played.settle()
  return taken.error as Error
}

test.each([
  ['CLIENT_ERROR unauthenticated\r\n', 'wants a login: add --auth-file <path>'],
  ['CLIENT_ERROR authentication failure\r\n', 'refused user anna: check --auth-file'],
])('a login that is refused is one, also behind a server that is gone', async (greeting, words) => {
  played.node(2, () => null).greeting = greeting
  const error = await failure([1, 2])
  expect(error.message).toBe(
    `server host:1: can't be reached (ECONNREFUSED); server host:2: ${words}`,
  )
  expect(exitStatusOf(error)).toBe(EXIT.unreachable)
  expect(await io.disk.list(directory)).toEqual([])
})

test.each(['open', 'write', 'datasync'])(
  'a file that can not be written says so, and nothing of --data: %s',
  async (what) => {
    played.node(1, () => 'BACKUP 1\r\nx\r\nEND\r\n').greeting = 'STORED\r\n'
    const path = join(directory, 'backup.tmp')
    const refuse = async () => {
      throw Object.assign(new Error(`EACCES: permission denied, ${what}`), { code: 'EACCES', path })
    }
    const open: Io['disk']['open'] = async (...args) => {
      if (what === 'open') return refuse()
      return Object.assign(await io.disk.open(...args), { [what]: refuse })
    }
    const error = await failure([1], { ...io.disk, open })
    expect(explain(error)).toBe(`${path} can't be written (EACCES)`)
    expect(exitStatusOf(error)).toBe(EXIT.file)
    expect(await io.disk.list(directory)).toEqual([])
  },
)

test('an export into what is no directory says so, and nothing of --data', async () => {
  const path = join(directory, 'file', 'items.jsonl')
  writeFileSync(join(directory, 'file'), '')
  const cluster = { asked: [], whom: 'server', io, servers: io } as const
  const task = { cluster, clusterId: null, path, isForced: false, onResume: () => {} }
  const error = await exportFile(task).catch((error) => error)
  expect(explain(error)).toBe(`${path} can't be written (ENOTDIR)`)
  expect(exitStatusOf(error)).toBe(EXIT.file)
})

test('an export whose backup is there and can not be read says so', async () => {
  const path = join(directory, 'items.jsonl')
  const cluster = { asked: [], whom: 'server', io, servers: io } as const
  const task = { cluster, clusterId: null, path, isForced: false, onResume: () => {} }
  await io.disk.makeDirectory(`${path}.backup`)
  const error = await exportFile(task).catch((error) => error)
  expect(explain(error)).toBe(`${path}.backup can't be read (EISDIR)`)
  expect(exitStatusOf(error)).toBe(EXIT.file)
})
