/**
 * What programs import: the shapes of the client library. `connect` is in client.ts, and
 * the table of codes, with what to do about each, in docs/ERRORS.md.
 *
 *     const client = await connect('127.0.0.1:5002')
 *     await client.set('greeting', 'hello', { expiresInS: 3_600 })
 *     const value = await client.get('greeting') // a Buffer, or null
 *     await client.close()
 */
import type { Address, Io } from '../io/io.ts'
import type { Login } from './login.ts'

export type { Address, Login }

/** `host:port`, where an IPv6 address stands in brackets, or its parts. */
export type Where = Address | string

/**
 * Load balancers, each by where it answers clients; or servers, where there is none to
 * ask. One that answers is enough: it names the others.
 */
export type Cluster = Where | readonly Where[] | { readonly servers: readonly Where[] }

export interface ConnectOptions {
  /** Where servers were given an --auth-file. */
  readonly login?: Login | null
  /** For each call that says nothing else, its retries included: 5,000 unless said. */
  readonly timeoutMs?: number
  /** For tests. */
  readonly io?: Io
}

export interface CallOptions {
  /** How long the call may take, its retries included. */
  readonly timeoutMs?: number
  /** Ends the call at once; what was on its way may still happen. */
  readonly signal?: AbortSignal
}

export interface ReadOptions extends CallOptions {
  /**
   * `linearizable`, the default: all that was acknowledged to anybody before the call.
   * `local`: what one server has applied, at once; it may be some time ago, and two such
   * reads may go back in time.
   */
  readonly read?: 'linearizable' | 'local'
}

export interface WriteOptions extends CallOptions {
  /** A number from 0 to 2^32 - 1 that is kept with the value. */
  readonly flags?: number
  /**
   * Whole seconds until the item is gone; without it, or with 0, it stays. More than thirty days
   * are counted by this machine's clock.
   */
  readonly expiresInS?: number
}

/** An item with what is kept beside its value. */
export interface Item {
  readonly value: Buffer
  readonly flags: number
  /** Changes with every change of the item; `cas` takes it. */
  readonly casUnique: bigint
}

/** A Buffer is not copied: leave it as it is until the call has ended. */
export type Value = Buffer | string

/**
 * Every call may fail with a StoreError, which says whether it certainly did nothing.
 * Calls may be made many at a time. Writes are sent in the order in which they are made, and
 * reads are, but neither waits for the other, and what is repeated after a failure may be
 * overtaken: who needs an order awaits.
 */
export interface Client {
  /** @returns the value, or null where there is none. */
  get(key: string, options?: ReadOptions): Promise<Buffer | null>
  /** @returns the values that there are, by key; at most 512 KiB of keys at once. */
  get(keys: readonly string[], options?: ReadOptions): Promise<Map<string, Buffer>>
  /** As `get`, with flags and CAS uniques. */
  gets(key: string, options?: ReadOptions): Promise<Item | null>
  gets(keys: readonly string[], options?: ReadOptions): Promise<Map<string, Item>>

  set(key: string, value: Value, options?: WriteOptions): Promise<void>
  /** @returns whether it was stored: not where the key had a value. */
  add(key: string, value: Value, options?: WriteOptions): Promise<boolean>
  /** @returns whether it was stored: not where the key had no value. */
  replace(key: string, value: Value, options?: WriteOptions): Promise<boolean>
  /**
   * @returns whether the key had a value, to which this was added at its end: not where the two together
   * would be too long for the cluster either.
   */
  append(key: string, value: Value, options?: CallOptions): Promise<boolean>
  /** As `append`, in front. */
  prepend(key: string, value: Value, options?: CallOptions): Promise<boolean>
  /**
   * Stores the value where the item is still the one that `gets` showed.
   * @returns `exists` where it is another one by now, `notFound` where it is gone.
   */
  cas(
    key: string,
    value: Value,
    casUnique: bigint,
    options?: WriteOptions,
  ): Promise<'stored' | 'exists' | 'notFound'>
  /** @returns whether the key had a value. */
  delete(key: string, options?: CallOptions): Promise<boolean>
  /**
   * Adds to a decimal number below 2^64, beyond which it begins at 0 again.
   * @returns the sum, or null where the key has no value.
   */
  incr(key: string, by?: number | bigint, options?: CallOptions): Promise<bigint | null>
  /** As `incr`, down to 0. */
  decr(key: string, by?: number | bigint, options?: CallOptions): Promise<bigint | null>
  /** Sets anew when the item is gone. @returns whether the key had a value. */
  touch(key: string, expiresInS: number, options?: CallOptions): Promise<boolean>
  /**
   * Reads, applies `change` and writes back, until nobody came in between: at most
   * `UPDATE_ATTEMPTS_MAX` times.
   * @param change Of the value, null where there is none; called once for each attempt. What it
   *   returns is stored; for null the item is deleted, and for undefined nothing happens.
   * @returns what the key has now.
   */
  update(
    key: string,
    change: (value: Buffer | null) => Value | null | undefined,
    options?: WriteOptions,
  ): Promise<Buffer | null>
  /** Removes everything, at once or in so many seconds. */
  flushAll(options?: CallOptions & { readonly delayS?: number }): Promise<void>
  /**
   * Of the server that leads, where it can be reached, by name.
   * @param about One of memcached's groups, such as `settings`.
   */
  stats(about?: string, options?: CallOptions): Promise<Map<string, string>>
  /** Ends once what was called before has its answer, or its time is over. */
  close(): Promise<void>

  /** `set`, for those who come from a manager and storage nodes. */
  put(key: string, value: Value, options?: WriteOptions): Promise<void>
  /** `close`, for the same. */
  finalize(): Promise<void>
}

/** How often `update` tries before it fails with `conflict`. */
export const UPDATE_ATTEMPTS_MAX = 100
