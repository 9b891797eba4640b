/** Replies come cut anywhere, and mean the same. */
import { expect, test } from 'vitest'
import { ProtocolError, type RawItem, ReplyParser } from '../../src/client/reply-parser.ts'

type Reply = [line: string, items: readonly RawItem[], statistics: readonly string[]]

function parse(chunks: readonly Buffer[]): Reply[] {
  const replies: Reply[] = []
  const parser = new ReplyParser((...reply) => replies.push(reply))
  for (const chunk of chunks) parser.push(Buffer.from(chunk))
  return replies
}

const TEXT = [
  'STORED\r\n',
  'END\r\n',
  'VALUE k 0 0\r\n\r\nEND\r\n',
  'VALUE k 4294967295 5\r\n\r\nEND\r\nEND\r\n',
  'VALUE a 1 1 18446744073709551615\r\nx\r\nVALUE b 0 2 1\r\nyz\r\nEND\r\n',
  'STAT pid 1\r\nSTAT name two words\r\nEND\r\n',
  'SERVER_ERROR not stored: why\r\n',
  'STALE?\r\n17\r\nSTORED\r\n',
].join('')

const item = (key: string, flags: number, value: string, casUnique: string | null = null) => ({
  ...{ key, flags, value: Buffer.from(value), casUnique },
})

const REPLIES: Reply[] = [
  ['STORED', [], []],
  ['END', [], []],
  ['END', [item('k', 0, '')], []],
  ['END', [item('k', 4294967295, '\r\nEND')], []],
  ['END', [item('a', 1, 'x', '18446744073709551615'), item('b', 0, 'yz', '1')], []],
  ['END', [], ['STAT pid 1', 'STAT name two words']],
  ['SERVER_ERROR not stored: why', [], []],
  ['STALE?', [], []],
  ['17', [], []],
  ['STORED', [], []],
]

test('all at once', () => {
  expect(parse([Buffer.from(TEXT)])).toEqual(REPLIES)
})

test('cut at every byte', () => {
  const bytes = Buffer.from(TEXT)
  for (let cut = 0; cut <= bytes.length; cut++) {
    expect(parse([bytes.subarray(0, cut), bytes.subarray(cut)])).toEqual(REPLIES)
  }
})

test('byte by byte', () => {
  expect(parse([...Buffer.from(TEXT)].map((byte) => Buffer.from([byte])))).toEqual(REPLIES)
})

test('a long value in many pieces', () => {
  const value = Buffer.alloc(1_000_000, 'abcdefg')
  const bytes = Buffer.concat([
    Buffer.from('VALUE k 0 1000000\r\n'),
    value,
    Buffer.from('\r\nEND\r\nSTORED\r\n'),
  ])
  const chunks: Buffer[] = []
  for (let at = 0; at < bytes.length; at += 65_536) chunks.push(bytes.subarray(at, at + 65_536))
  const [got, stored] = parse(chunks)
  expect(got?.[1][0]?.value.equals(value)).toBe(true)
  expect(stored?.[0]).toBe('STORED')
})

test('a value that is kept keeps no more than a small buffer of its own would', () => {
  const reply = `VALUE k 0 20\r\n${'x'.repeat(20)}\r\nEND\r\n`
  for (const count of [1, 2, 1_000]) {
    const chunk = Buffer.alloc(count * reply.length, reply)
    const replies: Reply[] = []
    new ReplyParser((...one) => replies.push(one)).push(chunk)
    const values = replies.map(([, items]) => items[0]?.value)
    expect(values.map(String)).toEqual(Array(count).fill('x'.repeat(20)))
    for (const value of values)
      expect(value?.buffer.byteLength).toBeLessThanOrEqual(Buffer.poolSize)
  }
})

test.each([
  ['a line end without its first half', 'STORED\n'],
  ['an endless line', 'x'.repeat(4_097)],
  ['a value without a length', 'VALUE k 0\r\n'],
  ['a length that is none', 'VALUE k 0 x\r\n'],
  ['flags that are none', 'VALUE k -1 1\r\n'],
  ['a value longer than any', 'VALUE k 0 16777217\r\n'],
  ['a CAS unique that is none', 'VALUE k 0 1 x\r\n'],
  ['a value that does not end where it should', 'VALUE k 0 1\r\nxyz\r\n'],
])('what no server says: %s', (_, text) => {
  expect(() => parse([Buffer.from(text)])).toThrow(ProtocolError)
  expect(() => parse([...text].map((letter) => Buffer.from(letter)))).toThrow(ProtocolError)
})
