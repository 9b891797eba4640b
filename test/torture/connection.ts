/**
 * One connection of a client: plain memcached text, requests out, replies in the
 * order of the requests, each with the moment it was heard.
 */
import net from 'node:net'
import type { ServerProcess } from '../e2e/cluster.ts'
import { ReplyReader, type WireReply } from '../simulation/replies.ts'

const CONNECT_MS = 1_000

export interface Reply extends WireReply {
  readonly atMs: number
}

export class Connection {
  readonly #socket: net.Socket
  readonly #replies = new ReplyReader()
  #waiting: ((reply: Reply | null) => void)[] = []

  private constructor(socket: net.Socket) {
    this.#socket = socket
    socket.on('data', (chunk) => {
      const atMs = performance.now()
      this.#replies.push(chunk)
      for (let reply = this.#replies.next(); reply; reply = this.#replies.next()) {
        this.#waiting.shift()?.({ ...reply, atMs })
      }
    })
    socket.on('end', () => this.close())
    socket.on('close', () => this.close())
  }

  /** @returns null where nobody answers. */
  static open({ place, cport }: ServerProcess): Promise<Connection | null> {
    return new Promise((resolve) => {
      const socket = net.connect({ port: cport, host: place.cip, noDelay: true })
      const timer = setTimeout(() => socket.destroy(), CONNECT_MS)
      socket.on('error', () => {}) // 'close' follows
      socket.once('close', () => {
        clearTimeout(timer)
        resolve(null)
      })
      socket.once('connect', () => {
        clearTimeout(timer)
        resolve(new Connection(socket))
      })
    })
  }

  get isClosed(): boolean {
    return this.#socket.destroyed
  }

  /** Requests in one write. Each is answered once, with null where the connection ends before. */
  send(requests: readonly { text: string; onReply: (reply: Reply | null) => void }[]): void {
    if (this.isClosed) {
      for (const { onReply } of requests) onReply(null)
      return
    }
    this.#waiting.push(...requests.map(({ onReply }) => onReply))
    this.#socket.write(requests.map(({ text }) => text).join(''), 'latin1')
  }

  close(): void {
    this.#socket.destroy()
    const waiting = this.#waiting
    this.#waiting = []
    for (const onReply of waiting) onReply(null)
  }
}
