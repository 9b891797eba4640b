import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Frame, FrameDecoder } from '../../src/protocol/frames.ts'
import type { ItemReply } from '../../src/protocol/replies.ts'
import { parseObject } from '../../src/protocol/shape.ts'
import { LogEntry, RecordReader, RecordWriter } from '../../src/server/log/record.ts'
import { isDatagram, PeerCodec } from '../../src/server/peer-codec.ts'
import { LINES_PROTOCOL, lineOf } from '../../src/server/peer-lines.ts'
import { type ForwardResp, type PeerMessage, PROTOCOL } from '../../src/server/peer-messages.ts'
import type { Append, Config } from '../../src/server/raft/types.ts'

const CLUSTER = 'c0ffee'
const GROUP = 0
/** The last one that has JSON only. */
const JSON_PROTOCOL = LINES_PROTOCOL - 1

const codec = codecOf(CLUSTER, GROUP)
const writer = new RecordWriter(CLUSTER)

const CONFIG: Config = {
  floor: 2,
  members: [{ id: 'a', voter: true, cip: '::1', cport: 1, sip: 'hôte', sport: 2 }],
}

const SET = Buffer.from('set k 1 2 4\r\n\x00\xff\r\n\r\n', 'latin1')

const route = { from: 'a', to: 'b', term: 7 } as const
const last = { term: 6, index: 41 } as const

const DATAGRAMS: readonly PeerMessage[] = [
  { type: 'preVote', ...route, last },
  { type: 'preVoteResp', ...route, granted: true },
  { type: 'vote', ...route, last: { term: 0, index: 0 }, handover: true },
  { type: 'voteResp', ...route, granted: false, wallMs: 1_750_000_000_000 },
  { type: 'heartbeat', ...route, commitIndex: 41, round: 3 },
  { type: 'heartbeatResp', ...route, round: 3 },
  {
    type: 'condition',
    from: 'a',
    to: 'b',
    room: 'scarce',
    freeBytes: 0,
    keptBytes: 2 ** 28,
    slowForMs: 12,
    owedIndex: 900,
    mendedCount: 1,
  },
]

const FRAMES: readonly PeerMessage[] = [
  {
    type: 'hello',
    from: 'a',
    to: 'b',
    protocol: 1,
    sip: '10.0.0.1',
    sport: 7_000,
    life: 'ab',
    stream: 3,
  },
  { type: 'append', ...route, prev: last, commitIndex: 40, entries: [] },
  { type: 'append', ...route, prev: last, commitIndex: 40, entries: entriesFrom(42, 3) },
  { type: 'append', ...route, prev: { term: 0, index: 0 }, commitIndex: 0, entries: allKinds() },
  { type: 'appendResp', ...route, matchIndex: 44 },
  { type: 'appendResp', ...route, matchIndex: 0, reject: { index: 41, hint: last } },
  { type: 'timeoutNow', ...route },
  { type: 'readIndex', ...route, id: 9 },
  { type: 'readIndexResp', ...route, id: 9, index: 41 },
  { type: 'forward', term: 3, from: 'b', to: 'a', requests: [] },
  {
    type: 'forward',
    term: 3,
    from: 'b',
    to: 'a',
    requests: [
      { id: 1, command: SET },
      { id: 2, command: Buffer.from('delete k\r\n') },
      { id: 3, command: Buffer.alloc(0) },
    ],
  },
  {
    type: 'forwardResp',
    from: 'a',
    to: 'b',
    results: [
      { id: 1, outcome: { kind: 'applied', reply: 'STORED', index: 42 } },
      { id: 2, outcome: { kind: 'notStored', why: 'the log says so' } },
      { id: 3, outcome: { kind: 'unknown', why: 'timed out' } },
      { id: 4, outcome: { kind: 'refused', why: '' } },
      { id: 5, outcome: { kind: 'notStored', why: 'out of disk space', lacks: 'disk' } },
    ],
  },
]

