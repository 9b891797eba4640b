import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Histogram } from '../../bench/load/histogram.ts'

test('a latency is told within 1.6 % or a tenth of a microsecond', () => {
  fc.assert(
    fc.property(fc.double({ min: 0.0001, max: 200_000, noNaN: true }), (ms) => {
      const histogram = new Histogram()
      histogram.record(ms)
      expect(Math.abs(histogram.quantile(0.5) - ms)).toBeLessThanOrEqual(
        Math.max(0.0001, 0.016 * ms),
      )
    }),
  )
})

test('quantiles are those of all that was recorded', () => {
  const histogram = new Histogram()
  for (let ms = 1; ms <= 1_000; ms++) histogram.record(ms)
  expect(histogram.count).toBe(1_000)
  for (const share of [0.001, 0.5, 0.9, 0.99, 0.999, 1]) {
    const ms = 1_000 * share
    expect(Math.abs(histogram.quantile(share) - ms)).toBeLessThanOrEqual(0.016 * ms)
  }
})

test('of nothing every quantile is 0', () => {
  expect(new Histogram().quantile(0.99)).toBe(0)
})

test('what lasts too long is in the last bucket, and what went back in the first', () => {
  const histogram = new Histogram()
  histogram.record(1e9)
  histogram.record(-1)
  expect(histogram.quantile(0.5)).toBe(0)
  expect(histogram.quantile(1)).toBeGreaterThan(200_000)
})

test('two of them add up, from the buckets of one that went through JSON', () => {
  const [one, other] = [new Histogram(), new Histogram()]
  for (let ms = 1; ms <= 100; ms++) (ms % 2 === 0 ? one : other).record(ms)
  one.add(new Histogram(JSON.parse(JSON.stringify(Array.from(other.counts)))))
  expect(one.count).toBe(100)
  expect(Math.abs(one.quantile(0.5) - 50)).toBeLessThanOrEqual(1)
})
