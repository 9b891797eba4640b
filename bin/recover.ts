/** `store recover`: says what a recovery without a quorum means, and carries it out when forced. */
import type { Io } from '../src/io/io.ts'
import type { Logger } from '../src/io/logger.ts'
import { recover } from '../src/server/recover.ts'

export async function recoverServer(
  io: Io,
  log: Logger,
  directory: string,
  isForced: boolean,
): Promise<void> {
  const { serverId, clusterId, newClusterId, commitIndex, lastIndex, lastTimeMs } = await recover(
    io,
    log,
    directory,
    isForced,
  )
  const upTo = `entry ${lastIndex}, written ${new Date(lastTimeMs).toISOString()}`
  const lines = [
    `server ${serverId} of cluster ${clusterId}: its log ends at ${upTo}`,
    '',
    'What a recovery means:',
    `  - Writes that others acknowledged after ${upTo} are lost.`,
    `  - Entries after ${commitIndex} may never have been acknowledged; they count from now on.`,
    `  - The cluster goes on as ${newClusterId}, with this server alone; other members of`,
    `    ${clusterId} are refused until their data directories are moved away.`,
    '',
  ]
  if (!isForced) {
    process.stdout.write(`${lines.join('\n')}\n`)
    throw new Error(
      'nothing was changed; choose the survivor whose log ends last, and add --force to do it',
    )
  }
  lines.push(
    `Done. Start this server with the same --data, then another one with an empty directory:`,
    'writes are taken again once there are two. What was there before stays beside it.',
  )
  process.stdout.write(`${lines.join('\n')}\n`)
}
