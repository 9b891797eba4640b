/** Redis's protocol (RESP2): GET and SET. Source: redis.io, "Redis serialization protocol". */
import type { TextProtocol } from './text-session.ts'

const TAIL = Buffer.from('\r\n')
const OK = Buffer.from('+OK\r\n')

export const redisProtocol: TextProtocol = {
  read: (key) => Buffer.from(`*2\r\n$3\r\nGET\r\n$${key.length}\r\n${key}\r\n`),
  write: (key, value) =>
    Buffer.concat([
      Buffer.from(`*3\r\n$3\r\nSET\r\n$${key.length}\r\n${key}\r\n$${value.length}\r\n`),
      value,
      TAIL,
    ]),
  readShape: (_key, valueBytes) => {
    const head = Buffer.from(`$${valueBytes}\r\n`)
    return { bytes: head.length + valueBytes + TAIL.length, head, tail: TAIL }
  },
  writeShape: { bytes: OK.length, head: OK, tail: Buffer.alloc(0) },
}
