import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { checkedLine, crcHex, seedOf } from '../../../src/protocol/checked-line.ts'
import { GROUP_COMMANDS_MAX } from '../../../src/protocol/commands.ts'
import {
  ARENA_BYTES,
  BODY_BYTES_MAX,
  coalesce,
  type LogEntry,
  type RecordRead,
  RecordReader,
  RecordWriter,
} from '../../../src/server/log/record.ts'
import type { Config, Payload } from '../../../src/server/raft/types.ts'

const CLUSTER = 'cluster-1'
const reader = new RecordReader(CLUSTER)

const CONFIG: Config = {
  members: [
    { id: 'aé', voter: true, cip: '10.0.0.1', cport: 7001, sip: 'host', sport: 6001 },
    { id: 'b', voter: false, cip: '::1', cport: 7002, sip: '::1', sport: 6002 },
  ],
  floor: 2,
}

function command(text: string | Uint8Array): Payload {
  return { kind: 'command', command: Buffer.from(text) }
}

function create(index: number, payload: Payload, cluster = CLUSTER): LogEntry {
  return new RecordWriter(cluster).createEntry({ term: 3, index }, 1_700_000_000_000, payload)
}

function expectEntry(read: RecordRead): LogEntry {
  if (read.kind !== 'entry') throw new Error(`read as ${read.kind}`)
  return read.entry
}

/** `bytes` with one bit turned over. */
function flipped(bytes: Buffer, offset: number, bit: number): Buffer {
  const copy = Buffer.from(bytes)
  copy[offset] = (copy[offset] ?? 0) ^ (1 << bit)
  return copy
}

const positions = fc.maxSafeNat()
const bodies = fc.uint8Array({ maxLength: 300 })

describe('round trip', () => {
  test('an entry is read back as it was written, wherever it stands', () => {
    const property = fc.property(
      positions,
      positions,
      positions,
      bodies,
      fc.uint8Array({ maxLength: 50 }),
      (index, term, timeMs, body, before) => {
        const entry = new RecordWriter(CLUSTER).createEntry({ term, index }, timeMs, command(body))
        const bytes = Buffer.concat([before, entry.record, Buffer.from('123 tail')])
        const read = reader.read(bytes, before.length)
        expect(read).toMatchObject({ kind: 'entry', end: before.length + entry.record.length })
        const got = expectEntry(read)
        expect(got).toMatchObject({ index, term, timeMs, bytes: entry.record.length })
        expect(got.config).toBeUndefined()
        expect(got.body.equals(Buffer.from(body))).toBe(true)
        expect(entry.body.equals(Buffer.from(body))).toBe(true)
        expect(got.record.equals(entry.record)).toBe(true)
      },
    )
    fc.assert(property, { seed: 1, numRuns: 300 })
  })

  test('the format on disk stays what it is', () => {
    const fields = '7 3 1700000000000 25 '
    const body = 'set key 0 0 5\r\nhello\r\n\r\n!'
    const crc = crcHex(crc32(body, crc32(fields, seedOf(CLUSTER))))
    expect(create(7, command(body)).record.toString()).toBe(`${fields}${crc}\n${body}`)
  })

  test.each([
    ['noop', 'noop\r\n'],
    ['time', 'time\r\n'],
  ] as const)('%s entries', (kind, body) => {
    const entry = create(1, { kind })
    expect(expectEntry(reader.read(entry.record, 0)).body.toString()).toBe(body)
  })

  test('a configuration comes back as a value', () => {
    const entry = create(1, { kind: 'config', config: CONFIG })
    expect(entry.config).toEqual(CONFIG)
    expect(expectEntry(reader.read(entry.record, 0)).config).toEqual(CONFIG)
  })

  test('a seal', () => {
    const seal = { index: 12, term: 3, commitIndex: 9, offset: 345 }
    const bytes = new RecordWriter(CLUSTER).seal(seal)
    expect(bytes.toString()).toMatch(/^seal 12 3 9 345 [0-9a-f]{8}\n$/)
    expect(reader.read(bytes, 0)).toEqual({ kind: 'seal', seal, end: bytes.length })
  })

  test('a body larger than the shared memory, and the one after it', () => {
    const writer = new RecordWriter(CLUSTER)
    const sizes = [10, 300_000, BODY_BYTES_MAX, 10]
    const entries = sizes.map((size, at) =>
      writer.createEntry({ term: 1, index: at + 1 }, 0, command(Buffer.alloc(size, at + 1))),
    )
    const read = reader.readAll(Buffer.concat(entries.map(({ record }) => record)))
    expect(read?.map(({ body }) => [body.length, body[0]])).toEqual(sizes.map((n, i) => [n, i + 1]))
  })

  test('a body above the limit is refused, though its checksum is right', () => {
    const entry = create(1, command(Buffer.alloc(BODY_BYTES_MAX + 1)))
    expect(reader.read(entry.record, 0).kind).toBe('bad')
  })

  test('all records of a message, and null where one is cut, damaged or a seal', () => {
    const records = [1, 2, 3].map((index) => create(index, command(`value ${index}`)).record)
    const message = Buffer.concat(records)
    expect(reader.readAll(message)?.map(({ index }) => index)).toEqual([1, 2, 3])
    expect(reader.readAll(Buffer.alloc(0))).toEqual([])
    expect(reader.readAll(message.subarray(0, -1))).toBeNull()
    expect(reader.readAll(flipped(message, message.length - 1, 0))).toBeNull()
    const seal = new RecordWriter(CLUSTER).seal({ index: 3, term: 1, commitIndex: 3, offset: 0 })
    expect(reader.readAll(Buffer.concat([message, seal]))).toBeNull()
  })
})

