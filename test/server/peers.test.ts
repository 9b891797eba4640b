/** Two servers' network, simulated: streams between them, and what becomes of them. */
import { expect, test } from 'vitest'
import type { Stream } from '../../src/io/io.ts'
import { RecordReader } from '../../src/server/log/record.ts'
import { PeerCodec } from '../../src/server/peer-codec.ts'
import { type PeerMessage, PROTOCOL } from '../../src/server/peer-messages.ts'
import { Peers } from '../../src/server/peers.ts'
import { Host } from '../simulation/host.ts'
import { SimNetwork } from '../simulation/network.ts'
import { World } from '../simulation/world.ts'

const PORT = 6001

async function start(...protocols: number[]) {
  const world = new World(1)
  const network = new SimNetwork(world)
  const received: string[] = []
  const closed: string[] = []
  const peers = ['a', 'b'].map((id, at) => {
    const host = new Host(world, network, id)
    const bind = { host: id, port: PORT }
    const one = new Peers(
      host.boot(),
      bind,
      { id, sip: id, sport: PORT, protocol: protocols[at] ?? PROTOCOL },
      {
        onMessage: (message) => void received.push(`${id} ${message.type}`),
        onBalancer: () => {},
        onPeerLost: () => {},
        onUnheard: () => {},
        onPeerClosed: (peer) => void closed.push(`${id} ${peer}`),
      },
    )
    one.join('c', 0)
    one.setAddresses(
      new Map([[id === 'a' ? 'b' : 'a', { host: id === 'a' ? 'b' : 'a', port: PORT }]]),
    )
    return one
  })
  const [a, b] = peers
  if (!a || !b) throw new Error('two expected')
  for (const one of peers) await one.start()
  return {
    world,
    network,
    a,
    b,
    closed,
    run: (ms: number) => world.runUntil(world.nowMs + ms),
    take: () => received.splice(0),
  }
}

const ack: PeerMessage = { type: 'appendResp', from: 'a', to: 'b', term: 1, matchIndex: 1 }
const beat = (from: string, to: string): PeerMessage => {
  return { type: 'heartbeatResp', from, to, term: 1, round: 0 }
}

test('a stream that nothing passes any more is replaced when its peer is heard again', async () => {
  const { network, a, b, run, take, closed } = await start()
  b.send(beat('b', 'a'))
  a.send(ack)
  await run(100)
  expect(take()).toEqual(['a heartbeatResp', 'b appendResp'])

  // The link was cut, and TCP has not noticed yet that it is whole again.
  for (const stream of network.streams) stream.isStalled = true
  await run(2_000)
  a.send(ack)
  await run(500)
  expect(take()).toEqual([])
  b.send(beat('b', 'a'))
  await run(100)
  a.send(ack)
  await run(100)
  expect(take()).toEqual(['a heartbeatResp', 'b appendResp'])
  expect(closed).toEqual([])
})

test('a peer that was only quiet keeps its stream', async () => {
  const { network, a, b, run } = await start()
  b.send(beat('b', 'a'))
  a.send(ack)
  await run(100)
  const before = [...network.streams]
  await run(5_000)
  b.send(beat('b', 'a'))
  await run(100)
  expect([...network.streams]).toEqual(before)
})

test('a stream whose hello comes later than that of a newer one is not taken', async () => {
  const { world, network, b, run, take, closed } = await start()
  const codec = new PeerCodec('c', 0, new RecordReader('c'))
  const io = new Host(world, network, 'x').boot()
  const open = (stream: number): Stream => {
    const one = io.network.connect(
      { host: 'b', port: PORT },
      { onData: () => {}, onEnd: () => {}, onClose: () => {} },
    )
    const hello = { type: 'hello', from: 'x', to: 'b', protocol: 1, sip: 'x', sport: 1 } as const
    one.writeAll(codec.encodeFrame({ ...hello, life: 'one', stream }, 1))
    one.writeAll(codec.encodeFrame({ ...ack, from: 'x', term: stream }, 1))
    return one
  }
  expect(b).toBeDefined()
  open(2)
  await run(50)
  expect(take()).toEqual(['b appendResp'])
  open(1)
  await run(50)
  expect(take()).toEqual([])
  expect(closed).toEqual([])
  open(3)
  await run(50)
  expect(take()).toEqual(['b appendResp'])
  expect(closed).toEqual([])
})

test('what the older of two peers does not know is not sent, by either', async () => {
  for (const protocols of [
    [1, 2],
    [2, 1],
  ]) {
    const { a, b, run, take } = await start(...protocols)
    a.send(ack)
    b.send({ ...ack, from: 'b', to: 'a' })
    await run(100)
    expect(take().sort()).toEqual(['a appendResp', 'b appendResp'])
    const snap = { type: 'snapResp', term: 1, id: 'x', state: 'more', offset: 0 } as const
    expect(a.send({ ...snap, from: 'a', to: 'b' })).toBe(null)
    expect(b.send({ ...snap, from: 'b', to: 'a' })).toBe(null)
  }
})

test('a message of a later version leaves once the peer has said that it knows it', async () => {
  const { a, b, run, take } = await start()
  const snap = { type: 'snapResp', term: 1, id: 'x', state: 'more', offset: 0 } as const
  expect(a.send({ ...snap, from: 'a', to: 'b' })).toBe(null)
  b.send({ ...ack, from: 'b', to: 'a' })
  await run(100)
  expect(a.send({ ...snap, from: 'a', to: 'b' })).toBeGreaterThan(0)
  await run(100)
  expect(take()).toEqual(['a appendResp', 'b snapResp'])
})

test('a server that knows nobody can answer who speaks to it', async () => {
  const { a, b, run, take } = await start()
  b.setAddresses(new Map())
  expect(b.send(beat('b', 'a'))).toBe(null)
  a.send(beat('a', 'b'))
  await run(50)
  expect(b.send(beat('b', 'a'))).toBe(0)
  await run(50)
  expect(take()).toEqual(['b heartbeatResp', 'a heartbeatResp'])
})
