/**
 * A backup: the server's keystore file, to a client, while everything goes on.
 *
 *     backup\r\n   ->
 *                  <-   BACKUP <bytes>\r\n, the file, \r\nEND\r\n
 *
 * The file holds everything that was acknowledged before the request, by whichever
 * server, as of one log index: a barrier comes first, and then a keystore file is
 * written, unless there is one that new. It is sent from one handle, which stays what
 * it is when a newer file takes its name.
 *
 * Memory: one piece for each backup. The next is read when the one before has left,
 * so a slow client slows down nobody but itself; one that takes nothing for a while, or
 * less than 64 KiB a second on the whole, is cut off. Whoever does not see the end must
 * not take it for whole.
 */
import type { Disk, DiskFile, Stream, Timers } from '../io/io.ts'

/** At a time, of a server. */
const BACKUPS_MAX = 2
const PIECE_BYTES = 256 * 1024
/** A client that takes nothing for so long is gone. */
const STALL_MS = 30_000
/** One that takes less on the whole keeps a slot, and the blocks of a file long replaced, too long. */
const BYTES_PER_MS_MIN = 64

/** A whole keystore file that is open; `close` has to be called. */
export interface Backup {
  readonly file: DiskFile
  readonly bytes: number
  close(): Promise<void>
}

export interface BackupSource {
  readonly disk: Disk
  /** Calls back when reads here are linearizable, or with the reason why not. */
  barrier(done: (failure: string | null) => void): void
  /** @returns the path of a keystore file that holds everything that is applied by now. */
  writeKeystore(): Promise<string>
}

/** Opens backups, no more than a few at a time. */
export class Backups {
  readonly #source: BackupSource
  #count = 0

  constructor(source: BackupSource) {
    this.#source = source
  }

  /** @throws Error with the reason why not, in one line. */
  async open(): Promise<Backup> {
    if (this.#count >= BACKUPS_MAX) throw new Error(`busy: ${this.#count} backups are under way`)
    this.#count++
    try {
      return await this.#open()
    } catch (error) {
      this.#count--
      throw error
    }
  }

  async #open(): Promise<Backup> {
    await new Promise<void>((resolve, reject) => {
      this.#source.barrier((failure) => (failure === null ? resolve() : reject(new Error(failure))))
    })
    const path = await this.#source.writeKeystore()
    const file = await this.#source.disk.open(path, { create: false, readOnly: true })
    const close = () => {
      this.#count--
      return file.close()
    }
    try {
      return { file, bytes: await file.size(), close }
    } catch (error) {
      await file.close()
      throw error
    }
  }
}

/** One backup on its way to a client. */
export class BackupReply {
  readonly #stream: Stream
  readonly #timers: Timers
  #isClosed = false
  #onRoom: (() => void) | null = null

  constructor(stream: Stream, timers: Timers) {
    this.#stream = stream
    this.#timers = timers
  }

  /** Resolves when all has been handed to the stream, or the client is gone. */
  async send(open: () => Promise<Backup>): Promise<void> {
    let backup: Backup
    try {
      backup = await open()
    } catch (error) {
      this.#stream.write(`SERVER_ERROR no backup: ${firstLine(error)}\r\n`)
      return
    }
    const lateMs = STALL_MS + backup.bytes / BYTES_PER_MS_MIN
    const late = this.#timers.after(lateMs, () => this.#stream.destroy())
    try {
      await this.#sendFile(backup)
    } catch {
      this.#stream.destroy() // it can't be told any more within the file
    } finally {
      late.cancel()
      await backup.close().catch(() => {})
    }
  }

  /** The stream has room again. */
  drained(): void {
    this.#onRoom?.()
  }

  /** The client is gone. */
  closed(): void {
    this.#isClosed = true
    this.#onRoom?.()
  }

  async #sendFile({ file, bytes }: Backup): Promise<void> {
    await this.#deliver(`BACKUP ${bytes}\r\n`)
    for (let offset = 0; offset < bytes && !this.#isClosed; ) {
      const piece = await file.read(offset, Math.min(PIECE_BYTES, bytes - offset))
      if (piece.length === 0) throw new Error('the file is shorter than it was')
      offset += piece.length
      await this.#deliver(piece)
    }
    await this.#deliver('\r\nEND\r\n')
  }

  /** Resolves when there is room for more, or nobody is there to take it. */
  async #deliver(chunk: Buffer | string): Promise<void> {
    if (this.#isClosed || this.#stream.write(chunk)) return
    const room = new Promise<void>((resolve) => {
      this.#onRoom = resolve
    })
    const timer = this.#timers.after(STALL_MS, () => this.#stream.destroy())
    await room
    timer.cancel()
    this.#onRoom = null
  }
}

function firstLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error)
  return text.split(/[\r\n]/)[0] ?? ''
}
