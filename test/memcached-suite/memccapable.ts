/**
 * Reads what memccapable (of libmemcached's tools) prints: a name in a column of
 * 40 characters, then `[pass]`, or `[FAIL]` and the assertion that did not hold.
 */
import type { Subtest, TestResult } from './tap.ts'

/** Tests of the text protocol that it has. */
const TEST_COUNT = 27
const NAME = /(ascii [a-z ]{34})/

export function parseMemccapable(lines: Iterable<string>): TestResult {
  const [, ...parts] = [...lines].join('\n').split(NAME)
  const subtests: Subtest[] = []
  for (let at = 0; at + 1 < parts.length; at += 2) {
    const text = parts[at + 1] ?? ''
    subtests.push({
      number: subtests.length + 1,
      name: (parts[at] ?? '').trim(),
      isOk: text.includes('[pass]'),
      isSkipped: false,
      details: text.split('\n').filter((line) => line.includes('memcapable.cc')),
    })
  }
  return { planned: TEST_COUNT, skippedWhy: null, subtests }
}
