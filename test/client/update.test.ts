/** `update`: what it writes back, when it tries again, and when it gives up. */
import { expect, test } from 'vitest'
import { UPDATE_ATTEMPTS_MAX } from '../../src/client/client.ts'
import { FakeCluster, watch } from './fake-cluster.ts'

const LEADER = 11

/**
 * A server with one item, which answers as one does.
 * @param meddle Somebody else comes in before each write: it may set or delete the item.
 */
async function play(
  value: string | null,
  meddle: (writeCount: number) => string | null | undefined,
) {
  const cluster = new FakeCluster()
  cluster.balancer(1, [LEADER], LEADER)
  const item = { value, casUnique: 1, writeCount: 0 }
  const server = cluster.node(LEADER, (request) => {
    const [line = '', data = ''] = request.split('\r\n')
    const words = line.split(' ')
    if (words[0] === 'gets') {
      if (item.value === null) return 'END\r\n'
      return `VALUE k 0 ${item.value.length} ${item.casUnique}\r\n${item.value}\r\nEND\r\n`
    }
    const other = meddle(item.writeCount++)
    if (other !== undefined) Object.assign(item, { value: other, casUnique: item.casUnique + 1 })
    const isSame = words.at(-1)?.replace('C', '') === String(item.casUnique)
    const set = (to: string | null) =>
      Object.assign(item, { value: to, casUnique: item.casUnique + 1 })
    switch (words[0]) {
      case 'add':
        if (item.value !== null) return 'NOT_STORED\r\n'
        set(data)
        return 'STORED\r\n'
      case 'cas':
        if (item.value === null) return 'NOT_FOUND\r\n'
        if (!isSame) return 'EXISTS\r\n'
        set(data)
        return 'STORED\r\n'
      case 'md':
        if (item.value === null) return 'NF\r\n'
        if (!isSame) return 'EX\r\n'
        set(null)
        return 'HD\r\n'
    }
    return 'ERROR\r\n'
  })
  const client = await cluster.connect('host:1')
  const verbs = () => server.requests.map((request) => request.split(' ')[0])
  return { cluster, client, item, server, verbs }
}

const next = (value: Buffer | null) => String(Number(value ?? 0) + 1)
const alone = () => undefined

test('what there is, changed', async () => {
  const { cluster, client, item, server } = await play('41', alone)
  const options = { flags: 3, expiresInS: 9 }
  expect(String(await cluster.run(client.update('k', next, options)))).toBe('42')
  expect(item.value).toBe('42')
  expect(server.requests).toEqual(['gets k', 'cas k 3 9 2 1\r\n42'])
})

test('what there is not, added', async () => {
  const { cluster, client, item, server } = await play(null, alone)
  expect(String(await cluster.run(client.update('k', next)))).toBe('1')
  expect(item.value).toBe('1')
  expect(server.requests).toEqual(['gets k', 'add k 0 0 1\r\n1'])
})

test('null deletes, where it is still the same', async () => {
  const { cluster, client, item, verbs } = await play('1', (count) =>
    count === 0 ? '2' : undefined,
  )
  expect(await cluster.run(client.update('k', () => null))).toBeNull()
  expect(item.value).toBeNull()
  expect(verbs()).toEqual(['gets', 'md', 'gets', 'md'])
})

test('null where there is nothing, and undefined, write nothing', async () => {
  const { cluster, client, item, verbs } = await play(null, alone)
  expect(await cluster.run(client.update('k', () => null))).toBeNull()
  item.value = 'kept'
  expect(String(await cluster.run(client.update('k', () => undefined)))).toBe('kept')
  expect(verbs()).toEqual(['gets', 'gets'])
})

test.each<[string, string | null, string | null]>([
  ['changed it', '1', '5'],
  ['deleted it', '1', null],
  ['added it', null, '5'],
])('somebody who %s in between is not overwritten', async (_, before, between) => {
  const seen: (string | null)[] = []
  const { cluster, client, item } = await play(before, (count) =>
    count === 0 ? between : undefined,
  )
  const change = (value: Buffer | null) => {
    seen.push(value === null ? null : String(value))
    return next(value)
  }
  await cluster.run(client.update('k', change))
  expect(seen).toEqual([before, between])
  expect(item.value).toBe(String(Number(between) + 1))
})

test('it pauses from the second conflict on, and gives up in the end', async () => {
  const { cluster, client, verbs } = await play('0', (count) => String(count))
  const call = watch(client.update('k', next))
  await cluster.settle()
  expect(verbs()).toEqual(['gets', 'cas', 'gets', 'cas'])
  await cluster.advance(0.5)
  expect(verbs()).toHaveLength(6)
  await cluster.advance(4_000)
  expect(call.error).toMatchObject({ code: 'conflict', definite: true })
  expect(verbs()).toHaveLength(2 * UPDATE_ATTEMPTS_MAX)
  await cluster.run(client.close())
  expect(cluster.timerCount + cluster.openCount).toBe(0)
})

test('its time bounds all attempts together', async () => {
  const { cluster, client, verbs } = await play('0', (count) => String(count))
  const call = watch(client.update('k', next, { timeoutMs: 100 }))
  await cluster.advance(130)
  expect(call.error).toMatchObject({ code: 'conflict', definite: true })
  expect(verbs().length).toBeLessThan(30)
})

test('an unknown outcome ends it: it might have been written', async () => {
  const { cluster, client, server, verbs } = await play('0', alone)
  const { answer } = server
  server.answer = (request, connection) =>
    request.startsWith('cas')
      ? 'SERVER_ERROR outcome unknown: the leader was lost\r\n'
      : answer(request, connection)
  const call = cluster.run(client.update('k', next))
  await expect(call).rejects.toMatchObject({ code: 'unknown', definite: false })
  expect(verbs()).toEqual(['gets', 'cas'])
})

test('what the change throws is thrown, and nothing is written', async () => {
  const { cluster, client, verbs } = await play('0', alone)
  const change = () => {
    throw new RangeError('no')
  }
  await expect(cluster.run(client.update('k', change))).rejects.toBeInstanceOf(RangeError)
  expect(verbs()).toEqual(['gets'])
  await cluster.run(client.close())
})

test('a signal ends it in a pause as well', async () => {
  const { cluster, client, verbs } = await play('0', (count) => String(count))
  const abort = new AbortController()
  const call = watch(client.update('k', next, { signal: abort.signal }))
  await cluster.settle()
  abort.abort()
  await cluster.settle()
  expect(call.error).toMatchObject({ code: 'aborted', definite: true })
  expect(verbs()).toHaveLength(4)
  expect(cluster.timerCount).toBeLessThanOrEqual(1)
})

test('close waits for it', async () => {
  const { cluster, client, item } = await play('0', (count) =>
    count < 3 ? String(count) : undefined,
  )
  const call = watch(client.update('k', next))
  await cluster.settle()
  const closing = watch(client.close())
  await cluster.settle()
  expect(closing.isOver).toBe(false)
  await cluster.advance(100)
  expect(String(call.value)).toBe('3')
  expect(item.value).toBe('3')
  expect(closing.isOver).toBe(true)
})
