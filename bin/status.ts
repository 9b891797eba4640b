/** The status of a cluster: asked of whoever tells it, and as a screen of what that alone says. */
import { askBalancers, type Whom } from '../src/client/balancer-client.ts'
import type { Address, Io } from '../src/io/io.ts'
import {
  type Check,
  hasShape,
  isBoolean,
  isName,
  isNameOrNull,
  isPort,
  listOf,
  optional,
  parseObject,
  shaped,
} from '../src/protocol/shape.ts'
import type { ClusterStatus } from '../src/protocol/status.ts'
import { addressText, overviewOf } from './overview.ts'
import { drawScreen } from './status-screen.ts'

export async function fetchStatus(
  io: Io,
  addresses: readonly Address[],
  whom: Whom = 'load balancer',
  timeoutMs?: number,
): Promise<ClusterStatus> {
  const [first] = addresses
  const who = first && addresses.length === 1 ? `${whom} ${addressText(first)}` : `a ${whom}`
  const read = (lines: string[]) => readStatus(lines, who)
  return askBalancers(io, addresses, 'status', read, whom, timeoutMs)
}

const MEMBERS_MAX = 1_000

const isTextOrNull: Check = (value) => value === null || typeof value === 'string'
const isNumberOrNull: Check = (value) => value === null || Number.isFinite(value)

const isMember = shaped({
  ...{ id: isName, cip: isName, cport: isPort, cluster: isNameOrNull, role: isTextOrNull },
  ...{ voter: isBoolean, alive: (value) => value === null || isBoolean(value), note: isTextOrNull },
  ...{ term: isNumberOrNull, lastIndex: isNumberOrNull, commitIndex: isNumberOrNull },
  ...{ appliedIndex: isNumberOrNull, lastHeardMsAgo: isNumberOrNull },
})

/** What is told here; there may be more. */
const STATUS_SHAPE = {
  ...{ cluster: isNameOrNull, leader: isNameOrNull, whyNoLeader: isTextOrNull },
  ...{ membership: isTextOrNull, reads: optional(isTextOrNull) },
  members: listOf(isMember, MEMBERS_MAX),
}

/** Anything may listen at a port that was mistyped. */
function readStatus([line = '']: readonly string[], who: string): ClusterStatus {
  const object = parseObject(line)
  if (!hasShape(object, STATUS_SHAPE)) throw new Error(`${who} does not speak this protocol`)
  return object as unknown as ClusterStatus
}

/** Without what only the members tell. */
export function describeStatus(status: ClusterStatus): string {
  const nobody = new Map()
  const heard = { balancers: [], leaderStatus: null, samples: nobody, before: nobody }
  return drawScreen(overviewOf({ status, ...heard, silences: nobody }))
}
