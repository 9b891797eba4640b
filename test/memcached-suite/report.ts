/** The table of a run, in Markdown, and what failed. In: verdicts. Out: text. Pure. */
import { isGood, type Verdict } from './verdict.ts'

const FAILURES_MAX = 5
const DETAILS_MAX = 6
const CHARACTERS_MAX = 160

export interface Row {
  readonly name: string
  /** By role; empty where it was not run. */
  readonly verdicts: ReadonlyMap<string, Verdict>
  /** Why it was not run. */
  readonly note?: string
}

export function renderTable(rows: readonly Row[], roles: readonly string[]): string {
  const head = ['file', 'subtests', ...roles.map((role) => `passed at ${role}`), 'note']
  const total = [
    'all',
    sum(rows, countOf),
    ...roles.map((role) => sum(rows, ({ verdicts }) => verdicts.get(role)?.passed ?? 0)),
    '',
  ]
  return [head, head.map(() => '---'), ...rows.map((row) => cellsOf(row, roles)), total]
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n')
}

/** Every failure that is not excused, some of each run. */
export function renderFailures(rows: readonly Row[]): string {
  const lines: string[] = []
  for (const { name, verdicts } of rows) {
    for (const [role, verdict] of verdicts) {
      if (isGood(verdict)) continue
      lines.push(
        '',
        `${name} at ${role}: ${verdict.problem ?? `${verdict.failures.length} failed`}`,
      )
      for (const { number, name, details } of verdict.failures.slice(0, FAILURES_MAX)) {
        lines.push(`  ${number} ${cut(name)}`)
        for (const detail of details.slice(0, DETAILS_MAX)) lines.push(`      ${cut(detail)}`)
      }
      const left = verdict.failures.length - FAILURES_MAX
      if (left > 0) lines.push(`  and ${left} more`)
    }
  }
  return lines.join('\n')
}

function cellsOf(row: Row, roles: readonly string[]): string[] {
  const { name, verdicts } = row
  if (verdicts.size === 0) return [name, '', ...roles.map(() => ''), `not run: ${row.note}`]
  return [
    name,
    String(countOf(row)),
    ...roles.map((role) => {
      const verdict = verdicts.get(role)
      return verdict ? `${verdict.passed}${isGood(verdict) ? '' : ' **failed**'}` : ''
    }),
    noteOf(verdicts),
  ]
}

/** The same at every role is said once. */
function noteOf(verdicts: ReadonlyMap<string, Verdict>): string {
  const roles = new Map<string, string[]>()
  for (const [role, verdict] of verdicts) {
    for (const remark of remarksOf(verdict)) roles.set(remark, [...(roles.get(remark) ?? []), role])
  }
  return [...roles]
    .map(([remark, at]) => (at.length === verdicts.size ? remark : `at ${at.join()}: ${remark}`))
    .join('; ')
}

function remarksOf({ problem, remark, skipped, excused, failures }: Verdict): string[] {
  return [
    ...(problem === null ? [] : [problem]),
    ...(remark === null ? [] : [remark]),
    ...(failures.length === 0 ? [] : [`${failures.length} failed`]),
    ...(skipped === 0 ? [] : [`${skipped} skipped by itself`]),
    ...[...excused].map(([why, count]) => `${count} may fail: ${why}`),
  ]
}

function countOf({ verdicts }: Row): number {
  return Math.max(0, ...[...verdicts.values()].map(({ count }) => count))
}

function sum(rows: readonly Row[], of: (row: Row) => number): string {
  return String(rows.reduce((total, row) => total + of(row), 0))
}

function cut(text: string): string {
  return text.length <= CHARACTERS_MAX ? text : `${text.slice(0, CHARACTERS_MAX)}...`
}
