/** How long who fetches a backup waits for what. */
import { expect, test } from 'vitest'
import { fetchBackup } from '../../src/client/backup-client.ts'
import { withLogin } from '../../src/client/login.ts'
import { FakeCluster, type FakeNode, watch } from './fake-cluster.ts'

const SERVER = { host: 'host', port: 1 }

/** Of a server that is preparing a backup for as long as the test likes. */
function fetchOne(prepare: (node: FakeNode) => void = () => {}) {
  const cluster = new FakeCluster()
  const node = cluster.node(SERVER.port, () => null)
  prepare(node)
  const pieces: string[] = []
  const sink = {
    begin: () => {},
    write: async (piece: Buffer) => void pieces.push(piece.toString()),
  }
  const fetched = watch(fetchBackup(withLogin(cluster.io, null), SERVER, sink))
  return { cluster, node, pieces, fetched }
}

test.each<[string, (node: FakeNode) => void]>([
  ['that is not reached', (node) => Object.assign(node, { door: 'silent' })],
  ['that lets nobody in', (node) => Object.assign(node, { greeting: '' })],
])('a server %s is waited for like by other commands', async (_, prepare) => {
  const { cluster, fetched } = fetchOne(prepare)
  await cluster.advance(2_999)
  expect(fetched.isOver).toBe(false)
  await cluster.advance(1)
  expect(String(fetched.error)).toBe('Error: server host:1: nothing came from it for 3 s')
  expect([cluster.openCount, cluster.timerCount]).toEqual([0, 0])
})

test('one that has let it in may take its time to write the file', async () => {
  const { cluster, node, pieces, fetched } = fetchOne()
  await cluster.advance(599_000)
  expect(fetched.isOver).toBe(false)
  node.connection.send('BACKUP 4\r\nabcd\r\nEND\r\n')
  await cluster.settle()
  expect([fetched.isOver, fetched.error]).toEqual([true, undefined])
  expect(pieces.join('')).toBe('abcd')
  expect([cluster.openCount, cluster.timerCount]).toEqual([0, 0])
})

test('but not for ever, and once it sends, no stall is long', async () => {
  const never = fetchOne()
  await never.cluster.advance(600_000)
  expect(String(never.fetched.error)).toContain('nothing came from it for 600 s')
  const stalled = fetchOne()
  await stalled.cluster.settle()
  stalled.node.connection.send('BACKUP 4\r\nab')
  await stalled.cluster.advance(30_000)
  expect(String(stalled.fetched.error)).toContain('nothing came from it for 30 s')
})
