import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Item, ItemStore } from '../../../src/server/keystore/item-store.ts'
import {
  KeystoreDamagedError,
  type KeystoreHeader,
  readKeystore,
  readKeystoreHeader,
  writeKeystore,
} from '../../../src/server/keystore/keystore-file.ts'
import { CRASH_POLICIES, type CrashPolicy, MemoryDisk } from '../../io/memory-disk.ts'

const DIRECTORY = 'data/groups/0'
const PATH = `${DIRECTORY}/keystore`
const LOSE: CrashPolicy = { contents: 'lose', names: 'lose' }
const KEEP: CrashPolicy = { contents: 'keep', names: 'keep' }

type Items = readonly (readonly [key: string, item: Item])[]

const HEADER: KeystoreHeader = {
  clusterId: 'cluster-1',
  group: 0,
  index: 42,
  term: 3,
  timeMs: 1_700_000_000_123,
  config: {
    members: [
      { id: 'aé', voter: true, cip: '10.0.0.1', cport: 7001, sip: 'a b', sport: 6001 },
      { id: 'b', voter: false, cip: '::1', cport: 7002, sip: '::1', sport: 6002 },
    ],
    floor: 2,
  },
}

function item(value: string | Buffer, fields: Partial<Item> = {}): Item {
  const bytes = typeof value === 'string' ? Buffer.from(value, 'latin1') : value
  return { flags: 0, expiresAtMs: 0, casUnique: 1, ...fields, value: bytes }
}

async function emptyDisk(): Promise<MemoryDisk> {
  const disk = new MemoryDisk()
  await disk.makeDirectory(DIRECTORY)
  return disk
}

function write(disk: MemoryDisk, header: KeystoreHeader, items: Items): Promise<number> {
  const counted = { count: items.length, [Symbol.iterator]: () => items[Symbol.iterator]() }
  return writeKeystore(disk, DIRECTORY, header, counted)
}

async function written(items: Items, header = HEADER): Promise<MemoryDisk> {
  const disk = await emptyDisk()
  await write(disk, header, items)
  return disk
}

async function read(disk: MemoryDisk) {
  const items: [string, Item][] = []
  const header = await readKeystore(disk, PATH, (key, item) => items.push([key, item]))
  return header && { header, items }
}

const SMALL: Items = [
  ['key', item('hello', { flags: 7, casUnique: 41 })],
  ['empty', item('', { expiresAtMs: 1_700_000_009_000 })],
  ['other', item('end 00000000\n', { flags: 2 ** 32 - 1, casUnique: 42 })],
]

test('no file is null', async () => {
  expect(await read(await emptyDisk())).toBeNull()
  expect(await read(new MemoryDisk())).toBeNull()
})

