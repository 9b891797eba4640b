/** The npm package memcache-client: promises, and one pipelined connection. */
import { MemcacheClient } from 'memcache-client'
import type { Library, Servers } from './library.ts'

const MISSING = new Error('no value')
/** For good: by default it is a minute. */
const LIFETIME = { lifetime: 0 }

export async function connectMemcacheClient({ leader }: Servers): Promise<Library> {
  const client = new MemcacheClient({ server: `${leader.host}:${leader.port}` })
  return {
    set: (key, value, done) => void client.set(key, value, LIFETIME).then(() => done(), done),
    get: (key, done) =>
      void client.get(key).then((found) => done(found === undefined ? MISSING : undefined), done),
  }
}
