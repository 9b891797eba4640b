/**
 * Who this server is, and which cluster its data belongs to: one checked line,
 * replaced as a whole.
 *
 *     raftcached 1 <server id> <cluster id, or -> <crc32>\n
 */
import type { Disk, Random } from '../../io/io.ts'
import { replaceFile } from '../../io/replace-file.ts'
import { checkedLine, readCheckedLine } from '../../protocol/checked-line.ts'

const FORMAT = 1

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
    const data = (await disk.list(directory)).filter((name) => name === 'vote' || name === 'groups')
    if (data.length > 0) {
      throw new Error(
        `${path}: missing, though ${directory}/${data[0]} is there; restore it, or move ${directory} away and start again as a new server`,
      )
    }
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
  return identity
}

/** @returns null where these bytes are no identity, or a damaged one. */
export function decodeIdentity(bytes: Buffer): Identity | null {
  const text = readCheckedLine(bytes.toString('latin1'))
  const [word, format, serverId = '', clusterId = ''] = text?.split(' ') ?? []
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
  await replaceFile(disk, directory, 'identity', [Buffer.from(line)])
}
