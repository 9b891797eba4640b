/**
 * How far an import has come, in a file beside what is imported: replaced as a whole, so that
 * there is always one that is right.
 *
 * It names the cluster and has a checksum of what was imported, so that no import goes on in
 * another cluster, or in a file that was changed.
 */
import { basename, dirname } from 'node:path'
import { crc32 } from 'node:zlib'
import type { Disk, DiskFile } from '../../src/io/io.ts'
import { replaceFile } from '../../src/io/replace-file.ts'
import { cantWrite, FileError } from './outcome.ts'

export interface Checkpoint {
  readonly cluster: string | null
  /** So many lines are stored for good, and these bytes of the file are they. */
  readonly lines: number
  readonly bytes: number
  readonly crc: number
  /** Of those, had expired and were left out. */
  readonly expired: number
}

const PIECE_BYTES = 1024 * 1024

export class CheckpointFile {
  readonly #disk: Disk
  readonly #path: string

  constructor(disk: Disk, importedPath: string) {
    this.#disk = disk
    this.#path = `${importedPath}.progress`
  }

  get path(): string {
    return this.#path
  }

  /** @throws FileError where it is not for this cluster and this file. */
  async read(cluster: string | null, file: Pick<DiskFile, 'read'>): Promise<Checkpoint | null> {
    const text = await this.#disk.readFile(this.#path)
    if (!text) return null
    const found = this.#parse(String(text))
    const remedy = `remove ${this.#path} to begin anew`
    if (found.cluster !== cluster) {
      throw new FileError(`${this.#path} is about cluster ${found.cluster}: ${remedy}`)
    }
    if ((await crcOf(file, found.bytes)) !== found.crc) {
      throw new FileError(`the file has changed since ${this.#path} was written: ${remedy}`)
    }
    return found
  }

  async write(checkpoint: Checkpoint): Promise<void> {
    const text = Buffer.from(`${JSON.stringify(checkpoint)}\n`)
    const [directory, name] = [dirname(this.#path), basename(this.#path)]
    await replaceFile(this.#disk, directory, name, [text]).catch(cantWrite(this.#path))
  }

  async remove(): Promise<void> {
    if (await this.#disk.readFile(this.#path)) await this.#disk.remove(this.#path)
  }

  #parse(text: string): Checkpoint {
    try {
      const found = JSON.parse(text) as Checkpoint
      const { lines, bytes, crc, expired } = found
      if ([lines, bytes, crc, expired].every(Number.isSafeInteger)) return found
    } catch {
      // As below.
    }
    throw new FileError(`${this.#path} is damaged: remove it to begin anew`)
  }
}

/** null where the file is shorter. */
async function crcOf(file: Pick<DiskFile, 'read'>, length: number): Promise<number | null> {
  let crc = 0
  for (let offset = 0; offset < length; ) {
    const piece = await file.read(offset, Math.min(PIECE_BYTES, length - offset))
    if (piece.length === 0) return null
    crc = crc32(piece, crc)
    offset += piece.length
  }
  return crc
}
