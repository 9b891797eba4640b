/**
 * Term and vote, durable before any answer that depends on them.
 *
 * Two copies of one checked line, in blocks of their own, each synced before
 * the other is touched, so that a torn write leaves one of them whole:
 *
 *     vote <term> <server id voted for, or -> <crc32>\n
 */
import type { Disk, DiskFile } from '../../io/io.ts'
import { checkedLine, readCheckedLine, seedOf } from '../../protocol/checked-line.ts'
import type { HardState } from '../raft/types.ts'

const COPY_BYTES = 4096
const COPY_COUNT = 2

export class VoteFile {
  readonly #file: DiskFile
  readonly #seed: number

  private constructor(file: DiskFile, seed: number) {
    this.#file = file
    this.#seed = seed
  }

  /** Creates the file, durable with its name. `owner` is the server id. */
  static async create(disk: Disk, directory: string, owner: string): Promise<void> {
    const file = await disk.open(`${directory}/vote.tmp`, { create: true })
    await new VoteFile(file, seedOf(owner)).write({ term: 0, vote: '' })
    await file.close()
    await disk.rename(`${directory}/vote.tmp`, `${directory}/vote`)
    await disk.syncDirectory(directory)
  }

  /** @throws Error where neither copy verifies: this server may have voted, and nobody knows for whom. */
  static async open(
    disk: Disk,
    directory: string,
    owner: string,
  ): Promise<{ file: VoteFile; hardState: HardState }> {
    const path = `${directory}/vote`
    const seed = seedOf(owner)
    const file = await disk.open(path, { create: false })
    let newest: HardState | null = null
    for (let copy = 0; copy < COPY_COUNT; copy++) {
      const found = decode(
        (await file.read(copy * COPY_BYTES, COPY_BYTES)).toString('latin1'),
        seed,
      )
      if (found && (!newest || isNewer(found, newest))) newest = found
    }
    if (!newest) {
      throw new Error(
        `${path}: both copies are damaged; move ${directory} away and start again as a new server`,
      )
    }
    return { file: new VoteFile(file, seed), hardState: newest }
  }

  async write({ term, vote }: HardState): Promise<void> {
    const line = checkedLine(`vote ${term} ${vote || '-'}`, this.#seed)
    const copy = Buffer.from(line.padEnd(COPY_BYTES - 1, ' ').concat('\n'))
    for (let at = 0; at < COPY_COUNT; at++) {
      await this.#file.write([copy], at * COPY_BYTES)
      await this.#file.datasync()
    }
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}

function decode(copy: string, seed: number): HardState | null {
  const [word, term, vote] = readCheckedLine(copy.split('\n')[0] ?? '', seed)?.split(' ') ?? []
  if (word !== 'vote') return null
  return { term: Number(term), vote: vote === '-' || vote === undefined ? '' : vote }
}

/** A vote is given once a term, so a copy with a vote is newer than one of its term without. */
function isNewer(a: HardState, b: HardState): boolean {
  return a.term > b.term || (a.term === b.term && a.vote !== '' && b.vote === '')
}
