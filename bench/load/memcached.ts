/** memcached's text protocol: get and set. Source: memcached's doc/protocol.txt. */
import type { TextProtocol } from './text-session.ts'

const TAIL = Buffer.from('\r\nEND\r\n')
const STORED = Buffer.from('STORED\r\n')

export const memcachedProtocol: TextProtocol = {
  read: (key) => Buffer.from(`get ${key}\r\n`),
  write: (key, value) =>
    Buffer.concat([Buffer.from(`set ${key} 0 0 ${value.length}\r\n`), value, Buffer.from('\r\n')]),
  readShape: (key, valueBytes) => {
    const line = `VALUE ${key} 0 ${valueBytes}\r\n`
    const bytes = line.length + valueBytes + TAIL.length
    return { bytes, head: Buffer.from('VALUE '), tail: TAIL }
  },
  writeShape: { bytes: STORED.length, head: STORED, tail: Buffer.alloc(0) },
}
