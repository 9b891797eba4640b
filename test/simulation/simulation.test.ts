/**
 * A short slice of the simulator: fixed seeds, the same seed twice, and seeds
 * nobody has run before. `npm run sim` runs them by the thousand.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { CANARIES, withBug } from './canaries.ts'
import { type SimulationResult, simulate } from './simulation.ts'

const FRESH_COUNT = process.env.LONG ? 1_000 : 60

async function expectClean(seeds: readonly number[]): Promise<SimulationResult[]> {
  const results: SimulationResult[] = []
  for (const seed of seeds) {
    const result = await simulate(seed)
    expect(result.violation, `seed ${seed}`).toBeNull()
    results.push(result)
  }
  return results
}

test('fixed seeds are clean, and each is a minute of faults and operations', {
  timeout: 120_000,
}, async () => {
  const results = await expectClean(Array.from({ length: 60 }, (_, at) => at + 1))
  for (const { faults, stats, simulatedMs } of results) {
    expect(simulatedMs).toBeGreaterThanOrEqual(60_000)
    expect(stats.operationCount).toBeGreaterThanOrEqual(200)
    expect([...faults.values()].reduce((a, b) => a + b, 0)).toBeGreaterThanOrEqual(10)
  }
  const underLease = results.filter(({ leaseCount, eventCount }) => leaseCount > eventCount / 5)
  expect(underLease.length).toBeGreaterThan(10)
})

test('fresh seeds are clean', { timeout: 1_800_000 }, async () => {
  const first = Math.floor(Math.random() * 1e9)
  console.log(`fresh seeds ${first} to ${first + FRESH_COUNT - 1}`)
  await expectClean(Array.from({ length: FRESH_COUNT }, (_, at) => first + at))
})

test('a seed gives the same trace twice, byte for byte', async () => {
  const traces: string[] = []
  for (let run = 0; run < 2; run++) {
    let trace = ''
    await simulate(17, (line) => {
      trace += `${line}\n`
    })
    traces.push(trace)
  }
  expect(traces[0]?.length).toBeGreaterThan(10_000)
  expect(traces[1]).toBe(traces[0])
})

test('at least twelve bugs can be planted, each under a name of its own, and fit the code', () => {
  expect(CANARIES.length).toBeGreaterThanOrEqual(12)
  expect(new Set(CANARIES.map(({ name }) => name)).size).toBe(CANARIES.length)
  const compiled = mkdtempSync(join(tmpdir(), 'raftcached-bugs-'))
  try {
    const compiler = fileURLToPath(new URL('../../node_modules/.bin/tsc', import.meta.url))
    execFileSync(compiler, ['-p', 'tsconfig.sim.json', '--outDir', compiled])
    for (const canary of CANARIES) expect(withBug(canary, compiled).size).toBeGreaterThan(0)
  } finally {
    rmSync(compiled, { recursive: true })
  }
})
