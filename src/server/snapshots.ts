/**
 * Snapshots between servers: a leader brings its keystore file to a peer that
 * lacks what the log no longer has.
 *
 *     leader                                   peer
 *     snap id, size, at 0, nothing      ->
 *                                       <-     snapResp id, more from 0
 *     snap id, at 0, 256 KiB            ->     writes them to snapshot.part
 *                                       <-     snapResp id, more from 262,144
 *     ...                                      all there: synced, checked, loaded, `snapshot`
 *                                       <-     snapResp id, done
 *
 * A piece is sent when the one before it is acknowledged, and not faster than at a
 * bounded rate, so memory on neither side grows with the file. After a silence the leader
 * offers again, and the peer says where to go on. The file is read from one handle,
 * which stays what it is when a newer file takes its name.
 *
 * Promises: `onReceived` is called with a file that was complete, whole by its own
 * checksum and durable under its name.
 */
import { type Disk, type DiskFile, type Io, isUnreadable, type Timer } from '../io/io.ts'
import { readOnlyDisk } from './inspect/read-only-disk.ts'
import { KeystoreDamagedError, type KeystoreHeader } from './keystore/keystore-file.ts'
import type { StateMachine } from './keystore/state-machine.ts'
import type { Snap, SnapResp } from './peer-messages.ts'
import type { ServerId } from './raft/types.ts'
import { loadKeystore, SNAPSHOT, SNAPSHOT_PART } from './restore.ts'

export const SNAPSHOT_PIECE_BYTES = 256 * 1024
/** To one peer: a join takes its time, so that those who write hardly notice. */
const BYTES_PER_MS = (32 * 1024 * 1024) / 1_000
/** A piece that is this much early may go. */
const EARLY_MS = 2
/** An answer is awaited so long before the offer is made again. */
const OFFER_MS = 500
/** A peer silent for so long gets no more offers, until the core asks again. */
const SILENT_MS = 5_000
/** A peer that has the whole file has so long to say in the log's own way that it has it. */
const SETTLE_MS = 1_000

export interface SenderOptions {
  readonly io: Io
  readonly path: string
  readonly pieceBytes: number
  readonly send: (message: Unsigned<Snap>) => void
  /** The peer has taken a piece. */
  readonly onMoved: (to: ServerId) => void
  /** The transfer is over; the core sees for itself whether the peer has what it lacked. */
  readonly onEnded: (to: ServerId) => void
  /** A peer found the file damaged, or it can't be read: it has to be written again. */
  readonly onDamaged: () => void
}

/** A message that its sender has not signed yet. */
export type Unsigned<M> = M extends unknown ? Omit<M, 'from' | 'term'> : never

interface Transfer {
  readonly to: ServerId
  readonly id: string
  file: DiskFile | null
  size: number
  /** Up to here the peer has it. */
  offset: number
  heardMs: number
  /** When the next piece may go. */
  dueMs: number
  isReading: boolean
  timer: Timer | null
}

export class SnapshotSender {
  readonly #options: SenderOptions
  readonly #transfers = new Map<ServerId, Transfer>()

  constructor(options: SenderOptions) {
    this.#options = options
  }

  start(to: ServerId): void {
    if (this.#transfers.has(to)) return
    const { io } = this.#options
    const transfer: Transfer = {
      to,
      id: io.random.hex(8),
      file: null,
      size: 0,
      offset: 0,
      heardMs: io.clock.monotonicMs(),
      dueMs: 0,
      isReading: false,
      timer: null,
    }
    this.#transfers.set(to, transfer)
    void this.#open(transfer)
  }

  /** This server leads no more, or stops. */
  stop(): void {
    for (const transfer of this.#transfers.values()) this.#forget(transfer)
  }

  answered({ from, id, state, offset }: SnapResp): void {
    const transfer = this.#transfers.get(from)
    if (!transfer?.file || transfer.id !== id) return
    transfer.heardMs = this.#options.io.clock.monotonicMs()
    this.#options.onMoved(from)
    if (state === 'damaged') {
      this.#options.onDamaged()
      this.#end(transfer)
    } else if (state === 'done') {
      // The core hears of it from the peer's log; where that is not enough it begins again.
      transfer.timer?.cancel()
      transfer.timer = this.#options.io.timers.after(SETTLE_MS, () => this.#end(transfer))
    } else {
      transfer.offset = offset
      void this.#sendPiece(transfer)
    }
  }

  async #open(transfer: Transfer): Promise<void> {
    const { io, path } = this.#options
    try {
      const file = await io.disk.open(path, { create: false })
      transfer.file = file
      transfer.size = await this.#reading(transfer, () => file.size())
      if (this.#isCurrent(transfer)) this.#offer(transfer)
    } catch (error) {
      this.#failed(transfer, error)
    }
  }

  #offer(transfer: Transfer): void {
    const { io, send } = this.#options
    if (io.clock.monotonicMs() - transfer.heardMs > SILENT_MS) return this.#end(transfer)
    const { to, id, size, offset } = transfer
    send({ type: 'snap', to, id, size, offset, piece: Buffer.alloc(0) })
    this.#arm(transfer)
  }

  #arm(transfer: Transfer): void {
    transfer.timer?.cancel()
    transfer.timer = this.#options.io.timers.after(OFFER_MS, () => this.#offer(transfer))
  }

