/**
 * Streams to servers that may ask who speaks.
 *
 * In: an Io, and a login where there is one. Out: an Io whose streams say it before all that
 * is written to them, as clients of memcached's text protocol do, and keep the reply to
 * themselves. Where a server does not take it, or wants one and there is none, the stream
 * closes with a LoginError, and nothing that was written to it has had an effect.
 *
 * A server that wants a login takes any `set` for one. So a stream without login asks for
 * the version first: otherwise a value could be one, and its STORED mean something else.
 */
import type { Io, Stream, StreamHandler } from '../io/io.ts'

export interface Login {
  /** Without a space. */
  readonly user: string
  readonly password: string
}

/** The server did not let this client in; nothing happened. */
export class LoginError extends Error {
  /** The login is why, and will be the next time; not, for one, too many connections. */
  readonly isFinal: boolean

  constructor(message: string, isFinal: boolean) {
    super(message)
    this.isFinal = isFinal
  }
}

const REPLY_BYTES_MAX = 1_024

export function withLogin(io: Io, login: Login | null): Io {
  return {
    ...io,
    network: {
      ...io.network,
      connect(remote, handler) {
        const stream: Stream = io.network.connect(
          remote,
          untilIn(handler, login, () => stream.destroy()),
        )
        stream.write(greeting(login))
        return stream
      },
    },
  }
}

/**
 * Flags and exptime mean nothing in a login, and these are none: so a server that wants no
 * login refuses this, instead of storing a password for everybody to see.
 */
function greeting(login: Login | null): Buffer {
  if (!login) return Buffer.from('version\r\n')
  const token = Buffer.from(`${login.user} ${login.password}`)
  return Buffer.concat([
    Buffer.from(`set auth - - ${token.length}\r\n`),
    token,
    Buffer.from('\r\n'),
  ])
}

/** Hands everything to `handler` but the first line. */
function untilIn(handler: StreamHandler, login: Login | null, destroy: () => void): StreamHandler {
  let head: Buffer | null = Buffer.alloc(0)
  let failure: LoginError | null = null
  const fail = (why: string, line = '') => {
    failure = new LoginError(why, line.startsWith('CLIENT_ERROR'))
    destroy()
  }
  return {
    // Open is what the server has let in: who waits for it knows that nothing was sent before.
    onData(chunk) {
      if (head === null) return handler.onData(chunk)
      head = Buffer.concat([head, chunk])
      const lineEnd = head.indexOf('\r\n')
      if (lineEnd === -1) {
        if (head.length > REPLY_BYTES_MAX) fail('does not speak this protocol')
        return
      }
      const line = head.toString('latin1', 0, lineEnd)
      const why = refusal(line, login)
      if (why !== null) return fail(why, line)
      const rest = head.subarray(lineEnd + 2)
      head = null
      handler.onOpen?.()
      if (rest.length > 0) handler.onData(rest)
    },
    onEnd: () => handler.onEnd(),
    onDrain: () => handler.onDrain?.(),
    onClose: (error) => handler.onClose(failure ?? error),
  }
}

/** @returns null where a server that answers this line lets the client in. */
function refusal(line: string, login: Login | null): string | null {
  switch (line) {
    case 'STORED':
    case 'CLIENT_ERROR bad command line format': // it wants no login
      return login ? null : `answered ${line}`
    case 'CLIENT_ERROR authentication failure':
      return `refused user ${login?.user}: check --auth-file`
    case 'CLIENT_ERROR unauthenticated':
      return 'wants a login: add --auth-file <path>'
  }
  return !login && line.startsWith('VERSION ') ? null : `answered ${line}`
}
