import { describe, expect, test } from 'vitest'
import { findViolation, type HistoryEntry, type Operation } from './linearizability.ts'

let clock = 0

/** One operation after the other, unless `startMs` and `endMs` say otherwise. */
function did(
  operation: Operation,
  reply: HistoryEntry['reply'],
  more: Partial<HistoryEntry> = {},
): HistoryEntry {
  const startMs = more.startMs ?? clock++
  const endMs = more.endMs ?? (reply === undefined ? Number.POSITIVE_INFINITY : clock++)
  return { key: 'k', client: 'c', operation, reply, ...more, startMs, endMs }
}

const set = (value: string): Operation => ({ kind: 'set', value })
const add = (value: string): Operation => ({ kind: 'add', value })
const get: Operation = { kind: 'get' }
const gets: Operation = { kind: 'gets' }
const remove: Operation = { kind: 'delete' }
const expire = (value: string): Operation => ({ kind: 'expire', value })
const cas = (value: string, unique: string): Operation => ({ kind: 'cas', value, unique })

describe('linearizable', () => {
  test.each<[string, HistoryEntry[]]>([
    ['nothing', []],
    ['what was set is read', [did(set('a'), 'STORED'), did(get, 'a')]],
    [
      'add, delete, add',
      [
        did(add('a'), 'STORED'),
        did(add('b'), 'NOT_STORED'),
        did(remove, 'DELETED'),
        did(add('c'), 'STORED'),
        did(get, 'c'),
      ],
    ],
    [
      'a cas with the unique that was read',
      [
        did(set('a'), 'STORED'),
        did(gets, 'a', { unique: '7' }),
        did(cas('b', '7'), 'STORED'),
        did(cas('c', '7'), 'EXISTS'),
        did(get, 'b'),
      ],
    ],
    [
      'two at once, in either order',
      [
        did(set('a'), 'STORED', { startMs: 100, endMs: 110 }),
        did(set('b'), 'STORED', { startMs: 101, endMs: 111 }),
        did(get, 'a', { startMs: 112, endMs: 113 }),
      ],
    ],
    [
      'an unknown write that happened late',
      [did(set('a'), 'STORED'), did(set('b'), undefined), did(get, 'a'), did(get, 'b')],
    ],
    [
      'an unknown write that never happened',
      [did(set('a'), 'STORED'), did(set('b'), undefined), did(get, 'a')],
    ],
    [
      'an unknown delete that an add shows',
      [did(set('a'), 'STORED'), did(remove, undefined), did(add('b'), 'STORED')],
    ],
    [
      'an unknown delete and an unknown add',
      [did(set('a'), 'STORED'), did(remove, undefined), did(add('b'), undefined), did(get, 'b')],
    ],
    [
      'many unknown writes of which one that nobody read was there',
      [
        ...Array.from({ length: 40 }, (_, at) => did(set(`u${at}`), undefined)),
        ...Array.from({ length: 40 }, () => did(remove, undefined)),
        did(add('a'), 'NOT_STORED'),
        did(get, null),
        did(add('b'), 'NOT_STORED'),
        did(get, 'u7'),
        did(get, null),
      ],
    ],
    [
      'a value that expired',
      [did(set('a'), 'STORED'), did(expire('a'), undefined), did(get, 'a'), did(get, null)],
    ],
    [
      'an unknown write that happened and expired',
      [
        did(set('a'), 'STORED'),
        did(set('b'), undefined),
        did(expire('b'), undefined),
        did(get, null),
      ],
    ],
  ])('%s', (_, history) => {
    expect(findViolation(history)).toBeNull()
  })
})

describe('not linearizable', () => {
  const first = did(set('a'), 'STORED', { startMs: 0, endMs: 50 })
  test.each<[string, HistoryEntry[]]>([
    ['a stale read', [did(set('a'), 'STORED'), did(set('b'), 'STORED'), did(get, 'a')]],
    ['a lost write', [did(set('a'), 'STORED'), did(get, null)]],
    [
      'a value that expired and is back',
      [did(set('a'), 'STORED'), did(expire('a'), undefined), did(get, null), did(get, 'a')],
    ],
    [
      'among many unknown writes a read that goes back',
      [
        ...Array.from({ length: 40 }, (_, at) => did(set(`u${at}`), undefined)),
        ...Array.from({ length: 40 }, () => did(remove, undefined)),
        did(get, 'u7'),
        did(get, null),
        did(get, 'u7'),
      ],
    ],
    ['a value nobody wrote', [did(get, 'x')]],
    [
      'a read that goes back',
      [did(set('a'), 'STORED'), did(set('b'), undefined), did(get, 'b'), did(get, 'a')],
    ],
    [
      'a write applied twice',
      [did(set('a'), 'STORED'), did(set('b'), 'STORED'), did(get, 'b'), did(get, 'a')],
    ],
    ['two adds that both won', [did(add('a'), 'STORED'), did(add('b'), 'STORED')]],
    [
      'two cas with one unique',
      [
        did(set('a'), 'STORED'),
        did(gets, 'a', { unique: '7' }),
        did(cas('b', '7'), 'STORED'),
        did(cas('c', '7'), 'STORED'),
      ],
    ],
    [
      'one value under two uniques',
      [did(set('a'), 'STORED'), did(gets, 'a', { unique: '7' }), did(gets, 'a', { unique: '8' })],
    ],
    [
      'pipelined writes that changed places',
      [
        first,
        did(set('b'), 'STORED', { startMs: 0, endMs: 50, after: first }),
        did(get, 'a', { startMs: 60, endMs: 61 }),
      ],
    ],
  ])('%s', (_, history) => {
    expect(findViolation(history)).not.toBeNull()
  })
})
