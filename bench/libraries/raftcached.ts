/** This project's library. */
import { connect } from '../../src/client/client.ts'
import type { Library, Servers } from './library.ts'

const MISSING = new Error('no value')

export async function connectRaftcached({ balancer }: Servers): Promise<Library> {
  const client = await connect(balancer)
  return {
    set: (key, value, done) => void client.set(key, value).then(() => done(), done),
    get: (key, done) =>
      void client.get(key).then((value) => done(value === null ? MISSING : undefined), done),
  }
}
