/**
 * A server of nothing but Node's sockets: whatever line it gets, it answers the bytes that a
 * store would answer to a get of a value of this length. As anyone would write it: the
 * mark that a store in Node is measured by.
 *
 *     node bare-server.js PORT VALUE_BYTES
 */
import net from 'node:net'
import { memcachedProtocol } from '../load/memcached.ts'
import { keyOf, valueFor } from '../load/script.ts'

const LINE_END = 10
const REPLIES_AT_ONCE = 64

const [port, valueBytes] = process.argv.slice(2).map(Number)
const value = valueFor(0, valueBytes ?? 0)
const line = `VALUE ${keyOf(0)} 0 ${value.length}\r\n`
const { tail } = memcachedProtocol.readShape(keyOf(0), value.length)
const reply = Buffer.concat([Buffer.from(line), value, tail])
const replies = Buffer.concat(Array(REPLIES_AT_ONCE).fill(reply))

net
  .createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => socket.destroy())
    socket.on('data', (chunk) => {
      let count = 0
      for (let at = chunk.indexOf(LINE_END); at !== -1; at = chunk.indexOf(LINE_END, at + 1)) {
        count++
      }
      for (; count > 0; count -= REPLIES_AT_ONCE) {
        socket.write(replies.subarray(0, reply.length * Math.min(count, REPLIES_AT_ONCE)))
      }
    })
  })
  .listen(port, '127.0.0.1')
