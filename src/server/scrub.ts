/**
 * Reads now and then what was written long ago, slowly, so that rot is found while
 * this server still has in memory what the disk has lost.
 *
 * In: the group's log and keystore file. Out: `onDamage`, with the place. Whoever hears
 * of it writes a new keystore file: that holds everything that is applied, and the
 * segments it covers go, the damaged one among them.
 */
import type { Disk, DiskFile, Timer, Timers } from '../io/io.ts'
import { readOnlyDisk } from './inspect/read-only-disk.ts'
import { KeystoreDamagedError, readKeystore } from './keystore/keystore-file.ts'
import type { LogStore } from './log/log-store.ts'

export const SCRUB_INTERVAL_MS = 24 * 60 * 60 * 1_000
/** After so much was read, the disk is left to others for a while. */
const PIECE_BYTES = 1024 * 1024
const PAUSE_MS = 20

export interface ScrubberOptions {
  readonly timers: Timers
  readonly disk: Disk
  readonly store: LogStore
  /** Of the keystore file. */
  readonly path: string
  readonly intervalMs: number
  readonly onDamage: (what: string) => void
  readonly onFailure: (error: unknown) => void
}

export class Scrubber {
  readonly #options: ScrubberOptions
  #timer: Timer | null = null
  #isStopped = false
  #readBytes = 0
  #work: Promise<void> = Promise.resolve()

  constructor(options: ScrubberOptions) {
    this.#options = options
    this.#arm()
  }

  /** Resolves when nothing is read any more. */
  async stop(): Promise<void> {
    this.#isStopped = true
    this.#timer?.cancel()
    await this.#work
  }

  #arm(): void {
    if (this.#isStopped) return
    this.#timer = this.#options.timers.after(this.#options.intervalMs, () => {
      this.#work = this.#scrub().then(
        () => this.#arm(),
        (error) => {
          if (!(error instanceof StoppedError)) this.#options.onFailure(error)
        },
      )
    })
  }

  async #scrub(): Promise<void> {
    const { store, disk, path, onDamage } = this.#options
    const damage = await store.scrub((file) => this.#paced(file))
    if (damage) onDamage(`${damage.path}: damaged at byte ${damage.offset}, entry ${damage.index}`)
    try {
      await readKeystore(
        readOnlyDisk(disk, (bytes) => this.#pace(bytes)),
        path,
        () => {},
      )
    } catch (error) {
      if (!(error instanceof KeystoreDamagedError)) throw error
      onDamage(error.message)
    }
  }

  #paced(file: DiskFile): DiskFile {
    return {
      size: () => file.size(),
      write: (chunks, offset) => file.write(chunks, offset),
      datasync: () => file.datasync(),
      close: () => file.close(),
      read: async (offset, length) => {
        await this.#pace(length)
        return file.read(offset, length)
      },
    }
  }

  async #pace(bytes: number): Promise<void> {
    this.#readBytes += bytes
    if (this.#readBytes >= PIECE_BYTES) {
      this.#readBytes = 0
      await new Promise<void>((resolve) => this.#options.timers.after(PAUSE_MS, resolve))
    }
    if (this.#isStopped) throw new StoppedError()
  }
}

class StoppedError extends Error {}
