/**
 * Fuzzes a running server, each input over a connection of its own.
 *
 * After each: the server has answered, well formed, and closed when its client ended;
 * it answers `version` on a new connection. Every wait is bounded.
 */
import net from 'node:net'
import { Dice } from './dice.ts'
import { randomInput } from './inputs.ts'
import { findMalformed } from './replies.ts'

const ANSWER_MS = 15_000

export interface Target {
  readonly host: string
  readonly port: number
}

/** @throws Error with the input, where one shows a fault. */
export async function fuzzLive(
  target: Target,
  firstSeed: number,
  count: number,
  parallel: number,
  onProgress: (done: number) => void = () => {},
): Promise<void> {
  let started = 0
  let done = 0
  const work = async () => {
    while (started < count) {
      const seed = firstSeed + started++
      const dice = new Dice(seed)
      const { text } = randomInput(dice)
      const fault = await findFault(target, text, dice)
      if (fault !== null) throw new Error(`live, seed ${seed}: ${fault}\n${JSON.stringify(text)}`)
      if (++done % 1_000 === 0) onProgress(done)
    }
  }
  await Promise.all(Array.from({ length: parallel }, work))
}

async function findFault(target: Target, text: string, dice: Dice): Promise<string | null> {
  const replies = await exchange(target, text, dice.chance(0.3) ? dice.integer(0, text.length) : 0)
  if (replies === null) return `neither answered nor closed within ${ANSWER_MS} ms`
  const malformed = findMalformed(replies)
  if (malformed !== null) return malformed
  const version = await exchange(target, 'version\r\n', 0)
  if (version !== null && /^VERSION [\d.]+\r\n$/.test(version)) return null
  return `then version is answered with ${JSON.stringify(version)}`
}

/** Sends, ends, and takes all that is answered; null where the server does not close. */
function exchange({ host, port }: Target, text: string, cut: number): Promise<string | null> {
  return new Promise((resolve, reject) => {
    let replies = ''
    const socket = net.connect({ host, port, noDelay: true }, () => {
      if (cut > 0) socket.write(text.slice(0, cut), 'latin1')
      setImmediate(() => socket.end(text.slice(cut), 'latin1'))
    })
    const timer = setTimeout(() => {
      socket.destroy()
      resolve(null)
    }, ANSWER_MS)
    socket.setEncoding('latin1')
    socket.on('data', (chunk) => {
      replies += chunk
    })
    socket.on('error', (error: NodeJS.ErrnoException) => {
      // A server that closes early may say so while its client is still writing.
      if (error.code !== 'EPIPE' && error.code !== 'ECONNRESET') reject(error)
    })
    socket.on('close', () => {
      clearTimeout(timer)
      resolve(replies)
    })
  })
}
