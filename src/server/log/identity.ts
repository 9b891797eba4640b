/**
 * Who this server is, and which cluster its data belongs to: one checked line,
 * twice, so that one may rot; replaced as a whole.
 *
 *     raftcached 1 <server id> <cluster id, or -> <crc32>\n
 */
import type { Disk, Random } from '../../io/io.ts'
import { replaceFile } from '../../io/replace-file.ts'
import { checkedLine, readCheckedLine } from '../../protocol/checked-line.ts'

const FORMAT = 1
const COPY_COUNT = 2
/** A backup is being restored here: without an identity it is no server's data yet. */
export const RESTORING = 'restoring'
/** What no new server is made beside. */
const DATA_NAMES = ['vote', 'groups']

export interface Identity {
  readonly serverId: string
  /** null until the server has joined a cluster. */
  readonly clusterId: string | null
}

/** Reads the identity in `directory`, or makes a new server of it where there is none. */
export async function loadIdentity(
  disk: Disk,
  directory: string,
  random: Random,
): Promise<Identity> {
  const path = `${directory}/identity`
  const bytes = await disk.readFile(path)
  if (bytes === null) {
    assertNew(directory, await disk.list(directory))
    const identity = { serverId: random.hex(4), clusterId: null }
    await saveIdentity(disk, directory, identity)
    return identity
  }
  const identity = decodeIdentity(bytes)
  if (!identity) {
    throw new Error(
      `${path}: damaged; move ${directory} away and start again as a new server, or restore the file`,
    )
  }
  const isWhole = readIdentityCopies(bytes).every((copy) => copy.identity !== null)
  if (!isWhole) await saveIdentity(disk, directory, identity)
  await removeMark(disk, directory)
  return identity
}

/** With it, a server that loses its identity later would be taken for a restore to begin anew. */
async function removeMark(disk: Disk, directory: string): Promise<void> {
  if (!(await disk.list(directory)).includes(RESTORING)) return
  // A restore that was killed may not have come to that, and one of the two must stand.
  await disk.syncDirectory(directory)
  await disk.remove(`${directory}/${RESTORING}`)
  await disk.syncDirectory(directory)
}

/** @throws Error where there is something that wants the identity it had. */
function assertNew(directory: string, names: readonly string[]): void {
  const otherwise = `move ${directory} away and start again as a new server`
  if (names.includes(RESTORING)) {
    throw new Error(
      `${directory}: store restore has not finished here: give the same command again, or ${otherwise}`,
    )
  }
  const data = names.find((name) => DATA_NAMES.includes(name))
  if (data === undefined) return
  throw new Error(
    `${directory}/identity: missing, though ${directory}/${data} is there; restore it, or ${otherwise}`,
  )
}

export interface IdentityCopy {
  readonly offset: number
  /** null where the line does not verify. */
  readonly identity: Identity | null
}

/** Both are of the same length: also where the line end between them rotted one of them reads. */
export function readIdentityCopies(bytes: Buffer): IdentityCopy[] {
  const text = bytes.toString('latin1')
  const half = Math.ceil(text.length / COPY_COUNT)
  const [first = ''] = text.split('\n')
  return [
    { offset: 0, identity: readIdentity(first) },
    { offset: half, identity: readIdentity(text.slice(half)) },
  ]
}

/** @returns null where no copy verifies. */
export function decodeIdentity(bytes: Buffer): Identity | null {
  return readIdentityCopies(bytes).find(({ identity }) => identity !== null)?.identity ?? null
}

function readIdentity(line: string): Identity | null {
  const [word, format, serverId = '', clusterId = ''] = readCheckedLine(line)?.split(' ') ?? []
  if (word !== 'raftcached' || Number(format) !== FORMAT) return null
  return { serverId, clusterId: clusterId === '-' ? null : clusterId }
}

export async function saveIdentity(
  disk: Disk,
  directory: string,
  identity: Identity,
): Promise<void> {
  const { serverId, clusterId } = identity
  const line = checkedLine(`raftcached ${FORMAT} ${serverId} ${clusterId ?? '-'}`)
  await replaceFile(disk, directory, 'identity', [Buffer.from(line.repeat(COPY_COUNT))])
}
