import { describe, expect, test } from 'vitest'
import { findViolation, type HistoryEntry } from './linearizability.ts'
import type { Operation, Reply } from './model.ts'

let clock = 0

/** One operation after the other, unless `startMs` and `endMs` say otherwise. */
function did(
  operation: Operation,
  reply: string | Reply | null | undefined,
  more: Partial<HistoryEntry> & { unique?: string } = {},
): HistoryEntry {
  const startMs = more.startMs ?? clock++
  const endMs = more.endMs ?? (reply === undefined ? Number.POSITIVE_INFINITY : clock++)
  const { unique, ...times } = more
  const read = replyOf(operation, reply)
  const told = read && unique !== undefined ? { ...read, unique } : read
  return { key: 'k', client: 'c', operation, reply: told, ...times, startMs, endMs }
}

/** Of a get, the value alone will do, and null for a miss. */
function replyOf(operation: Operation, reply: string | Reply | null | undefined) {
  if (reply === null) return { status: 'END' }
  if (typeof reply !== 'string') return reply
  return operation.kind.startsWith('get') ? { status: 'VALUE', value: reply } : { status: reply }
}

const set = (value: string, exptime = 0): Operation => ({ kind: 'set', value, exptime })
const add = (value: string): Operation => ({ kind: 'add', value })
const append = (value: string): Operation => ({ kind: 'append', value })
const prepend = (value: string): Operation => ({ kind: 'prepend', value })
const get: Operation = { kind: 'get' }
const gets: Operation = { kind: 'gets' }
const remove: Operation = { kind: 'delete' }
const cas = (value: string, unique: string): Operation => ({ kind: 'cas', value, unique })
const touch = (exptime: number): Operation => ({ kind: 'touch', exptime })
const flush = (delay: number): Operation => ({ kind: 'flush_all', delay })
const incr = (delta: number): Operation => ({ kind: 'incr', delta })
const mg: Operation = { kind: 'mg' }
const stale: Operation = { kind: 'md', isStale: true }
const vivify: Operation = { kind: 'mg', vivify: 3 }
const hit = (value: string, marks: string): Reply => ({ status: 'VA', value, marks })

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
    ['a value that expired', [did(set('a', 1), 'STORED'), did(get, 'a'), did(get, null)]],
    [
      'an unknown write that happened and expired',
      [did(set('a'), 'STORED'), did(set('b', 1), undefined), did(get, null)],
    ],
    [
      'an unknown append in between',
      [
        did(set('a'), 'STORED'),
        did(append('x'), undefined),
        did(append('y'), 'STORED'),
        did(prepend('z'), undefined),
        did(get, 'axy'),
        did(get, 'zaxy'),
      ],
    ],
    [
      'an unknown set that was appended to',
      [
        did(set('a'), 'STORED'),
        did(set('b'), undefined),
        did(append('x'), 'STORED'),
        did(get, 'bx'),
      ],
    ],
    [
      'unknown increments of which some happened',
      [
        did(set('100'), 'STORED'),
        ...Array.from({ length: 30 }, (_, at) => did(incr(at % 2 ? 10 : 1), undefined)),
        did(incr(2), '136'),
        did(incr(2), '139'),
      ],
    ],
    [
      'an unknown touch that let it expire, and one that kept it',
      [
        did(set('a'), 'STORED'),
        did(touch(1), undefined),
        did(get, null),
        did(set('b', 1), 'STORED'),
        did(touch(0), undefined),
        did(mg, { ...hit('b', ''), isMortal: true }),
        did(mg, { ...hit('b', ''), isMortal: false }),
        did(get, 'b'),
      ],
    ],
    [
      'a delayed flush that came late, and spared what came after',
      [
        did(flush(2), 'OK'),
        did(set('a'), 'STORED'),
        did(get, 'a'),
        did(get, null),
        did(set('b'), 'STORED'),
        did(get, 'b'),
      ],
    ],
    [
      'stale, won, renewed',
      [
        did(set('a'), 'STORED'),
        did(stale, 'HD'),
        did(mg, hit('a', 'XW')),
        did(mg, hit('a', 'ZX')),
        did(set('b'), 'STORED'),
        did(mg, hit('b', '')),
      ],
    ],
    [
      'a win that nobody heard of',
      [
        did(set('a'), 'STORED'),
        did(stale, 'HD'),
        did(mg, undefined),
        did(mg, hit('a', 'ZX')),
        did(remove, 'DELETED'),
        did(vivify, undefined),
        did(mg, hit('', 'Z')),
      ],
    ],
    [
      'a cas unique of the client, and one of the log after it',
      [
        did({ kind: 'ms', mode: 'S', value: 'a', explicit: '9000000000000' }, 'HD'),
        did(gets, 'a', { unique: '9000000000000' }),
        did(set('b'), 'STORED'),
        did(gets, 'b', { unique: '7' }),
      ],
    ],
  ])('%s', (_, history) => {
    expect(findViolation(history)).toBeNull()
  })
})

