/**
 * One measurement: a system, a row, some seconds. Starts the load generators, reads what
 * the kernel counts when their measured time begins and ends, and adds up what they saw.
 */
import { availableParallelism } from 'node:os'
import { Generator } from './generator.ts'
import { Histogram } from './load/histogram.ts'
import type { Endpoint, Job, LoadResult } from './load/job.ts'
import { type ProcessCounts, readMachine, readProcess, readResidentBytes } from './proc.ts'
import type { Row } from './rows.ts'
import type { System } from './systems/system.ts'

const FILL_IN_FLIGHT = 100

export interface Plan {
  readonly warmUpMs: number
  readonly measureMs: number
  readonly generatorCount: number
  /** Syncs are counted by looking over the system's shoulder, which makes it slower. */
  readonly isTraced?: boolean
}

export interface ProcessFigures {
  readonly role: string
  /** A 100,000 operations. */
  readonly cpuS: number
  readonly residentBytes: number
}

export interface Measurement {
  /** Operations a second. */
  readonly rate: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly p999Ms: number
  readonly processes: readonly ProcessFigures[]
  /** Of one processor, what the busiest load generator took. */
  readonly generatorShare: number
  /** Of all processors, what neither the system nor the bench took: noise. */
  readonly othersShare: number
  /** To the disks of the machine, by whomever; null where nothing was written. */
  readonly diskBytesPerWrite: number | null
  readonly syncsPerWrite: number | null
  /** Over loopback, by whomever: clients, peers, others. */
  readonly wireBytesPerOperation: number
}

/** Writes all keys, each once. */
export async function fill(system: System, row: Row): Promise<void> {
  const job: Job = {
    ...jobOf(system, row, [await system.leader()]),
    ...{ connectionCount: 1, inFlight: Math.min(FILL_IN_FLIGHT, row.keyCount), kind: 'write' },
    ...{ isFill: true, warmUpMs: 0, measureMs: 0, ratePerS: null, seed: 0 },
  }
  const generator = new Generator(job)
  try {
    throwError(system, await generator.result)
  } finally {
    generator.end()
  }
}

/**
 * @param ratePerS null for as fast as it goes
 * @throws where any request was answered with an error
 */
export async function measure(
  system: System,
  row: Row,
  plan: Plan,
  ratePerS: number | null,
): Promise<Measurement> {
  const { warmUpMs, measureMs, generatorCount } = plan
  const endpoints = row.to === 'leader' ? [await system.leader()] : system.everyone()
  const processes = await system.processes()
  const endTrace = plan.isTraced ? await system.traceSyncs?.() : undefined
  const syncsBefore = await system.syncCount()
  const count = Math.min(generatorCount, row.connectionCount)
  const isSingle = ratePerS !== null && row.comesSingly
  const jobs = Array.from({ length: count }, (_, k) => ({
    ...jobOf(system, isSingle ? { ...row, inFlight: 1 } : row, endpoints),
    ...{ connectionCount: share(row.connectionCount, k, count), seed: k + 1, isFill: false },
    ...{ warmUpMs, measureMs, ratePerS: ratePerS === null ? null : ratePerS / count },
  }))
  const generators = jobs.map((job) => new Generator(job))
  const results = Promise.all(generators.map(({ result }) => result)).finally(() => {
    for (const generator of generators) generator.end()
  })
  const pids = processes.map(({ pid }) => pid)
  // All begin and end within a moment of each other.
  await Promise.race([Promise.all(generators.map(({ begun }) => begun)), results])
  const before = look(pids, generators)
  await Promise.race([Promise.all(generators.map(({ ended }) => ended)), results])
  const after = look(pids, generators)
  const resident = pids.map(readResidentBytes)
  const seen = await results
  for (const result of seen) throwError(system, result)
  const syncsAfter = await system.syncCount()
  const traced = await endTrace?.()

  const total = (of: (result: LoadResult) => number) => sum(seen.map(of))
  const latencies = new Histogram()
  for (const { latencies: counts } of seen) latencies.add(new Histogram(counts))
  const operations = total((result) => result.count)
  const totalWrites = total((result) => result.totalWriteCount)
  const writes = (operations * totalWrites) / total((result) => result.totalCount)
  const seconds = (after.ms - before.ms) / 1_000
  const cpuS = differences(before.processes.map(cpuOf), after.processes.map(cpuOf))
  const diskBytes = after.machine.diskBytes - before.machine.diskBytes
  const generatorCpuS = differences(before.generators.map(cpuOf), after.generators.map(cpuOf))
  const machineCpuS = after.machine.cpuS - before.machine.cpuS
  const ownCpuS = sum(cpuS) + sum(generatorCpuS) + after.ownCpuS - before.ownCpuS
  const loopbackBytes = after.machine.loopbackBytes - before.machine.loopbackBytes
  const counted = syncsBefore === null || syncsAfter === null ? null : syncsAfter - syncsBefore
  const syncs = traced ?? counted
  return {
    rate: total((result) => (1_000 * result.count) / result.ms),
    p50Ms: latencies.quantile(0.5),
    p99Ms: latencies.quantile(0.99),
    p999Ms: latencies.quantile(0.999),
    processes: processes.map(({ role }, at) => ({
      role,
      cpuS: (100_000 * (cpuS[at] ?? 0)) / operations,
      residentBytes: resident[at] ?? 0,
    })),
    generatorShare: Math.max(...generatorCpuS) / seconds,
    othersShare: Math.max(0, machineCpuS - ownCpuS) / (seconds * availableParallelism()),
    diskBytesPerWrite: writes === 0 ? null : diskBytes / writes,
    syncsPerWrite: syncs === null || totalWrites === 0 ? null : syncs / totalWrites,
    wireBytesPerOperation: loopbackBytes / operations,
  }
}

function jobOf(system: System, row: Row, endpoints: readonly Endpoint[]) {
  const { inFlight, kind, valueBytes, keyCount } = row
  return { protocol: system.protocol, endpoints, inFlight, kind, valueBytes, keyCount }
}

function look(pids: readonly number[], generators: readonly Generator[]) {
  const { user, system } = process.cpuUsage()
  return {
    ms: performance.now(),
    processes: pids.map(readProcess),
    generators: generators.map(({ pid }) => readProcess(pid)),
    machine: readMachine(),
    ownCpuS: (user + system) / 1e6,
  }
}

function throwError(system: System, { errorCount, firstError }: LoadResult): void {
  if (errorCount > 0) throw new Error(`${system.name}: ${errorCount} errors: ${firstError}`)
}

function cpuOf({ cpuS }: ProcessCounts): number {
  return cpuS
}

function differences(before: readonly number[], after: readonly number[]): number[] {
  return after.map((value, at) => value - (before[at] ?? 0))
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}

/** So many of `count` are the share of the one numbered `k` of `among`. */
function share(count: number, k: number, among: number): number {
  return Math.floor((count * (k + 1)) / among) - Math.floor((count * k) / among)
}
