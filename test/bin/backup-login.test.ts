/** How a backup that can't be taken fails, as of servers that the test plays. */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { takeBackup } from '../../bin/backup.ts'
import { EXIT, exitStatusOf } from '../../bin/client/outcome.ts'
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