describe('damage', () => {
  const next = create(8, command('set other 0 0 1\r\nx\r\n')).record
  const entries = {
    command: create(7, command('set key 0 0 5\r\nhello\r\n')).record,
    empty: create(7, command('')).record,
    config: create(7, { kind: 'config', config: CONFIG }).record,
    seal: new RecordWriter(CLUSTER).seal({ index: 7, term: 1, commitIndex: 6, offset: 0 }),
  }

  test.each(Object.entries(entries))('%s: any bit turned over is noticed', (_, record) => {
    // With enough behind it that a longer body finds its bytes, and with nothing.
    const followed = Buffer.concat([record, next, Buffer.alloc(5000, next)])
    for (const bytes of [record, followed]) {
      for (let offset = 0; offset < record.length; offset++) {
        for (let bit = 0; bit < 8; bit++) {
          const { kind } = reader.read(flipped(bytes, offset, bit), 0)
          if (kind !== 'bad' && kind !== 'short') throw new Error(`bit ${bit} of byte ${offset}`)
        }
      }
    }
  })

  test.each(Object.entries(entries))('%s: any byte replaced is noticed', (_, record) => {
    const followed = Buffer.concat([record, next, Buffer.alloc(5000, next)])
    const values = [...Buffer.from('\0\n\r 0159aeAE-+.\xff', 'latin1')]
    for (let offset = 0; offset < record.length; offset++) {
      for (const value of values) {
        if (followed[offset] === value) continue
        const bytes = Buffer.from(followed)
        bytes[offset] = value
        const { kind } = reader.read(bytes, 0)
        if (kind !== 'bad' && kind !== 'short') throw new Error(`${value} at byte ${offset}`)
      }
    }
  })

  test.each(Object.entries(entries))('%s: cut anywhere it is short', (_, record) => {
    for (let length = 0; length < record.length; length++) {
      expect(reader.read(record.subarray(0, length), 0)).toEqual({ kind: 'short' })
    }
  })

  test('a byte removed or doubled anywhere is noticed', () => {
    const followed = Buffer.concat([entries.command, next, next])
    for (let at = 0; at < entries.command.length; at++) {
      const without = Buffer.concat([followed.subarray(0, at), followed.subarray(at + 1)])
      const doubled = Buffer.concat([followed.subarray(0, at + 1), followed.subarray(at)])
      for (const bytes of [without, doubled]) {
        if (bytes.subarray(0, entries.command.length).equals(entries.command)) continue
        expect(['bad', 'short']).toContain(reader.read(bytes, 0).kind)
      }
    }
  })

  test('zeros, and lines that are no records', () => {
    expect(reader.read(Buffer.alloc(4096), 0)).toEqual({ kind: 'bad' })
    expect(reader.read(Buffer.alloc(0), 0)).toEqual({ kind: 'short' })
    expect(reader.read(Buffer.from('\n'.repeat(200)), 0)).toEqual({ kind: 'bad' })
    expect(reader.read(Buffer.from('hello world\n'), 0)).toEqual({ kind: 'bad' })
    const negative = '-1 3 0 0 '
    const crc = crcHex(crc32('', crc32(negative, seedOf(CLUSTER))))
    expect(reader.read(Buffer.from(`${negative}${crc}\n`), 0)).toEqual({ kind: 'bad' })
  })
})

