/** What is known of free space between two looks at a disk, on one that answers when told. */
import { expect, test } from 'vitest'
import type { Disk } from '../../src/io/io.ts'
import { DiskWatch } from '../../src/server/disk-watch.ts'
import { MemoryDisk } from '../io/memory-disk.ts'
import { Machine } from './node-harness.ts'

const LOOK_MS = 250

async function watch(reserveBytes: number | null, disk: Partial<Disk> = {}) {
  const machine = new Machine()
  const io = { ...machine.io, disk: Object.assign(new MemoryDisk(), { roomBytes: 1_000 }, disk) }
  const watch = await DiskWatch.open({ io, directory: 'data', reserveBytes, dataBytes: () => 100 })
  const rooms: string[] = []
  watch.onChange = () => void rooms.push(watch.room)
  watch.start()
  return { machine, disk: io.disk, watch, rooms }
}

test('what is appended counts at once, and again until the disk was asked twice', async () => {
  const { machine, watch: disk } = await watch(160)
  expect([disk.freeBytes, disk.keptBytes]).toEqual([1_000, 260])
  disk.wrote(100)
  expect(disk.freeBytes).toBe(900)
  // Whether that was on the disk when it was asked nobody knows.
  await machine.advance(LOOK_MS)
  expect(disk.freeBytes).toBe(900)
  await machine.advance(LOOK_MS)
  expect(disk.freeBytes).toBe(1_000)
})

test('each change of the room is told once', async () => {
  const { machine, disk, watch: watched, rooms } = await watch(160)
  watched.wrote(741)
  watched.wrote(1)
  expect(rooms).toEqual(['low'])
  disk.roomBytes = 0
  await machine.advance(LOOK_MS)
  disk.roomBytes = 1_000
  await machine.advance(3 * LOOK_MS)
  expect(rooms).toEqual(['low', 'none', 'enough'])
})

test('a disk that does not say keeps the last answer, and is asked again', async () => {
  let asked = 0
  const freeBytes = async () => {
    if (asked++ % 2 === 1) throw new Error('EIO')
    return 1_000 - asked
  }
  const { machine, watch: disk } = await watch(160, { freeBytes })
  await machine.advance(LOOK_MS)
  expect(disk.freeBytes).toBe(999)
  await machine.advance(LOOK_MS)
  expect(disk.freeBytes).toBe(997)
  disk.stop()
  await machine.advance(4 * LOOK_MS)
  expect(asked).toBe(3)
})

test('without a reserve nobody asks; by default it is of the size of the disk', async () => {
  const none = await watch(0)
  none.watch.wrote(2_000)
  expect(none.watch.room).toBe('enough')
  expect(none.watch.hasRoomFor(1e9)).toBe(true)
  const byDefault = await watch(null, { sizeBytes: async () => 1_000 })
  expect(byDefault.watch.keptBytes).toBe(125 + 100)
  expect(byDefault.watch.hasRoomFor(1_000)).toBe(false)
})