describe.each([
  ['JSON', JSON_PROTOCOL],
  ['lines', PROTOCOL],
])('in %s', (_title, protocol) => {
  describe('round trips', () => {
    test.each(DATAGRAMS)('datagram $type', (message) => {
      expect(isDatagram(message)).toBe(true)
      expect(decodeDatagram(codec.encodeDatagram(message, protocol))).toMatchObject(plain(message))
    })

    test.each(FRAMES)('frame $type', (message) => {
      expect(isDatagram(message)).toBe(false)
      expect(plain(decodeFrame(codec.encodeFrame(message, protocol)))).toMatchObject(plain(message))
    })

    test('entries come back byte for byte, with their configuration', () => {
      const entries = allKinds()
      const decoded = decodeFrame(codec.encodeFrame(append(entries), protocol)) as Append<LogEntry>
      expect(decoded.entries.map((entry) => entry.record.toString('latin1'))).toEqual(
        entries.map((entry) => entry.record.toString('latin1')),
      )
      expect(decoded.entries.map((entry) => entry.body.toString('latin1'))).toEqual(
        entries.map((entry) => entry.body.toString('latin1')),
      )
      expect(decoded.entries.map((entry) => entry.config)).toEqual([
        undefined,
        CONFIG,
        undefined,
        undefined,
      ])
    })

    test('any commands are forwarded and come back in order', () => {
      const command = fc.uint8Array({ maxLength: 50 }).map((bytes) => Buffer.from(bytes))
      const requests = fc.array(fc.record({ id: fc.nat(), command }), { maxLength: 20 })
      fc.assert(
        fc.property(requests, (list) => {
          const message: PeerMessage = {
            type: 'forward',
            term: 3,
            from: 'b',
            to: 'a',
            requests: list,
          }
          expect(plain(decodeFrame(codec.encodeFrame(message, protocol)))).toMatchObject(
            plain(message),
          )
        }),
      )
    })
  })

  describe('outcomes that tell of items', () => {
    const seconds = fc.oneof(fc.constant(-1), fc.nat())
    const item: fc.Arbitrary<ItemReply> = fc.record({
      flags: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
      ttlBeforeS: seconds,
      ttlS: seconds,
      casUnique: fc.oneof(fc.maxSafeNat(), fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n })),
      valueBytes: fc.nat(),
      marks: fc.constantFrom('', 'W', 'ZX'),
    })
    const applied = fc.record({
      kind: fc.constant('applied' as const),
      reply: fc.constantFrom('VALUE', '18446744073709551615'),
      index: fc.nat(),
      item: fc.option(item, { nil: undefined }),
    })
    const failed = fc.constant({ kind: 'refused' as const, why: 'x' })

    test('come back in order', () => {
      const results = fc.array(fc.record({ id: fc.nat(), outcome: fc.oneof(applied, failed) }))
      fc.assert(
        fc.property(results, (list) => {
          const message: PeerMessage = { type: 'forwardResp', from: 'a', to: 'b', results: list }
          const decoded = decodeFrame(codec.encodeFrame(message, protocol)) as ForwardResp
          expect(decoded.results).toEqual(list)
        }),
      )
    })

    const good = { flags: 1, ttlBeforeS: -1, ttlS: 5, casUnique: '7', valueBytes: 2, marks: '' }
    const frame = (items: unknown[]) => {
      const results = items.map((item) => {
        return { id: 1, outcome: { kind: 'applied', reply: 'VALUE', index: 1, item } }
      })
      const envelope = { cluster: CLUSTER, group: GROUP, type: 'forwardResp', from: 'a', to: 'b' }
      return { header: JSON.stringify({ ...envelope, results }), payload: Buffer.alloc(0) }
    }

    test.each([
      ['without a cas unique', { ...good, casUnique: undefined }],
      ['with a cas unique that is a number', { ...good, casUnique: 7 }],
      ['with a cas unique of 65 bits', { ...good, casUnique: '18446744073709551616' }],
      ['with flags that are none', { ...good, flags: -1 }],
      ['with less than no time', { ...good, ttlS: -2 }],
      ['without marks', { ...good, marks: undefined }],
      ['that is none', 7],
      ['that is null', null],
    ])('an item %s', (_, item) => {
      expect(decode(frame([good]))).not.toBeNull()
      expect(decode(frame([good, item]))).toBeNull()
    })

    test('a value stays behind', () => {
      const item: ItemReply = { ...good, casUnique: 7, value: Buffer.from('ab') }
      const outcome = { kind: 'applied', reply: 'VALUE', index: 1, item } as const
      const results = [{ id: 1, outcome }]
      const message: PeerMessage = { type: 'forwardResp', from: 'a', to: 'b', results }
      const decoded = decodeFrame(codec.encodeFrame(message, protocol)) as ForwardResp
      expect(decoded.results).toEqual([
        { id: 1, outcome: { ...outcome, item: { ...good, casUnique: 7 } } },
      ])
    })
  })

  describe('what belongs elsewhere is null', () => {
    const isLine = (message: PeerMessage) => protocol === PROTOCOL && lineOf(message) !== null
    const others: readonly [string, PeerCodec][] = [
      ['another cluster', codecOf('decaf', GROUP)],
      ['another group', codecOf(CLUSTER, 1)],
    ]
    for (const [title, other] of others) {
      test.each(DATAGRAMS)(`${title}: datagram $type`, (message) => {
        expect(decodeDatagram(other.encodeDatagram(message, protocol))).toBeNull()
      })
      // A line says nothing of it: the stream's hello has.
      test.each(FRAMES.filter((message) => !isLine(message)))(
        `${title}: frame $type`,
        (message) => {
          expect(decodeFrame(other.encodeFrame(message, protocol))).toBeNull()
        },
      )
    }

    test('records of another cluster in an envelope of this one', () => {
      const entry = new RecordWriter('decaf').createEntry({ term: 6, index: 42 }, 5, {
        kind: 'noop',
      })
      expect(decodeFrame(codec.encodeFrame(append([entry], 41), protocol))).toBeNull()
    })

    test.each(DATAGRAMS)('a datagram is no frame: $type', (message) => {
      expect(decodeFrame(codec.encodeFrame(message, protocol))).toBeNull()
    })

    test.each(FRAMES)('a frame is no datagram: $type', (message) => {
      expect(decodeDatagram(codec.encodeDatagram(message, protocol))).toBeNull()
    })
  })

  describe('damage is null', () => {
    test('a record with any byte changed', () => {
      const entries = entriesFrom(42, 2)
      const bytes = Buffer.concat(entries.map(({ record }) => record))
      const header = headerOf(append(entries, 41), protocol)
      expect(decode({ header, payload: bytes })).not.toBeNull()
      for (let at = 0; at < bytes.length; at++) {
        const payload = Buffer.from(bytes)
        payload[at] = (payload[at] ?? 0) ^ 0x01
        expect(decode({ header, payload })).toBeNull()
      }
    })

    test('a payload cut inside a record', () => {
      const entries = entriesFrom(42, 2)
      const bytes = Buffer.concat(entries.map(({ record }) => record))
      const firstEnd = entries[0]?.record.length ?? 0
      const header = headerOf(append(entries, 41), protocol)
      for (let end = 0; end < bytes.length; end++) {
        const isBetween = end === 0 || end === firstEnd
        const message = decode({ header, payload: bytes.subarray(0, end) })
        expect(message === null).toBe(!isBetween)
      }
    })

    test('bytes behind the last record', () => {
      const header = headerOf(append([], 41), protocol)
      expect(decode({ header, payload: Buffer.from('x') })).toBeNull()
      expect(decode({ header, payload: Buffer.from('\n') })).toBeNull()
    })

    test('a seal among the records', () => {
      const payload = writer.seal({ index: 42, term: 1, commitIndex: 42, offset: 0 })
      expect(decode({ header: headerOf(append([], 41), protocol), payload })).toBeNull()
    })

    test('a gap before the first entry', () => {
      expect(decodeFrame(codec.encodeFrame(append(entriesFrom(43, 1), 41), protocol))).toBeNull()
    })

    test('a first entry that is not after prev', () => {
      expect(decodeFrame(codec.encodeFrame(append(entriesFrom(41, 1), 41), protocol))).toBeNull()
    })

    test('a gap between entries', () => {
      const entries = [...entriesFrom(42, 2), ...entriesFrom(45, 1)]
      expect(decodeFrame(codec.encodeFrame(append(entries, 41), protocol))).toBeNull()
    })

    test('an entry twice, and entries the wrong way round', () => {
      const [first, second] = entriesFrom(42, 2) as [LogEntry, LogEntry]
      expect(decodeFrame(codec.encodeFrame(append([first, first], 41), protocol))).toBeNull()
      expect(decodeFrame(codec.encodeFrame(append([second, first], 41), protocol))).toBeNull()
    })

    test('forwarded commands that are more or less than announced', () => {
      const message: PeerMessage = {
        type: 'forward',
        term: 3,
        from: 'b',
        to: 'a',
        requests: [{ id: 1, command: SET }],
      }
      const header = headerOf(message, protocol)
      expect(decode({ header, payload: SET })).not.toBeNull()
      expect(decode({ header, payload: SET.subarray(1) })).toBeNull()
      expect(decode({ header, payload: Buffer.concat([SET, SET]) })).toBeNull()
      expect(decode({ header, payload: Buffer.alloc(0) })).toBeNull()
    })
  })
})

