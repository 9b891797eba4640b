/** The status of a cluster: asked of whoever tells it, and as a screen of what that alone says. */
import { askBalancers, type Whom } from '../src/client/balancer-client.ts'
import type { Address, Io } from '../src/io/io.ts'
import type { ClusterStatus } from '../src/protocol/status.ts'
import { overviewOf } from './overview.ts'
import { drawScreen } from './status-screen.ts'

export async function fetchStatus(
  io: Io,
  addresses: readonly Address[],
  whom: Whom = 'load balancer',
  timeoutMs?: number,
): Promise<ClusterStatus> {
  const read = ([line = '']: string[]) => JSON.parse(line) as ClusterStatus
  return askBalancers(io, addresses, 'status', read, whom, timeoutMs)
}

/** Without what only the members tell. */
export function describeStatus(status: ClusterStatus): string {
  const nobody = new Map()
  const heard = { balancers: [], leaderStatus: null, samples: nobody, before: nobody }
  return drawScreen(overviewOf({ status, ...heard, silences: nobody }))
}
