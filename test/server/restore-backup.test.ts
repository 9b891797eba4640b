/** A backup that becomes a server's data: whole, or not at all. */
import { expect, test } from 'vitest'
import type { Io } from '../../src/io/io.ts'
import { INDEX_GAP } from '../../src/server/begin-group.ts'
import { verify } from '../../src/server/inspect/verify.ts'
import type { Item } from '../../src/server/keystore/item-store.ts'
import { readKeystore } from '../../src/server/keystore/keystore-file.ts'
import { loadIdentity } from '../../src/server/log/identity.ts'
import { restore } from '../../src/server/restore.ts'
import { restoreBackup } from '../../src/server/restore-backup.ts'
import { MemoryDisk, seededRandom } from '../io/memory-disk.ts'
import { ITEMS, makeData } from './inspect/data.ts'

const FILE = 'backups/monday'
const DATA = 'new'
/** The first entry behind those of the backup. */
const NEXT = 5 + INDEX_GAP
const FLUSH_MS = 1_800_000_000_000
const ADDRESS = { cip: 'h', cport: 7001, sip: 'h', sport: 6001 }
const QUIET = { info: () => {}, warn: () => {}, error: () => {} }

function ioOf(disk: MemoryDisk): Io {
  const random = seededRandom(disk.mutationCount)
  const hex = (byteCount: number) =>
    Array.from({ length: 2 * byteCount }, () => Math.floor(random() * 16).toString(16)).join('')
  return {
    clock: { monotonicMs: () => 0, wallMs: () => Date.UTC(2026, 5, 1) },
    random: { float: random, hex },
    timers: { after: () => ({ cancel: () => {} }), soon: queueMicrotask },
    disk,
    network: null as never,
    process: null as never,
  }
}

/** A disk with a backup as of entry 2/4. */
async function withBackup(): Promise<MemoryDisk> {
  const made = new MemoryDisk()
  await makeData(made, 'old', { keystore: { index: 4, term: 2, flushAtMs: FLUSH_MS } })
  const disk = new MemoryDisk()
  await disk.makeDirectory('backups')
  disk.put(FILE, made.bytes('old/groups/0/keystore'))
  return disk
}

async function contentsOf(disk: MemoryDisk, path: string) {
  const items: [string, Item][] = []
  const header = await readKeystore(disk, path, (key, item) => items.push([key, item]))
  return { flushAtMs: header?.flushAtMs, items }
}

async function expectRestored(disk: MemoryDisk): Promise<void> {
  const findings: unknown[] = []
  const verdict = await verify(disk, DATA, (line) => 'kind' in line && findings.push(line))
  expect(findings).toEqual([])
  expect(verdict).toEqual({ damageCount: 0, lastIndex: NEXT, commitIndex: NEXT })
  const contents = await contentsOf(disk, `${DATA}/groups/0/keystore`)
  // A flush that was pending is not: who restores wants the items.
  expect(contents).toEqual({ flushAtMs: 0, items: ITEMS })
  const { random } = ioOf(disk)
  const { serverId, clusterId } = await loadIdentity(disk, DATA, random)
  expect(clusterId).not.toBe('c1')
  const restored = await restore({
    ...{ io: ioOf(disk), log: QUIET, directory: DATA, group: 0 },
    ...{ clusterId: clusterId ?? '', serverId },
  })
  expect(restored.summary).toMatchObject({
    base: { term: 2, index: 4 + INDEX_GAP },
    lastIndex: NEXT,
  })
  expect(restored.raftLog.configs.at(-1)?.config).toEqual({
    members: [{ ...ADDRESS, id: serverId, voter: true }],
    floor: 2,
    protocol: 3,
  })
  expect(restored.machine.get('greeting')).toMatchObject({ casUnique: 3 })
  // Its time has come meanwhile.
  expect(restored.machine.get('soon')).toBeUndefined()
  await restored.store.close()
}