describe('lines', () => {
  const lined = [...DATAGRAMS, ...FRAMES].filter((message) => lineOf(message) !== null)

  test('are what most messages go as', () => {
    const types = new Set(lined.map(({ type }) => type))
    expect([...types].sort()).toEqual(
      ['append', 'appendResp', 'forward', 'forwardResp', 'heartbeat', 'heartbeatResp'].concat([
        'readIndex',
        'readIndexResp',
      ]),
    )
    for (const message of lined) expect(lineOf(message)).not.toContain('{"from')
  })

  test('a frame is read as one only behind the hello', () => {
    const frame = { header: 'readIndex 7 9', payload: Buffer.alloc(0) }
    expect(codec.decodeFrame(frame, { from: 'a', to: 'b' })).toEqual({
      ...{ type: 'readIndex', from: 'a', to: 'b', term: 7, id: 9 },
    })
    expect(codec.decodeFrame(frame, null)).toBeNull()
  })

  test.each(lined)('$type with a word more, less, or of a wrong kind', (message) => {
    const isDatagramLine = isDatagram(message)
    const text = isDatagramLine
      ? codec.encodeDatagram(message, PROTOCOL).toString()
      : headerOf(message, PROTOCOL)
    const payload = Buffer.concat(
      isDatagramLine ? [] : codec.encodeFrame(message, PROTOCOL).slice(1),
    )
    const take = (line: string) =>
      isDatagramLine ? codec.decodeDatagram(line) : decode({ header: line, payload })
    expect(take(text)).not.toBeNull()
    const words = text.split(' ')
    expect(take(`${text} x`)).toBeNull()
    expect(take(` ${text}`)).toBeNull()
    if (message.type === 'forwardResp') return
    if (message.type !== 'appendResp') expect(take(`${text} 1`)).toBeNull()
    const start = isDatagramLine ? 4 : 0
    for (let at = start; at < words.length; at++) {
      for (const word of ['', '-1', '1.5', 'x', '1e3', '99999999999999999999', ' 1']) {
        expect(take(words.toSpliced(at, 1, word).join(' '))).toBeNull()
      }
      const isOptional = message.type === 'appendResp' || message.type === 'forward'
      if (!isOptional) expect(take(words.slice(0, at).join(' '))).toBeNull()
    }
  })

  test.each([
    ...['1 2', '1', '', '1 ', 'x 2 STORED', '1 x STORED', '1 {}', '1 {"kind":"refused"}'],
    ...['-1 2 STORED', '1 {"kind":"applied","reply":"x"}'],
  ])('an outcome that is none: %j', (outcome) => {
    const good = '1 2 STORED\n2 {"kind":"refused","why":"x"}\n3 4 CLIENT_ERROR of several words'
    const header = (more: string) => ({ header: `forwardResp\n${more}`, payload: Buffer.alloc(0) })
    expect(decode(header(good))).toMatchObject({ results: [{ id: 1 }, { id: 2 }, { id: 3 }] })
    expect(decode(header(`${good}\n${outcome}`))).toBeNull()
    expect(decode(header(`${outcome}\n${good}`))).toBeNull()
  })

  test('random ones never throw', () => {
    const word = fc.oneof(fc.constantFrom(...lined.map(({ type }) => type)), fc.nat().map(String))
    const line = fc.array(fc.oneof(word, fc.string()), { maxLength: 8 }).map((all) => all.join(' '))
    fc.assert(
      fc.property(line, fc.uint8Array({ maxLength: 60 }), (header, bytes) => {
        decode({ header, payload: Buffer.from(bytes) })
        codec.decodeDatagram(`${CLUSTER} ${GROUP} a b ${header}`)
      }),
    )
  })
})

