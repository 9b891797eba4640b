/** Asks load balancers: one TCP connection, one line out, lines until `end` back. */
import type { Address, Io } from '../io/io.ts'
import { LoginError } from './login.ts'

/** Servers answer the same questions, on their port for clients. */
export type Whom = 'load balancer' | 'server'

const TIMEOUT_MS = 3_000
const ANSWER_BYTES_MAX = 1024 * 1024

/**
 * @param command Such as `get-servers` or `status`; or one of memcached's that ends with `END`.
 * @param signal Nobody wants the answer any more: nothing of the question is left then.
 * @returns the lines of the answer, without the last.
 * @throws Error in one line that says what to look at.
 */
export function ask(
  io: Io,
  address: Address,
  command: string,
  whom: Whom,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<string[]> {
  const where = `${whom} ${address.host}:${address.port}`
  const start = whom === 'server' ? 'addsrv' : 'addlb'
  return new Promise((resolve, reject) => {
    let text = ''
    const fail = (why: string) => end(new Error(why))
    const finish = () => {
      timer.cancel()
      signal?.removeEventListener('abort', forget)
      stream.destroy()
    }
    const end = (error: Error) => {
      finish()
      reject(error)
    }
    const forget = () => fail(`${where} was not waited for`)
    signal?.addEventListener('abort', forget)
    const timer = io.timers.after(timeoutMs, () =>
      fail(`${where} did not answer within ${timeoutMs} ms`),
    )
    const stream = io.network.connect(address, {
      onData(chunk) {
        text += chunk.toString('latin1')
        const lines = text.split('\r\n')
        const end = lines.findIndex((line) => line === 'end' || line === 'END')
        if (end === -1) {
          if (text.length > ANSWER_BYTES_MAX) fail(`${where} does not speak this protocol`)
          return
        }
        finish()
        resolve(lines.slice(0, end))
      },
      onEnd: () => fail(`${where} closed the connection without an answer`),
      onClose: (error) => {
        if (error instanceof LoginError) {
          return end(new LoginError(`${where} ${error.message}`, error.isFinal))
        }
        const code = error && 'code' in error ? String(error.code) : 'closed'
        fail(`${where} can't be reached (${code}): is it running? start one with: store ${start}`)
      },
    })
    stream.write(`${command}\r\n`)
  })
}

/**
 * Asks one load balancer after the other until one can tell.
 * @param read What the lines say. @throws where they do not say it.
 * @param timeoutMs For each.
 * @throws LoginError at once; else Error with what each of them said.
 */
export async function askBalancers<T>(
  io: Io,
  addresses: readonly Address[],
  command: string,
  read: (lines: string[]) => T,
  whom: Whom = 'load balancer',
  timeoutMs = TIMEOUT_MS,
): Promise<T> {
  const failures: string[] = []
  for (const address of addresses) {
    try {
      return read(await ask(io, address, command, whom, timeoutMs))
    } catch (error) {
      if (error instanceof LoginError) throw error
      failures.push(error instanceof Error ? error.message : String(error))
    }
  }
  throw new Error(failures.join('; ') || 'no load balancer was named')
}
