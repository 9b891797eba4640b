/**
 * Programs that use the library while leaders are killed with -9: what it says happened
 * happened once, what it says did not happen never did, and what all of them saw together
 * could have been seen at a single copy. Three leaders die; with LONG=1 ten.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Client } from '../../src/client/api.ts'
import { connect } from '../../src/client/client.ts'
import { Registers } from './client-registers.ts'
import { eventually, TestCluster } from './cluster.ts'
import { ClientHistory, RecordedClient } from './recorded-client.ts'

const KILLS = process.env.LONG ? 10 : 3
const CLIENT_COUNT = 8
/** Programs that share a client, and so its connection. */
const AT_ONCE = 3
/** Of every other client: less than a failover takes, so that calls fail as well. */
const IMPATIENT_MS = 40
/** On average, before each turn of a program. */
const PAUSE_MS = 5
const READ_MANY_EVERY = 5
const UPDATE_EVERY = 15

let cluster: TestCluster
const clients: Client[] = []

beforeAll(async () => {
  cluster = await TestCluster.start()
  for (let k = 0; k < CLIENT_COUNT; k++) {
    const options = k % 2 === 0 ? {} : { timeoutMs: IMPATIENT_MS }
    clients.push(await connect(`127.0.0.1:${cluster.lbcport}`, options))
  }
})

afterAll(async () => {
  await Promise.all(clients.map((client) => client.close()))
  await cluster.stop()
})

interface Done {
  readonly name: string
  readonly beganMs: number
  readonly endedMs: number
  readonly result: unknown
}

/** Calls that change something, and what each said. */
class Tally {
  readonly done: Done[] = []
  readonly undone: string[] = []
  /** They may have happened. */
  readonly open: string[] = []
  readonly #history: ClientHistory

  constructor(history: ClientHistory) {
    this.#history = history
  }

  async note(name: string, change: () => Promise<unknown>): Promise<void> {
    const beganMs = performance.now()
    try {
      const result = await change()
      this.done.push({ name, beganMs, endedMs: performance.now(), result })
    } catch (error) {
      const { definite } = this.#history.countFailure(error)
      if (definite) this.undone.push(name)
      else this.open.push(name)
    }
  }

  toString(): string {
    return `${this.done.length} done, ${this.undone.length} not, ${this.open.length} open`
  }
}

/** Of calls in the order in which they took effect, those that ended before one ahead of them began. */
function overtaken(inOrder: readonly Done[]): string[] {
  let latestBeganMs = 0
  return inOrder.flatMap(({ name, beganMs, endedMs }) => {
    latestBeganMs = Math.max(latestBeganMs, beganMs)
    return endedMs < latestBeganMs ? [name] : []
  })
}

test(`${KILLS} leaders killed: calls happen once or not at all, and say which`, {
  timeout: 120_000,
}, async ({ onTestFailed }) => {
  onTestFailed(() => console.error(cluster.log.slice(-8_000)))
  const history = new ClientHistory()
  const increments = new Tally(history)
  const updates = new Tally(history)
  const registers = new Registers()
  const [patient] = clients as [Client]
  let isOver = false

  const work = async (client: Client, program: string) => {
    const recorded = new RecordedClient(client, history, program)
    /** Seen just now, so that a cas has a chance. */
    let seen: { key: string; unique: string } | null = null
    for (let n = 0; !isOver; n++) {
      const name = `${program}-${n}`
      await delay(2 * PAUSE_MS * Math.random())
      await increments.note(name, () => client.incr('counter'))
      const key: string = seen?.key ?? registers.take()
      const reply = await recorded.do(key, registers.draw(key, name, seen?.unique))
      seen = reply?.unique === undefined ? null : { key, unique: reply.unique }
      if (n % READ_MANY_EVERY === 0) await recorded.getMany([registers.take(), registers.take()])
      if (n % UPDATE_EVERY === 0) {
        const add = (value: Buffer | null) => (value === null ? name : `${value} ${name}`)
        await updates.note(name, () => client.update('names', add))
      }
    }
  }
  const someMore = (what: string) => {
    const enough = increments.done.length + 10 * CLIENT_COUNT * AT_ONCE
    return eventually(what, () => increments.done.length >= enough)
  }

  await patient.set('counter', '0')
  const working = clients.flatMap((client, at) =>
    Array.from({ length: AT_ONCE }, (_, k) => work(client, `c${at + 1}.${k + 1}`)),
  )
  for (let kill = 0; kill < KILLS; kill++) {
    await someMore('calls that succeed')
    const leader = await cluster.leader()
    await cluster.killServer(leader)
    await someMore('calls that succeed without the server that was killed')
    cluster.startServer(leader)
    await cluster.ready()
  }
  await someMore('calls that succeed with all servers')
  isOver = true
  await Promise.all(working)
  console.log(
    `${KILLS} leaders killed: increments ${increments}; updates ${updates}; on registers ` +
      `${history.entries.size} operations; failures of all these: ${history.describeFailures()}`,
  )

  // All that is wrong is shown, not the first of it alone.
  const count = Number(await patient.get('counter'))
  expect.soft(count).toBeGreaterThanOrEqual(increments.done.length)
  expect.soft(count).toBeLessThanOrEqual(increments.done.length + increments.open.length)
  const sums = increments.done.map(({ result }) => Number(result))
  expect.soft(new Set(sums).size).toBe(sums.length)
  const bySum = increments.done.toSorted((a, b) => Number(a.result) - Number(b.result))
  expect.soft(overtaken(bySum)).toEqual([])

  const names = String(await patient.get('names')).split(' ')
  const placeOf = new Map(names.map((name, at) => [name, at]))
  expect.soft(placeOf.size).toBe(names.length)
  const isThere = (name: string) => placeOf.has(name)
  expect.soft(updates.undone.filter(isThere)).toEqual([])
  expect.soft(updates.done.filter(({ name }) => !isThere(name))).toEqual([])
  const place = ({ name }: Done) => placeOf.get(name) ?? 0
  expect.soft(overtaken(updates.done.toSorted((a, b) => place(a) - place(b)))).toEqual([])

  const { violations, decidedCount, undecidedCount } = history.check()
  expect.soft(violations).toEqual([])
  // A search that takes too long is given up.
  expect.soft(decidedCount).toBeGreaterThan(9 * undecidedCount)
})

test('a number that became shorter keeps its length, and the model knows', async () => {
  const history = new ClientHistory()
  const recorded = new RecordedClient(clients[0] as Client, history, 'c')
  await recorded.do('number', { kind: 'set', value: '1000' })
  await recorded.do('number', { kind: 'decr', delta: 1 })
  await recorded.do('number', { kind: 'get' })
  await recorded.do('number', { kind: 'gets' })
  await recorded.getMany(['number'])
  expect(String(await clients[0]?.get('number'))).toBe('999 ')
  expect(history.check()).toEqual({ violations: [], decidedCount: 1, undecidedCount: 0 })
})
