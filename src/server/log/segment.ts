/**
 * One file of the log: a checked header line, then records and seals.
 *
 *     log 2 <cluster id> <group> <first index> <term before> <owed term> <owed index> <crc32>\n
 *
 * A segment supersedes everything in the segments before it from its first
 * index on, as a record supersedes everything before it from its own index on:
 * files are only ever appended to, over room where there is some (room.ts). No record in it has an index below its first.
 * `term before` is the term of the entry before the first, wherever that is kept:
 * in a segment before, or in the keystore. Where an entry is owed, the log had
 * reached that one before damage cut it short (see LogStore).
 */

import type { DiskFile } from '../../io/io.ts'
import { checkedLine, readCheckedLine } from '../../protocol/checked-line.ts'
import type { EntryId } from '../raft/types.ts'
import { BODY_BYTES_MAX, type LogEntry, type RecordReader, type Seal } from './record.ts'

const FORMAT = 2
const HEADER_BYTES_MAX = 200
const SCAN_CHUNK_BYTES = 1024 * 1024

export interface SegmentHeader {
  readonly clusterId: string
  readonly group: number
  readonly firstIndex: number
  /** The term of the entry before the first. */
  readonly termBefore: number
  /** What this log had once durably; 0/0 where it has it all. */
  readonly owed: EntryId
}

export function segmentName(sequence: number): string {
  return `${String(sequence).padStart(12, '0')}.log`
}

/** @returns the sequence number in a segment's name; null for other files. */
export function segmentSequence(name: string): number | null {
  const match = /^(\d{12})\.log$/.exec(name)
  return match ? Number(match[1]) : null
}

export function encodeSegmentHeader(header: SegmentHeader): Buffer {
  const { clusterId, group, firstIndex, termBefore, owed } = header
  const fields = [FORMAT, clusterId, group, firstIndex, termBefore, owed.term, owed.index]
  return Buffer.from(checkedLine(`log ${fields.join(' ')}`))
}

/**
 * @returns the header, null where it is damaged, and where records start.
 * @throws Error where another version of this program wrote it.
 */
export async function readSegmentHeader(
  file: DiskFile,
  path: string,
): Promise<{ header: SegmentHeader | null; end: number }> {
  const bytes = await file.read(0, HEADER_BYTES_MAX)
  const end = bytes.indexOf('\n') + 1
  const text = readCheckedLine(bytes.toString('latin1', 0, end))
  const [word, format, clusterId = '', ...rest] = text?.split(' ') ?? []
  if (word !== 'log') return { header: null, end }
  if (Number(format) !== FORMAT) {
    throw new Error(`${path} is of format ${format}, this version reads format ${FORMAT} only`)
  }
  const [group = 0, firstIndex = 0, termBefore = 0, term = 0, index = 0] = rest.map(Number)
  return { header: { clusterId, group, firstIndex, termBefore, owed: { term, index } }, end }
}

export interface SegmentVisitor {
  /** @returns false where this entry can't follow what came before it: treated as damage. */
  onEntry(entry: LogEntry, offset: number): boolean
  onSeal(seal: Seal): void
}

/**
 * Walks the records of a segment from `offset` on.
 * @returns where the last good record ends; less than the file's size where damage follows.
 */
export async function scanSegment(
  file: DiskFile,
  offset: number,
  reader: RecordReader,
  visitor: SegmentVisitor,
): Promise<number> {
  let position = offset
  let wanted = SCAN_CHUNK_BYTES
  for (;;) {
    const bytes = await file.read(position, wanted)
    let at = 0
    for (;;) {
      const read = reader.read(bytes, at)
      if (read.kind === 'bad') return position + at
      if (read.kind === 'short') break
      if (read.kind === 'seal') {
        if (read.seal.offset !== position + at) return position + at
        visitor.onSeal(read.seal)
      } else if (!visitor.onEntry(read.entry, position + at)) return position + at
      at = read.end
    }
    if (bytes.length < wanted) return position + at
    // A record longer than the piece that was read wants a longer one.
    wanted = at === 0 ? 2 * wanted : SCAN_CHUNK_BYTES
    position += at
  }
}

/** Where records start behind a first line that is damaged, its end too perhaps. */
export async function findFirst(file: DiskFile, reader: RecordReader): Promise<number> {
  const bytes = await file.read(0, 2 * HEADER_BYTES_MAX + BODY_BYTES_MAX)
  for (let at = 0; at < Math.min(bytes.length, HEADER_BYTES_MAX); at++) {
    const read = reader.read(bytes, at)
    if (read.kind === 'entry' || (read.kind === 'seal' && read.seal.offset === at)) return at
  }
  return 0
}

/** The last seal that stands at or after `offset`, and where it ends; null where none does. */
export async function findLastSeal(
  file: DiskFile,
  offset: number,
  reader: RecordReader,
): Promise<{ seal: Seal; end: number } | null> {
  const size = await file.size()
  let found: { seal: Seal; end: number } | null = null
  for (let position = offset; position < size; ) {
    const bytes = await file.read(position, SCAN_CHUNK_BYTES)
    for (let at = bytes.indexOf('seal '); at !== -1; at = bytes.indexOf('seal ', at + 1)) {
      const lineStart = position + at
      const read = reader.read(await file.read(lineStart, HEADER_BYTES_MAX), 0)
      if (read.kind !== 'seal' || read.seal.offset !== lineStart) continue
      found = { seal: read.seal, end: lineStart + read.end }
    }
    // Pieces overlap, so that a seal across their border is seen whole by one of them.
    position += Math.max(1, bytes.length - HEADER_BYTES_MAX)
    if (bytes.length < SCAN_CHUNK_BYTES) break
  }
  return found
}
