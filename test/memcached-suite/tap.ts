/**
 * Reads the Test Anything Protocol, as perl's Test::More writes it.
 *
 * In: the lines of one test program, its standard error among them. Out: its
 * subtests of the outermost level, and how many it said there would be. Lines
 * that are neither are passed over, so that a program may print what it likes.
 */

export interface Subtest {
  readonly number: number
  /** Empty where it has none. */
  readonly name: string
  readonly isOk: boolean
  /** Not run: the program says so itself, and counts it as passed. */
  readonly isSkipped: boolean
  /** What the program says about a failure. */
  readonly details: readonly string[]
}

export interface TestResult {
  /** null where the program did not come to say it. */
  readonly planned: number | null
  /** Why the program skips all of its subtests; null where it does not. */
  readonly skippedWhy: string | null
  readonly subtests: readonly Subtest[]
}

const SUBTEST = /^(not )?ok(?: +(\d+))?(?: +-)?(?: +(.*))?$/
const PLAN = /^1\.\.(\d+)(?: *# *skip\S* *(.*))?$/i
const DIRECTIVE = /^(.*?)(?:^| )# *(todo|skip)\b/i

export function parseTap(lines: Iterable<string>): TestResult {
  let planned: number | null = null
  let skippedWhy: string | null = null
  const subtests: Subtest[] = []
  let details: string[] = []
  for (const line of lines) {
    const plan = PLAN.exec(line)
    const subtest = SUBTEST.exec(line)
    if (plan) {
      planned = Number(plan[1])
      if (plan[2] !== undefined) skippedWhy = plan[2]
    } else if (subtest) {
      const [, not, number, text = ''] = subtest
      const [, name = text, directive] = DIRECTIVE.exec(text) ?? []
      details = []
      subtests.push({
        number: number === undefined ? subtests.length + 1 : Number(number),
        name: name.replaceAll('\\#', '#'),
        isOk: !not || directive !== undefined,
        isSkipped: directive?.toLowerCase() === 'skip',
        details,
      })
    } else if (line.startsWith('#')) {
      details.push(line.replace(/^#\s*/, ''))
    }
  }
  return { planned, skippedWhy, subtests }
}
