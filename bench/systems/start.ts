/** How each system is started, by name. */
import { startBare } from './bare.ts'
import { startEtcd } from './etcd.ts'
import { startMemcached } from './memcached.ts'
import { startRaftcached } from './raftcached.ts'
import { startRedis } from './redis.ts'
import type { StartOptions, System, SystemName } from './system.ts'

const STARTS: Readonly<Record<SystemName, (options: StartOptions) => Promise<System>>> = {
  raftcached: startRaftcached,
  etcd: startEtcd,
  redis: startRedis,
  memcached: startMemcached,
  bare: startBare,
}

/** @throws UnavailableError where it is not installed, or can't do what is asked for. */
export function startSystem(name: SystemName, options: StartOptions): Promise<System> {
  return STARTS[name](options)
}
