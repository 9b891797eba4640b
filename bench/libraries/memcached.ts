/** The npm package memcached. It has callbacks, and a pool of connections. */
import Memcached from 'memcached'
import type { Library, Servers } from './library.ts'

const MISSING = new Error('no value')

export async function connectMemcached({ leader }: Servers, poolSize: number): Promise<Library> {
  const client = new Memcached(`${leader.host}:${leader.port}`, { poolSize })
  return {
    set: (key, value, done) => client.set(key, value, 0, (error) => done(error)),
    get: (key, done) =>
      client.get(key, (error, value) => done(error ?? (value === undefined ? MISSING : undefined))),
  }
}
