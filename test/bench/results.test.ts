import { expect, test } from 'vitest'
import { describeMarks } from '../../bench/musts.ts'
import { median, ratioTo, summarize } from '../../bench/results.ts'
import { ROWS } from '../../bench/rows.ts'
import { drawResults } from '../../bench/svg.ts'
import { describeResults } from '../../bench/table.ts'
import { measurementFor, resultFor } from './results.ts'

test('the median is the one in the middle, or between the two', () => {
  expect(median([5])).toBe(5)
  expect(median([9, 1, 5])).toBe(5)
  expect(median([9, 1, 5, 6])).toBe(5.5)
})

test('each figure is the median of its own over the rounds', () => {
  const rounds = [
    measurementFor({ rate: 1, p50Ms: 9, syncsPerWrite: null }),
    measurementFor({ rate: 2, p50Ms: 8, syncsPerWrite: 3 }),
    measurementFor({ rate: 9, p50Ms: 1, syncsPerWrite: null }),
  ]
  const result = summarize('etcd', rounds)
  expect(result).toMatchObject({ subject: 'etcd', rounds })
  expect(result.median).toMatchObject({ rate: 2, p50Ms: 8, syncsPerWrite: 3 })
})

test('rows have names of their own', () => {
  expect(new Set(ROWS.map(({ name }) => name)).size).toBe(ROWS.length)
})

test('the table has a line for each system, and how this store compares', () => {
  const result = resultFor('write 50', {
    raftcached: { rate: 20_000 },
    etcd: { rate: 5_000, syncsPerWrite: null, diskBytesPerWrite: null },
  })
  expect(ratioTo(result, 'etcd')).toBe(4)
  expect(ratioTo(result, 'redis')).toBeNull()
  const [, own, peer, ...rest] = describeResults([result]).split('\n')
  expect(own?.split(/ {2,}/)).toEqual([
    ...['write 50', 'raftcached', '20,000', '1.000', '20.0', '30.0', '2.00 1.00'],
    ...['50 %', '1 %', '2', '500', '0.250', '400'],
  ])
  expect(peer?.trim().split(/ {2,}/)).toEqual([
    ...['etcd', '5,000', '4.00 x', '1.000', '20.0', '30.0', '2.00 1.00', '50 %', '1 %', '2', '400'],
  ])
  expect(rest).toEqual([''])
})

test('marks are held, reached or not, or not measured', () => {
  const rows = [
    resultFor('write 50', { raftcached: { rate: 45 }, etcd: { rate: 10 } }),
    resultFor('write 400', {
      ...{ raftcached: { rate: 60 }, etcd: { rate: 10 }, redis: { rate: 100 } },
    }),
    resultFor('mix 50 any', { raftcached: { rate: 80 }, leader: { rate: 100 } }),
    resultFor('write 50x16 half', { raftcached: { p999Ms: 15 } }),
    resultFor('write 400 half', { raftcached: { p999Ms: 21 } }),
  ]
  const lines = describeMarks({ rows, longRatio: 0.94 }).split('\n').slice(1, -1)
  expect(lines.map((line) => line.trim().split(/ {2,}/))).toEqual([
    ['durable writes, 50 clients', 'x etcd', '4.50', '4', '5', 'holds'],
    ['durable writes, 400 clients', 'x etcd', '6.00', '4', '5', 'stretch'],
    ['durable writes, 400 clients', 'x redis', '0.60', '0.9', '1', 'NOT REACHED'],
    ['durable writes, 50 x 16 in flight', 'x redis', '-', '1.3', '1.5', 'not measured'],
    ['linearizable reads, 50 clients', 'x etcd', '-', '5', '6', 'not measured'],
    ['reads under lease, 50 clients', 'x bare', '-', '0.9', '1', 'not measured'],
    ['reads under lease, 50 x 16 in flight', 'x memcached', '-', '0.8', '1', 'not measured'],
    ['any server, mixed load', "x the leader's", '0.80', '0.8', '1', 'holds'],
    ['p99.9 of writes at half the rate of 50 x 16', 'ms', '15.00', '20', '10', 'holds'],
    ['the same, writes that come one by one', 'ms', '-', '20', '10', 'not measured'],
    ['p99.9 of writes at half the rate of 400 clients', 'ms', '21.00', '20', '10', 'NOT REACHED'],
    ["after an hour's worth of writes", 'x a fresh cluster', '0.94', '0.95', '1', 'NOT REACHED'],
  ])
})

test('the picture has a bar for each system, as long as its share of the fastest', () => {
  const result = resultFor('read 50', {
    ...{ raftcached: { rate: 30_000 }, memcached: { rate: 60_000 } },
  })
  const picture = drawResults([result], 'A < B & "C"')
  expect(picture).toMatch(/^<svg [^>]*aria-label="A &lt; B &amp; &quot;C&quot;">/)
  const bars = [...picture.matchAll(/<rect class="(\w+)"[^>]* width="([\d.]+)"/g)]
  expect(bars.map(([, kind, width]) => [kind, Number(width)])).toEqual([
    ['own', 170],
    ['other', 340],
  ])
  expect(picture).toContain('>60,000/s, raftcached 0.50 x<')
})
