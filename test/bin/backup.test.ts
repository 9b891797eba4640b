/** Whom `store backup` asks, of servers that the test plays, and what it takes from them. */
import { describe, expect, test } from 'vitest'
import { type Backup, takeBackup } from '../../bin/backup.ts'
import type { ClusterStatus } from '../../src/protocol/status.ts'
import { type KeystoreHeader, writeKeystore } from '../../src/server/keystore/keystore-file.ts'
import { FakeCluster, type FakeNode } from '../client/fake-cluster.ts'
import { MemoryDisk } from '../io/memory-disk.ts'
import { member, status } from './sightings.ts'

const LB = { host: '10.0.0.9', port: 5002 }
const PATH = 'backups/monday'

/** A server's keystore file, without items. */
async function fileOf(clusterId: string): Promise<Buffer> {
  const disk = new MemoryDisk()
  await disk.makeDirectory('data')
  const header: KeystoreHeader = {
    ...{ format: 2, clusterId, group: 0, index: 5, term: 1, timeMs: 1_000, flushAtMs: 0 },
    config: { members: [], floor: 2, protocol: 3 },
  }
  await writeKeystore(disk, 'data', header, { count: 0, *[Symbol.iterator]() {} })
  return disk.bytes('data/keystore')
}

function reply(file: Buffer): string {
  return `BACKUP ${file.length}\r\n${file.toString('latin1')}\r\nEND\r\n`
}

/** A load balancer that says this, and who takes a backup by it. */
async function play(said: ClusterStatus) {
  const cluster = new FakeCluster()
  const disk = new MemoryDisk()
  await disk.makeDirectory('backups')
  cluster.node(LB.port, () => `${JSON.stringify(said)}\r\nend\r\n`)
  const io = { ...cluster.io, disk }
  const take = (): Promise<Backup> =>
    cluster.run(takeBackup({ io, servers: io, whom: 'load balancer', asked: [LB] }, PATH))
  const server = (at: number, file: Buffer): FakeNode => cluster.node(7000 + at, () => reply(file))
  return { disk, take, server }
}

describe('what a server sends that is damaged', () => {
  async function rotted(): Promise<Buffer> {
    const file = await fileOf('c1')
    file.writeUInt8(file.readUInt8(file.length - 4) ^ 1, file.length - 4)
    return file
  }

  test('is that one server, and the next is asked', async () => {
    const { server, take, disk } = await play(status())
    const bad = server(2, await rotted())
    server(3, await fileOf('c1'))
    const leader = server(1, await fileOf('c1'))
    expect(await take()).toMatchObject({ from: { port: 7003 }, header: { index: 5 } })
    expect([bad.requests, leader.requests]).toEqual([['backup'], []])
    expect(disk.bytes(PATH)).toEqual(await fileOf('c1'))
  })

  test('is all there is: each is named, and nothing is left', async () => {
    const { server, take, disk } = await play(status({ members: [member(1), member(2)] }))
    server(1, await rotted())
    server(2, Buffer.from('none'))
    await expect(take()).rejects.toThrow(
      /^server 10.0.0.1:7002: what came is damaged: .* byte 4; server 10.0.0.1:7001: what came is damaged: .* byte \d+$/,
    )
    expect(await disk.list('backups')).toEqual([])
  })

  test('is no reason to ask on where it is the disk that fails', async () => {
    const { server, take, disk } = await play(status())
    for (const at of [1, 2, 3]) server(at, await fileOf('c1'))
    disk.fail('datasync')
    await expect(take()).rejects.toThrow("can't be written (EIO)")
    expect(await disk.list('backups')).toEqual([])
  })
})

describe('a backup is of the cluster that the load balancer is of', () => {
  const stranger = member(3, { cluster: 'c2' })

  test('a server of another cluster, which knows this load balancer too, is not asked', async () => {
    const members = [member(1), member(2, { alive: false }), stranger]
    const { server, take } = await play(status({ members }))
    server(1, await fileOf('c1'))
    const other = server(3, await fileOf('c2'))
    const { from, header } = await take()
    expect([from.port, header.clusterId]).toEqual([7001, 'c1'])
    expect(other.connectCount).toBe(0)
  })

  test('nobody is, where there are none but those', async () => {
    const { server, take, disk } = await play(
      status({ members: [stranger], leader: null, whyNoLeader: 'none for 9 ms' }),
    )
    server(3, await fileOf('c2'))
    await expect(take()).rejects.toThrow('no server is known: none for 9 ms')
    expect(await disk.list('backups')).toEqual([])
  })

  test('a server of another cluster at an address of this one is found out by its file', async () => {
    const { server, take, disk } = await play(status({ members: [member(1)] }))
    server(1, await fileOf('c2'))
    await expect(take()).rejects.toThrow(
      'server 10.0.0.1:7001: what came is of cluster c2, not of c1',
    )
    expect(await disk.list('backups')).toEqual([])
  })
})
