import { describe, expect, test } from 'vitest'
import { type Login, LoginError, withLogin } from '../../src/client/login.ts'
import type { Io, Stream, StreamHandler } from '../../src/io/io.ts'

const LOGIN = { user: 'anna', password: 'a secret' }
const GREETING = 'set auth - - 13\r\nanna a secret\r\n'

/** A connection to a server that is played by the test. */
function open(login: Login | null) {
  let server: StreamHandler | null = null
  let sent = ''
  let received = ''
  let closed: Error | null | undefined
  const stream = {
    write: (chunk: Uint8Array | string) => {
      sent += Buffer.from(chunk as Uint8Array)
      return true
    },
    destroy: () => queueMicrotask(() => server?.onClose(null)),
  }
  const connect = (_: unknown, handler: StreamHandler) => {
    server = handler
    return stream as unknown as Stream
  }
  const io = withLogin({ network: { connect } } as unknown as Io, login)
  const opened = io.network.connect(
    { host: 'server', port: 1 },
    {
      onData: (chunk) => {
        received += chunk
      },
      onEnd: () => {},
      onClose: (error) => {
        closed = error
      },
    },
  )
  return {
    stream: opened,
    answer: (text: string) => server?.onData(Buffer.from(text)),
    lose: (error: Error) => server?.onClose(error),
    sent: () => sent,
    received: () => received,
    async closed() {
      await Promise.resolve()
      return closed
    },
  }
}

describe('a login comes before all else, and its reply is swallowed', () => {
  test.each([
    ['with a login', LOGIN, GREETING, 'STORED\r\n'],
    ['where none is wanted', LOGIN, GREETING, 'CLIENT_ERROR bad command line format\r\n'],
    ['without one', null, 'version\r\n', 'VERSION 1.6.45\r\n'],
  ])('%s', async (_, login, greeting, reply) => {
    const replies = `${reply}STORED\r\nEND\r\n`
    for (let cut = 0; cut <= replies.length; cut++) {
      const connection = open(login)
      connection.stream.write('get k\r\n')
      expect(connection.sent()).toBe(`${greeting}get k\r\n`)
      connection.answer(replies.slice(0, cut))
      connection.answer(replies.slice(cut))
      expect(connection.received()).toBe('STORED\r\nEND\r\n')
      expect(await connection.closed()).toBeUndefined()
    }
  })
})

test('a password is counted in bytes', () => {
  expect(open({ user: 'anna', password: 'ä' }).sent()).toBe('set auth - - 7\r\nanna ä\r\n')
})

describe('a server that does not let the client in closes the stream', () => {
  test.each([
    [LOGIN, 'CLIENT_ERROR authentication failure', 'refused user anna: check --auth-file'],
    [null, 'CLIENT_ERROR unauthenticated', 'wants a login: add --auth-file <path>'],
    [null, 'STORED', 'answered STORED'],
    [LOGIN, 'VERSION 1.6.45', 'answered VERSION 1.6.45'],
    [null, 'ERROR Too many open connections', 'answered ERROR Too many open connections'],
  ])('%j, %s', async (login, line, why) => {
    const connection = open(login)
    connection.answer(`${line}\r\n`)
    const error = await connection.closed()
    expect(error).toBeInstanceOf(LoginError)
    expect(error?.message).toBe(why)
    expect(connection.received()).toBe('')
  })

  test('a line without end', async () => {
    const connection = open(null)
    connection.answer('x'.repeat(1_024))
    expect(await connection.closed()).toBeUndefined()
    connection.answer('x')
    expect((await connection.closed())?.message).toBe('does not speak this protocol')
  })
})

test('what the network says of a stream that is lost is handed on', async () => {
  const connection = open(null)
  const lost = new Error('lost')
  connection.lose(lost)
  expect(await connection.closed()).toBe(lost)
})