describe('junk is null', () => {
  const protocol = JSON_PROTOCOL

  for (const message of DATAGRAMS) {
    const object = parseObject(codec.encodeDatagram(message, protocol).toString()) ?? {}
    test.each(Object.keys(object))(`datagram ${message.type} without %s`, (field) => {
      expect(codec.decodeDatagram(JSON.stringify(without(object, field)))).toBeNull()
    })
    test.each(Object.keys(object))(`datagram ${message.type}, %s of a wrong kind`, (field) => {
      for (const value of [null, -1, 1.5, [], {}, '', 'a b', 'other']) {
        // `other` is as good a name as any.
        if (value === 'other' && (field === 'from' || field === 'to')) continue
        expect(codec.decodeDatagram(JSON.stringify({ ...object, [field]: value }))).toBeNull()
      }
    })
  }

  for (const message of FRAMES) {
    const object = parseObject(headerOf(message, protocol)) ?? {}
    const payload = Buffer.concat(codec.encodeFrame(message, protocol).slice(1))
    const needed = Object.keys(object).filter((field) => field !== 'reject')
    test.each(needed)(`frame ${message.type} without %s`, (field) => {
      const header = JSON.stringify(without(object, field))
      expect(decode({ header, payload })).toBeNull()
    })
  }

  const forwardResp = { cluster: CLUSTER, group: GROUP, type: 'forwardResp', from: 'a', to: 'b' }
  test.each([
    { id: 1 },
    { id: -1, outcome: { kind: 'refused', why: 'x' } },
    { id: 1, outcome: null },
    { id: 1, outcome: {} },
    { id: 1, outcome: { kind: 'bogus', why: 'x' } },
    { id: 1, outcome: { kind: 'refused' } },
    { id: 1, outcome: { kind: 'applied', reply: 'STORED' } },
    { id: 1, outcome: { kind: 'applied', reply: 7, index: 1 } },
    { id: 1, outcome: { kind: 'applied', reply: 'STORED', index: -1 } },
  ])('an outcome that is none: %j', (result) => {
    const good = { id: 1, outcome: { kind: 'applied', reply: 'STORED', index: 1 } }
    const frame = (results: unknown[]) => ({
      header: JSON.stringify({ ...forwardResp, results }),
      payload: Buffer.alloc(0),
    })
    expect(decode(frame([good]))).not.toBeNull()
    expect(decode(frame([good, result]))).toBeNull()
  })

  test.each([
    null,
    {},
    -1,
    { index: 1 },
    { index: 1, hint: { term: 1 } },
    { index: -1, hint: last },
  ])('a rejection that is none: %j', (reject) => {
    const object = {
      ...parseObject(headerOf({ type: 'appendResp', ...route, matchIndex: 1 }, protocol)),
    }
    const payload = Buffer.alloc(0)
    expect(decode({ header: JSON.stringify(object), payload })).not.toBeNull()
    const header = JSON.stringify({ ...object, reject })
    expect(decode({ header, payload })).toBeNull()
  })

  test('types that are none', () => {
    const envelope = { cluster: CLUSTER, group: GROUP, ...route }
    for (const type of ['', 'bogus', 'toString', '__proto__', 'constructor', 7, null, ['vote']]) {
      const payload = Buffer.alloc(0)
      expect(codec.decodeDatagram(JSON.stringify({ ...envelope, type }))).toBeNull()
      expect(decode({ header: JSON.stringify({ ...envelope, type }), payload })).toBeNull()
    }
  })

  test('random headers and payloads never throw', () => {
    const header = fc.oneof(fc.string(), fc.json(), fc.constant(headerOf(append([], 41), protocol)))
    fc.assert(
      fc.property(header, fc.uint8Array({ minLength: 1, maxLength: 60 }), (text, bytes) => {
        expect(decode({ header: text, payload: Buffer.from(bytes) })).toBeNull()
        expect(codec.decodeDatagram(text)).toBeNull()
      }),
    )
    expect(codec.decodeDatagram('null')).toBeNull()
  })
})