  async #sendPiece(transfer: Transfer): Promise<void> {
    const { to, id, size, offset, file, dueMs } = transfer
    const { clock, timers } = this.#options.io
    const earlyMs = dueMs - clock.monotonicMs()
    if (earlyMs > EARLY_MS) {
      transfer.timer?.cancel()
      transfer.timer = timers.after(earlyMs, () => this.#sendPiece(transfer))
      return
    }
    this.#arm(transfer)
    if (!file || transfer.isReading || offset >= size) return
    try {
      const { pieceBytes } = this.#options
      const piece = await this.#reading(transfer, () => file.read(offset, pieceBytes))
      if (!this.#isCurrent(transfer)) return
      if (piece.length === 0) return this.#failed(transfer, null)
      transfer.dueMs = Math.max(dueMs, clock.monotonicMs()) + piece.length / BYTES_PER_MS
      this.#options.send({ type: 'snap', to, id, size, offset, piece })
    } catch (error) {
      this.#failed(transfer, error)
    }
  }

  /** However it ends: who was forgotten meanwhile has its file closed now. */
  async #reading<T>(transfer: Transfer, read: () => Promise<T>): Promise<T> {
    transfer.isReading = true
    try {
      return await read()
    } finally {
      transfer.isReading = false
      if (!this.#isCurrent(transfer)) this.#close(transfer)
    }
  }

  /** @param error null: the file is shorter than it was. */
  #failed(transfer: Transfer, error: unknown): void {
    if (error === null || isUnreadable(error)) this.#options.onDamaged()
    this.#end(transfer)
  }

  #isCurrent(transfer: Transfer): boolean {
    return this.#transfers.get(transfer.to) === transfer
  }

  #end(transfer: Transfer): void {
    if (!this.#isCurrent(transfer)) return
    this.#forget(transfer)
    this.#options.onEnded(transfer.to)
  }

  #forget(transfer: Transfer): void {
    transfer.timer?.cancel()
    this.#transfers.delete(transfer.to)
    // Who reads closes it afterwards.
    if (!transfer.isReading) this.#close(transfer)
  }

  #close({ file }: Transfer): void {
    void file?.close().catch(() => {})
  }
}

export interface ReceivedSnapshot {
  readonly machine: StateMachine
  readonly header: KeystoreHeader
  readonly bytes: number
}

export interface ReceiverOptions {
  readonly disk: Disk
  /** The group's. */
  readonly directory: string
  readonly clusterId: string
  readonly send: (message: Unsigned<SnapResp>) => void
  /** Resolves when it is installed, or was not needed. */
  readonly onReceived: (snapshot: ReceivedSnapshot) => Promise<void>
  /** The leader offers again what was received: it has not heard of that. */
  readonly onKnown: (header: KeystoreHeader) => void
  /** This server's disk failed. */
  readonly onFailure: (error: unknown) => void
}

interface Arrival {
  readonly from: ServerId
  readonly id: string
  readonly size: number
  file: DiskFile | null
  offset: number
  isBusy: boolean
  state: SnapResp['state']
  /** Set when all of it is here, and installed. */
  header: KeystoreHeader | null
}

export class SnapshotReceiver {
  readonly #options: ReceiverOptions
  #arrival: Arrival | null = null
  /** One piece of work at a time. */
  #work: Promise<void> = Promise.resolve()
  #isStopped = false

  constructor(options: ReceiverOptions) {
    this.#options = options
  }

  receive({ from, id, size, offset, piece }: Snap): void {
    if (this.#isStopped) return
    const known = this.#arrival
    if (known?.from !== from || known.id !== id || known.size !== size) {
      // What is being loaded is not thrown away for another one.
      if (known?.isBusy) return
      const arrival: Arrival = {
        from,
        id,
        size,
        file: null,
        offset: 0,
        isBusy: true,
        state: 'more',
        header: null,
      }
      this.#arrival = arrival
      this.#run(arrival, () => this.#begin(arrival, known))
    } else if (!known.isBusy && piece.length > 0 && offset === known.offset && known.file) {
      known.isBusy = true
      this.#run(known, () => this.#take(known, piece))
    } else if (!known.isBusy || piece.length === 0) {
      if (known.header) this.#options.onKnown(known.header)
      this.#answer(known)
    }
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    await this.#work
    await this.#arrival?.file?.close()
  }

  #run(arrival: Arrival, work: () => Promise<void>): void {
    this.#work = work().then(
      () => {
        arrival.isBusy = false
        if (!this.#isStopped) this.#answer(arrival)
      },
      (error) => {
        arrival.isBusy = false
        if (error instanceof KeystoreDamagedError) {
          arrival.state = 'damaged'
          this.#answer(arrival)
        } else if (!this.#isStopped) this.#options.onFailure(error)
      },
    )
  }

  #answer({ from, id, offset, state }: Arrival): void {
    this.#options.send({ type: 'snapResp', to: from, id, offset, state })
  }

  async #begin(arrival: Arrival, before: Arrival | null): Promise<void> {
    await before?.file?.close()
    const path = `${this.#options.directory}/${SNAPSHOT_PART}`
    arrival.file = await this.#options.disk.open(path, { create: true })
  }

  async #take(arrival: Arrival, piece: Buffer): Promise<void> {
    await arrival.file?.write([piece], arrival.offset)
    arrival.offset += piece.length
    if (arrival.offset >= arrival.size) await this.#complete(arrival)
  }

  async #complete(arrival: Arrival): Promise<void> {
    const { disk, directory, clusterId } = this.#options
    const { file } = arrival
    arrival.file = null
    await file?.datasync()
    await file?.close()
    const part = `${directory}/${SNAPSHOT_PART}`
    const reading = readOnlyDisk(disk, () => {
      if (this.#isStopped) throw new Error('this server is stopping')
    })
    const { machine, header } = await loadKeystore(reading, part, clusterId)
    if (!header || this.#isStopped) return
    await disk.rename(part, `${directory}/${SNAPSHOT}`)
    await disk.syncDirectory(directory)
    if (this.#isStopped) return
    await this.#options.onReceived({ machine, header, bytes: arrival.size })
    arrival.header = header
    arrival.state = 'done'
  }
}
