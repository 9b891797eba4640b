/** What is measured, a row each, and which of the others it is measured against. */
import type { Kind } from './load/job.ts'
import type { SystemName } from './systems/system.ts'

export interface Row {
  readonly name: string
  readonly kind: Kind
  readonly connectionCount: number
  readonly inFlight: number
  readonly valueBytes: number
  readonly keyCount: number
  /** How reads of this store are confirmed; others have one way. */
  readonly reads: 'quorum' | 'lease'
  readonly to: 'leader' | 'any'
  /** At half the rate that this store reaches over the same connections when nothing holds it back. */
  readonly isHalfRate: boolean
  /** Then requests come one by one, however many were in flight when nothing held it back. */
  readonly comesSingly: boolean
  readonly against: readonly SystemName[]
}

const KEY_COUNT = 10_000
const LARGE_KEY_COUNT = 400
const KIB = 1024

const ONE_BY_ONE = [1, 50, 400] as const

const WRITE_PEERS = ['etcd', 'redis', 'bare'] as const
const READ_PEERS = ['etcd', 'redis', 'memcached', 'bare'] as const

const BASE: Omit<Row, 'name'> = {
  ...{ kind: 'write', connectionCount: 50, inFlight: 1 },
  ...{ valueBytes: 100, keyCount: KEY_COUNT, reads: 'quorum', to: 'leader', isHalfRate: false },
  comesSingly: false,
  against: WRITE_PEERS,
}

function row(name: string, changes: Partial<Row> = {}): Row {
  return { ...BASE, name, ...changes }
}

const LEASE: Partial<Row> = { kind: 'read', reads: 'lease', against: READ_PEERS }
const READ: Partial<Row> = { kind: 'read', against: READ_PEERS }
const MIX: Partial<Row> = { kind: 'mix', against: ['etcd', 'redis'] }
const LARGE: Partial<Row> = { valueBytes: 64 * KIB, keyCount: LARGE_KEY_COUNT }

export const ROWS: readonly Row[] = [
  ...ONE_BY_ONE.map((connectionCount) => row(`write ${connectionCount}`, { connectionCount })),
  row('write 50x16', { inFlight: 16 }),
  ...ONE_BY_ONE.map((connectionCount) =>
    row(`read ${connectionCount}`, { ...READ, connectionCount }),
  ),
  row('read 50x16', { ...READ, inFlight: 16 }),
  ...ONE_BY_ONE.map((connectionCount) =>
    row(`lease ${connectionCount}`, { ...LEASE, connectionCount }),
  ),
  row('lease 50x16', { ...LEASE, inFlight: 16 }),
  row('mix 50', MIX),
  row('mix 50x16', { ...MIX, inFlight: 16 }),
  row('write 50 1KiB', { valueBytes: KIB }),
  row('read 50 1KiB', { ...READ, valueBytes: KIB }),
  row('write 50 64KiB', LARGE),
  row('read 50 64KiB', { ...READ, ...LARGE }),
  row('write 50 any', { to: 'any', against: ['etcd'] }),
  row('read 50 any', { ...READ, to: 'any', against: ['etcd'] }),
  row('mix 50 any', { ...MIX, to: 'any', against: ['etcd'] }),
  row('write 50x16 half', { inFlight: 16, isHalfRate: true, against: ['bare'] }),
  row('write 50x16 half singly', {
    ...{ inFlight: 16, isHalfRate: true, comesSingly: true, against: ['bare'] },
  }),
  row('write 400 half', { connectionCount: 400, isHalfRate: true, against: ['bare'] }),
]

/** @throws where there is none, naming those there are. */
export function findRow(name: string): Row {
  const found = ROWS.find((row) => row.name === name)
  if (found) return found
  throw new Error(`no row '${name}'; there are ${ROWS.map((row) => row.name).join(', ')}`)
}
