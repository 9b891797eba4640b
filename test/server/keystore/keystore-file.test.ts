import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { checkedLine, crcHex } from '../../../src/protocol/checked-line.ts'
import { keyWord } from '../../../src/protocol/commands.ts'
import { readOnlyDisk } from '../../../src/server/inspect/read-only-disk.ts'
import {
  type Item,
  ItemStore,
  STALE,
  type StoredItem,
  WON,
} from '../../../src/server/keystore/item-store.ts'
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

const UNUSED = { isFetched: false, accessedS: 0 }

type Items = readonly (readonly [key: string, item: Item])[]

const HEADER: KeystoreHeader = {
  format: 2,
  clusterId: 'cluster-1',
  group: 0,
  index: 42,
  term: 3,
  timeMs: 1_700_000_000_123,
  flushAtMs: 1_700_000_005_000,
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
  return { flags: 0, expiresAtMs: 0, casUnique: 1, marks: 0, ...fields, value: bytes }
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
  ['empty', item('', { expiresAtMs: 1_700_000_009_000, marks: STALE | WON })],
  ['other', item('end 00000000\n', { flags: 2 ** 32 - 1, casUnique: 2n ** 64n - 1n })],
]

const SMALLEST: Items = [['key', item('hello')]]

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
    // With a blank or a newline they are written in base64, as the command that had them.
    const key = fc
      .oneof(
        fc.uint8Array({ minLength: 1, maxLength: 250 }),
        fc.uint8Array({ minLength: 1, maxLength: 4 }),
      )
      .map((bytes) => Buffer.from(bytes).toString('latin1'))
      .filter((text) => keyWord(text)[0].length <= 250)
    const value = fc.uint8Array({ maxLength: 600 }).map((bytes) => Buffer.from(bytes))
    const casUnique = fc.oneof(fc.maxSafeNat(), fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n }))
    const fields = fc.record({
      flags: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
      expiresAtMs: fc.maxSafeNat(),
      casUnique,
      marks: fc.constantFrom(0, STALE, WON, STALE | WON),
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
      const casUniqueOf = (at: number) => (at % 2 === 0 ? at : 2n ** 64n - BigInt(at))
      const count = Math.min(20_000, Math.ceil(3_000_000 / size))
      const items: Items = Array.from({ length: count }, (_, at) => [
        `key${at}`,
        item(Buffer.alloc(size + (at % 200), at), { casUnique: casUniqueOf(at) }),
      ])
      const got = await read(await written(items))
      expect(got?.items.length).toBe(count)
      const isSame = got?.items.every(([key, { casUnique, value }], at) => {
        const wanted = items[at]?.[1].value
        return key === `key${at}` && casUnique === casUniqueOf(at) && wanted && value.equals(wanted)
      })
      expect(isSame).toBe(true)
    },
  )

  test('a store, by way of the file', async () => {
    const store = new ItemStore()
    for (let at = 0; at < 10_000; at++) {
      store.set(`key${at}`, { ...item(`value${at}`, { flags: at, marks: at % 4 }), ...UNUSED })
    }
    const disk = await emptyDisk()
    await writeKeystore(disk, DIRECTORY, HEADER, store.view())
    const loaded = new ItemStore()
    await readKeystore(disk, PATH, (key, each) => loaded.set(key, { ...each, ...UNUSED }))
    expect(new Map(loaded.view())).toEqual(new Map(store.view()))
  })

  test('what is written is what was there when it began', async () => {
    const store = new ItemStore()
    const [a, b] = ['a', 'b'].map((text) => ({ ...item(text.repeat(200)), ...UNUSED })) as [
      StoredItem,
      StoredItem,
    ]
    for (let at = 0; at < 5000; at++) store.set(`key${at}`, a)
    const disk = await emptyDisk()
    disk.onMutation = ({ kind }) => {
      if (kind !== 'write') return
      for (let at = 0; at < 5000; at++) store.set(`key${at}`, b)
      store.set(`new${disk.mutationCount}`, b)
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

describe('formats', () => {
  const OLD_HEADER: KeystoreHeader = { ...HEADER, format: 1, flushAtMs: 0 }
  const OLD_ITEMS: Items = [
    ['key', item('hello', { flags: 7, casUnique: 41 })],
    ['b', item('', { expiresAtMs: 1_700_000_009_000 })],
  ]
  const configJson = JSON.stringify(HEADER.config)

  /** A file of such a first line and such lines of items. */
  function fileOf(first: string, lines: string): Buffer {
    const text = Buffer.concat([Buffer.from(checkedLine(first)), Buffer.from(lines, 'latin1')])
    return Buffer.concat([text, Buffer.from(`end ${crcHex(crc32(text))}\n`)])
  }

  const OLD_FILE = fileOf(
    `keystore 1 cluster-1 0 42 3 1700000000123 2 ${configJson}`,
    'key 7 0 41 5\r\nhello\r\nb 0 1700000009000 1 0\r\n\r\n',
  )

  test('2 has the pending flush, marks, and CAS uniques of 64 bits', async () => {
    const items: Items = [
      ['key', item('hello', { flags: 7, casUnique: 41, marks: STALE | WON })],
      ['b', item('', { expiresAtMs: 1_700_000_009_000, casUnique: 2n ** 64n - 1n })],
    ]
    const file = fileOf(
      `keystore 2 cluster-1 0 42 3 1700000000123 1700000005000 2 ${configJson}`,
      'key 7 0 41 3 5\r\nhello\r\nb 0 1700000009000 18446744073709551615 0 0\r\n\r\n',
    )
    expect((await written(items)).bytes(PATH).toString()).toBe(file.toString())
  })

  test('1 is written as it always was', async () => {
    const disk = await written(OLD_ITEMS, OLD_HEADER)
    expect(disk.bytes(PATH).toString()).toBe(OLD_FILE.toString())
  })

  test('1 is read: nothing is marked, no flush pending', async () => {
    const disk = await emptyDisk()
    disk.put(PATH, OLD_FILE)
    expect(await read(disk)).toEqual({ header: OLD_HEADER, items: OLD_ITEMS })
    expect(await readKeystoreHeader(disk, PATH)).toEqual(OLD_HEADER)
  })

  test.each([
    ['marks', OLD_HEADER, [['a b', item('')]]],
    ['a pending flush', { ...OLD_HEADER, flushAtMs: 1 }, OLD_ITEMS],
    ['marks', OLD_HEADER, [['k', item('', { marks: STALE })]]],
    ['a CAS unique past 2^53', OLD_HEADER, [['k', item('', { casUnique: 2n ** 53n })]]],
  ] as [string, KeystoreHeader, Items][])(
    '1 is not written with %s',
    async (what, header, items) => {
      const disk = await written(SMALL)
      await expect(write(disk, header, items)).rejects.toThrow(`has no room for ${what}`)
      expect(await read(disk)).toEqual({ header: HEADER, items: SMALL })
    },
  )

  test.each([
    ['an unknown format', `keystore 3 cluster-1 0 42 3 5 0 0 ${configJson}`, ''],
    ['a number too few', `keystore 2 cluster-1 0 42 3 5 0 ${configJson}`, ''],
    ['a number too many', `keystore 1 cluster-1 0 42 3 5 0 0 ${configJson}`, ''],
    ['a first line of other words', 'keystore 2 cluster-1', ''],
    ['marks that are none', `keystore 2 c 0 42 3 5 0 1 ${configJson}`, 'k 0 0 1 256 0\r\n\r\n'],
    [
      'a key in base64 that is none',
      `keystore 2 c 0 42 3 5 0 1 ${configJson}`,
      'k 0 0 1 128 0\r\n\r\n',
    ],
    [
      'a key in base64 that needs none',
      `keystore 2 c 0 42 3 5 0 1 ${configJson}`,
      'YWI= 0 0 1 128 0\r\n\r\n',
    ],
    [
      'a CAS unique past 2^64',
      `keystore 2 c 0 42 3 5 0 1 ${configJson}`,
      `k 0 0 ${2n ** 64n} 0 0\r\n\r\n`,
    ],
  ])('with %s a file counts as damaged', async (_, first, lines) => {
    const disk = await emptyDisk()
    disk.put(PATH, fileOf(first, lines))
    await expect(read(disk)).rejects.toThrow(KeystoreDamagedError)
  })

  test('the header comes with each item', async () => {
    const headers: KeystoreHeader[] = []
    await readKeystore(await written(SMALL), PATH, (_key, _item, header) => headers.push(header))
    expect(headers).toEqual([HEADER, HEADER, HEADER])
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
  test.each([
    [1, SMALLEST, { ...HEADER, format: 1, flushAtMs: 0 }],
    [2, SMALL, HEADER],
  ] as [number, Items, KeystoreHeader][])(
    'of any bit of format %d is noticed',
    async (_, items, header) => {
      const disk = await written(items, header)
      const { length } = disk.bytes(PATH)
      for (let offset = 0; offset < length; offset++) {
        for (let bit = 0; bit < 8; bit++) {
          const damaged = disk.crash(KEEP)
          damaged.flipBit(PATH, offset, bit)
          await expect(read(damaged)).rejects.toThrow(KeystoreDamagedError)
        }
      }
    },
  )

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

  test('more behind its end is noticed, and said', async () => {
    const disk = await written(SMALL)
    const bytes = disk.bytes(PATH)
    const { length } = bytes
    for (const [more, byteCount] of [
      [Buffer.from('\n'), '1 byte'],
      [bytes, `${length} bytes`],
      [Buffer.alloc(300_000), '300000 bytes'],
    ] as const) {
      disk.put(PATH, Buffer.concat([bytes, more]))
      await expect(read(disk)).rejects.toThrow(KeystoreDamagedError)
      await expect(read(disk)).rejects.toThrow(
        `${PATH}: ${byteCount} behind its end at byte ${length}`,
      )
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

  test('to the end of a line does not have all that follows taken for it', async () => {
    const bytes = (await written([])).bytes(PATH)
    const zeros = Buffer.alloc(4 * 1024 * 1024)
    for (const start of [0, bytes.indexOf('end ')]) {
      const disk = await emptyDisk()
      disk.put(PATH, Buffer.concat([bytes.subarray(0, start), zeros]))
      let readBytes = 0
      const counting = readOnlyDisk(disk, (byteCount) => {
        readBytes += byteCount
      })
      const reading = readKeystore(counting, PATH, () => {})
      await expect(reading).rejects.toThrow(KeystoreDamagedError)
      expect(readBytes).toBeLessThanOrEqual(512 * 1024)
    }
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
