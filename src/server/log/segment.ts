/**
 * One file of the log: a checked header line, then records and seals.
 *
 *     log 1 <cluster id> <group> <first index> <crc32>\n
 *
 * A segment supersedes everything in the segments before it from its first
 * index on, as a record supersedes everything before it from its own index on:
 * files are only ever appended to.
 */

import type { DiskFile } from '../../io/io.ts'
import { checkedLine, readCheckedLine } from '../../protocol/checked-line.ts'
import type { LogEntry, RecordReader, Seal } from './record.ts'

const FORMAT = 1
const HEADER_BYTES_MAX = 200
const SCAN_CHUNK_BYTES = 1024 * 1024

export interface SegmentHeader {
  readonly clusterId: string
  readonly group: number
  readonly firstIndex: number
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
  const { clusterId, group, firstIndex } = header
  return Buffer.from(checkedLine(`log ${FORMAT} ${clusterId} ${group} ${firstIndex}`))
}

/** @returns the header and where records start; null where none stands there. */
export async function readSegmentHeader(
  file: DiskFile,
): Promise<{ header: SegmentHeader; end: number } | null> {
  const bytes = await file.read(0, HEADER_BYTES_MAX)
  const end = bytes.indexOf('\n') + 1
  const text = readCheckedLine(bytes.toString('latin1', 0, end))
  const [word, format, clusterId = '', group, firstIndex] = text?.split(' ') ?? []
  if (word !== 'log' || Number(format) !== FORMAT) return null
  return { header: { clusterId, group: Number(group), firstIndex: Number(firstIndex) }, end }
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

/** Whether a seal stands at or after `offset`. */
export async function hasSealAfter(
  file: DiskFile,
  offset: number,
  reader: RecordReader,
): Promise<boolean> {
  const size = await file.size()
  for (let position = offset; position < size; ) {
    const bytes = await file.read(position, SCAN_CHUNK_BYTES)
    for (let at = bytes.indexOf('seal '); at !== -1; at = bytes.indexOf('seal ', at + 1)) {
      const lineStart = position + at
      const read = reader.read(await file.read(lineStart, HEADER_BYTES_MAX), 0)
      if (read.kind === 'seal' && read.seal.offset === lineStart) return true
    }
    // Pieces overlap, so that a seal across their border is seen whole by one of them.
    position += Math.max(1, bytes.length - HEADER_BYTES_MAX)
    if (bytes.length < SCAN_CHUNK_BYTES) break
  }
  return false
}
