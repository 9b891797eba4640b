/**
 * What was measured of a row: all measurements of its systems, and of each figure the
 * median over the rounds. Pure.
 */
import type { Measurement } from './measurement.ts'
import type { Row } from './rows.ts'
import type { SubjectName } from './systems/system.ts'

export interface RowResult {
  readonly row: Row
  readonly subjects: readonly SubjectResult[]
}

export interface SubjectResult {
  readonly subject: SubjectName
  readonly rounds: readonly Measurement[]
  readonly median: Measurement
}

/** @param rounds one at least */
export function summarize(subject: SubjectName, rounds: readonly Measurement[]): SubjectResult {
  const [first] = rounds
  if (!first) throw new Error('nothing was measured')
  const of = (figure: (each: Measurement) => number) => median(rounds.map(figure))
  const known = (figure: (each: Measurement) => number | null) => {
    const values = rounds.map(figure).filter((value) => value !== null)
    return values.length === 0 ? null : median(values)
  }
  return {
    subject,
    rounds,
    median: {
      rate: of(({ rate }) => rate),
      p50Ms: of(({ p50Ms }) => p50Ms),
      p99Ms: of(({ p99Ms }) => p99Ms),
      p999Ms: of(({ p999Ms }) => p999Ms),
      processes: first.processes.map(({ role }, at) => ({
        role,
        cpuS: of(({ processes }) => processes[at]?.cpuS ?? 0),
        residentBytes: of(({ processes }) => processes[at]?.residentBytes ?? 0),
      })),
      generatorShare: of(({ generatorShare }) => generatorShare),
      othersShare: of(({ othersShare }) => othersShare),
      diskBytesPerWrite: known(({ diskBytesPerWrite }) => diskBytesPerWrite),
      syncsPerWrite: known(({ syncsPerWrite }) => syncsPerWrite),
      wireBytesPerOperation: of(({ wireBytesPerOperation }) => wireBytesPerOperation),
    },
  }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? 0
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? 0)) / 2
}

/** This store's rate, in those of another system; null where one of them was not measured. */
export function ratioTo(result: RowResult, peer: SubjectName): number | null {
  const [own, other] = [rateOf(result, 'raftcached'), rateOf(result, peer)]
  return own === null || other === null ? null : own / other
}

export function rateOf({ subjects }: RowResult, name: SubjectName): number | null {
  return subjects.find(({ subject }) => subject === name)?.median.rate ?? null
}
