/**
 * How much room this server's disk has: asked for again and again, and counted
 * down by what is appended meanwhile, so that it is never behind this server's own
 * writes. Judged by `admission.ts`.
 */
import type { Io, Timer } from '../io/io.ts'
import { defaultReserveBytes, keptBytes, type Room, roomOf, takesEntries } from './admission.ts'
import type { LogEntry } from './log/record.ts'

/** Another process may fill the disk quickly. */
const INTERVAL_MS = 250

export interface DiskWatchOptions {
  readonly io: Io
  readonly directory: string
  /** null for the default. */
  readonly reserveBytes: number | null
  /** What the items take. */
  readonly dataBytes: () => number
}

export class DiskWatch {
  /** The room has changed. */
  onChange: () => void = () => {}
  #room: Room = 'enough'
  readonly #options: DiskWatchOptions
  readonly #reserveBytes: number
  #heardBytes = Number.MAX_SAFE_INTEGER
  /**
   * Appended since it was asked the last time, and between then and the time before: of that some
   * may still have been on its way when the answer came.
   */
  #newBytes = 0
  #recentBytes = 0
  /** Appended while the room is scarce, since it was better. */
  #scarceBytes = 0
  #timer: Timer | null = null
  #isStopped = false

  private constructor(options: DiskWatchOptions, reserveBytes: number) {
    this.#options = options
    this.#reserveBytes = reserveBytes
  }

  static async open(options: DiskWatchOptions): Promise<DiskWatch> {
    const { io, directory, reserveBytes } = options
    const reserve = reserveBytes ?? defaultReserveBytes(await io.disk.sizeBytes(directory))
    const watch = new DiskWatch(options, reserve)
    await watch.#look()
    return watch
  }

  get room(): Room {
    return this.#room
  }

  get freeBytes(): number {
    return Math.max(0, this.#heardBytes - this.#newBytes - this.#recentBytes)
  }

  /** What is left free: the reserve, and room for the next keystore file. */
  get keptBytes(): number {
    return keptBytes(this.#space)
  }

  start(): void {
    if (this.#isStopped || this.#reserveBytes === 0) return
    this.#timer = this.#options.io.timers.after(INTERVAL_MS, () => {
      void this.#look().then(() => this.start())
    })
  }

  stop(): void {
    this.#isStopped = true
    this.#timer?.cancel()
  }

  wrote(bytes: number): void {
    this.#newBytes += bytes
    if (this.#room === 'scarce') this.#scarceBytes += bytes
    this.#judge()
  }

  /** Whether entries of a leader are taken. */
  takes(entries: readonly LogEntry[]): boolean {
    return takesEntries(this.#room, this.#reserveBytes, this.#scarceBytes, entries)
  }

  /** Whether a file of this size can be written, with something left. */
  hasRoomFor(bytes: number): boolean {
    return this.#reserveBytes === 0 || this.freeBytes - bytes >= this.#reserveBytes / 16
  }

  get #space() {
    const { freeBytes } = this
    return {
      freeBytes,
      reserveBytes: this.#reserveBytes,
      dataBytes: this.#options.dataBytes(),
    }
  }

  async #look(): Promise<void> {
    const appended = this.#newBytes
    const { io, directory } = this.#options
    // A disk that does not say keeps the last answer; one that fails is found out by the log.
    const freeBytes = await io.disk.freeBytes(directory).catch(() => null)
    if (freeBytes === null || this.#isStopped) return
    this.#heardBytes = freeBytes
    this.#recentBytes = appended
    this.#newBytes -= appended
    this.#judge()
  }

  #judge(): void {
    const room = roomOf(this.#space, this.#room)
    if (room === this.#room) return
    this.#room = room
    if (room === 'enough' || room === 'low') this.#scarceBytes = 0
    this.onChange()
  }
}
