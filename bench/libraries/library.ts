/**
 * What the bench asks of a client library: to set and to get, as often at once as it likes.
 * The functions call back in whatever way is the library's own, so that none pays for a
 * wrapper that its users would not need.
 */
import type { Endpoint } from '../load/job.ts'
import { connectMemcacheClient } from './memcache-client.ts'
import { connectMemcached } from './memcached.ts'
import { connectRaftcached } from './raftcached.ts'

export interface Library {
  set(key: string, value: string, done: Done): void
  /** Fails where there is no value. */
  get(key: string, done: Done): void
}

export type Done = (error?: unknown) => void

export interface Servers {
  readonly balancer: Endpoint
  readonly leader: Endpoint
}

/** By what the table calls them. */
export const LIBRARIES: Readonly<Record<string, (servers: Servers) => Promise<Library>>> = {
  raftcached: connectRaftcached,
  'memcached, 10 connections': (servers) => connectMemcached(servers, 10),
  'memcached, 50 connections': (servers) => connectMemcached(servers, 50),
  'memcache-client': connectMemcacheClient,
}

export const WORKS = ['set', 'get', 'set and get in turns'] as const

export interface LibraryJob {
  readonly library: string
  readonly work: (typeof WORKS)[number]
  readonly servers: Servers
  readonly inFlight: number
  readonly keyCount: number
  readonly valueBytes: number
  readonly warmUpMs: number
  readonly measureMs: number
}

export interface LibraryResult {
  /** Calls a second. */
  readonly rate: number
  /** Processor time of the program for each call. */
  readonly cpuUs: number
}

export type LibraryMessage =
  | { readonly type: 'ready' }
  | { readonly type: 'result'; readonly result: LibraryResult }
  | { readonly type: 'failed'; readonly why: string }