describe('round trip', () => {
  test('no items', async () => {
    expect(await read(await written([]))).toEqual({ header: HEADER, items: [] })
  })

  test('a few items and the whole header, durably', async () => {
    const disk = await written(SMALL)
    expect(await read(disk)).toEqual({ header: HEADER, items: SMALL })
    expect(await disk.list(DIRECTORY)).toEqual(['keystore'])
    expect(await read(disk.crash(LOSE))).toEqual({ header: HEADER, items: SMALL })
  })

  test('any keys and values, as binary as they come', async () => {
    // What a key can't contain are blanks and control characters.
    const byte = fc.oneof(
      fc.integer({ min: 0x21, max: 0x7e }),
      fc.integer({ min: 0x80, max: 0xff }),
    )
    const key = fc
      .array(byte, { minLength: 1, maxLength: 250 })
      .map((bytes) => Buffer.from(bytes).toString('latin1'))
    const value = fc.uint8Array({ maxLength: 600 }).map((bytes) => Buffer.from(bytes))
    const fields = fc.record({
      flags: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
      expiresAtMs: fc.maxSafeNat(),
      casUnique: fc.maxSafeNat(),
      value,
    })
    const property = fc.asyncProperty(fc.array(fc.tuple(key, fields)), async (items) => {
      const got = await read(await written(items))
      expect(got?.items).toEqual(items)
      expect(got?.header).toEqual(HEADER)
    })
    await fc.assert(property, { seed: 1, numRuns: 100 })
  })

  test('values that look like the file itself', async () => {
    const file = (await written(SMALL)).bytes(PATH)
    const items: Items = [
      ['a', item(file)],
      ['b', item('\r\n')],
      ['c', item(Buffer.concat([file, file]))],
    ]
    expect((await read(await written(items)))?.items).toEqual(items)
  })

  test.each([1, 100, 262_100, 1_048_400])(
    'items of about %d bytes across all borders',
    async (size) => {
      const count = Math.min(20_000, Math.ceil(3_000_000 / size))
      const items: Items = Array.from({ length: count }, (_, at) => [
        `key${at}`,
        item(Buffer.alloc(size + (at % 200), at), { casUnique: at }),
      ])
      const got = await read(await written(items))
      expect(got?.items.length).toBe(count)
      const isSame = got?.items.every(([key, { casUnique, value }], at) => {
        const wanted = items[at]?.[1].value
        return (
          key === `key${at}` && casUnique === at && wanted !== undefined && value.equals(wanted)
        )
      })
      expect(isSame).toBe(true)
    },
  )

  test('a store, by way of the file', async () => {
    const store = new ItemStore()
    for (let at = 0; at < 10_000; at++) store.set(`key${at}`, item(`value${at}`, { flags: at }))
    const disk = await emptyDisk()
    await writeKeystore(disk, DIRECTORY, HEADER, store.view())
    const loaded = new ItemStore()
    await readKeystore(disk, PATH, (key, each) => loaded.set(key, each))
    expect(new Map(loaded.view())).toEqual(new Map(store.view()))
  })

  test('what is written is what was there when it began', async () => {
    const store = new ItemStore()
    for (let at = 0; at < 5000; at++) store.set(`key${at}`, item(Buffer.alloc(200, 'a')))
    const disk = await emptyDisk()
    disk.onMutation = ({ kind }) => {
      if (kind !== 'write') return
      for (let at = 0; at < 5000; at++) store.set(`key${at}`, item(Buffer.alloc(200, 'b')))
      store.set(`new${disk.mutationCount}`, item(''))
      store.delete(`key${disk.mutationCount}`)
    }
    await writeKeystore(disk, DIRECTORY, HEADER, store.view())
    const got = await read(disk)
    expect(new Set(got?.items.map(([key]) => key)).size).toBe(5000)
    const values = got?.items.map(([, { value }]) => value.toString())
    expect(new Set(values)).toEqual(new Set(['a'.repeat(200)]))
  })

  test('values are as large as they like', async () => {
    const items: Items = [
      ['a', item(Buffer.alloc(1_000_000, 'a'))],
      ['b', item('b')],
      ['c', item(Buffer.alloc(5_000_000, 'c'))],
    ]
    const got = await read(await written(items))
    const isSame = items.map(([, { value }], at) => got?.items[at]?.[1].value.equals(value))
    expect(isSame).toEqual([true, true, true])
  })

  test('pieces are bounded, whatever there is', async () => {
    const disk = await emptyDisk()
    const lengths: number[] = []
    disk.onMutation = ({ bytes }) => lengths.push(bytes?.length ?? 0)
    const items: Items = Array.from({ length: 20_000 }, (_, at) => [`k${at}`, item('x'.repeat(99))])
    await write(disk, HEADER, items)
    expect(lengths.length).toBeGreaterThan(10)
    expect(Math.max(...lengths)).toBeLessThanOrEqual(256 * 1024)
  })
})

describe('the first line alone', () => {
  test('is read without the rest', async () => {
    const disk = await written(SMALL)
    const bytes = disk.bytes(PATH)
    disk.put(PATH, bytes.subarray(0, bytes.indexOf('\n') + 1))
    expect(await readKeystoreHeader(disk, PATH)).toEqual(HEADER)
  })

  test('is null where no file is', async () => {
    expect(await readKeystoreHeader(await emptyDisk(), PATH)).toBeNull()
  })

  test('damaged or cut, it is an error', async () => {
    const disk = await written(SMALL)
    const bytes = disk.bytes(PATH)
    disk.put(PATH, bytes.subarray(0, bytes.indexOf('\n')))
    await expect(readKeystoreHeader(disk, PATH)).rejects.toThrow(KeystoreDamagedError)
    disk.put(PATH, bytes)
    disk.flipBit(PATH, 12)
    await expect(readKeystoreHeader(disk, PATH)).rejects.toThrow(KeystoreDamagedError)
  })
})

