/**
 * A backup becomes the data of a new cluster's first server.
 *
 * The items, with their expiry and CAS uniques, as of the backup's entry, under a new
 * cluster id and a new server id; a log that begins behind them with this server as the
 * only member. It is a cluster like one that was just formed: it takes writes once a
 * second server has joined.
 *
 * Until the identity stands, which is written last, the directory is no server's: it has a
 * mark that says so, with which a second attempt knows what it may write over.
 */
import type { Disk, Io } from '../io/io.ts'
import { replaceFile } from '../io/replace-file.ts'
import type { ServerAddress } from '../protocol/balancer.ts'
import { beginGroup } from './begin-group.ts'
import { readOnlyDisk } from './inspect/read-only-disk.ts'
import { RESTORING, saveIdentity } from './log/identity.ts'
import { VoteFile } from './log/vote-file.ts'
import { loadKeystore } from './restore.ts'

const GROUP = 0

export interface RestoredBackup {
  readonly serverId: string
  readonly clusterId: string
  /** The cluster that it was taken of. */
  readonly from: string
  readonly index: number
  readonly timeMs: number
  readonly itemCount: number
}

/**
 * @param address Where the server will be reached, as far as is known.
 * @throws Error where the directory is not empty, or the backup is damaged: with file and byte.
 */
export async function restoreBackup(
  io: Io,
  path: string,
  directory: string,
  address: Omit<ServerAddress, 'id'>,
): Promise<RestoredBackup> {
  const { disk, random } = io
  await assertFree(disk, directory)
  const { machine, header } = await loadKeystore(readOnlyDisk(disk), path, null)
  if (!header) throw new Error(`${path}: there is no such file`)
  await disk.makeDirectory(directory)
  const lock = await disk.lock(`${directory}/lock`)
  if (!lock) throw new Error(`${directory} is in use by another process`)
  try {
    // Another one may have finished meanwhile: reading a backup takes its time.
    await assertFree(disk, directory)
    const serverId = random.hex(4)
    const clusterId = random.hex(8)
    const { index, term, timeMs } = header
    const flushAtMs = 0 // whoever restores wants the items
    const members = [{ ...address, id: serverId, voter: true }]
    const config = { ...header.config, members, floor: 2 }
    await replaceFile(disk, directory, RESTORING, [])
    const last = { term, index }
    const beginning = { directory, clusterId, group: GROUP, last, timeMs, flushAtMs, config }
    const first = await beginGroup(io, beginning, machine.items)
    await VoteFile.create(disk, directory, serverId, { term: first.term, vote: '' })
    await saveIdentity(disk, directory, { serverId, clusterId })
    await disk.remove(`${directory}/${RESTORING}`)
    await disk.syncDirectory(directory)
    const itemCount = machine.items.count
    return { serverId, clusterId, from: header.clusterId, index, timeMs, itemCount }
  } finally {
    await lock.release()
  }
}

/** Nothing is written over but what an attempt before has left. */
async function assertFree(disk: Disk, directory: string): Promise<void> {
  const names = (await disk.list(directory)).filter((name) => name !== 'lock')
  const isUnfinished = names.includes(RESTORING) && !names.includes('identity')
  if (isUnfinished || names.every((name) => name === `${RESTORING}.tmp`)) return
  throw new Error(`${directory} is not empty: name a directory that is, or is not there yet`)
}
