import { once } from 'node:events'
import net from 'node:net'
import { afterEach, expect, test } from 'vitest'
import type { Listener, Stream, StreamHandler } from '../../src/io/io.ts'
import { createNodeIo } from '../../src/io/node.ts'

const closing: (() => void)[] = []
afterEach(() => {
  for (const close of closing.splice(0)) close()
})

interface Accepted {
  readonly stream: Stream
  readonly chunks: Buffer[]
  readonly copies: string[]
  isEnded: boolean
  isClosed: boolean
}

/** A listener with shared reads, and what it accepted; `onAccepted` may act before anything is read. */
async function listen(onAccepted: (accepted: Accepted) => Partial<StreamHandler> = () => ({})) {
  const accepted: Accepted[] = []
  const port = await freePort()
  const listener: Listener = await createNodeIo().network.listen(
    { host: '127.0.0.1', port },
    (stream) => {
      const one: Accepted = { stream, chunks: [], copies: [], isEnded: false, isClosed: false }
      accepted.push(one)
      const own = onAccepted(one)
      stream.handle({
        onData: (chunk) => {
          one.chunks.push(chunk)
          one.copies.push(chunk.toString())
          own.onData?.(chunk)
        },
        onEnd: () => {
          one.isEnded = true
          own.onEnd?.()
        },
        onDrain: () => own.onDrain?.(),
        onClose: () => {
          one.isClosed = true
        },
      })
    },
    true,
  )
  closing.push(() => void listener.close())
  const connect = async () => {
    const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    closing.push(() => socket.destroy())
    await once(socket, 'connect')
    return socket
  }
  return { accepted, connect }
}

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  server.close()
  return port
}

async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise((resolve) => setTimeout(resolve, 2))
}

test('streams with shared reads read into the same memory', async () => {
  const { accepted, connect } = await listen()
  const [a, b] = [await connect(), await connect()]
  await until(() => accepted.length === 2)
  a.write('one')
  await until(() => accepted.some(({ copies }) => copies.length > 0))
  b.write('two')
  await until(() => accepted.every(({ copies }) => copies.length > 0))
  expect(accepted.flatMap(({ copies }) => copies).sort()).toEqual(['one', 'two'])
  const memory = accepted.flatMap(({ chunks }) => chunks).map(({ buffer }) => buffer)
  expect(memory[0]).toBe(memory[1])
  expect(accepted[0]?.stream.remote).toMatchObject({ host: '127.0.0.1' })
})

test('a client that has ended its half gets what is written then', async () => {
  const { connect } = await listen(({ stream }) => ({
    onEnd: () => {
      stream.write('late')
      stream.end()
    },
  }))
  const socket = await connect()
  socket.end('x')
  const [reply] = await once(socket, 'data')
  expect(String(reply)).toBe('late')
  await once(socket, 'end')
})

test('while a stream is paused nothing is read, and nothing is lost', async () => {
  const { accepted, connect } = await listen(({ stream }) => ({
    onData: () => stream.pause(),
  }))
  const socket = await connect()
  socket.write('first')
  await until(() => accepted[0]?.copies.length === 1)
  socket.write('second')
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect(accepted[0]?.copies).toEqual(['first'])
  accepted[0]?.stream.resume()
  await until(() => accepted[0]?.copies.length === 2)
  expect(accepted[0]?.copies).toEqual(['first', 'second'])
})

test('what has not left is counted, and told when it has', async () => {
  let isDrained = false
  const { accepted, connect } = await listen(() => ({
    onDrain: () => {
      isDrained = true
    },
  }))
  const socket = await connect()
  await until(() => accepted.length === 1)
  const stream = accepted[0]?.stream as Stream
  expect(stream.write('small')).toBe(true)
  expect(stream.bufferedBytes).toBe(0)
  const bytes = 64 * 1024 * 1024
  expect(stream.write(Buffer.alloc(bytes))).toBe(false)
  expect(stream.bufferedBytes).toBeGreaterThan(0)
  let received = 0
  socket.on('data', (chunk) => {
    received += chunk.length
  })
  await until(() => isDrained)
  await until(() => received === bytes + 5)
})

test('a stream that is destroyed tells its client, and closes', async () => {
  const { accepted, connect } = await listen()
  const socket = await connect()
  await until(() => accepted.length === 1)
  socket.resume()
  accepted[0]?.stream.destroy()
  await once(socket, 'end')
  await until(() => accepted[0]?.isClosed === true)
})

test('a client that breaks off is closed here', async () => {
  const { accepted, connect } = await listen()
  const socket = await connect()
  await until(() => accepted.length === 1)
  socket.resetAndDestroy()
  await until(() => accepted[0]?.isClosed === true)
  expect(accepted[0]?.copies).toEqual([])
})
