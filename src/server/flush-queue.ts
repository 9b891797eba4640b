/**
 * The connections of a server that have replies to write, and the memory in which
 * these are put together.
 *
 * Replies that become known together leave together: whoever has made some known
 * calls `run`, and what nobody cares for is written soon. Each connection does one
 * write for all it has.
 */
import type { Stream, Timers } from '../io/io.ts'

export type Piece = string | Buffer

/** More than this is not worth copying into one piece. */
const JOIN_BYTES_MAX = 64 * 1024

export class FlushQueue {
  readonly #timers: Timers
  #due: { flush(): void }[] = []
  #isRunDue = false
  #memory = Buffer.allocUnsafeSlow(JOIN_BYTES_MAX)

  constructor(timers: Timers) {
    this.#timers = timers
  }

  add(connection: { flush(): void }): void {
    this.#due.push(connection)
    if (this.#isRunDue) return
    this.#isRunDue = true
    this.#timers.soon(() => {
      this.#isRunDue = false
      this.run()
    })
  }

  run(): void {
    if (this.#due.length === 0) return
    const due = this.#due
    this.#due = []
    for (const connection of due) connection.flush()
  }

  /**
   * Writes pieces one behind the other; strings are latin1.
   * @returns how many bytes that is.
   */
  write(stream: Stream, pieces: readonly Piece[]): number {
    let bytes = 0
    for (const { length } of pieces) bytes += length
    if (bytes > JOIN_BYTES_MAX) {
      stream.writeAll(pieces.map((piece) => (isText(piece) ? Buffer.from(piece, 'latin1') : piece)))
      return bytes
    }
    const memory = this.#memory
    let end = 0
    for (const piece of pieces) {
      end += isText(piece) ? memory.write(piece, end, 'latin1') : piece.copy(memory, end)
    }
    stream.write(memory.subarray(0, end))
    // What has not left yet is the stream's.
    if (stream.bufferedBytes > 0) this.#memory = Buffer.allocUnsafeSlow(JOIN_BYTES_MAX)
    return bytes
  }
}

function isText(piece: Piece): piece is string {
  return typeof piece === 'string'
}
