/**
 * The one door to the outside: clock, dice, timers, disk, datagrams, streams.
 *
 * Everything that decides or waits takes an `Io` and reaches the world only
 * through it, so that a second implementation can run the same servers under
 * simulated time and faults. `node.ts` beside this file is the real one.
 *
 * Promises: callbacks never run inside the call that registered them; a handle
 * that was cancelled, closed or destroyed calls nothing any more, except that
 * `onClose` of a stream is always called once.
 */

export interface Io {
  readonly clock: Clock
  readonly random: Random
  readonly timers: Timers
  readonly disk: Disk
  readonly network: Network
  readonly process: ProcessFacts
}

/** What this process is to its machine. */
export interface ProcessFacts {
  readonly pid: number
  /** Time on processors since its start. */
  cpuMs(): { readonly user: number; readonly system: number }
}

export interface Clock {
  /** Milliseconds since some start; never goes back. */
  monotonicMs(): number
  /** Unix time in milliseconds; may jump. */
  wallMs(): number
}

export interface Random {
  /** Uniform in [0, 1). */
  float(): number
  /** `byteCount` random bytes as lower-case hex digits. */
  hex(byteCount: number): string
}

export interface Timers {
  /** Runs `fn` once, not sooner than `delayMs` from now. */
  after(delayMs: number, fn: () => void): Timer
  /** Runs `fn` once the input that is already here has been handled. */
  soon(fn: () => void): void
}

export interface Timer {
  cancel(): void
}

/** Paths are plain strings with `/`. Every failure rejects with an Error that has a `code`. */
export interface Disk {
  /** Creates the directory and its parents where missing, each made durable in its parent. */
  makeDirectory(path: string): Promise<void>
  /** Names in a directory, sorted; empty where there is none. */
  list(path: string): Promise<string[]>
  /** The whole file, or null where there is none. */
  readFile(path: string): Promise<Buffer | null>
  /**
   * Opens for reading and writing; `create` makes it empty, or empties it. With `readOnly`
   * for reading alone, so that files which nobody may write can be looked at. With `isDurable`
   * each write resolves when its bytes are durable; others need not be.
   */
  open(path: string, options: OpenOptions): Promise<DiskFile>
  rename(from: string, to: string): Promise<void>
  remove(path: string): Promise<void>
  /** Makes creations, renames and removals in this directory durable. */
  syncDirectory(path: string): Promise<void>
  /** What this process may still write on the disk that holds `path`. */
  freeBytes(path: string): Promise<number>
  /** How large that disk is. */
  sizeBytes(path: string): Promise<number>
  /**
   * Takes the lock file at `path` for as long as this process lives.
   * @returns null where another process holds it.
   */
  lock(path: string): Promise<Lock | null>
}

export interface Lock {
  release(): Promise<void>
}

/** Whether a read failed because the device has lost what was there. */
export function isUnreadable(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EIO'
}

/** Whether a write failed because there is no space left. */
export function isOutOfSpace(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOSPC'
}

export interface OpenOptions {
  readonly create: boolean
  readonly readOnly?: boolean
  readonly isDurable?: boolean
}

export interface DiskFile {
  /** Up to `length` bytes from `offset`; fewer only at the end of the file. */
  read(offset: number, length: number): Promise<Buffer>
  /** Writes all chunks one after the other from `offset` on. */
  write(chunks: readonly Uint8Array[], offset: number): Promise<void>
  /** Resolves when everything written before is durable. */
  datasync(): Promise<void>
  size(): Promise<number>
  close(): Promise<void>
}

export interface Address {
  readonly host: string
  readonly port: number
}

export interface Network {
  /** @throws Error with `code` `EADDRINUSE`, `EADDRNOTAVAIL`, `ENOTFOUND`, ... */
  bindDatagrams(
    local: Address,
    onDatagram: (bytes: Buffer, from: Address) => void,
  ): Promise<DatagramSocket>
  /**
   * Accepts streams; each must be given a handler before the callback returns.
   * @param hasSharedReads What `onData` of these streams is given is good only until it returns.
   */
  listen(
    local: Address,
    onStream: (stream: Stream) => void,
    hasSharedReads?: boolean,
  ): Promise<Listener>
  /** Starts to connect; what is written before it is open waits. */
  connect(remote: Address, handler: StreamHandler): Stream
}

export interface DatagramSocket {
  /** Best effort: a datagram that can't be sent is lost, like one on the way. */
  send(bytes: Uint8Array, to: Address): void
  close(): Promise<void>
}

export interface Listener {
  /** Stops accepting; open streams go on. */
  close(): Promise<void>
}

export interface StreamHandler {
  onOpen?(): void
  /** The chunk is the receiver's to keep, except where reads are shared. */
  onData(chunk: Buffer): void
  /** The other side has ended its half; this side may still write. */
  onEnd(): void
  /** What was written has left; called after `write` returned false. */
  onDrain?(): void
  /** Always called, once, last. */
  onClose(error: Error | null): void
}

export interface Stream {
  readonly remote: Address
  handle(handler: StreamHandler): void
  /**
   * What has left with the call (then `bufferedBytes` is 0) may be changed afterwards.
   * @returns false when much is waiting: wait for `onDrain` where you can.
   */
  write(chunk: Uint8Array | string): boolean
  /** Several chunks in one write. */
  writeAll(chunks: readonly Uint8Array[]): boolean
  /** Bytes written that have not left yet. */
  readonly bufferedBytes: number
  pause(): void
  resume(): void
  /** Ends this half after what was written. */
  end(): void
  /** Drops both halves at once. */
  destroy(): void
}
