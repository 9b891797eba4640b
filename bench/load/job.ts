/**
 * What the bench asks of a load generator, and what that answers, as messages between
 * two processes.
 */
export type Protocol = 'memcached' | 'redis' | 'etcd'
export type Kind = 'read' | 'write' | 'mix'

export interface Endpoint {
  readonly host: string
  readonly port: number
}

export interface Job {
  readonly protocol: Protocol
  /** Connections go to each of them in turn. */
  readonly endpoints: readonly Endpoint[]
  readonly connectionCount: number
  /** On each connection, at the most; in an open loop so many come together. */
  readonly inFlight: number
  readonly kind: Kind
  readonly valueBytes: number
  readonly keyCount: number
  /** Writes each key once, and that is all; else random keys until the time is over. */
  readonly isFill: boolean
  readonly warmUpMs: number
  readonly measureMs: number
  /**
   * Requests a second, spread evenly over time and connections, whether or not those
   * before were answered (an open loop); null for a closed loop.
   */
  readonly ratePerS: number | null
  readonly seed: number
}

export interface LoadResult {
  /** From the first to the last moment that counts. */
  readonly ms: number
  /** Answered in that time. */
  readonly count: number
  /** Answered at all: before, in and after that time. */
  readonly totalCount: number
  /** Of those, writes. */
  readonly totalWriteCount: number
  readonly errorCount: number
  readonly firstError: string | null
  /** Buckets of a histogram of the latencies. */
  readonly latencies: readonly number[]
}

export type LoadMessage =
  | { readonly type: 'begun' }
  /** The measured time is over; requests are still on their way. */
  | { readonly type: 'ended' }
  | { readonly type: 'result'; readonly result: LoadResult }
