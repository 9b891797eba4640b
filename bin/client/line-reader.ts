/** Lines of a file, a piece of it in memory at a time. */
import type { DiskFile } from '../../src/io/io.ts'

const PIECE_BYTES = 256 * 1024
/** The largest value with each of its bytes escaped. */
const LINE_BYTES_MAX = 128 * 1024 * 1024
const LF = 10

export interface FileLine {
  /** Without its end. */
  readonly bytes: Buffer
  /** Where in the file the next one begins. */
  readonly endOffset: number
  /** With its end. */
  readonly raw: Buffer
}

/** @param offset Where a line begins. */
export async function* readLines(
  file: Pick<DiskFile, 'read'>,
  offset: number,
): AsyncGenerator<FileLine> {
  let rest = Buffer.alloc(0)
  let at = offset
  for (let readTo = offset; ; ) {
    const piece = await file.read(readTo, PIECE_BYTES)
    readTo += piece.length
    const bytes = rest.length === 0 ? piece : Buffer.concat([rest, piece])
    let start = 0
    // What was there before has no line end.
    let end = bytes.indexOf(LF, rest.length)
    for (; end !== -1; end = bytes.indexOf(LF, start)) {
      const raw = bytes.subarray(start, end + 1)
      at += raw.length
      start = end + 1
      yield { bytes: raw.subarray(0, -1), endOffset: at, raw }
    }
    rest = bytes.subarray(start) as Buffer<ArrayBuffer>
    if (rest.length > LINE_BYTES_MAX) throw new Error('a line is too long')
    if (piece.length === 0) break
  }
  if (rest.length > 0) yield { bytes: rest, endOffset: at + rest.length, raw: rest }
}
