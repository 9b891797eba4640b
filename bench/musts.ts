/** What this store has to reach, and whether it does: figures of rows, held against marks. Pure. */
import { type RowResult, ratioTo } from './results.ts'
import type { SubjectName } from './systems/system.ts'
import { alignRight } from './table.ts'

interface Mark {
  readonly work: string
  readonly must: number
  readonly stretch: number
  readonly unit: string
  /** Milliseconds are to be at most that, ratios at least. */
  readonly isAtMost: boolean
  /** null where it was not measured. */
  readonly figure: (results: Results) => number | null
}

export interface Results {
  readonly rows: readonly RowResult[]
  /** The median rate after very many writes, in that of a fresh cluster; null where not measured. */
  readonly longRatio: number | null
}

function ratio(work: string, row: string, peer: SubjectName, must: number, stretch: number): Mark {
  const figure = ({ rows }: Results) => {
    const result = rows.find((each) => each.row.name === row)
    return result ? ratioTo(result, peer) : null
  }
  const unit = peer === 'leader' ? "x the leader's" : `x ${peer}`
  return { work, must, stretch, unit, isAtMost: false, figure }
}

function latency(work: string, row: string): Mark {
  const figure = ({ rows }: Results) => {
    const subjects = rows.find((each) => each.row.name === row)?.subjects ?? []
    return subjects.find(({ subject }) => subject === 'raftcached')?.median.p999Ms ?? null
  }
  return { work, must: 20, stretch: 10, unit: 'ms', isAtMost: true, figure }
}

const MARKS: readonly Mark[] = [
  ratio('durable writes, 50 clients', 'write 50', 'etcd', 4, 5),
  ratio('durable writes, 400 clients', 'write 400', 'etcd', 4, 5),
  ratio('durable writes, 400 clients', 'write 400', 'redis', 0.9, 1),
  ratio('durable writes, 50 x 16 in flight', 'write 50x16', 'redis', 1.3, 1.5),
  ratio('linearizable reads, 50 clients', 'read 50', 'etcd', 5, 6),
  ratio('reads under lease, 50 clients', 'lease 50', 'bare', 0.9, 1),
  ratio('reads under lease, 50 x 16 in flight', 'lease 50x16', 'memcached', 0.8, 1),
  ratio('any server, mixed load', 'mix 50 any', 'leader', 0.8, 1),
  latency('p99.9 of writes at half the rate of 50 x 16', 'write 50x16 half'),
  latency('the same, writes that come one by one', 'write 50x16 half singly'),
  latency('p99.9 of writes at half the rate of 400 clients', 'write 400 half'),
  {
    ...{
      work: "after an hour's worth of writes",
      must: 0.95,
      stretch: 1,
      unit: 'x a fresh cluster',
    },
    ...{ isAtMost: false, figure: ({ longRatio }) => longRatio },
  },
]

export function describeMarks(results: Results): string {
  const lines = MARKS.map(({ work, must, stretch, unit, isAtMost, figure }) => {
    const value = figure(results)
    const reaches = (mark: number) => value !== null && (isAtMost ? value <= mark : value >= mark)
    const verdict = reaches(stretch) ? 'stretch' : reaches(must) ? 'holds' : 'NOT REACHED'
    return [
      work,
      unit,
      value === null ? '-' : value.toFixed(2),
      String(must),
      String(stretch),
      value === null ? 'not measured' : verdict,
    ]
  })
  return alignRight([['', '', 'measured', 'must', 'stretch', ''], ...lines])
}
