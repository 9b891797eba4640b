import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  decodeToBalancer,
  decodeToServer,
  encodeDatagram,
  type Registration,
  type Report,
  SERVERS_MAX,
  type ServerAddress,
  type ToBalancer,
  type ToServer,
} from '../../src/protocol/balancer.ts'
import { parseObject } from '../../src/protocol/shape.ts'

const UDP_BYTES_MAX = 65_507

const ADDRESS: ServerAddress = {
  id: 'a1b2c3d4',
  cip: '10.0.0.1',
  cport: 11_211,
  sip: 'server-1.example',
  sport: 65_535,
}

const KNOWN: Registration = { ...ADDRESS, silentMs: 1_500 }

const REPORT: Report = {
  ...ADDRESS,
  cluster: 'c1',
  role: 'leader',
  voter: true,
  term: 7,
  leader: 'a1b2c3d4',
  lastTerm: 7,
  lastIndex: 1_000,
  commitIndex: 999,
  appliedIndex: 998,
  requestCount: 12,
}

const TO_BALANCER: readonly ToBalancer[] = [
  { type: 'register', server: REPORT, place: 0 },
  { type: 'register', server: { ...REPORT, cluster: null, leader: null, term: 0 }, place: 1 },
  { type: 'lbHeartbeatResp', server: { ...REPORT, role: 'follower', voter: false } },
  { type: 'statusResp', server: { ...REPORT, role: 'preCandidate' } },
  {
    type: 'statusResp',
    server: { ...REPORT, membership: 'why', members: [{ ...ADDRESS, voter: true, note: 'dead' }] },
  },
  { type: 'statusResp', server: { ...REPORT, role: 'candidate', term: Number.MAX_SAFE_INTEGER } },
]

const TO_SERVER: readonly ToServer[] = [
  { type: 'registered', cluster: null, servers: [], place: 0 },
  { type: 'registered', cluster: 'c1', servers: [KNOWN, { ...KNOWN, id: 'b' }], place: 1 },
  { type: 'registered', cluster: 'c1', servers: [KNOWN], place: 0, refused: 'another cluster’s' },
  { type: 'form', cluster: 'c1' },
  { type: 'lbHeartbeat' },
  { type: 'status' },
  { type: 'campaign' },
]

describe('round trips', () => {
  test.each(TO_BALANCER)('to the load balancer: $type', (message) => {
    expect(decodeToBalancer(encodeDatagram(message))).toEqual(message)
    expect(toServer(encodeDatagram(message))).toBeNull()
  })

  test.each(TO_SERVER)('to a server: $type', (message) => {
    expect(toServer(encodeDatagram(message))).toEqual(message)
    expect(decodeToBalancer(encodeDatagram(message))).toBeNull()
  })

  test('a refusal that is not there stays away', () => {
    const message: ToServer = {
      type: 'registered',
      cluster: 'c1',
      servers: [],
      place: 0,
      refused: undefined,
    }
    expect(encodeDatagram(message).toString()).not.toContain('refused')
    expect(toServer(encodeDatagram(message))).toEqual(message)
  })

  test('as many servers as may be known fit into a datagram', () => {
    const name = 'n'.repeat(64)
    const servers = Array.from({ length: SERVERS_MAX }, (_, at) => ({
      id: `${0xabcdef00 + at}`,
      cip: name,
      cport: 65_535,
      sip: name,
      sport: 65_535,
      silentMs: 3_600_000,
    }))
    const bytes = encodeDatagram({ type: 'registered', cluster: 'c'.repeat(64), servers, place: 0 })
    expect(bytes.length).toBeLessThanOrEqual(UDP_BYTES_MAX)
    expect(toServer(bytes)).not.toBeNull()
  })

  test('more servers than that are junk', () => {
    const servers = Array.from({ length: SERVERS_MAX + 1 }, (_, at) => ({
      ...KNOWN,
      id: `${at}`,
    }))
    expect(
      toServer(encodeDatagram({ type: 'registered', cluster: 'c1', servers, place: 0 })),
    ).toBeNull()
  })
})

