import { expect, test } from 'vitest'
import { readOnlyDisk } from '../../../src/server/inspect/read-only-disk.ts'
import { MemoryDisk } from '../../io/memory-disk.ts'

async function diskWithFile(): Promise<MemoryDisk> {
  const disk = new MemoryDisk()
  await disk.makeDirectory('d')
  disk.put('d/f', Buffer.from('hello'))
  return disk
}

test('what changes anything is refused', async () => {
  const disk = await diskWithFile()
  const before = disk.mutationCount
  const reading = readOnlyDisk(disk)
  const file = await reading.open('d/f', { create: false })
  const changes = [
    () => reading.makeDirectory('e'),
    () => reading.open('d/g', { create: true }),
    () => reading.rename('d/f', 'd/g'),
    () => reading.remove('d/f'),
    () => reading.syncDirectory('d'),
    () => reading.lock('d/lock'),
    () => file.write([Buffer.from('x')], 0),
    () => file.datasync(),
  ]
  for (const change of changes) await expect(change()).rejects.toThrow('for reading only')
  expect(disk.mutationCount).toBe(before)
  expect(await disk.lock('d/lock')).not.toBeNull()
})

test('a read waits for whoever counts it', async () => {
  let release = (): void => {}
  const counted: number[] = []
  const reading = readOnlyDisk(await diskWithFile(), (byteCount) => {
    counted.push(byteCount)
    return new Promise((resolve) => (release = resolve))
  })
  const file = await reading.open('d/f', { create: false })
  let isRead = false
  const read = file.read(0, 4).then((bytes) => {
    isRead = true
    return bytes
  })
  await new Promise((resolve) => setImmediate(resolve))
  expect([counted, isRead]).toEqual([[4], false])
  release()
  expect(`${await read}`).toBe('hell')
})

test('a failure names the file', async () => {
  const disk = await diskWithFile()
  const failing = Object.assign(Object.create(disk), {
    list: () => Promise.reject(Object.assign(new Error('no'), { code: 'EACCES' })),
    open: async () => ({ read: () => Promise.reject(new Error('EIO')) }),
  })
  const reading = readOnlyDisk(failing)
  await expect(reading.list('d')).rejects.toThrow('d: there is no permission to read it')
  const file = await reading.open('d/f', { create: false })
  await expect(file.read(7, 1)).rejects.toThrow("d/f: can't be read at byte 7: EIO")
})
