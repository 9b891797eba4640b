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
import { beginGroup } from './begin-group.ts'
import { loadIdentity, saveIdentity } from './log/identity.ts'
import { VoteDamagedError, VoteFile } from './log/vote-file.ts'
import { memberOf } from './raft/config.ts'
import type { Config } from './raft/types.ts'
import { type Restored, restore } from './restore.ts'

const GROUP = 0
const REPLAY_BYTES = 4 * 1024 * 1024

export interface Recovery {
  readonly serverId: string
  readonly clusterId: string
  readonly newClusterId: string
  /** Up to here it was known to be committed. */
  readonly commitIndex: number
  /** Of two survivors the one with the higher term has more that counts, then that with the higher index. */
  readonly lastTerm: number
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
    const options = { io, log, directory, group: GROUP, clusterId }
    const restored = await restore({ ...options, readOnly: true })
    const { commitIndex, lastIndex, lastTimeMs, configs } = restored.raftLog
    const own = configs.findLast((each) => memberOf(each.config, serverId))?.config
    const member = own && memberOf(own, serverId)
    // Limits and modes are those of the newest, which may be one without this server.
    const config = configs.at(-1)?.config
    if (!member || !config)
      throw new Error(`${directory}: its log knows no configuration with this server`)
    const newClusterId = nextEpoch(clusterId, serverId)
    const lastTerm = restored.raftLog.termRuns.at(-1)?.term ?? restored.raftLog.base?.term ?? 0
    if (isForced) {
      const alone: Config = { ...config, members: [{ ...member, voter: true }], floor: 2 }
      await applyAll(restored)
      const beginning = {
        ...{ directory, clusterId: newClusterId, group: GROUP, config: alone },
        ...{ last: { term: lastTerm, index: lastIndex }, timeMs: lastTimeMs },
        flushAtMs: restored.machine.flushAtMs,
      }
      const { term } = await beginGroup(io, beginning, restored.machine.items)
      await saveIdentity(disk, directory, { serverId, clusterId: newClusterId })
      await raiseVote(disk, directory, serverId, term)
    }
    await restored.store.close()
    return { serverId, clusterId, newClusterId, commitIndex, lastTerm, lastIndex, lastTimeMs }
  } finally {
    await lock.release()
  }
}

/** Every entry of its log counts from now on. */
async function applyAll({ machine, store, raftLog }: Restored): Promise<void> {
  const { lastIndex } = raftLog
  while (machine.appliedIndex < lastIndex) {
    const entries = await store.read(machine.appliedIndex + 1, lastIndex, REPLAY_BYTES)
    if (entries.length === 0) throw new Error(`entry ${machine.appliedIndex + 1} is missing`)
    for (const entry of entries) machine.apply(entry)
  }
}

/** The vote is never behind the log. What it was counts for nothing in the new epoch, and only there. */
async function raiseVote(
  disk: Disk,
  directory: string,
  serverId: string,
  term: number,
): Promise<void> {
  const raised = { term, vote: '' }
  const isThere = (await disk.list(directory)).includes('vote')
  if (!isThere) return VoteFile.create(disk, directory, serverId, raised)
  try {
    const { file, hardState } = await VoteFile.open(disk, directory, serverId)
    if (hardState.term < term) await file.write(raised)
    await file.close()
  } catch (error) {
    if (!(error instanceof VoteDamagedError)) throw error
    await VoteFile.create(disk, directory, serverId, raised)
  }
}
