/** The library over real sockets, to a load balancer and a server in this process. */
import net from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Client, connect } from '../../src/client/client.ts'

const sockets = new Set<net.Socket>()
let connectCount = 0
let port = 0

/** Both in one: it knows itself, lets everybody in, and has what it is asked for. */
const server = net.createServer({ allowHalfOpen: true }, (socket) => {
  connectCount++
  sockets.add(socket)
  socket.on('close', () => sockets.delete(socket))
  socket.on('error', () => {})
  socket.on('end', () => socket.end())
  socket.on('data', (chunk) => {
    for (const line of String(chunk).split('\r\n')) {
      if (line === 'status') socket.write(`${status()}\r\nend\r\n`)
      else if (line === 'version') socket.write('VERSION 1.6.45\r\n')
      else if (line.startsWith('get ')) socket.write('VALUE k 0 1\r\nv\r\nEND\r\n')
    }
  })
})

function status(): string {
  const members = [{ id: 'a', cip: '127.0.0.1', cport: port, cluster: 'c', alive: true }]
  return JSON.stringify({ leader: 'a', members })
}

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  port = (server.address() as net.AddressInfo).port
})

afterAll(() => new Promise<void>((resolve) => server.close(() => resolve())))

/** Timers and sockets of this process, the test's own included. */
function resources(): string[] {
  return process
    .getActiveResourcesInfo()
    .filter((name) => /Timeout|TCPSocketWrap|Immediate/.test(name))
}

test('a thousand clients that come and go leave nothing', async () => {
  const before = resources().length
  for (let round = 0; round < 20; round++) {
    const clients = await Promise.all(
      Array.from({ length: 50 }, () => connect(`127.0.0.1:${port}`)),
    )
    const values = await Promise.all(clients.map((client) => client.get('k')))
    expect(values.map(String)).toEqual(Array(50).fill('v'))
    await Promise.all(clients.map((client) => client.close()))
  }
  expect(connectCount).toBe(2_000)
  // The server's side hears of it a little later.
  while (sockets.size > 0) await new Promise((resolve) => setImmediate(resolve))
  expect(resources().length).toBeLessThanOrEqual(before)
})

test('close waits for calls under way', async () => {
  const client: Client = await connect([`127.0.0.1:${port}`])
  const values = Promise.all([client.get('k'), client.get('k')])
  await client.close()
  expect((await values).map(String)).toEqual(['v', 'v'])
  expect(String(await client.get('k').catch((error) => error.code))).toBe('closed')
})
