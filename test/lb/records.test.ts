/** What a load balancer keeps on its disk, where it hears of two clusters at once. */
import { expect, test } from 'vitest'
import type { Io } from '../../src/io/io.ts'
import { Balancer } from '../../src/lb/lb.ts'
import { encodeDatagram, type Report, type ToBalancer } from '../../src/protocol/balancer.ts'
import { ManualTimers } from '../io/manual-timers.ts'
import { MemoryDisk } from '../io/memory-disk.ts'

function register(id: string, cluster: string): Buffer {
  const server: Report = {
    ...{ id, cip: id, cport: 1, sip: id, sport: 1, cluster, role: 'follower', voter: true },
    ...{ term: 2, leader: null, lastTerm: 2, lastIndex: 9, commitIndex: 9, appliedIndex: 9 },
    requestCount: 0,
  }
  return encodeDatagram({ type: 'register', place: 0, server } satisfies ToBalancer)
}

test('a member of a cluster, and of what was recovered of it: the last one stands', async () => {
  const disk = new MemoryDisk()
  let hear: (bytes: Buffer, from: { host: string; port: number }) => void = () => {}
  const io: Io = {
    clock: { monotonicMs: () => 0, wallMs: () => 0 },
    random: { float: () => 0, hex: () => 'f00d' },
    timers: new ManualTimers(),
    disk,
    network: {
      bindDatagrams: async (_, onDatagram) => {
        hear = onDatagram
        return { send: () => {}, close: async () => {} }
      },
      listen: async () => ({ close: async () => {} }),
      connect: () => Promise.reject() as never,
    },
    process: null as never,
  }
  const log = { info() {}, warn() {}, error() {} } as never
  const address = { host: 'lb', port: 1 }
  const failures: Error[] = []
  const balancer = await Balancer.start({
    ...{ io, log, client: address, server: address, directory: '/lb' },
    onFailure: (error) => failures.push(error),
  })
  hear(register('b', 'c1'), { host: 'b', port: 1 })
  hear(register('a', 'c1.1-a'), { host: 'a', port: 1 })
  for (let turn = 0; turn < 100; turn++) await new Promise(setImmediate)
  expect(failures).toEqual([])
  expect(`${await disk.readFile('/lb/cluster')}`).toMatch(/^cluster c1\.1-a - [0-9a-f]{8}\n$/)
  await balancer.stop()
})
