/**
 * A log as it is being written, read without the server.
 *
 * In: the directory of the segments, and up to where a survey has read them. Out: every entry
 * that was written since, once, in the order it was written in, committed or not; and what is
 * off with that order, which who prints the entries has to say. What is not whole yet is read
 * the next time, and a later segment only after all of the one before it.
 *
 * Memory: a few numbers.
 */
import type { Disk, DiskFile } from '../../io/io.ts'
import { type LogEntry, RecordReader } from '../log/record.ts'
import { readSegmentHeader, scanSegment, segmentName, segmentSequence } from '../log/segment.ts'
import { TermRuns } from '../raft/term-runs.ts'

/** What has been read of a log. */
export interface LogPosition {
  readonly sequence: number
  /** In that segment. */
  readonly offset: number
  readonly terms: TermRuns
  readonly lastIndex: number
}

export interface FollowVisitor {
  onEntry(entry: LogEntry): void
  /** Entries that were handed out are replaced from this one on. */
  onReplaced(index: number): void
  /** These entries came in a snapshot, were covered by a keystore file before they were read, or are damaged. */
  onMissing(first: number, last: number): void
}

export class LogFollower {
  readonly #disk: Disk
  readonly #directory: string
  readonly #reader: RecordReader
  readonly #visitor: FollowVisitor
  #sequence: number
  #offset: number
  #file: DiskFile | null = null
  #terms: TermRuns
  #lastIndex: number

  constructor(
    disk: Disk,
    directory: string,
    clusterId: string,
    { sequence, offset, terms, lastIndex }: LogPosition,
    visitor: FollowVisitor,
  ) {
    this.#disk = disk
    this.#directory = directory
    this.#reader = new RecordReader(clusterId)
    this.#visitor = visitor
    this.#sequence = sequence
    this.#offset = offset
    this.#terms = terms
    this.#lastIndex = lastIndex
  }

  /** Hands out all that is there by now. */
  async poll(): Promise<void> {
    this.#file ??= await this.#open(this.#sequence)
    for (;;) {
      // Looked for first: what stands before a segment that is there is all written.
      const later = await this.#laterSequences()
      if (this.#file) await this.#readOn(this.#file)
      const file = await this.#beginFirst(later)
      if (!file) return
      await this.#file?.close()
      this.#file = file
    }
  }

  async close(): Promise<void> {
    await this.#file?.close()
  }

  async #readOn(file: DiskFile): Promise<void> {
    this.#offset = await scanSegment(file, this.#offset, this.#reader, {
      onEntry: (entry) => this.#take(entry),
      onSeal() {},
    })
  }

  #path(sequence: number): string {
    return `${this.#directory}/${segmentName(sequence)}`
  }

  /** @returns null where it is gone: a keystore file covers it. */
  #open(sequence: number): Promise<DiskFile | null> {
    return this.#disk.open(this.#path(sequence), { create: false }).catch((error) => {
      if (error.code === 'ENOENT') return null
      throw error
    })
  }

  async #laterSequences(): Promise<number[]> {
    const names = await this.#disk.list(this.#directory)
    return names.map((name) => segmentSequence(name) ?? 0).filter((each) => each > this.#sequence)
  }

  /** What is skipped with a segment that can't be read is said, as the next one tells where it begins. */
  async #beginFirst(sequences: readonly number[]): Promise<DiskFile | null> {
    for (const sequence of sequences) {
      const file = await this.#begin(sequence)
      if (file) return file
    }
    return null
  }

  /** @returns null where its first line is damaged or not whole yet, or it is gone already. */
  async #begin(sequence: number): Promise<DiskFile | null> {
    const file = await this.#open(sequence)
    if (!file) return null
    const { header, end } = await readSegmentHeader(file, this.#path(sequence))
    if (!header) {
      await file.close()
      return null
    }
    this.#sequence = sequence
    this.#offset = end
    const base = { term: header.termBefore, index: header.firstIndex - 1 }
    const isBehind = base.index > this.#lastIndex
    if (isBehind) this.#visitor.onMissing(this.#lastIndex + 1, base.index)
    else if (this.#terms.termAt(base.index) !== base.term) this.#visitor.onReplaced(base.index)
    else return file
    this.#terms = new TermRuns(base)
    this.#lastIndex = base.index
    return file
  }

  /** @returns false where it can't follow what stands before it. */
  #take(entry: LogEntry): boolean {
    const { index, term } = entry
    if (index > this.#lastIndex + 1 || index <= this.#terms.base.index) return false
    if (index <= this.#lastIndex) {
      if (this.#terms.termAt(index) === term) return true // written again, as a start does
      this.#visitor.onReplaced(index)
      this.#terms.truncateFrom(index)
    }
    this.#terms.add(entry)
    this.#lastIndex = index
    this.#visitor.onEntry(entry)
    return true
  }
}
