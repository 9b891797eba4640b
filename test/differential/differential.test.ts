// Goal: what memcached and this store answer to the same requests is the same, byte for byte.
// Method: some hundred random sequences against both, as npm run differential has more of; and
// a memcached that is made to answer otherwise, so that it is known that a difference is found.
import { afterEach, describe, expect, test } from 'vitest'
import { TestCluster } from '../e2e/cluster.ts'
import { Comparison, describeFinding } from './comparison.ts'
import type { Endpoint } from './conversation.ts'
import { differencesFrom, Excuses } from './differences.ts'
import { findMemcached, startReference } from './reference.ts'

const ends: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const end of ends.splice(0)) await end()
})

const memcached = findMemcached()
const skipped = memcached === null ? ' (skipped: no memcached is installed)' : ''

async function start(...flags: string[]): Promise<{ endpoint: Endpoint; version: string }> {
  const reference = await startReference(memcached ?? '', flags)
  ends.push(reference.stop)
  return reference
}

/** What is found of so many sequences. */
async function differencesOf(subject: Endpoint, count: number): Promise<string[]> {
  const { endpoint, version } = await start()
  const found: string[] = []
  await new Comparison(endpoint, subject).run({
    firstSeed: 1,
    count,
    parallel: 8,
    isExcused: new Excuses(differencesFrom(version)).isExcused,
    onFinding: (finding) => found.push(describeFinding(finding)),
  })
  return found
}

describe.skipIf(memcached === null)(`against memcached${skipped}`, { timeout: 120_000 }, () => {
  test('a leader answers as memcached does', async () => {
    const cluster = await TestCluster.start(3)
    ends.push(() => cluster.stop())
    const { place, cport } = await cluster.leader()
    const leader = { host: place.cip, port: cport, isMemcached: false }
    expect(await differencesOf(leader, 300)).toEqual([])
  })

  test('a memcached that has no cas uniques is found out, with what shows it', async () => {
    const { endpoint } = await start('-C')
    const [first] = await differencesOf(endpoint, 20)
    expect(first).toMatch(/> .*(?:gets|cas|[mg][gs]).*\n {2}memcached: .*\n {2}here: /)
  })
})
