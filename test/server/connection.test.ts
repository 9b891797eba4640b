/** One client connection over a store that answers when the test says so. */
import { expect, test } from 'vitest'
import type { WriteOutcome } from '../../src/server/peer-messages.ts'
import { Client } from './client.ts'

test('overlapping reads never see less than the one before them', () => {
  const client = new Client()
  const { store } = client
  store.apply('set k 0 0 3\r\nold\r\n')
  client.receive('get k\r\nget k\r\n')
  const [first, second] = store.barriers
  second?.(null) // the answer to the first question was lost, the second one's came
  expect(client.replies()).toBe('')
  store.apply('set k 0 0 3\r\nnew\r\n')
  first?.(null)
  const value = 'VALUE k 0 3\r\nnew\r\nEND\r\n'
  expect(client.replies()).toBe(value + value)
})

test('a read that failed holds back none behind it', () => {
  const client = new Client()
  const { store } = client
  store.apply('set k 0 0 1\r\nv\r\n')
  client.receive('get k\r\nget k\r\n')
  const [first, second] = store.barriers
  second?.(null)
  first?.('no leader')
  expect(client.replies()).toBe('SERVER_ERROR no leader\r\nVALUE k 0 1\r\nv\r\nEND\r\n')
})

test.each<[WriteOutcome, string]>([
  [{ kind: 'applied', reply: 'STORED', index: 1 }, 'STORED'],
  [{ kind: 'notStored', why: 'no' }, 'SERVER_ERROR not stored: no'],
  [{ kind: 'refused', why: 'no' }, 'SERVER_ERROR not stored: no'],
  [{ kind: 'unknown', why: 'lost' }, 'SERVER_ERROR outcome unknown: lost'],
  [
    { kind: 'notStored', why: 'out of disk space', lacks: 'disk' },
    'SERVER_ERROR out of disk space',
  ],
])('a write that ended as %j', (outcome, line) => {
  const client = new Client()
  client.receive('set k 0 0 1\r\nx\r\n')
  client.store.finishWrite(outcome)
  expect(client.replies()).toBe(`${line}\r\n`)
})
