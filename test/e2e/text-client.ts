/** A plain memcached text client for tests: one request at a time, raw reply lines. */
import net from 'node:net'

export class TextClient {
  readonly #socket: net.Socket
  #text = ''
  #waiting: ((line: string) => void) | null = null
  #isClosed = false

  private constructor(socket: net.Socket) {
    this.#socket = socket
    socket.on('data', (chunk) => {
      this.#text += chunk.toString('latin1')
      this.#answer()
    })
    socket.on('error', () => {})
    socket.on('close', () => {
      this.#isClosed = true
      this.#waiting?.('CLOSED')
      this.#waiting = null
    })
  }

  /** @returns null where nobody listens. */
  static connect(port: number): Promise<TextClient | null> {
    return new Promise((resolve) => {
      const socket = net.connect({ port, host: '127.0.0.1', noDelay: true })
      socket.once('error', () => resolve(null))
      socket.once('connect', () => resolve(new TextClient(socket)))
    })
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  /** One reply line; `CLOSED` where the connection ended first. */
  async set(key: string, value: string): Promise<string> {
    return this.request(`set ${key} 0 0 ${Buffer.byteLength(value)}\r\n${value}\r\n`)
  }

  /** The values of all keys that are there. @throws where the store answers with an error. */
  async get(keys: readonly string[]): Promise<Map<string, string>> {
    const found = new Map<string, string>()
    let line = await this.request(`get ${keys.join(' ')}\r\n`)
    while (line.startsWith('VALUE ')) {
      const [, key = ''] = line.split(' ')
      found.set(key, await this.line())
      line = await this.line()
    }
    if (line !== 'END') throw new Error(line)
    return found
  }

  close(): void {
    this.#socket.destroy()
  }

  /** The first line of the reply to `text`. */
  request(text: string): Promise<string> {
    if (this.#isClosed) return Promise.resolve('CLOSED')
    this.#socket.write(text)
    return this.line()
  }

  /** The next one, sent or to come. */
  line(): Promise<string> {
    return new Promise((resolve) => {
      this.#waiting = resolve
      this.#answer()
      if (this.#isClosed) resolve('CLOSED')
    })
  }

  #answer(): void {
    const end = this.#text.indexOf('\r\n')
    if (end === -1 || !this.#waiting) return
    const line = this.#text.slice(0, end)
    this.#text = this.#text.slice(end + 2)
    const resolve = this.#waiting
    this.#waiting = null
    resolve(line)
  }
}
