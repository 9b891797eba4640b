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
  const { serverId, clusterId, newClusterId, commitIndex, lastTerm, lastIndex, lastTimeMs } =
    await recover(io, log, directory, isForced)
  const writtenAt = new Date(lastTimeMs).toISOString()
  const upTo = `entry ${lastIndex} of term ${lastTerm}, written ${writtenAt}`
  const lines = [
    `server ${serverId} of cluster ${clusterId}: its log ends at ${upTo}`,
    '',
    'What a recovery means:',
    `  - Writes that others acknowledged after ${upTo} are lost.`,
    `  - Entries after ${commitIndex} may never have been acknowledged; they count from now on.`,
    `  - The cluster goes on as ${newClusterId}, with this server alone. Keep other members of`,
    `    ${clusterId} from starting until their data directories are moved away: they end when a`,
    '    load balancer that knows of the recovery tells them so; without one, two of three go on.',
    '',
  ]
  if (!isForced) {
    process.stdout.write(`${lines.join('\n')}\n`)
    throw new Error(
      'nothing was changed; choose the survivor with the highest term, then the highest entry, and add --force to do it',
    )
  }
  lines.push(
    `Done. Start this server with the same --data, then another one with an empty directory:`,
    'writes are taken again once there are two. What was there before stays beside it.',
  )
  process.stdout.write(`${lines.join('\n')}\n`)
}