function codecOf(cluster: string, group: number): PeerCodec {
  return new PeerCodec(cluster, group, new RecordReader(cluster))
}

function append(
  entries: readonly LogEntry[],
  prevIndex = (entries[0]?.index ?? 1) - 1,
): PeerMessage {
  const prev = { term: prevIndex === 0 ? 0 : 6, index: prevIndex }
  return { type: 'append', ...route, prev, commitIndex: 0, entries }
}

function entriesFrom(index: number, count: number): LogEntry[] {
  return Array.from({ length: count }, (_, at) =>
    writer.createEntry({ term: 7, index: index + at }, 1_000 + at, {
      kind: 'command',
      command: SET,
    }),
  )
}

function allKinds(): LogEntry[] {
  return [
    writer.createEntry({ term: 1, index: 1 }, 0, { kind: 'noop' }),
    writer.createEntry({ term: 1, index: 2 }, 5, { kind: 'config', config: CONFIG }),
    writer.createEntry({ term: 2, index: 3 }, 5, { kind: 'command', command: SET }),
    writer.createEntry({ term: 7, index: 4 }, 6, { kind: 'time' }),
  ]
}

function headerOf(message: PeerMessage, protocol: number): string {
  return new Frames(codec.encodeFrame(message, protocol)).only().header
}

