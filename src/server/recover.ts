/**
 * The way back when a majority of the disks is lost for good: one survivor goes
 * on alone from its data, under a raised epoch of the cluster id, with every
 * entry of its log taken for committed. Members of the epoch before can't speak
 * with it any more, and come back as new servers only.
 *
 * The log is written again under the new id into a directory of its own; the
 * identity names it then, in one step. Until then nothing has happened, and what
 * was there before stays as it is.
 */
import type { Disk, Io } from '../io/io.ts'
import { nextEpoch } from '../protocol/cluster-id.ts'
import { groupDirectory } from './log/group-directory.ts'
import { loadIdentity, saveIdentity } from './log/identity.ts'
import { LogStore, type LogSummary } from './log/log-store.ts'
import { type LogEntry, payloadOf, RecordWriter } from './log/record.ts'
import type { Config, EntryId } from './raft/types.ts'

const GROUP = 0
const BATCH_BYTES = 4 * 1024 * 1024

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
export async function recover(io: Io, directory: string, isForced: boolean): Promise<Recovery> {
  const { disk } = io
  if ((await disk.readFile(`${directory}/identity`)) === null) {
    throw new Error(`${directory} is no server's data: name the directory of a survivor`)
  }
  const lock = await disk.lock(`${directory}/lock`)
  if (!lock) throw new Error(`${directory} is in use: stop the server first`)
  try {
    const { serverId, clusterId } = await loadIdentity(disk, directory, io.random)
    if (clusterId === null) throw new Error(`${directory}: the server has joined no cluster yet`)
    const { log: old, summary } = await openLog(io, directory, clusterId)
    const member = summary.configs
      .flatMap(({ config }) => config.members)
      .findLast(({ id }) => id === serverId)
    if (!member) throw new Error(`${directory}: its log knows no configuration with this server`)
    const newClusterId = nextEpoch(clusterId, serverId)
    if (isForced) {
      await clear(disk, `${groupDirectory(directory, GROUP, newClusterId)}/log`)
      const { log } = await openLog(io, directory, newClusterId)
      const config: Config = { members: [{ ...member, voter: true }], floor: 2 }
      log.commitIndex = summary.lastIndex + 1
      await copyLog(io, old, summary, log, newClusterId, config)
      await log.close()
      await saveIdentity(disk, directory, { serverId, clusterId: newClusterId })
    }
    await old.close()
    const { commitIndex, lastIndex, lastTimeMs } = summary
    return { serverId, clusterId, newClusterId, commitIndex, lastIndex, lastTimeMs }
  } finally {
    await lock.release()
  }
}

function openLog(io: Io, directory: string, clusterId: string) {
  return LogStore.open({
    disk: io.disk,
    timers: io.timers,
    directory: `${groupDirectory(directory, GROUP, clusterId)}/log`,
    clusterId,
    group: GROUP,
  })
}

/** What an attempt before has left. */
async function clear(disk: Disk, directory: string): Promise<void> {
  for (const name of await disk.list(directory)) await disk.remove(`${directory}/${name}`)
}

async function copyLog(
  io: Io,
  from: LogStore,
  { lastIndex, lastTimeMs, termRuns }: LogSummary,
  to: LogStore,
  clusterId: string,
  config: Config,
): Promise<void> {
  const writer = new RecordWriter(clusterId)
  for (let next = 1; next <= lastIndex; ) {
    const entries = await from.read(next, lastIndex, BATCH_BYTES)
    if (entries.length === 0) throw new Error(`entry ${next} is missing from the log`)
    await append(
      to,
      entries.map((entry) => writer.createEntry(entry, entry.timeMs, payloadOf(entry))),
    )
    next += entries.length
  }
  const id: EntryId = { index: lastIndex + 1, term: (termRuns.at(-1)?.term ?? 0) + 1 }
  const timeMs = Math.max(lastTimeMs, Math.floor(io.clock.wallMs()))
  await append(to, [writer.createEntry(id, timeMs, { kind: 'config', config })])
}

function append(log: LogStore, entries: readonly LogEntry[]): Promise<void> {
  return new Promise((resolve, reject) => {
    log.onStable = ({ index }) => {
      if (index === entries.at(-1)?.index) resolve()
    }
    log.onFailure = reject
    log.append(entries)
  })
}
