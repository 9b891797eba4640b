/**
 * A disk in memory that keeps apart what can be read and what is durable.
 *
 * In: the calls of `Disk`, and faults: `fail`, `hold`, `haltAt`, `flipBit`.
 * Out: `crash` and `kill` give the disk that the next start finds. This one is
 * dead then: its calls never resolve, like those of a process that is gone.
 *
 * A write is readable at once and durable after a datasync of its file; a
 * creation, rename or removal after a sync of its directory. A failed sync
 * leaves what was written readable, but no later sync makes it durable. All
 * dice come from one seeded function and no clock is read, so equal calls give
 * equal outcomes.
 */
import { basename, dirname } from 'node:path/posix'
import type { Disk, DiskFile, Lock, OpenOptions } from '../../src/io/io.ts'

/** What a device writes whole or not at all. */
export const SECTOR_BYTES = 512

/** mulberry32: uniform in [0, 1), the same for the same seed. */
export function seededRandom(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** What a power loss does to each thing that was not synced. */
export type Fate = 'lose' | 'keep' | 'random'

export interface CrashPolicy {
  /** `random` is by sector; `torn` keeps all but the newest write, and of that only its start. */
  readonly contents: Fate | 'torn'
  readonly names: Fate
}

/** Those that draw dice differ from one crash to the next. */
export const CRASH_POLICIES: readonly CrashPolicy[] = [
  { contents: 'lose', names: 'lose' },
  { contents: 'lose', names: 'keep' },
  { contents: 'keep', names: 'lose' },
  { contents: 'keep', names: 'keep' },
  { contents: 'torn', names: 'keep' },
  { contents: 'torn', names: 'random' },
  { contents: 'random', names: 'keep' },
  { contents: 'random', names: 'random' },
]

export type MutationKind =
  | 'makeDirectory'
  | 'create'
  | 'write'
  | 'datasync'
  | 'rename'
  | 'remove'
  | 'syncDirectory'

export interface Mutation {
  readonly kind: MutationKind
  readonly path: string
  /** Of a write. */
  readonly bytes?: Buffer
}

export interface MemoryDiskOptions {
  readonly random?: () => number
  /** Called as each change begins; it takes effect when the promise resolves. */
  readonly latency?: (mutation: Mutation) => Promise<void>
}

export class MemoryDisk implements Disk {
  /** Changes begun so far: every call that is not a mere read. */
  mutationCount = 0
  /** The change with this number begins but never ends, and nothing happens after it. */
  haltAt = Number.POSITIVE_INFINITY
  /** Nothing can be written or created. */
  isFull = false
  /** What files may still grow by. */
  roomBytes = Number.MAX_SAFE_INTEGER
  /** Something was written past that. */
  isOverrun = false
  readonly halted: Promise<void>
  /** Called as each change begins. */
  onMutation: (mutation: Mutation) => void = () => {}

  readonly #random: () => number
  readonly #options: MemoryDiskOptions
  #directories = new Map<string, Directory>()
  readonly #locks = new Set<string>()
  readonly #holds = new Map<MutationKind, Promise<void>>()
  readonly #failures: { kind: MutationKind; left: number; code: string }[] = []
  #writeCount = 0
  #isHalted = false
  #resolveHalted = (): void => {}

  constructor(options: MemoryDiskOptions = {}) {
    this.#options = options
    this.#random = options.random ?? seededRandom(1)
    this.halted = new Promise((resolve) => {
      this.#resolveHalted = resolve
    })
  }

  // ---------------------------------------------------------------- faults

  /** Power is lost: what was not synced meets its fate. May be called again for another outcome. */
  crash({ contents, names }: CrashPolicy): MemoryDisk {
    this.halt()
    const newest = this.#newestWrite()
    const survivors = new Map<Inode, Inode>()
    const survive = (inode: Inode): Inode => {
      let survivor = survivors.get(inode)
      if (!survivor) {
        const bytes = this.#afterCrash(inode, contents, newest)
        survivor = new Inode(bytes, bytes.copy(), [])
        survivors.set(inode, survivor)
      }
      return survivor
    }
    return this.#successor(({ durable, unsynced }) => {
      const kept = unsynced.filter(() => this.#survives(names))
      const entries = applyChanges(durable, kept, survive)
      return { readable: entries, durable: new Map(entries), unsynced: [] }
    })
  }

  /** The process dies and the machine lives on: all stays readable, and as unsynced as it was. */
  kill(): MemoryDisk {
    this.halt()
    const copies = new Map<Inode, Inode>()
    const copy = (inode: Inode): Inode => {
      const copied = copies.get(inode) ?? inode.copy()
      copies.set(inode, copied)
      return copied
    }
    return this.#successor(({ readable, durable, unsynced }) => ({
      readable: applyChanges(readable, [], copy),
      durable: applyChanges(durable, [], copy),
      unsynced: unsynced.map((change) =>
        change.map(([name, inode]): NameChange => [name, inode && copy(inode)]),
      ),
    }))
  }

  /** From now on nothing happens and no call resolves. */
  halt(): void {
    this.#isHalted = true
    this.#resolveHalted()
  }

  /** The `nth` change of this kind from now on fails. */
  fail(kind: MutationKind, nth = 1, code = 'EIO'): void {
    this.#failures.push({ kind, left: nth, code })
  }

  /** Whatever was told to fail and has not yet will not. */
  forgetFailures(): void {
    this.#failures.length = 0
  }

  /** A new disk in the same machine. */
  emptied(): MemoryDisk {
    return new MemoryDisk({ ...this.#options, random: this.#random })
  }

  /** Changes of this kind wait until the function returned is called. */
  hold(kind: MutationKind): () => void {
    let release = (): void => {}
    this.#holds.set(
      kind,
      new Promise((resolve) => {
        release = () => {
          this.#holds.delete(kind)
          resolve()
        }
      }),
    )
    return () => release()
  }

  /** Damages one bit, on the device as well. */
  flipBit(path: string, offset: number, bit = 0): void {
    const inode = this.#inode(path)
    for (const contents of [inode.readable, inode.durable]) {
      if (offset >= contents.length) continue
      const [byte = 0] = contents.read(offset, 1)
      contents.write(Buffer.of(byte ^ (1 << bit)), offset)
    }
  }

  /** Replaces a file, at once and durably. */
  put(path: string, bytes: Uint8Array): void {
    const contents = new Contents()
    contents.write(bytes, 0)
    const inode = new Inode(contents, contents.copy(), [])
    const directory = this.#directory(dirname(path))
    directory.readable.set(basename(path), inode)
    directory.durable.set(basename(path), inode)
  }

  /** What can be read of a file now. */
  bytes(path: string): Buffer {
    const { readable } = this.#inode(path)
    return readable.read(0, readable.length)
  }

  /** Whether these bytes stand, durably, in a file whose path begins so. */
  hasDurably(prefix: string, bytes: Buffer): boolean {
    for (const [path, { durable }] of this.#directories) {
      if (!path.startsWith(prefix)) continue
      for (const inode of durable.values()) if (inode.durable.includes(bytes)) return true
    }
    return false
  }

  /** Paths of all files that can be read. */
  files(): string[] {
    return [...this.#directories].flatMap(([path, { readable }]) =>
      [...readable.keys()].map((name) => `${path}/${name}`),
    )
  }

  // ---------------------------------------------------------------- Disk

  makeDirectory(path: string): Promise<void> {
    return this.#mutate({ kind: 'makeDirectory', path }, () => {
      for (let made = path; made !== '.' && made !== '/'; made = dirname(made)) {
        if (!this.#directories.has(made)) this.#directories.set(made, emptyDirectory())
      }
    })
  }

  async list(path: string): Promise<string[]> {
    await this.#look()
    return [...(this.#directories.get(path)?.readable.keys() ?? [])].sort()
  }

  async readFile(path: string): Promise<Buffer | null> {
    await this.#look()
    const inode = this.#directories.get(dirname(path))?.readable.get(basename(path))
    return inode ? inode.readable.read(0, inode.readable.length) : null
  }

  async open(path: string, { create, isDurable = false }: OpenOptions): Promise<DiskFile> {
    if (!create) {
      await this.#look()
      return this.#handle(path, this.#inode(path), isDurable)
    }
    const inode = new Inode(new Contents(), new Contents(), [])
    await this.#mutate({ kind: 'create', path }, () =>
      this.#rename(path, [[basename(path), inode]]),
    )
    return this.#handle(path, inode, isDurable)
  }

  rename(from: string, to: string): Promise<void> {
    return this.#mutate({ kind: 'rename', path: to }, () => {
      const inode = this.#inode(from)
      this.#rename(to, [
        [basename(from), null],
        [basename(to), inode],
      ])
    })
  }

  remove(path: string): Promise<void> {
    return this.#mutate({ kind: 'remove', path }, () => {
      this.#inode(path)
      this.#rename(path, [[basename(path), null]])
    })
  }

  syncDirectory(path: string): Promise<void> {
    return this.#mutate({ kind: 'syncDirectory', path }, () => {
      const directory = this.#directory(path)
      directory.durable = applyChanges(directory.durable, directory.unsynced, (inode) => inode)
      directory.unsynced = []
    })
  }

  async freeBytes(): Promise<number> {
    await this.#look()
    return this.roomBytes
  }

  async sizeBytes(): Promise<number> {
    await this.#look()
    return Number.MAX_SAFE_INTEGER
  }

  async lock(path: string): Promise<Lock | null> {
    await this.#look()
    if (this.#locks.has(path)) return null
    this.#locks.add(path)
    return { release: async () => void this.#locks.delete(path) }
  }

  #handle(path: string, inode: Inode, isDurable: boolean): DiskFile {
    let isClosed = false
    const checkOpen = () => {
      if (isClosed) throw diskError('EBADF', path)
    }
    const onSyncFailure = () => {
      inode.durable = this.#afterCrash(inode, 'random', 0)
      inode.unsynced = []
    }
    /** Nothing before or behind these bytes. */
    const syncOnly = (start: number, end: number) => {
      const isInside = ({ offset, bytes }: Write) => offset >= start && offset + bytes.length <= end
      const effect = () => {
        checkOpen()
        for (const { bytes, offset } of inode.unsynced.filter(isInside)) {
          inode.durable.write(bytes, offset)
        }
        inode.unsynced = inode.unsynced.filter((write) => !isInside(write))
      }
      return this.#mutate({ kind: 'datasync', path }, effect, onSyncFailure)
    }
    const file: DiskFile = {
      read: async (offset, length) => {
        await this.#look()
        checkOpen()
        return inode.readable.read(offset, length)
      },
      size: async () => {
        await this.#look()
        checkOpen()
        return inode.readable.length
      },
      write: (chunks, offset) => {
        const bytes = Buffer.concat(chunks)
        const put = (length: number) => {
          checkOpen()
          const start = bytes.subarray(0, length)
          this.#grow(path, offset + length - inode.readable.length)
          inode.readable.write(start, offset)
          inode.unsynced.push({ order: ++this.#writeCount, offset, bytes: start })
        }
        return this.#mutate(
          { kind: 'write', path, bytes },
          () => put(bytes.length),
          () => put(Math.floor(this.#random() * bytes.length)),
        )
      },
      datasync: () =>
        this.#mutate(
          { kind: 'datasync', path },
          () => {
            checkOpen()
            for (const { bytes, offset } of inode.unsynced) inode.durable.write(bytes, offset)
            inode.unsynced = []
          },
          onSyncFailure,
        ),
      close: async () => {
        await this.#look()
        isClosed = true
      },
    }
    if (!isDurable) return file
    return {
      ...file,
      write: async (chunks, offset) => {
        await file.write(chunks, offset)
        await syncOnly(offset, offset + Buffer.concat(chunks).length)
      },
    }
  }

  // ---------------------------------------------------------------- inside

  async #look(): Promise<void> {
    await null
    if (this.#isHalted) await new Promise<never>(() => {})
  }

  /** @param onFailure What still happens of a change that is told to fail. */
  async #mutate(mutation: Mutation, effect: () => void, onFailure = () => {}): Promise<void> {
    await this.#look()
    const { kind, path } = mutation
    this.onMutation(mutation)
    if (++this.mutationCount === this.haltAt) {
      this.halt()
      // What a sync has done by then is up to the fate of what it should have synced.
      if (kind !== 'datasync' && kind !== 'syncDirectory') effect()
    }
    await this.#options.latency?.(mutation)
    await this.#holds.get(kind)
    await this.#look()
    const isRefused = this.isFull && (kind === 'write' || kind === 'create')
    const code = isRefused ? 'ENOSPC' : this.#takeFailure(kind)
    if (code !== null) {
      onFailure()
      throw diskError(code, path)
    }
    effect()
  }

  /** What is removed is not given back: too little is safe. */
  #grow(path: string, bytes: number): void {
    if (bytes <= 0) return
    if (bytes > this.roomBytes) {
      this.isOverrun = true
      throw diskError('ENOSPC', path)
    }
    this.roomBytes -= bytes
  }

  #takeFailure(kind: MutationKind): string | null {
    for (const [at, failure] of this.#failures.entries()) {
      if (failure.kind !== kind || --failure.left > 0) continue
      this.#failures.splice(at, 1)
      return failure.code
    }
    return null
  }

  #rename(path: string, change: readonly NameChange[]): void {
    const directory = this.#directory(dirname(path))
    directory.readable = applyChanges(directory.readable, [change], (inode) => inode)
    directory.unsynced.push(change)
  }

  #directory(path: string): Directory {
    const directory = this.#directories.get(path)
    if (!directory) throw diskError('ENOENT', path)
    return directory
  }

  #inode(path: string): Inode {
    const inode = this.#directories.get(dirname(path))?.readable.get(basename(path))
    if (!inode) throw diskError('ENOENT', path)
    return inode
  }

  #survives(fate: Fate): boolean {
    return fate === 'random' ? this.#random() < 0.5 : fate === 'keep'
  }

  #newestWrite(): number {
    const files = [...this.#directories.values()].flatMap(({ readable }) => [...readable.values()])
    return Math.max(0, ...files.flatMap(({ unsynced }) => unsynced.map(({ order }) => order)))
  }

  #afterCrash(inode: Inode, fate: CrashPolicy['contents'], newest: number): Contents {
    const contents = inode.durable.copy()
    for (const { order, offset, bytes } of inode.unsynced) {
      if (fate === 'random') this.#writeSomeSectors(contents, bytes, offset)
      else if (fate === 'torn' && order === newest) {
        // Short starts are as likely as long ones.
        const length = Math.floor((bytes.length + 1) ** this.#random()) - 1
        contents.write(bytes.subarray(0, length), offset)
      } else if (fate !== 'lose') contents.write(bytes, offset)
    }
    // The size may be there without the bytes: those read as zeros.
    if (fate === 'random' && this.#survives('random')) contents.extend(inode.readable.length)
    return contents
  }

  #writeSomeSectors(contents: Contents, bytes: Buffer, offset: number): void {
    for (let from = 0; from < bytes.length; ) {
      const to = Math.min(bytes.length, from + SECTOR_BYTES - ((offset + from) % SECTOR_BYTES))
      if (this.#survives('random')) contents.write(bytes.subarray(from, to), offset + from)
      from = to
    }
  }

  #successor(inherit: (directory: Directory) => Directory): MemoryDisk {
    const disk = new MemoryDisk({ ...this.#options, random: this.#random })
    disk.isFull = this.isFull
    disk.roomBytes = this.roomBytes
    disk.isOverrun = this.isOverrun
    disk.#writeCount = this.#writeCount
    for (const [path, directory] of this.#directories) {
      disk.#directories.set(path, inherit(directory))
    }
    return disk
  }
}

/** A name and the file it stands for from now on; null for none. */
type NameChange = readonly [name: string, inode: Inode | null]

interface Directory {
  readable: Map<string, Inode>
  durable: Map<string, Inode>
  /** In order; each happens as a whole or not at all. */
  unsynced: (readonly NameChange[])[]
}

interface Write {
  readonly order: number
  readonly offset: number
  readonly bytes: Buffer
}

class Inode {
  readonly readable: Contents
  durable: Contents
  unsynced: Write[]

  constructor(readable: Contents, durable: Contents, unsynced: Write[]) {
    this.readable = readable
    this.durable = durable
    this.unsynced = unsynced
  }

  copy(): Inode {
    return new Inode(this.readable.copy(), this.durable.copy(), [...this.unsynced])
  }
}

/** Bytes that grow. */
class Contents {
  #buffer = Buffer.alloc(0)
  length = 0

  read(offset: number, length: number): Buffer {
    return Buffer.from(this.#buffer.subarray(offset, Math.min(this.length, offset + length)))
  }

  includes(bytes: Buffer): boolean {
    return this.#buffer.subarray(0, this.length).lastIndexOf(bytes) !== -1 // mostly near the end
  }

  write(bytes: Uint8Array, offset: number): void {
    if (bytes.length === 0) return
    this.extend(offset + bytes.length)
    this.#buffer.set(bytes, offset)
  }

  extend(length: number): void {
    if (length > this.#buffer.length) {
      const grown = Buffer.alloc(Math.max(length, 2 * this.#buffer.length))
      grown.set(this.#buffer)
      this.#buffer = grown
    }
    this.length = Math.max(this.length, length)
  }

  copy(): Contents {
    const copy = new Contents()
    copy.write(this.#buffer.subarray(0, this.length), 0)
    return copy
  }
}

function emptyDirectory(): Directory {
  return { readable: new Map(), durable: new Map(), unsynced: [] }
}

function applyChanges(
  names: ReadonlyMap<string, Inode>,
  changes: readonly (readonly NameChange[])[],
  convert: (inode: Inode) => Inode,
): Map<string, Inode> {
  const changed = new Map<string, Inode>()
  for (const [name, inode] of names) changed.set(name, convert(inode))
  for (const [name, inode] of changes.flat()) {
    if (inode) changed.set(name, convert(inode))
    else changed.delete(name)
  }
  return changed
}

function diskError(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code })
}