function decodeDatagram(bytes: Buffer): PeerMessage | null {
  return codec.decodeDatagram(bytes.toString())
}

/** As on a stream whose hello has said who speaks. */
function decodeFrame(pieces: readonly Buffer[]): PeerMessage | null {
  return decode(new Frames(pieces).only())
}

function decode(frame: Frame): PeerMessage | null {
  const { from, to } = frame.header.startsWith('forward ') ? { from: 'b', to: 'a' } : route
  return codec.decodeFrame(frame, { from, to })
}

/** The one frame in these pieces, as it comes off a stream. */
class Frames {
  readonly #decoder = new FrameDecoder()

  constructor(pieces: readonly Buffer[]) {
    this.#decoder.push(Buffer.concat(pieces))
  }

  only() {
    const frame = this.#decoder.next()
    if (!frame || this.#decoder.next()) throw new Error('not one frame')
    return frame
  }
}

/** Bytes as text and entries as their records, so that messages compare. */
function plain(message: PeerMessage | null): object {
  return JSON.parse(
    JSON.stringify(message, (_name, value) => {
      if (value instanceof LogEntry) {
        const { index, term, timeMs, record, config } = value
        return { index, term, timeMs, record, config }
      }
      if (value?.type === 'Buffer') return Buffer.from(value.data).toString('latin1')
      return value
    }),
  )
}

function without(object: object, field: string): Record<string, unknown> {
  const rest: Record<string, unknown> = { ...object }
  delete rest[field]
  return rest
}