describe('junk', () => {
  test.each([
    '',
    ' ',
    '{',
    'null',
    '7',
    '"register"',
    '[]',
    '[{"type":"status"}]',
    '{}',
    '{"type":null}',
    '{"type":7}',
    '{"type":["status"]}',
    '{"type":"Status"}',
    '{"type":"bogus"}',
    '{"type":"toString"}',
    '{"type":"__proto__"}',
    '{"type":"constructor","server":{}}',
    '{"type":"register"}',
    '{"type":"register","server":null}',
    '{"type":"register","server":[]}',
    '{"type":"register","server":"a"}',
    '{"type":"form"}',
    '{"type":"registered","cluster":null}',
    '{"type":"registered","servers":[]}',
    '{"type":"registered","cluster":null,"servers":{"length":0}}',
    '{"type":"registered","cluster":null,"servers":[null]}',
    '{"type":"registered","cluster":null,"servers":[{"id":"a"}]}',
    '{"type":"status"} {"type":"status"}',
    'set a 0 0 1\r\nx\r\n',
  ])('%s', (text) => {
    expect(decodeToBalancer(Buffer.from(text))).toBeNull()
    expect(toServer(Buffer.from(text))).toBeNull()
  })

  test('random bytes and random JSON never throw and are no message', () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 100 }).map((array) => Buffer.from(array)),
      fc.json().map((text) => Buffer.from(text)),
    )
    fc.assert(
      fc.property(bytes, (datagram) => {
        expect(decodeToBalancer(datagram)).toBeNull()
        expect(toServer(datagram)).toBeNull()
      }),
    )
  })

  test('a datagram cut short or damaged never throws', () => {
    const bytes = encodeDatagram({ type: 'register', server: REPORT, place: 0 })
    for (let end = 0; end < bytes.length; end++) {
      expect(decodeToBalancer(bytes.subarray(0, end))).toBeNull()
    }
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.nat(255), (at, byte) => {
        const damaged = Buffer.from(bytes)
        damaged[at] = byte
        decodeToBalancer(damaged)
      }),
    )
  })
})

describe('a report needs each field, of the right kind', () => {
  const counts = [
    ...(['term', 'lastTerm', 'lastIndex', 'commitIndex', 'appliedIndex'] as const),
    'requestCount',
  ] as const
  const names = ['id', 'cip', 'sip'] as const
  const ports = ['cport', 'sport'] as const
  const notCounts = [-1, 1.5, 2 ** 53, '7', null, true, [], {}]
  const notNames = ['', ' ', 'a b', 'a\n', 'ü', '\0', 'x'.repeat(256), 7, null, true, [], {}]
  const wrong: readonly (readonly [string, unknown])[] = [
    ...counts.flatMap((field) => notCounts.map((value) => [field, value] as const)),
    ...names.flatMap((field) => notNames.map((value) => [field, value] as const)),
    ...ports.flatMap((field) => [...notCounts, 65_536].map((value) => [field, value] as const)),
    ...['cluster', 'leader'].flatMap((field) =>
      notNames.filter((value) => value !== null).map((value) => [field, value] as const),
    ),
    ...['', 'Leader', 'learner', 7, null].map((value) => ['role', value] as const),
    ...['true', 1, 0, null].map((value) => ['voter', value] as const),
  ]

  test.each(wrong)('%s: %j', (field, value) => {
    const server = { ...REPORT, [field]: value }
    expect(decodeToBalancer(json({ type: 'register', server, place: 0 }))).toBeNull()
  })

  test.each(Object.keys(REPORT))('%s missing', (field) => {
    const server: Record<string, unknown> = { ...REPORT }
    delete server[field]
    expect(decodeToBalancer(json({ type: 'register', server, place: 0 }))).toBeNull()
  })

  test('names of 255 characters and port 65535 are good', () => {
    const name = 'n'.repeat(255)
    const server: Report = { ...REPORT, id: name, cip: name, cluster: name, cport: 65_535 }
    expect(decodeToBalancer(encodeDatagram({ type: 'register', server, place: 0 }))).not.toBeNull()
  })

  test('a field that a newer version adds does no harm', () => {
    const server = { ...REPORT, colour: 'red' }
    expect(decodeToBalancer(json({ type: 'register', server, place: 0, more: 1 }))).not.toBeNull()
  })
})

describe('what a server is told', () => {
  test.each([
    { type: 'form', cluster: null },
    { type: 'form', cluster: '' },
    { type: 'form', cluster: 'a b' },
    { type: 'registered', cluster: 7, servers: [], place: 0 },
    { type: 'registered', cluster: 'c1', servers: [], place: 0, refused: 7 },
    { type: 'registered', cluster: 'c1', servers: [], place: 0, refused: null },
    { type: 'registered', cluster: 'c1', servers: [{ ...KNOWN, cport: -1 }], place: 0 },
    { type: 'registered', cluster: 'c1', servers: [{ ...KNOWN, sip: undefined }], place: 0 },
    { type: 'registered', cluster: 'c1', servers: [KNOWN, 7], place: 0 },
  ])('%j is junk', (message) => {
    expect(toServer(json(message))).toBeNull()
  })
})

function toServer(bytes: Buffer): ToServer | null {
  return decodeToServer(parseObject(bytes.toString()))
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value))
}
