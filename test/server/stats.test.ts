import { describe, expect, test } from 'vitest'
import { type Count, Stats } from '../../src/server/stats.ts'

function wrote(...writes: (readonly [command: string, line: string])[]): Stats {
  const stats = new Stats()
  stats.isDetailed = true
  for (const [command, line] of writes) {
    stats.wrote(stats.kindOf(Buffer.from(`${command}\r\n`)), line)
  }
  return stats
}

/** All that is not 0. */
function counted(stats: Stats): Partial<Record<Count, number>> {
  return Object.fromEntries(Object.entries(stats.counts).filter(([, count]) => count !== 0))
}

test.each<[string, string, Partial<Record<Count, number>>]>([
  ['set k 0 0 1', 'STORED', { cmd_set: 1, total_items: 1 }],
  ['add k 0 0 1', 'NOT_STORED', { cmd_set: 1 }],
  ['append k 0 0 1', 'STORED', { cmd_set: 1, total_items: 1 }],
  ['cas k 0 0 1 5', 'STORED', { cmd_set: 1, cas_hits: 1, total_items: 1 }],
  ['cas k 0 0 1 5', 'EXISTS', { cmd_set: 1, cas_badval: 1 }],
  ['cas k 0 0 1 5', 'NOT_FOUND', { cmd_set: 1, cas_misses: 1 }],
  ['delete k', 'DELETED', { delete_hits: 1 }],
  ['delete k stale', 'NOT_FOUND', { delete_misses: 1 }],
  ['incr k 1', '5', { incr_hits: 1 }],
  ['incr k 1', 'NOT_FOUND', { incr_misses: 1 }],
  ['decr k 1', '0', { decr_hits: 1 }],
  ['decr k 1', 'NOT_FOUND', { decr_misses: 1 }],
  ['decr k 1', 'CLIENT_ERROR cannot increment or decrement non-numeric value', {}],
  ['touch k 1', 'TOUCHED', { cmd_touch: 1, touch_hits: 1 }],
  ['touch k 1', 'NOT_FOUND', { cmd_touch: 1, touch_misses: 1 }],
  ['flush_all 0', 'OK', { cmd_flush: 1 }],
])('%s: %s', (command, line, counts) => {
  expect(counted(wrote([command, line]))).toEqual(counts)
})

test('reads count their keys', () => {
  const stats = new Stats()
  stats.read('a', true)
  stats.read('a', true)
  stats.read('b', false)
  stats.touched('a', true)
  stats.touched('b', false)
  stats.bytesRead += 7
  stats.bytesWritten += 8
  expect(counted(stats)).toEqual({
    ...{ cmd_get: 3, get_hits: 2, get_misses: 1 },
    ...{ cmd_touch: 2, touch_hits: 1, touch_misses: 1 },
  })
  expect([stats.bytesRead, stats.bytesWritten]).toEqual([7, 8])
  stats.reset()
  expect(counted(stats)).toEqual({})
  expect([stats.bytesRead, stats.bytesWritten]).toEqual([0, 0])
})

describe('what stands before the first colon of keys', () => {
  test('is counted while that is asked for', () => {
    const stats = wrote(
      ['set a:1 0 0 1', 'STORED'],
      ['cas a:2:3 0 0 1 5', 'EXISTS'],
      ['delete a:1', 'DELETED'],
      ['incr a:1 1', '2'],
      ['delete b:1 stale', 'NOT_FOUND'],
      ['set plain 0 0 1', 'STORED'],
    )
    stats.read('a:1', true)
    stats.touched('b:1', false)
    const lines = ['PREFIX a get 1 hit 1 set 2 del 1', 'PREFIX b get 1 hit 0 set 0 del 1']
    expect(stats.detail).toBe(`${lines.join('\r\n')}\r\nEND\r\n`)
    stats.isDetailed = false
    stats.read('a:1', true)
    expect(stats.detail).toContain('PREFIX a get 1 ')
    stats.reset()
    expect(stats.detail).toBe('END\r\n')
  })

  test('has a bound', () => {
    const stats = new Stats()
    stats.isDetailed = true
    for (let at = 0; at < 10_010; at++) stats.read(`${at}:k`, true)
    stats.read('5:k', true)
    const lines = stats.detail.split('\r\n')
    expect(lines).toHaveLength(10_000 + 2)
    expect(lines).toContain('PREFIX 5 get 2 hit 2 set 0 del 0')
  })
})
