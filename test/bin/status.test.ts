import net, { type AddressInfo } from 'node:net'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { fetchStatus } from '../../bin/status.ts'
import { createNodeIo } from '../../src/io/node.ts'
import { member, status } from './sightings.ts'

const io = createNodeIo()

let listener: net.Server
let answer: string

beforeEach(async () => {
  listener = net.createServer((socket) => {
    socket.on('error', () => {})
    socket.end(`${answer}\r\nend\r\n`)
  })
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
})

afterEach(() => listener.close())

const withMember = (differs: object) =>
  JSON.stringify({ ...status(), members: [{ ...member(1), ...differs }] })

const address = () => ({ host: '127.0.0.1', port: (listener.address() as AddressInfo).port })

test.each([
  status(),
  status({ leader: null, whyNoLeader: 'no server has registered', members: [] }),
  // As a server tells it of others, and one that is older than this.
  status({
    reads: undefined as never,
    members: [member(1, { role: null, alive: null, term: null })],
  }),
])('a status is one', async (told) => {
  answer = JSON.stringify(told)
  expect(JSON.stringify(await fetchStatus(io, [address()]))).toBe(answer)
})

test.each([
  ['nothing', ''],
  ['no JSON', 'ERROR'],
  ['an end of a line', '\n'],
  ['null', 'null'],
  ['a text', '"status"'],
  ['a list', '[]'],
  ['an object of another kind', '{}'],
  ['members that are none', '{"members":[{}]}'],
  ['a leader that is none', JSON.stringify({ ...status(), leader: 7 })],
  ['a text for a number', withMember({ lastIndex: '7' })],
  ['a member that lacks something', withMember({ note: undefined })],
])('whoever answers %s does not speak this protocol', async (_, line) => {
  answer = line
  const who = `load balancer 127.0.0.1:${address().port}`
  await expect(fetchStatus(io, [address()])).rejects.toThrow(
    new Error(`${who} does not speak this protocol`),
  )
  await expect(fetchStatus(io, [address(), address()], 'server')).rejects.toThrow(
    /^a server does not speak this protocol; a server does not speak this protocol$/,
  )
})
