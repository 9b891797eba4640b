import { describe, expect, test } from 'vitest'
import { furthest, isUpToDate, NO_ENTRY, TermRuns } from '../../../src/server/raft/term-runs.ts'
import type { EntryId } from '../../../src/server/raft/types.ts'

const id = (term: number, index: number): EntryId => ({ term, index })

/** Entries 1 to 3 of term 1, 4 and 5 of term 3, 6 of term 4. */
function sixEntries(): TermRuns {
  const terms = new TermRuns()
  for (const [at, term] of [1, 1, 1, 3, 3, 4].entries()) terms.add(id(term, at + 1))
  return terms
}

/** Terms of the entries `first` to `last`. */
function termsOf(terms: TermRuns, first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, at) => terms.termAt(first + at))
}

describe('which of two logs is further', () => {
  test.each([
    [id(1, 1), id(1, 1), true],
    [id(1, 2), id(1, 1), true],
    [id(1, 1), id(1, 2), false],
    [id(2, 1), id(1, 9), true],
    [id(1, 9), id(2, 1), false],
    [NO_ENTRY, NO_ENTRY, true],
    [NO_ENTRY, id(1, 1), false],
  ])('%o is up to date with %o: %s', (a, b, expected) => {
    expect(isUpToDate(a, b)).toBe(expected)
    expect(furthest(a, b)).toBe(expected ? a : b)
  })
})

describe('terms', () => {
  test('of none', () => {
    const terms = new TermRuns()
    expect(terms.base).toEqual(NO_ENTRY)
    expect(terms.lastTerm).toBe(0)
    expect(terms.termAt(0)).toBe(0)
    expect(terms.runs).toEqual([])
  })

  test('one run for each change of term', () => {
    const terms = sixEntries()
    expect(termsOf(terms, 0, 6)).toEqual([0, 1, 1, 1, 3, 3, 4])
    expect(terms.lastTerm).toBe(4)
    expect(terms.runs).toEqual([id(1, 1), id(3, 4), id(4, 6)])
    expect(termsOf(new TermRuns(NO_ENTRY, terms.runs), 1, 6)).toEqual([1, 1, 1, 3, 3, 4])
  })

  test('the runs given are not changed', () => {
    const runs = [id(1, 1)]
    new TermRuns(NO_ENTRY, runs).add(id(2, 2))
    expect(runs).toEqual([id(1, 1)])
  })

  test('behind a base: its own is known, none before it', () => {
    const terms = new TermRuns(id(3, 5))
    expect(terms.lastTerm).toBe(3)
    terms.add(id(3, 6))
    terms.add(id(4, 7))
    expect(termsOf(terms, 4, 7)).toEqual([0, 3, 3, 4])
  })
})

describe('truncation', () => {
  test('at any entry, and going on with another term', () => {
    for (let index = 1; index <= 6; index++) {
      const terms = sixEntries()
      terms.truncateFrom(index)
      expect(terms.lastTerm).toBe(sixEntries().termAt(index - 1))
      terms.add(id(7, index))
      expect(termsOf(terms, 1, index)).toEqual([...termsOf(sixEntries(), 1, index - 1), 7])
    }
  })

  test('down to the base', () => {
    const terms = new TermRuns(id(3, 5))
    terms.add(id(4, 6))
    terms.truncateFrom(6)
    expect(terms.runs).toEqual([])
    expect(terms.lastTerm).toBe(3)
  })
})

describe('cutting', () => {
  test('at any entry: what is behind it stays', () => {
    for (let index = 0; index <= 6; index++) {
      const terms = sixEntries()
      terms.cutTo(index)
      expect(terms.base).toEqual(id(sixEntries().termAt(index), index))
      expect(termsOf(terms, index, 6)).toEqual(termsOf(sixEntries(), index, 6))
      expect(termsOf(terms, 0, index - 1)).toEqual(Array.from({ length: index }, () => 0))
      expect(terms.lastTerm).toBe(4)
      terms.add(id(5, 7))
      expect(terms.termAt(7)).toBe(5)
    }
  })

  test('again and again', () => {
    const terms = sixEntries()
    for (const index of [2, 2, 4, 6]) terms.cutTo(index)
    expect(terms.base).toEqual(id(4, 6))
    expect(terms.runs.length).toBeLessThan(2)
  })

  test('everything, then truncating what comes after', () => {
    const terms = sixEntries()
    terms.cutTo(6)
    terms.add(id(5, 7))
    terms.truncateFrom(7)
    expect(terms.lastTerm).toBe(4)
    expect(terms.termAt(6)).toBe(4)
  })
})

describe('the hint for a log that differs', () => {
  test.each([
    [9, 6, id(4, 6)],
    [4, 6, id(4, 6)],
    [3, 6, id(3, 5)],
    [2, 6, id(1, 3)],
    [1, 6, id(1, 3)],
    [9, 5, id(3, 5)],
    [2, 5, id(1, 3)],
    [1, 2, id(1, 2)],
    [0, 6, NO_ENTRY],
    [9, 0, NO_ENTRY],
  ])('at most term %i, at or before %i', (term, index, hint) => {
    expect(sixEntries().findHint(term, index)).toEqual(hint)
  })

  test('is never before the base', () => {
    const terms = sixEntries()
    terms.cutTo(4)
    expect(terms.findHint(9, 6)).toEqual(id(4, 6))
    expect(terms.findHint(3, 6)).toEqual(id(3, 5))
    expect(terms.findHint(2, 6)).toEqual(id(3, 4))
    expect(terms.findHint(3, 3)).toEqual(id(3, 4))
  })
})
