/**
 * Room behind what the newest segment holds: empty lines that are written and synced ahead.
 *
 * In: how far the segment's records go, after each batch. Out: a file whose next bytes are on the
 * disk already, so that a batch that is written over them changes no size and takes no new
 * blocks: its sync is about its own bytes only, and not about the file's metadata as well.
 *
 * Promises: room is never made where something else is written meanwhile (`isMadeBefore`), and
 * never behind the length at which another segment follows. Empty lines are no record and no
 * seal, so a log ends where they begin.
 *
 * Source: PostgreSQL and etcd allocate segments of their logs whole; this one grows with the log, so
 * that a small one stays small.
 */
import { type DiskFile, isOutOfSpace } from '../../io/io.ts'

/** As much is made at once, and as the segment is long if that is less. */
const ROOM_BYTES_MAX = 256 * 1024
/** A segment that is shorter has none: most are, in a process that does little. */
const SHARE_MIN = 1 / 1024
/** Next to a batch as long as that metadata is nothing. */
const BATCH_BYTES_MAX = 128 * 1024

const EMPTY_LINES = Buffer.alloc(ROOM_BYTES_MAX, '\n')

export class Room {
  readonly #file: DiskFile
  readonly #segmentBytes: number
  readonly #sync: () => Promise<void>
  readonly #onFailure: (error: unknown) => void
  /** Up to here there is some. */
  #end = 0
  #making: Promise<void> | null = null
  /** The disk has none to give. */
  #isOver = false

  /** @param sync Makes all of the file durable. */
  constructor(
    file: DiskFile,
    segmentBytes: number,
    sync: () => Promise<void>,
    onFailure: (error: unknown) => void,
  ) {
    this.#file = file
    this.#segmentBytes = segmentBytes
    this.#sync = sync
    this.#onFailure = onFailure
  }

  /** Whether some is being made before `end`: who writes there waits until that has settled. */
  isMadeBefore(end: number): boolean {
    return this.#making !== null && end > this.#end
  }

  /** Resolves once no room is being made. */
  async settled(): Promise<void> {
    await this.#making
  }

  /**
   * Makes more, in the background, where half of it is used.
   * @param size How long the segment is.
   * @param batchBytes What was written last.
   */
  keep(size: number, batchBytes: number): void {
    if (this.#making || this.#isOver || size < SHARE_MIN * this.#segmentBytes) return
    const from = Math.max(size, this.#end)
    const wanted = Math.min(size, ROOM_BYTES_MAX)
    const length = Math.min(wanted, this.#segmentBytes - from)
    if (length <= 0 || from - size > wanted / 2 || batchBytes > BATCH_BYTES_MAX) return
    this.#end = from
    this.#making = this.#make(from, length)
      .catch((error) => {
        this.#isOver = true
        // The log goes on without, as far as it can.
        if (!isOutOfSpace(error)) this.#onFailure(error)
      })
      .finally(() => {
        this.#making = null
      })
  }

  async #make(from: number, length: number): Promise<void> {
    await this.#file.write([EMPTY_LINES.subarray(0, length)], from)
    await this.#sync()
    this.#end = from + length
  }
}

/** Whether nothing but room stands in a file from `offset` on. */
export async function isRoomFrom(file: DiskFile, offset: number): Promise<boolean> {
  for (let position = offset; ; ) {
    const bytes = await file.read(position, EMPTY_LINES.length)
    if (!bytes.equals(EMPTY_LINES.subarray(0, bytes.length))) return false
    if (bytes.length < EMPTY_LINES.length) return true
    position += bytes.length
  }
}
