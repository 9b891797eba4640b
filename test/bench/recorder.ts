/** A session of a protocol, and all that it sent and reported. */
import type { Job } from '../../bench/load/job.ts'
import { protocolOf } from '../../bench/load/protocols.ts'
import { createScript, type Script } from '../../bench/load/script.ts'
import type { Session } from '../../bench/load/session.ts'

/** Made once for all recorders of a job. */
const scripts = new Map<string, Script>()

export class Recorder {
  readonly session: Session
  readonly replies: number[] = []
  readonly errors: string[] = []
  isReady = false
  #sent: Buffer[] = []

  constructor(job: Job, startAt = 0) {
    const protocol = protocolOf(job)
    const key = JSON.stringify(job)
    const script = scripts.get(key) ?? createScript(job, protocol.format)
    scripts.set(key, script)
    this.session = protocol.createSession(script, startAt, {
      send: (bytes) => this.#sent.push(Buffer.from(bytes)),
      onReady: () => {
        this.isReady = true
      },
      onReply: (number) => this.replies.push(number),
      onError: (what) => this.errors.push(what),
    })
  }

  /** What was sent since the last call. */
  takeSent(): Buffer {
    const sent = Buffer.concat(this.#sent)
    this.#sent = []
    return sent
  }

  /** In pieces of so many bytes, all in one buffer, as the load generator reads. */
  receive(bytes: Buffer, pieceBytes = bytes.length): void {
    const buffer = Buffer.alloc(pieceBytes + 10)
    for (let at = 0; at < bytes.length; at += pieceBytes) {
      const piece = bytes.subarray(at, at + pieceBytes)
      buffer.fill('?')
      piece.copy(buffer)
      this.session.receive(buffer, piece.length)
    }
  }
}
