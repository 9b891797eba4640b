/**
 * A group's directory that begins with items from elsewhere: a keystore file, and a log
 * whose first entry, behind it, is a configuration of one server. What an attempt before
 * has left is written over; nothing counts before the identity names the cluster.
 */
import type { Disk, Io } from '../io/io.ts'
import type { ItemStore } from './keystore/item-store.ts'
import { formatFor, writeKeystore } from './keystore/keystore-file.ts'
import { groupDirectory } from './log/group-directory.ts'
import { LogStore } from './log/log-store.ts'
import { type LogEntry, RecordWriter } from './log/record.ts'
import type { Config, EntryId } from './raft/types.ts'

/**
 * So many indexes are left out behind the items' last entry. What was lost with the others, or
 * was written after a backup, had the next ones, and clients may still hold its CAS uniques: given
 * again, they would let a cas replace what its client has never seen.
 */
export const INDEX_GAP = 1_000_000_000

export interface GroupBeginning {
  /** The server's. */
  readonly directory: string
  readonly clusterId: string
  readonly group: number
  /** The items are as of this entry. */
  readonly last: EntryId
  /** Log time of that. */
  readonly timeMs: number
  /** As in the keystore file's header. */
  readonly flushAtMs: number
  readonly config: Config
}

/** @returns the first entry of the log, which is of a term of its own. */
export async function beginGroup(
  { disk, clock, timers }: Io,
  { directory, clusterId, group, last, timeMs, flushAtMs, config }: GroupBeginning,
  items: ItemStore,
): Promise<EntryId> {
  const at = groupDirectory(directory, group, clusterId)
  await disk.makeDirectory(`${at}/log`)
  await clear(disk, `${at}/log`)
  const format = formatFor(config)
  const base: EntryId = { term: last.term, index: last.index + INDEX_GAP }
  const header = { format, clusterId, group, ...base, timeMs, flushAtMs, config }
  const view = items.view()
  await writeKeystore(disk, at, header, view).finally(() => view.close())
  const logOptions = { disk, timers, directory: `${at}/log`, clusterId, group, covered: base }
  const { log } = await LogStore.open(logOptions)
  const id: EntryId = { index: base.index + 1, term: base.term + 1 }
  log.commitIndex = id.index
  const nowMs = Math.max(timeMs, Math.floor(clock.wallMs()))
  const payload = { kind: 'config', config } as const
  await append(log, new RecordWriter(clusterId).createEntry(id, nowMs, payload))
  await log.close()
  return id
}

async function clear(disk: Disk, directory: string): Promise<void> {
  for (const name of await disk.list(directory)) await disk.remove(`${directory}/${name}`)
}

function append(log: LogStore, entry: LogEntry): Promise<void> {
  return new Promise((resolve, reject) => {
    log.onStable = () => resolve()
    log.onFailure = reject
    log.append([entry])
  })
}
