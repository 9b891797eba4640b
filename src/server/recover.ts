/**
 * The way back when a majority of the disks is lost for good: one survivor goes
 * on alone from its data, under a raised epoch of the cluster id, with every
 * entry of its log taken for committed. Members of the epoch before can't speak
 * with it any more, and come back as new servers only.
 *
 * All that the survivor has is written, under the new id, as a keystore file into a
 * directory of its own, with a log that begins behind it; the identity names it then,
 * in one step. Until then nothing has happened, and what was there before stays as it is.
 */
import type { Disk, Io } from '../io/io.ts'
import type { Logger } from '../io/logger.ts'
import { nextEpoch } from '../protocol/cluster-id.ts'
import { type KeystoreHeader, writeKeystore } from './keystore/keystore-file.ts'
import { groupDirectory } from './log/group-directory.ts'
import { loadIdentity, saveIdentity } from './log/identity.ts'
import { LogStore } from './log/log-store.ts'
import { type LogEntry, RecordWriter } from './log/record.ts'
import { memberOf } from './raft/config.ts'
import type { Config, EntryId } from './raft/types.ts'
import { type Restored, restore } from './restore.ts'

const GROUP = 0
const REPLAY_BYTES = 4 * 1024 * 1024

export interface Recovery {
  readonly serverId: string
  readonly clusterId: string
  readonly newClusterId: string
  /** Up to here it was known to be committed. */
  readonly commitIndex: number
  readonly lastIndex: number
  readonly lastTimeMs: number
}

/**
 * @param isForced Else nothing is changed.
 * @throws Error where the directory is in use, belongs to no cluster, or is damaged.
 */
export async function recover(
  io: Io,
  log: Logger,
  directory: string,
  isForced: boolean,
): Promise<Recovery> {
  const { disk } = io
  if ((await disk.readFile(`${directory}/identity`)) === null) {
    throw new Error(`${directory} is no server's data: name the directory of a survivor`)
  }
  const lock = await disk.lock(`${directory}/lock`)
  if (!lock) throw new Error(`${directory} is in use: stop the server first`)
  try {
    const { serverId, clusterId } = await loadIdentity(disk, directory, io.random)
    if (clusterId === null) throw new Error(`${directory}: the server has joined no cluster yet`)
    const options = { io, log, directory, group: GROUP, clusterId, serverId }
    const restored = await restore(options)
    const { commitIndex, lastIndex, lastTimeMs, configs } = restored.raftLog
    const config = configs.findLast((each) => memberOf(each.config, serverId))?.config
    const member = config && memberOf(config, serverId)
    if (!member) throw new Error(`${directory}: its log knows no configuration with this server`)
    const newClusterId = nextEpoch(clusterId, serverId)
    if (isForced) {
      const alone: Config = { members: [{ ...member, voter: true }], floor: 2 }
      await writeGroup(io, directory, restored, newClusterId, alone)
      await saveIdentity(disk, directory, { serverId, clusterId: newClusterId })
    }
    await restored.store.close()
    return { serverId, clusterId, newClusterId, commitIndex, lastIndex, lastTimeMs }
  } finally {
    await lock.release()
  }
}

/** What an attempt before has left. */
async function clear(disk: Disk, directory: string): Promise<void> {
  for (const name of await disk.list(directory)) await disk.remove(`${directory}/${name}`)
}

/** A group's directory that begins, behind all that was restored, with this configuration. */
async function writeGroup(
  { disk, clock, timers }: Io,
  directory: string,
  { machine, store, raftLog }: Restored,
  clusterId: string,
  config: Config,
): Promise<void> {
  const { lastIndex } = raftLog
  while (machine.appliedIndex < lastIndex) {
    for (const entry of await store.read(machine.appliedIndex + 1, lastIndex, REPLAY_BYTES)) {
      machine.apply(entry)
    }
  }
  const lastTerm = raftLog.termRuns.at(-1)?.term ?? raftLog.base?.term ?? 0
  const covered: EntryId = { term: lastTerm, index: lastIndex }
  const at = groupDirectory(directory, GROUP, clusterId)
  await disk.makeDirectory(`${at}/log`)
  await clear(disk, `${at}/log`)
  const header: KeystoreHeader = {
    ...{ clusterId, group: GROUP, ...covered },
    ...{ timeMs: raftLog.lastTimeMs, config },
  }
  await writeKeystore(disk, at, header, machine.items.view())
  const logOptions = { disk, timers, directory: `${at}/log`, clusterId, group: GROUP, covered }
  const { log } = await LogStore.open(logOptions)
  log.commitIndex = lastIndex + 1
  const id: EntryId = { index: lastIndex + 1, term: lastTerm + 1 }
  const timeMs = Math.max(raftLog.lastTimeMs, Math.floor(clock.wallMs()))
  const payload = { kind: 'config', config } as const
  await append(log, new RecordWriter(clusterId).createEntry(id, timeMs, payload))
  await log.close()
}

function append(log: LogStore, entry: LogEntry): Promise<void> {
  return new Promise((resolve, reject) => {
    log.onStable = () => resolve()
    log.onFailure = reject
    log.append([entry])
  })
}
