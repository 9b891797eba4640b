/**
 * What the bench needs of anything that it measures. A system is started for a row and
 * stopped after it: it runs on loopback with its data below the system's temporary
 * directory, all of them on one disk.
 */
import type { Endpoint, Kind, Protocol } from '../load/job.ts'

/** Under `leader` stands this store again, asked at its leader alone. */
export type SubjectName = SystemName | 'leader'

export type SystemName = 'raftcached' | 'etcd' | 'redis' | 'memcached' | 'bare'

export interface NamedProcess {
  /** What it is in its system, such as leader; the same process may change. */
  readonly role: string
  readonly pid: number
}

export interface System {
  readonly name: SystemName
  readonly protocol: Protocol
  leader(): Promise<Endpoint>
  /** All that take requests, whoever leads. */
  everyone(): readonly Endpoint[]
  processes(): Promise<readonly NamedProcess[]>
  /** Syncs of all logs since the start; null where nobody counts them. */
  syncCount(): Promise<number | null>
  /** For those that do not count: watched by strace. @returns what ends that, and says how many. */
  traceSyncs?(): Promise<() => Promise<number | null>>
  /** Ends all its processes and removes its data. */
  stop(): Promise<void>
}

export interface StartOptions {
  readonly kind: Kind
  /** Of every value that will be stored. */
  readonly valueBytes: number
  readonly reads: 'quorum' | 'lease'
}

/** Says what is missing, for a system that can't be started in this way here. */
export class UnavailableError extends Error {}