describe('damage', () => {
  test('of any bit is noticed', async () => {
    const disk = await written(SMALL)
    const { length } = disk.bytes(PATH)
    for (let offset = 0; offset < length; offset++) {
      for (let bit = 0; bit < 8; bit++) {
        const damaged = disk.crash(KEEP)
        damaged.flipBit(PATH, offset, bit)
        await expect(read(damaged)).rejects.toThrow(KeystoreDamagedError)
      }
    }
  })

  test('of any byte, to what could matter, is noticed', async () => {
    const disk = await written(SMALL)
    const bytes = disk.bytes(PATH)
    for (let offset = 0; offset < bytes.length; offset++) {
      for (const value of Buffer.from('\0\n\r 09-e\xff', 'latin1')) {
        if (bytes[offset] === value) continue
        const damaged = Buffer.from(bytes)
        damaged[offset] = value
        disk.put(PATH, damaged)
        await expect(read(disk)).rejects.toThrow(KeystoreDamagedError)
      }
    }
  })

  test('cut off anywhere it is noticed, and the error names the file', async () => {
    const disk = await written(SMALL)
    const bytes = disk.bytes(PATH)
    for (let length = 0; length < bytes.length; length++) {
      disk.put(PATH, bytes.subarray(0, length))
      await expect(read(disk)).rejects.toThrow(KeystoreDamagedError)
      await expect(read(disk)).rejects.toThrow(PATH)
    }
  })

  test('two items swapped, one missing, one twice', async () => {
    const text = (await written(SMALL)).bytes(PATH).toString('latin1')
    const lines = text.split('\n')
    // Header, then a line and a value an item.
    const [header = '', a = '', av = '', b = '', bv = ''] = lines
    const rest = lines.slice(5)
    for (const changed of [
      [header, b, bv, a, av, ...rest],
      [header, b, bv, ...rest],
      [header, a, av, a, av, b, bv, ...rest],
      [header, a, av, a, av, ...rest],
    ]) {
      const disk = await emptyDisk()
      disk.put(PATH, Buffer.from(changed.join('\n'), 'latin1'))
      await expect(read(disk)).rejects.toThrow(KeystoreDamagedError)
    }
  })

  test('in the middle of a large file', async () => {
    const items: Items = Array.from({ length: 3000 }, (_, at) => [
      `key${at}`,
      item(Buffer.alloc(1000, at)),
    ])
    const disk = await written(items)
    const { length } = disk.bytes(PATH)
    for (let at = 1; at < 20; at++) {
      const offset = Math.floor((length * at) / 20)
      disk.flipBit(PATH, offset)
      await expect(read(disk)).rejects.toThrow(KeystoreDamagedError)
      disk.flipBit(PATH, offset)
    }
    expect((await read(disk))?.items).toHaveLength(3000)
  })
})

describe('replacing', () => {
  const newHeader = { ...HEADER, index: 50 }
  const newItems: Items = [['key', item('x'.repeat(1500), { casUnique: 50 })]]

  test('a crash at every change leaves the old file or the new, whole', async () => {
    const start = await written(SMALL)
    const found = new Set<number>()
    for (let haltAt = 1, isThrough = false; !isThrough; haltAt++) {
      const disk = start.crash(KEEP)
      disk.haltAt = haltAt
      const writing = write(disk, newHeader, newItems)
      await Promise.race([writing, disk.halted])
      isThrough = disk.mutationCount < haltAt
      for (const policy of [...CRASH_POLICIES, ...CRASH_POLICIES]) {
        const after = disk.crash(policy)
        const got = await read(after)
        if (isThrough) expect(got?.header.index).toBe(50)
        if (got?.header.index === 50) expect(got).toEqual({ header: newHeader, items: newItems })
        else expect(got).toEqual({ header: HEADER, items: SMALL })
        found.add(got?.header.index ?? 0)
        // What it left behind is in nobody's way.
        await write(after, newHeader, newItems)
        expect((await read(after.crash(LOSE)))?.header.index).toBe(50)
        expect(await after.crash(LOSE).list(DIRECTORY)).toEqual(['keystore'])
      }
    }
    expect(found).toEqual(new Set([42, 50]))
  })

  test('a crash at every change of the first: none or whole', async () => {
    const start = await emptyDisk()
    for (let haltAt = 1, isThrough = false; !isThrough; haltAt++) {
      const disk = start.crash(KEEP)
      disk.haltAt = haltAt
      const writing = write(disk, newHeader, newItems)
      await Promise.race([writing, disk.halted])
      isThrough = disk.mutationCount < haltAt
      for (const policy of CRASH_POLICIES) {
        const got = await read(disk.crash(policy))
        if (got || isThrough) expect(got).toEqual({ header: newHeader, items: newItems })
      }
    }
  })

  test.each(['create', 'write', 'datasync', 'rename', 'syncDirectory'] as const)(
    'a failed %s rejects and leaves a whole file',
    async (kind) => {
      const disk = await written(SMALL)
      disk.fail(kind)
      const writing = write(disk, newHeader, newItems)
      await expect(writing).rejects.toMatchObject({ code: 'EIO' })
      const got = await read(disk.crash(LOSE))
      expect(got).toEqual({ header: HEADER, items: SMALL })
    },
  )
})
