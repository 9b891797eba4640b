import { expect, test } from 'vitest'
import { Lease } from '../../../src/server/raft/lease.ts'

const WALL_MS = 1_000_000

/** One of 900 ms, whose wall clock goes with the other one. */
function createLease() {
  const lease = new Lease(1_000)
  return {
    lease,
    sent: (round: number, ms: number) => lease.sent(round, ms, WALL_MS + ms),
    holds: (ms: number) => lease.holds(ms, WALL_MS + ms),
  }
}

test('there is none before a round is answered', () => {
  const { sent, holds } = createLease()
  expect(holds(0)).toBe(false)
  sent(1, 0)
  expect(holds(0)).toBe(false)
})

test('it lasts for the promise less the margin, from the sending of the newest round answered', () => {
  const { lease, sent, holds } = createLease()
  sent(1, 100)
  sent(2, 200)
  sent(3, 300)
  lease.confirmed(2)
  expect(holds(1_099)).toBe(true)
  expect(holds(1_100)).toBe(false)
  lease.confirmed(1)
  expect(holds(1_099)).toBe(true)
  lease.confirmed(3)
  expect(holds(1_199)).toBe(true)
})

test('both clocks have to agree that it holds', () => {
  const { lease, sent } = createLease()
  sent(1, 100)
  lease.confirmed(1)
  for (const [monotonicMs, wallMs, holds] of [
    [100, 100, true],
    [999, 999, true],
    [1_000, 999, false],
    [999, 1_000, false],
    [999, 100, true],
    [999, 99, false],
  ] as const) {
    expect(lease.holds(monotonicMs, WALL_MS + wallMs)).toBe(holds)
  }
})

test('answers to what was sent before its end count no more', () => {
  const { lease, sent, holds } = createLease()
  sent(1, 100)
  lease.confirmed(1)
  sent(2, 150)
  lease.end()
  expect(holds(160)).toBe(false)
  lease.confirmed(2)
  expect(holds(160)).toBe(false)
  sent(3, 170)
  lease.confirmed(2)
  expect(holds(180)).toBe(false)
  lease.confirmed(3)
  expect(holds(180)).toBe(true)
})

test('a round that is answered too late is of no use', () => {
  const { lease, sent, holds } = createLease()
  sent(1, 0)
  sent(2, 900)
  lease.confirmed(1)
  expect(holds(900)).toBe(false)
})
