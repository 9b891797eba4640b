/** Fetches a backup from a server: one TCP connection, one line out, the file back. */
import type { Address, Io, Timer } from '../io/io.ts'
import { LoginError } from './login.ts'

/** To be let in: no more than other questions are given. */
const CONNECT_MS = 3_000
/** The server writes the file before it sends any of it. */
const PREPARE_MS = 10 * 60_000
const STALL_MS = 30_000
const LINE_BYTES_MAX = 1_024
const END = Buffer.from('\r\nEND\r\n')

export interface BackupSink {
  /** The file will be this long. */
  begin(bytes: number): void
  /** The next piece; no more comes before it resolves. */
  write(piece: Buffer): Promise<void>
}

/**
 * @param io Logs in: a stream is open when the server has answered.
 * @throws Error in one line, LoginError where the server let nobody in; what was written by then
 *   is not the whole file.
 */
export function fetchBackup(io: Io, address: Address, sink: BackupSink): Promise<void> {
  return new Promise((resolve, reject) => {
    const where = `server ${address.host}:${address.port}`
    let head: Buffer | null = Buffer.alloc(0)
    /** Of the file, still to come. */
    let left = 0
    let tail = Buffer.alloc(0)
    let work: Promise<void> = Promise.resolve()
    let isOver = false
    let timer: Timer

    const end = (finish: () => void) => {
      if (isOver) return
      isOver = true
      timer.cancel()
      stream.destroy()
      // What is being written is, before the sink is anybody else's.
      void work.catch(() => {}).then(finish)
    }
    const fail = (why: string) => end(() => reject(new Error(`${where}: ${why}`)))
    const arm = (ms: number) => {
      timer?.cancel()
      timer = io.timers.after(ms, () => fail(`nothing came from it for ${ms / 1_000} s`))
    }

    const takeHead = (chunk: Buffer) => {
      const bytes = Buffer.concat([head ?? chunk, chunk])
      head = bytes
      const lineEnd = bytes.indexOf('\r\n')
      if (lineEnd === -1) {
        if (bytes.length > LINE_BYTES_MAX) fail('it does not speak this protocol')
        return
      }
      const line = bytes.toString('latin1', 0, lineEnd)
      const length = /^BACKUP (\d+)$/.exec(line)?.[1]
      if (length === undefined) {
        return fail(line === 'ERROR' ? 'it makes no backups' : line.replace(/^SERVER_ERROR /, ''))
      }
      head = null
      left = Number(length)
      sink.begin(left)
      takeFile(bytes.subarray(lineEnd + 2))
    }
    const takeFile = (chunk: Buffer) => {
      const piece = chunk.subarray(0, left)
      left -= piece.length
      tail = Buffer.concat([tail, chunk.subarray(piece.length)])
      if (tail.length >= END.length && !tail.equals(END)) return fail('it sent more than it said')
      stream.pause()
      timer.cancel()
      const isWhole = tail.length === END.length
      work = sink.write(piece).then(() => {
        if (isWhole) return end(resolve)
        if (isOver) return
        arm(STALL_MS)
        stream.resume()
      })
      work.catch((error) => end(() => reject(error)))
    }

    const stream = io.network.connect(address, {
      onOpen() {
        if (!isOver) arm(PREPARE_MS)
      },
      onData(chunk) {
        if (isOver) return
        if (head) takeHead(chunk)
        else takeFile(chunk)
      },
      onEnd: () =>
        void work.catch(() => {}).then(() => fail('it closed the connection before the end')),
      onClose: (error) => {
        if (error instanceof LoginError) {
          const refusal = new LoginError(`${where}: ${error.message}`, error.isFinal)
          return end(() => reject(refusal))
        }
        const code = error && 'code' in error ? ` (${error.code})` : ''
        const why = head?.length === 0 ? "can't be reached" : 'the connection was lost'
        void work.catch(() => {}).then(() => fail(`${why}${code}`))
      },
    })
    arm(CONNECT_MS)
    stream.write('backup\r\n')
  })
}