test('a backup is the beginning of a new cluster with one server', async () => {
  const disk = await withBackup()
  const restored = await restoreBackup(ioOf(disk), FILE, DATA, ADDRESS)
  expect(restored).toMatchObject({ from: 'c1', index: 4, itemCount: 2 })
  expect(await disk.list(DATA)).toEqual(['identity', 'vote'])
  await expectRestored(disk)
})

test('whenever power is lost it is not begun, unfinished, or done', async () => {
  const found = { unfinished: 0, done: 0 }
  for (let at = 1; ; at++) {
    const disk = await withBackup()
    disk.haltAt = disk.mutationCount + at
    const isThrough = await Promise.race([
      restoreBackup(ioOf(disk), FILE, DATA, ADDRESS).then(() => true),
      disk.halted.then(() => false),
    ])
    if (isThrough) break
    for (const policy of [
      { contents: 'lose', names: 'lose' },
      { contents: 'keep', names: 'keep' },
    ] as const) {
      const next = disk.crash(policy)
      next.put(FILE, disk.bytes(FILE))
      const isDone = (await next.readFile(`${DATA}/identity`)) !== null
      if (isDone) found.done++
      else {
        found.unfinished++
        const isBegun = (await next.list(DATA)).some(
          (name) => name === 'restoring' || name === 'groups',
        )
        // No server takes it for its own.
        if (isBegun)
          await expect(loadIdentity(next, DATA, ioOf(next).random)).rejects.toThrow('store restore')
        await restoreBackup(ioOf(next), FILE, DATA, ADDRESS)
      }
      await expectRestored(next)
      expect(await next.list(DATA)).toEqual(['identity', 'vote'])
    }
  }
  expect(found.unfinished).toBeGreaterThan(20)
  expect(found.done).toBeGreaterThan(0)
})

test('nothing is written over', async () => {
  const disk = await withBackup()
  await restoreBackup(ioOf(disk), FILE, DATA, ADDRESS)
  await disk.makeDirectory('other')
  disk.put('other/notes', Buffer.from('x'))
  const before = disk.mutationCount
  await expect(restoreBackup(ioOf(disk), FILE, 'other', ADDRESS)).rejects.toThrow('not empty')
  await expect(restoreBackup(ioOf(disk), FILE, DATA, ADDRESS)).rejects.toThrow('new is not empty')
  expect(disk.mutationCount).toBe(before)
})

test('nor is what another restore has finished while this one was about to read its backup', async () => {
  const disk = await withBackup()
  const open = disk.open.bind(disk)
  let first = ''
  disk.open = async (path, options) => {
    disk.open = open
    first = (await restoreBackup(ioOf(disk), FILE, DATA, ADDRESS)).serverId
    return open(path, options)
  }
  await expect(restoreBackup(ioOf(disk), FILE, DATA, ADDRESS)).rejects.toThrow('new is not empty')
  expect(await loadIdentity(disk, DATA, ioOf(disk).random)).toMatchObject({ serverId: first })
  await expectRestored(disk)
  // It is nobody's by now.
  expect(await disk.lock(`${DATA}/lock`)).not.toBeNull()
})

test('a damaged backup, or none, is refused with file and byte, and nothing is made', async () => {
  const disk = await withBackup()
  const whole = disk.bytes(FILE)
  const refused = () =>
    expect(restoreBackup(ioOf(disk), FILE, DATA, ADDRESS)).rejects.toThrow(
      /^backups\/monday: .*byte \d+/,
    )
  for (let offset = 0; offset < whole.length; offset++) {
    disk.flipBit(FILE, offset)
    await refused()
    disk.flipBit(FILE, offset)
  }
  disk.put(FILE, whole.subarray(0, -3))
  await refused()
  expect(await disk.list(DATA)).toEqual([])
  await expect(restoreBackup(ioOf(disk), 'backups/x', DATA, ADDRESS)).rejects.toThrow(
    'backups/x: there is no such file',
  )
})