describe('what only looks like a record', () => {
  const inner = create(9, command('set stolen 0 0 1\r\n!\r\n')).record
  const innerSeal = new RecordWriter(CLUSTER).seal({ index: 9, term: 1, commitIndex: 9, offset: 0 })

  test.each([
    ['a record', inner],
    ['a seal', innerSeal],
    ['both', Buffer.concat([innerSeal, inner, innerSeal])],
  ])('a value that is %s is a value', (_, value) => {
    const first = create(1, command(Buffer.concat([value, Buffer.from('\r\n')])))
    const second = create(2, command('set after 0 0 0\r\n\r\n'))
    const bytes = Buffer.concat([first.record, second.record])
    expect(reader.readAll(bytes)?.map(({ index }) => index)).toEqual([1, 2])
    expect(reader.readAll(bytes)?.[0]?.body.subarray(0, -2).equals(value)).toBe(true)
  })

  test.each([
    ['record', inner],
    ['seal', innerSeal],
  ])('damage in front of a value that is a %s does not bring it to life', (_, value) => {
    const { record } = create(1, command(value))
    const bodyStart = record.length - value.length
    for (let offset = 0; offset < bodyStart; offset++) {
      for (let bit = 0; bit < 8; bit++) {
        expect(['bad', 'short']).toContain(reader.read(flipped(record, offset, bit), 0).kind)
      }
    }
  })

  test('records and seals of another cluster do not verify', () => {
    const foreign = create(1, command('set key 0 0 5\r\nhello\r\n'), 'cluster-2').record
    expect(reader.read(foreign, 0)).toEqual({ kind: 'bad' })
    expect(new RecordReader('cluster-2').read(foreign, 0).kind).toBe('entry')
    const seal = new RecordWriter('cluster-2').seal({
      index: 1,
      term: 1,
      commitIndex: 1,
      offset: 0,
    })
    expect(reader.read(seal, 0)).toEqual({ kind: 'bad' })
    expect(reader.read(Buffer.from(checkedLine('seal 1 1')), 0)).toEqual({ kind: 'bad' })
  })
})

test('what is proposed is copied: its memory may be used again at once', () => {
  const writer = new RecordWriter(CLUSTER)
  const given = Buffer.from('set key 0 0 5\r\nhello\r\n')
  const before = given.toString()
  const entry = writer.createEntry({ term: 1, index: 1 }, 0, { kind: 'command', command: given })
  given.fill('x')
  expect(entry.body.toString()).toBe(before)
})

test('a record of any numbers is the line that it always was', () => {
  const count = fc.oneof(fc.nat(20), fc.maxSafeNat(), fc.constant(Number.MAX_SAFE_INTEGER))
  const writer = new RecordWriter(CLUSTER)
  const property = fc.property(count, count, count, fc.nat(500), (index, term, timeMs, length) => {
    const body = Buffer.alloc(length, 'v')
    const { record } = writer.createEntry({ index, term }, timeMs, command(body))
    const fields = `${index} ${term} ${timeMs} ${length} `
    const crc = crc32(body, crc32(fields, seedOf(CLUSTER)))
    expect(record.toString('latin1')).toBe(`${fields}${crcHex(crc)}\n${body}`)
  })
  fc.assert(property, { seed: 1, numRuns: 500 })
})

