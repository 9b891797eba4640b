/**
 * What a user counts on: acknowledged writes survive kill -9 of anything, and
 * writes go on. Real processes, real sockets, real files.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { eventually, TestCluster } from './cluster.ts'
import { Load } from './load.ts'
import { checkPausedLeader } from './paused-leader.ts'
import { TextClient } from './text-client.ts'

let cluster: TestCluster

beforeEach(async () => {
  cluster = await TestCluster.start()
})

afterEach(async (context) => {
  if (context.task.result?.state === 'fail') {
    console.error(cluster.log.slice(-8_000), await cluster.status().catch(String))
  }
  await cluster.stop()
})

/** How long it takes until a write that begins now or later is acknowledged. */
async function gapMs(load: Load): Promise<number> {
  const sinceMs = performance.now()
  await eventually('an acknowledged write', () => load.latestStartMs > sinceMs)
  return performance.now() - sinceMs
}

describe('failover', () => {
  test('leader killed ten times under load: nothing acknowledged is lost', {
    timeout: 120_000,
  }, async () => {
    const load = new Load(cluster)
    const gaps: number[] = []
    for (let round = 0; round < 10; round++) {
      await delay(300)
      const leader = await cluster.leader()
      await cluster.killServer(leader)
      gaps.push(Math.round(await gapMs(load)))
      await delay(200)
      cluster.startServer(leader)
      await cluster.ready()
    }
    await load.stop()
    console.log(
      `leader killed 10 times: ${load.stored.size} stored, ${load.refused.size} refused, ` +
        `${load.unknown.size} unknown; gaps in ms: ${gaps.join(' ')}`,
    )
    for (const server of cluster.servers) await load.check(server)
    expect(Math.max(...gaps)).toBeLessThan(1_000)
    expect(load.stored.size).toBeGreaterThan(1_000)
  })

  test('leader stopped ten times under load: it hands over, and answers what is under way', {
    timeout: 120_000,
  }, async () => {
    const load = new Load(cluster)
    const gaps: number[] = []
    for (let round = 0; round < 10; round++) {
      await delay(300)
      const leader = await cluster.leader()
      load.takeLongestGapMs()
      await cluster.killServer(leader, 'SIGTERM')
      await gapMs(load)
      gaps.push(Math.round(load.takeLongestGapMs()))
      cluster.startServer(leader)
      await cluster.ready()
    }
    await load.stop()
    console.log(
      `leader stopped 10 times: ${load.stored.size} stored, ${load.refused.size} refused, ` +
        `${load.unknown.size} unknown; gaps in ms: ${gaps.join(' ')}`,
    )
    expect([...load.refused]).toEqual([])
    for (const server of cluster.servers) await load.check(server)
    expect(Math.max(...gaps)).toBeLessThan(1_000)
  })

  test('all servers killed at once under load: nothing acknowledged is lost', {
    timeout: 90_000,
  }, async () => {
    const load = new Load(cluster)
    for (let round = 0; round < 3; round++) {
      await delay(700)
      await Promise.all(cluster.servers.map((server) => cluster.killServer(server)))
      const order = [...cluster.servers].sort(() => Math.random() - 0.5)
      for (const server of order) {
        cluster.startServer(server)
        await delay(Math.random() * 400)
      }
      await cluster.ready()
      await gapMs(load)
    }
    await load.stop()
    for (const server of cluster.servers) await load.check(server)
    expect(load.stored.size).toBeGreaterThan(500)
  })

  test('load balancer killed and restarted under load: no write fails', {
    timeout: 60_000,
  }, async () => {
    const load = new Load(cluster)
    for (let round = 0; round < 3; round++) {
      await delay(500)
      await cluster.killBalancer()
      await delay(700)
      cluster.startBalancer()
      await cluster.ready()
    }
    await load.stop()
    expect([...load.refused, ...load.unknown]).toEqual([])
    expect(load.stored.size).toBeGreaterThan(500)
    for (const server of cluster.servers) await load.check(server)
  })

  test('without a load balancer the servers elect a leader themselves', {
    timeout: 60_000,
  }, async () => {
    const load = new Load(cluster)
    await delay(300)
    const leader = await cluster.leader()
    await cluster.killBalancer()
    await cluster.killServer(leader)
    expect(await gapMs(load)).toBeLessThan(5_000)
    cluster.startServer(leader)
    cluster.startBalancer()
    await cluster.ready()
    await load.stop()
    for (const server of cluster.servers) await load.check(server)
  })

  test('one server of three left refuses writes with a reason, within the timeout', {
    timeout: 60_000,
  }, async () => {
    const leader = await cluster.leader()
    const [other, survivor] = cluster.servers.filter((server) => server !== leader)
    if (!other || !survivor) throw new Error('three servers expected')
    await Promise.all([cluster.killServer(leader), cluster.killServer(other)])
    const client = await TextClient.connect(survivor.cport)
    const startMs = performance.now()
    const reply = await client?.set('lonely', 'value')
    expect(reply).toMatch(/^SERVER_ERROR (not stored|outcome unknown): \S/)
    await expect(client?.get(['lonely'])).rejects.toThrow(/^SERVER_ERROR \S/)
    expect(performance.now() - startMs).toBeLessThan(6_000)
    client?.close()

    cluster.startServer(other)
    const again = await TextClient.connect(survivor.cport)
    await eventually(
      'writes with two servers',
      async () => (await again?.set('k', 'v')) === 'STORED',
    )
    again?.close()
  })

  test('a paused leader serves nothing stale when it wakes', { timeout: 60_000 }, () => {
    return checkPausedLeader(cluster)
  })
})
