/**
 * The term of every entry of a log, as runs of equal term: terms change rarely,
 * so the term at any index is known without the entry.
 *
 * A log starts behind its base, the last entry that it no longer holds (0/0
 * where it holds all). Where a log ends is its owner's to know.
 */
import type { EntryId } from './types.ts'

export const NO_ENTRY: EntryId = { term: 0, index: 0 }

/** Whether a log that ends at `a` is at least as up to date as one that ends at `b` (thesis 3.6.1). */
export function isUpToDate(a: EntryId, b: EntryId): boolean {
  return a.term > b.term || (a.term === b.term && a.index >= b.index)
}

/** The one of the two that is further. */
export function furthest(a: EntryId, b: EntryId): EntryId {
  return isUpToDate(a, b) ? a : b
}

export class TermRuns {
  #base: EntryId
  /** Each run's first index and its term, ascending. */
  #runs: EntryId[]

  constructor(base: EntryId = NO_ENTRY, runs: readonly EntryId[] = []) {
    this.#base = base
    this.#runs = [...runs]
  }

  get base(): EntryId {
    return this.#base
  }

  get runs(): readonly EntryId[] {
    return this.#runs
  }

  get lastTerm(): number {
    return this.#runs.at(-1)?.term ?? this.#base.term
  }

  /** Term of the entry at `index`, which must not be after the last; 0 before the base. */
  termAt(index: number): number {
    if (index === this.#base.index) return this.#base.term
    if (index < this.#base.index) return 0
    for (let at = this.#runs.length - 1; at >= 0; at--) {
      const run = this.#runs[at]
      if (run && run.index <= index) return run.term
    }
    return 0
  }

  /** The newest entry at or before `index` whose term is at most `term`; the base where none is. */
  findHint(term: number, index: number): EntryId {
    let last = index
    for (let at = this.#runs.length - 1; at >= 0 && last > this.#base.index; at--) {
      const run = this.#runs[at]
      if (!run || run.index > last) continue
      if (run.term <= term) return { term: run.term, index: last }
      last = run.index - 1
    }
    return this.#base
  }

  /** The next entry of the log. */
  add({ term, index }: EntryId): void {
    if (term !== this.#runs.at(-1)?.term) this.#runs.push({ term, index })
  }

  /** Forgets the entry at `index` and all after it. */
  truncateFrom(index: number): void {
    while ((this.#runs.at(-1)?.index ?? 0) >= index) this.#runs.pop()
  }

  /** The log starts behind `index` from now on. */
  cutTo(index: number): void {
    this.#base = { term: this.termAt(index), index }
    while ((this.#runs[1]?.index ?? Infinity) <= index) this.#runs.shift()
  }
}
