/** How commands of the client reach the cluster, as their flags say. */
import type { Client } from '../../src/client/api.ts'
import { connect } from '../../src/client/client.ts'
import { StoreError } from '../../src/client/errors.ts'
import { LoginError } from '../../src/client/login.ts'
import type { Io } from '../../src/io/io.ts'
import type { ClusterStatus } from '../../src/protocol/status.ts'
import { type Cluster, type ClusterFlags, clusterOf, loginOf } from '../cluster.ts'
import { balancersOf } from '../run.ts'
import { fetchStatus } from '../status.ts'
import type { Context } from './commands.ts'
import { FileError } from './outcome.ts'

export interface ClientFlags extends ClusterFlags {
  readonly json?: boolean
  readonly timeout?: number
}

export async function withClient<T>(
  io: Io,
  flags: ClientFlags,
  use: (context: Context, cluster: Cluster) => Promise<T>,
): Promise<T> {
  const login = await loginOf(io.disk, flags.authFile).catch((error: Error) => {
    throw new FileError(error.message)
  })
  const timeoutMs = flags.timeout
  const cluster = await clusterOf(io, flags)
  const client: Client = await connect(
    flags.server ? { servers: [flags.server] } : balancersOf(flags),
    {
      login,
      io,
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    },
  )
  const status = () => statusOf(cluster)
  try {
    return await use({ client, disk: io.disk, status, timeoutMs }, cluster)
  } finally {
    await client.close()
  }
}

/** @throws StoreError where nobody can say. */
export function statusOf(cluster: Cluster): Promise<ClusterStatus> {
  return fetchStatus(cluster.io, cluster.asked, cluster.whom).catch((error: Error) => {
    throw error instanceof LoginError ? error : new StoreError('unreachable', error.message)
  })
}
