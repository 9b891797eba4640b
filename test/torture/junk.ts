/** Bytes that nobody should ever send: noise, broken JSON, and messages that are almost right. */
import { randomBytes } from 'node:crypto'
import dgram from 'node:dgram'
import net from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { encodeFrame } from '../../src/protocol/frames.ts'
import { chance, draw, pick } from './dice.ts'

const TYPES = [
  ...['preVote', 'preVoteResp', 'vote', 'voteResp', 'heartbeat', 'heartbeatResp'],
  ...['register', 'registered', 'form', 'lbHeartbeatResp', 'statusResp', 'hello', 'append'],
  ...['forward', 'readIndexResp', '__proto__', 'toString'],
]
const FIELDS = [
  ...['cluster', 'group', 'from', 'to', 'term', 'last', 'granted', 'commitIndex', 'round', 'id'],
  ...['server', 'servers', 'entries', 'requests', 'prev', 'wallMs', 'protocol', '__proto__'],
]
const VALUES: readonly unknown[] = [
  ...[null, true, -1, 0, 1, 1.5, 1e308, Number.MAX_SAFE_INTEGER, '', ' ', 'x', '\u0000', '💥'],
  ...[[], {}, [[]], { term: 1 }, { index: 'x' }, 'y'.repeat(5_000)],
]

/** JSON of a message of another cluster, with fields missing or of a wrong kind. */
function almostMessage(): string {
  const fields = FIELDS.filter(() => chance(0.5)).map((name) => [name, pick(VALUES)])
  // Never whole: one with all of its fields would be a forged message, and peers trust each other.
  return JSON.stringify({ ...Object.fromEntries(fields), type: pick(TYPES), cluster: {} })
}

function junk(): Buffer {
  const text = almostMessage()
  switch (Math.floor(Math.random() * 5)) {
    case 0:
      return randomBytes(Math.floor(draw(0, 1_400)))
    case 1:
      return Buffer.from(text.slice(0, Math.floor(draw(0, text.length))))
    case 2:
      return Buffer.from('['.repeat(Math.floor(draw(1, 20_000))))
    default:
      return Buffer.from(text)
  }
}

export async function sendJunkDatagrams(ports: readonly number[], count: number): Promise<void> {
  const socket = dgram.createSocket('udp4')
  socket.on('error', () => {}) // nobody there, just now
  for (let sent = 0; sent < count; sent++) {
    socket.send(junk(), pick(ports), '127.0.0.1', () => {})
    if (sent % 20 === 0) await delay(5)
  }
  socket.close()
}

/** What begins a stream like a request or a frame, and goes wrong then. */
function junkStream(): Buffer[] {
  switch (Math.floor(Math.random() * 6)) {
    case 0:
      return [randomBytes(Math.floor(draw(1, 100_000)))]
    case 1:
      return encodeFrame(almostMessage(), [randomBytes(100)])
    case 2:
      return [Buffer.from([255, 255, 255, 255, 255, 255, 255, 255]), junk()]
    case 3:
      return [Buffer.from(`set junk 0 0 ${pick(['-1', '1e9', '99999999999', 'x', '5'])}\r\nno`)]
    case 4:
      return [Buffer.from('get '), Buffer.alloc(Math.floor(draw(0, 2_000_000)), 'k')]
    default:
      return [Buffer.from('\r\n\r\nstatus\u0000\r\n'), junk(), Buffer.from('\r\n'), junk()]
  }
}

/** Opens streams, writes junk, reads nothing or everything, and leaves in one way or another. */
export async function openJunkStreams(ports: readonly number[], count: number): Promise<void> {
  await Promise.all(
    Array.from({ length: count }, async () => {
      const socket = net.connect({ host: '127.0.0.1', port: pick(ports) })
      socket.on('error', () => {})
      if (chance(0.5)) socket.resume()
      for (const piece of junkStream()) socket.write(piece)
      await delay(draw(0, 1_500))
      if (chance(0.5)) socket.resetAndDestroy()
      else socket.destroy()
    }),
  )
}