describe('not linearizable', () => {
  const first = did(set('a'), 'STORED', { startMs: 0, endMs: 50 })
  const between = did(set('o'), 'STORED', { key: 'other', startMs: 0, endMs: 50, after: first })
  test.each<[string, HistoryEntry[]]>([
    ['a stale read', [did(set('a'), 'STORED'), did(set('b'), 'STORED'), did(get, 'a')]],
    ['a lost write', [did(set('a'), 'STORED'), did(get, null)]],
    [
      'a value that expired and is back',
      [did(set('a', 1), 'STORED'), did(get, null), did(get, 'a')],
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
      'an append that is in front',
      [did(set('a'), 'STORED'), did(append('x'), 'STORED'), did(get, 'xa')],
    ],
    [
      'an append that was made twice',
      [did(set('a'), 'STORED'), did(append('x'), 'STORED'), did(get, 'axx')],
    ],
    ['an increment that was lost', [did(set('1'), 'STORED'), did(incr(2), '3'), did(incr(2), '3')]],
    [
      'a touch that did nothing',
      [
        did(set('a'), 'STORED'),
        did(touch(1), 'TOUCHED'),
        did(mg, { ...hit('a', ''), isMortal: false }),
      ],
    ],
    [
      'a flush that took what came after it',
      [did(set('a'), 'STORED'), did(flush(0), 'OK'), did(set('b'), 'STORED'), did(get, null)],
    ],
    [
      'a delayed flush that came twice',
      [
        did(set('a'), 'STORED'),
        did(flush(2), 'OK'),
        did(get, null),
        did(set('b'), 'STORED'),
        did(get, null),
      ],
    ],
    [
      'two that won',
      [
        did(set('a'), 'STORED'),
        did(stale, 'HD'),
        did(mg, hit('a', 'XW'), { startMs: 300, endMs: 310 }),
        did(mg, hit('a', 'XW'), { startMs: 301, endMs: 311 }),
      ],
    ],
    [
      'two that vivified',
      [did({ kind: 'mg', vivify: 0 }, hit('', 'W')), did(vivify, hit('', 'W'))],
    ],
    [
      'a cas unique that is not newer',
      [
        did(set('a'), 'STORED'),
        did(gets, 'a', { unique: '7' }),
        did(set('b'), 'STORED'),
        did(gets, 'b', { unique: '6' }),
      ],
    ],
    [
      'a touch that changed the cas unique',
      [
        did(set('a'), 'STORED'),
        did(gets, 'a', { unique: '7' }),
        did(touch(0), 'TOUCHED'),
        did(gets, 'a', { unique: '8' }),
      ],
    ],
    [
      'client flags of another',
      [
        did({ kind: 'set', value: 'a', flags: 5 }, 'STORED'),
        did(append('x'), 'STORED'),
        did(get, { status: 'VALUE', value: 'ax', flags: 0 }),
      ],
    ],
    [
      'pipelined writes that changed places, with one of another key between them',
      [
        first,
        did(set('b'), 'STORED', { startMs: 0, endMs: 50, after: between }),
        did(get, 'a', { startMs: 60, endMs: 61 }),
      ],
    ],
  ])('%s', (_, history) => {
    expect(findViolation(history)).not.toBeNull()
  })
})
