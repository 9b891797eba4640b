/**
 * Term and vote, durable before any answer that depends on them.
 *
 * Two copies of one checked line, in blocks of their own, each synced before
 * the other is touched, so that a torn write leaves one of them whole:
 *
 *     vote <term> <server id voted for, or -> <crc32>\n
 */
import { type Disk, type DiskFile, isUnreadable } from '../../io/io.ts'
import { checkedLine, readCheckedLine, seedOf } from '../../protocol/checked-line.ts'
import type { HardState } from '../raft/types.ts'

const COPY_BYTES = 4096
const COPY_COUNT = 2

/** This server may have voted, and nobody knows for whom. */
export class VoteDamagedError extends Error {}

export class VoteFile {
  readonly #file: DiskFile
  readonly #seed: number

  private constructor(file: DiskFile, seed: number) {
    this.#file = file
    this.#seed = seed
  }

  /** Creates the file, durable with its name. `owner` is the server id. */
  static async create(
    disk: Disk,
    directory: string,
    owner: string,
    hardState: HardState = { term: 0, vote: '' },
  ): Promise<void> {
    const file = await disk.open(`${directory}/vote.tmp`, { create: true })
    await new VoteFile(file, seedOf(owner)).write(hardState)
    await file.close()
    await disk.rename(`${directory}/vote.tmp`, `${directory}/vote`)
    await disk.syncDirectory(directory)
  }

  /**
   * Reads the newer copy and writes it over both, the worse one first: what is
   * readable may not be durable, and the next write must find two good ones.
   * @throws VoteDamagedError where neither copy verifies.
   */
  static async open(
    disk: Disk,
    directory: string,
    owner: string,
  ): Promise<{ file: VoteFile; hardState: HardState }> {
    const path = `${directory}/vote`
    const file = await disk.open(path, { create: false })
    const copies = await readVoteCopies(file, owner)
    const newestAt = newestCopy(copies)
    const newest = copies[newestAt]?.hardState
    if (!newest) {
      await file.close()
      throw new VoteDamagedError(`${path}: both copies are damaged`)
    }
    const voteFile = new VoteFile(file, seedOf(owner))
    await voteFile.#writeCopy(newest, 1 - newestAt)
    await voteFile.#writeCopy(newest, newestAt)
    return { file: voteFile, hardState: newest }
  }

  async write(hardState: HardState): Promise<void> {
    for (let at = 0; at < COPY_COUNT; at++) await this.#writeCopy(hardState, at)
  }

  async #writeCopy({ term, vote }: HardState, at: number): Promise<void> {
    const line = checkedLine(`vote ${term} ${vote || '-'}`, this.#seed)
    const copy = Buffer.from(line.padEnd(COPY_BYTES - 1, ' ').concat('\n'))
    await this.#file.write([copy], at * COPY_BYTES)
    await this.#file.datasync()
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}

export interface VoteCopy {
  readonly offset: number
  /** null where the line does not verify. */
  readonly hardState: HardState | null
  /** Whether the block is whole and blank behind the line, where nobody reads it. */
  readonly isPadded: boolean
}

/** Reads both copies and changes nothing. */
export async function readVoteCopies(file: DiskFile, owner: string): Promise<VoteCopy[]> {
  const copies: VoteCopy[] = []
  for (let offset = 0; offset < COPY_COUNT * COPY_BYTES; offset += COPY_BYTES) {
    const text = (await readCopy(file, offset)).toString('latin1')
    const line = text.split('\n')[0] ?? ''
    const isPadded = text.length === COPY_BYTES && /^\n *\n$/.test(text.slice(line.length))
    copies.push({ offset, hardState: decode(line, seedOf(owner)), isPadded })
  }
  return copies
}

/** What the device can't read any more does not verify; the other copy may. */
async function readCopy(file: DiskFile, offset: number): Promise<Buffer> {
  try {
    return await file.read(offset, COPY_BYTES)
  } catch (error) {
    if (!isUnreadable(error)) throw error
    return Buffer.alloc(0)
  }
}

/** Which copy counts; -1 where none verifies. */
export function newestCopy(copies: readonly VoteCopy[]): number {
  let newestAt = -1
  for (const [at, { hardState }] of copies.entries()) {
    const newest = copies[newestAt]?.hardState
    if (hardState && (!newest || isNewer(hardState, newest))) newestAt = at
  }
  return newestAt
}

function decode(line: string, seed: number): HardState | null {
  const [word, term, vote] = readCheckedLine(line, seed)?.split(' ') ?? []
  if (word !== 'vote') return null
  return { term: Number(term), vote: vote === '-' || vote === undefined ? '' : vote }
}

/** A vote is given once a term, so a copy with a vote is newer than one of its term without. */
function isNewer(a: HardState, b: HardState): boolean {
  return a.term > b.term || (a.term === b.term && a.vote !== '' && b.vote === '')
}
