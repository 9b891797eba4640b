/** The results as text, a line for each system of each row. Pure. */
import { type RowResult, ratioTo, type SubjectResult } from './results.ts'

const TITLES = [
  ...[
    '',
    '',
    'ops/s',
    'ours is',
    'p50 ms',
    'p99 ms',
    'p99.9 ms',
    'CPU s/100k ops',
    'load',
    'others',
  ],
  ...['MiB', 'disk B/write', 'syncs/write', 'wire B/op'],
] as const

export const LEGEND = [
  "ours is    this store's rate in the rates of the other",
  'CPU        of each process (leader or master, followers or replicas, load balancer)',
  'load       of one processor, what the load generator took',
  'others     of all processors, what neither the system nor the bench took, the kernel and systems that only wait included',
  'MiB        resident, all processes of the system',
  'disk       bytes written to the disks of the machine, by whomever, a write',
  'syncs      fdatasyncs of all logs of the system, a write; empty where nobody counts them',
  'wire       bytes over loopback an operation, to clients and peers, and of all else that uses it',
].join('\n')

export function describeResults(results: readonly RowResult[]): string {
  const lines = results.flatMap((result) =>
    result.subjects.map((each, at) => [at === 0 ? result.row.name : '', ...cells(result, each)]),
  )
  return alignRight([TITLES, ...lines])
}

function cells(result: RowResult, { subject, median }: SubjectResult): string[] {
  const ratio = subject === 'raftcached' ? null : ratioTo(result, subject)
  const resident = median.processes.reduce((sum, each) => sum + each.residentBytes, 0)
  return [
    subject,
    count(median.rate),
    ratio === null ? '' : `${ratio.toFixed(2)} x`,
    ...[median.p50Ms, median.p99Ms, median.p999Ms].map((ms) => ms.toFixed(ms < 10 ? 3 : 1)),
    median.processes.map(({ cpuS }) => cpuS.toFixed(2)).join(' '),
    percent(median.generatorShare),
    percent(median.othersShare),
    count(resident / 2 ** 20),
    median.diskBytesPerWrite === null ? '' : count(median.diskBytesPerWrite),
    median.syncsPerWrite?.toFixed(3) ?? '',
    count(median.wireBytesPerOperation),
  ]
}

/** The first two columns begin at the left, all others end at the right. */
export function alignRight(rows: readonly (readonly string[])[]): string {
  const widths: number[] = []
  for (const row of rows) {
    for (const [at, cell] of row.entries()) widths[at] = Math.max(widths[at] ?? 0, cell.length)
  }
  const pad = (cell: string, at: number) =>
    at < 2 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0)
  return rows.map((row) => `${row.map(pad).join('  ').trimEnd()}\n`).join('')
}

function count(value: number): string {
  return Math.round(value).toLocaleString('en')
}

function percent(share: number): string {
  return `${Math.round(100 * share)} %`
}
