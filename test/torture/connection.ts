/**
 * One connection of a client: plain memcached text, requests out, replies in the
 * order of the requests, each with the moment it was heard.
 */
import net from 'node:net'
import type { ServerProcess } from '../e2e/cluster.ts'

const CONNECT_MS = 1_000

export interface Hit {
  readonly key: string
  readonly value: string
  /** Of a gets. */
  readonly unique: string | undefined
}

export interface Reply {
  /** The last line. */
  readonly line: string
  readonly hits: readonly Hit[]
  readonly atMs: number
}

export class Connection {
  readonly #socket: net.Socket
  #text = ''
  #hits: Hit[] = []
  #waiting: ((reply: Reply | null) => void)[] = []

  private constructor(socket: net.Socket) {
    this.#socket = socket
    socket.on('data', (chunk) => {
      this.#text += chunk.toString('latin1')
      this.#takeReplies(performance.now())
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

  #takeReplies(atMs: number): void {
    for (;;) {
      const end = this.#text.indexOf('\r\n')
      if (end === -1) return
      const line = this.#text.slice(0, end)
      if (line.startsWith('VALUE ')) {
        const [, key = '', , length, unique] = line.split(' ')
        const valueEnd = end + 2 + Number(length)
        if (this.#text.length < valueEnd + 2) return
        this.#hits.push({ key, value: this.#text.slice(end + 2, valueEnd), unique })
        this.#text = this.#text.slice(valueEnd + 2)
        continue
      }
      this.#text = this.#text.slice(end + 2)
      const hits = this.#hits
      this.#hits = []
      this.#waiting.shift()?.({ line, hits, atMs })
    }
  }
}