describe('an entry of several commands', () => {
  const open = (writer: RecordWriter, index: number, text: string) =>
    writer.createEntry({ term: 1, index }, 5, command(text))

  test('is a record like that of one long command, whatever joins it', () => {
    const lengths = fc.array(fc.oneof(fc.nat(20), fc.nat(2_000)), { minLength: 1, maxLength: 40 })
    const property = fc.property(lengths, (all) => {
      const writer = new RecordWriter(CLUSTER)
      const before = open(writer, 1, 'before')
      const commands = all.map((length, at) => Buffer.alloc(length, `${at} `))
      const [first = Buffer.alloc(0), ...more] = commands
      const entry = writer.createEntry({ term: 1, index: 2 }, 5, command(first))
      const joined = more.filter((one) => writer.extendEntry(entry, one, 1))
      writer.closeEntry(entry)
      const after = open(writer, 3, 'after')
      const whole = Buffer.concat([first, ...joined])
      const wanted = [create5(1, 'before'), create5(2, whole), create5(3, 'after')]
      const bytes = Buffer.concat(coalesce([before, entry, after]))
      expect(bytes.equals(Buffer.concat(wanted))).toBe(true)
      expect(entry.bytes).toBe(wanted[1]?.length)
      const left = more.length - joined.length
      if (whole.length + 2_000 < 32 * 1024) expect(left).toBe(0)
      expect(coalesce([before, entry, after])).toHaveLength(1)
    })
    fc.assert(property, { seed: 1, numRuns: 300 })
  })

  const create5 = (index: number, body: string | Buffer) =>
    new RecordWriter(CLUSTER).createEntry({ term: 1, index }, 5, command(body)).record

  test('takes no more than it may, and none once it is closed, or is not the newest', () => {
    const writer = new RecordWriter(CLUSTER)
    const more = Buffer.from('x\r\n')
    const entry = open(writer, 1, 'first\r\n')
    let count = 1
    while (writer.extendEntry(entry, more, 1)) count++
    expect(count).toBe(GROUP_COMMANDS_MAX)

    const four = { kind: 'command', command: Buffer.from('x\r\n'.repeat(4)), count: 4 } as const
    const many = writer.createEntry({ term: 1, index: 1 }, 5, four)
    expect(writer.extendEntry(many, more, GROUP_COMMANDS_MAX - 3)).toBe(false)
    expect(writer.extendEntry(many, more, GROUP_COMMANDS_MAX - 5)).toBe(true)
    expect(writer.extendEntry(many, more, 1)).toBe(true)
    expect(writer.extendEntry(many, more, 1)).toBe(false)

    const second = open(writer, 2, 'x')
    expect(writer.extendEntry(entry, more, 1)).toBe(false)
    expect(writer.extendEntry(second, Buffer.alloc(32 * 1024), 1)).toBe(false)
    writer.closeEntry(second)
    expect(writer.extendEntry(second, more, 1)).toBe(false)
    const noop = writer.createEntry({ term: 1, index: 3 }, 0, { kind: 'noop' })
    expect(writer.extendEntry(noop, more, 1)).toBe(false)
  })

  test('takes nothing that its memory ends before, however much longer its length becomes', () => {
    for (const [first, more] of [
      [5, 90],
      [10, 1_000],
      [10, 12_000],
      [99, 9_901],
      [1_000, 9_000],
    ] as const) {
      for (let left = 0; left <= 8; left++) {
        const writer = new RecordWriter(CLUSTER)
        const filler = command(Buffer.alloc(ARENA_BYTES - 2 * 16_000))
        const fillerBytes = writer.createEntry({ term: 1, index: 1 }, 5, filler).bytes
        // Another entry in between, so that the last ends `left` bytes before its memory does, or behind it.
        const joinedBytes = create5(3, Buffer.alloc(first + more)).length
        const between = ARENA_BYTES - fillerBytes - joinedBytes - left + 4
        writer.createEntry({ term: 1, index: 2 }, 5, command(bodyFor(2, between)))
        const entry = writer.createEntry({ term: 1, index: 3 }, 5, command(Buffer.alloc(first)))
        const isJoined = writer.extendEntry(entry, Buffer.alloc(more), 1)
        expect(isJoined, `${first} and ${more} bytes, ${left - 4} left`).toBe(left >= 4)
        writer.closeEntry(entry)
        const whole = Buffer.alloc(isJoined ? first + more : first)
        expect(entry.record.equals(create5(3, whole))).toBe(true)
      }
    }
  })

  /** A body whose record has so many bytes. */
  function bodyFor(index: number, bytes: number): Buffer {
    for (let length = bytes; ; length--) {
      const body = Buffer.alloc(length)
      if (create5(index, body).length === bytes) return body
    }
  }

  test('ends where its memory does', () => {
    const writer = new RecordWriter(CLUSTER)
    const half = Buffer.alloc(16_000, 'v')
    for (let index = 1; index <= 100; index++) {
      const entry = writer.createEntry({ term: 1, index }, 5, command(half))
      const isJoined = writer.extendEntry(entry, half, 1)
      writer.closeEntry(entry)
      expect(
        entry.record.equals(create5(index, isJoined ? Buffer.concat([half, half]) : half)),
      ).toBe(true)
    }
  })
})

describe('coalesce', () => {
  const recordsOf = (entries: readonly LogEntry[]) => entries.map(({ record }) => record)

  test('neighbours in memory become one piece', () => {
    const writer = new RecordWriter(CLUSTER)
    const entries = Array.from({ length: 20 }, (_, at) =>
      writer.createEntry({ term: 1, index: at + 1 }, 0, command(`value ${at}`)),
    )
    const pieces = coalesce(entries)
    expect(pieces).toHaveLength(1)
    expect(pieces[0]?.equals(Buffer.concat(recordsOf(entries)))).toBe(true)
    expect(coalesce([])).toEqual([])
  })

  test('neither order nor bytes change, whatever is missing, repeated or elsewhere', () => {
    const writer = new RecordWriter(CLUSTER)
    const pool = Array.from({ length: 12 }, (_, at) => {
      const body = Buffer.alloc(at % 4 === 3 ? 100_000 : 10 * at, at)
      return writer.createEntry({ term: 1, index: at + 1 }, 0, command(body))
    })
    pool.push(create(1, command('elsewhere')), create(2, command('elsewhere')))
    const property = fc.property(fc.array(fc.constantFrom(...pool)), (entries) => {
      const before = Buffer.concat(recordsOf(entries))
      const pieces = coalesce(entries)
      expect(Buffer.concat(pieces).equals(before)).toBe(true)
      expect(pieces.length).toBeLessThanOrEqual(entries.length)
    })
    fc.assert(property, { seed: 1, numRuns: 100 })
  })
})
