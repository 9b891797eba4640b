/** `store restore`: makes a backup a server's data, and says what to do next. */
import type { Io } from '../src/io/io.ts'
import type { ServerAddress } from '../src/protocol/balancer.ts'
import { restoreBackup } from '../src/server/restore-backup.ts'

export async function restoreFrom(
  io: Io,
  path: string,
  directory: string,
  address: Omit<ServerAddress, 'id'>,
): Promise<void> {
  const restored = await restoreBackup(io, path, directory, address)
  const { serverId, clusterId, from, index, timeMs, itemCount } = restored
  const asOf = `entry ${index} of cluster ${from}, ${new Date(timeMs).toISOString()}`
  const lines = [
    `server ${serverId} of the new cluster ${clusterId}: ${itemCount} items, as of ${asOf}`,
    '',
    'Start a load balancer with fresh data, then this server with:',
    `  store addsrv --data ${directory} --cport ${address.cport} --sport ${address.sport}`,
    'and others with empty directories: writes are taken once there are two servers.',
  ]
  process.stdout.write(`${lines.join('\n')}\n`)
}
