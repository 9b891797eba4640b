/**
 * What one run of one test program amounts to. In: its subtests, how it ended,
 * and which subtests may fail. Out: what counts. Pure.
 */
import type { Subtest, TestResult } from './tap.ts'

export interface Verdict {
  /** How many subtests there are, as far as the program came to say it. */
  readonly count: number
  readonly passed: number
  readonly skipped: number
  /** Failed, and must not. */
  readonly failures: readonly Subtest[]
  /** Failed, and may: why, and how many for this reason. */
  readonly excused: ReadonlyMap<string, number>
  /** Why the run can't count, whatever its subtests say. */
  readonly problem: string | null
  /** To be known, and no failure. */
  readonly remark: string | null
}

export function judge(
  { planned, skippedWhy, subtests }: TestResult,
  { problem, remark }: { problem: string | null; remark: string | null },
  mayFail: Readonly<Record<string, string>> = {},
): Verdict {
  const failures: Subtest[] = []
  const excused = new Map<string, number>()
  for (const subtest of subtests) {
    if (subtest.isOk) continue
    const why = mayFail[subtest.name] ?? mayFail[`#${subtest.number}`]
    if (why === undefined) failures.push(subtest)
    else excused.set(why, (excused.get(why) ?? 0) + 1)
  }
  return {
    count: Math.max(planned ?? 0, subtests.length),
    passed: subtests.filter(({ isOk }) => isOk).length,
    skipped: subtests.filter(({ isSkipped }) => isSkipped).length,
    failures,
    excused,
    problem: problem ?? incompleteness(planned, skippedWhy, subtests.length),
    remark,
  }
}

export function isGood({ failures, problem }: Verdict): boolean {
  return failures.length === 0 && problem === null
}

function incompleteness(
  planned: number | null,
  skippedWhy: string | null,
  seen: number,
): string | null {
  if (skippedWhy !== null) return `skips itself: ${skippedWhy}`
  if (planned === null) return `ended early, after ${seen} subtests`
  if (planned !== seen) return `ended early, after ${seen} of ${planned} subtests`
  return null
}
