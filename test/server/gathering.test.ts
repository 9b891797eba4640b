import { expect, test } from 'vitest'
import { createVisits, Gathering, type Visits } from '../../src/server/gathering.ts'

/** Clients that were answered at 0 ms, and come back, or not. */
function answered(...clients: Visits[]): Gathering {
  const gathering = new Gathering()
  for (const visits of clients) gathering.answered(visits, 0)
  gathering.turn(0, false)
  return gathering
}

/** As one that sends the next request right after each reply. */
function prompt(): Visits {
  return { ...createVisits(), isPrompt: true }
}

test('a turn that brought anything is followed by another before a batch leaves', () => {
  const gathering = new Gathering()
  gathering.came(createVisits(), 0)
  expect(gathering.turn(0, false)).toBe('turn')
  gathering.came(createVisits(), 0.1)
  expect(gathering.turn(0.1, true)).toBe('turn')
  expect(gathering.turn(0.2, true)).toBe(null)
})

test('turns that never cease to bring something hold a batch for 2 ms', () => {
  const gathering = new Gathering()
  expect(gathering.turn(0, false)).toBe(null)
  for (let nowMs = 0.5; nowMs < 2; nowMs += 0.5) {
    gathering.came(createVisits(), nowMs)
    expect(gathering.turn(nowMs, true)).toBe('turn')
  }
  gathering.came(createVisits(), 2)
  expect(gathering.turn(2, true)).toBe(null)
})

test('clients that came back promptly are awaited once they are answered again', () => {
  const clients = Array.from({ length: 10 }, prompt)
  const gathering = answered(...clients)
  for (const [at, visits] of clients.entries()) {
    gathering.came(visits, 0.1)
    expect(gathering.turn(0.1, true)).toBe('turn')
    // Nine of ten are enough.
    expect(gathering.turn(0.1, true)).toBe(at < 8 ? 'clients' : null)
    if (at === 8) break
  }
})

test('they are awaited for 2 ms after they were answered, and no longer', () => {
  const [first, second] = [prompt(), prompt()]
  const gathering = answered(first, second)
  gathering.came(first, 0.5)
  gathering.turn(0.5, false)
  expect(gathering.turn(0.6, true)).toBe('clients')
  expect(gathering.untilMs).toBe(2)
  expect(gathering.turn(1.9, true)).toBe('clients')
  expect(gathering.turn(2, true)).toBe(null)
  // The next batch does not wait for them again.
  gathering.came(first, 2.1)
  gathering.turn(2.1, false)
  expect(gathering.turn(2.2, true)).toBe(null)
})

test('nobody waits for clients that take their time, until they are prompt again', () => {
  const [slow, other] = [prompt(), createVisits()]
  let gathering = answered(slow)
  gathering.came(slow, 50)
  expect(slow.isPrompt).toBe(false)
  gathering = answered(slow)
  gathering.came(other, 0.1)
  gathering.turn(0.1, false)
  expect(gathering.turn(0.2, true)).toBe(null)
  gathering.came(slow, 0.3)
  expect(slow.isPrompt).toBe(true)
})

test('a client with several requests on the way is awaited once', () => {
  const [busy, other] = [prompt(), prompt()]
  const gathering = answered(busy, busy, busy, other)
  gathering.came(other, 0.1)
  gathering.turn(0.1, false)
  expect(gathering.turn(0.1, true)).toBe('clients')
  gathering.came(busy, 0.2)
  gathering.turn(0.2, true)
  expect(gathering.turn(0.2, true)).toBe(null)
})

test('a client alone waits for nobody', () => {
  const client = createVisits()
  const gathering = new Gathering()
  for (let nowMs = 0; nowMs < 10; nowMs++) {
    gathering.came(client, nowMs)
    expect(gathering.turn(nowMs, false)).toBe('turn')
    expect(gathering.turn(nowMs, true)).toBe(null)
    gathering.answered(client, nowMs + 0.5)
    gathering.turn(nowMs + 0.5, false)
  }
  expect(client.isPrompt).toBe(true)
})
