/** Results for tests: rows with rates, and with whatever else matters. */
import type { Measurement } from '../../bench/measurement.ts'
import { type RowResult, summarize } from '../../bench/results.ts'
import { findRow } from '../../bench/rows.ts'
import type { SubjectName } from '../../bench/systems/system.ts'

const MEASUREMENT: Measurement = {
  ...{ rate: 1_000, p50Ms: 1, p99Ms: 20, p999Ms: 30, generatorShare: 0.5, othersShare: 0.01 },
  processes: [
    { role: 'leader', cpuS: 2, residentBytes: 2 ** 20 },
    { role: 'follower', cpuS: 1, residentBytes: 2 ** 20 },
  ],
  ...{ diskBytesPerWrite: 500, syncsPerWrite: 0.25, wireBytesPerOperation: 400 },
}

export function measurementFor(changes: Partial<Measurement>): Measurement {
  return { ...MEASUREMENT, ...changes }
}

export function resultFor(
  row: string,
  subjects: Partial<Record<SubjectName, Partial<Measurement>>>,
): RowResult {
  const names = Object.keys(subjects) as SubjectName[]
  return {
    row: findRow(row),
    subjects: names.map((name) => summarize(name, [measurementFor(subjects[name] ?? {})])),
  }
}
