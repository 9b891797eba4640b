/** One client connection over a store that answers when the test says so. */
import { expect, test } from 'vitest'
import type { Stream, StreamHandler, Timers } from '../../src/io/io.ts'
import { Connection, type Store } from '../../src/server/connection.ts'
import type { WriteOutcome } from '../../src/server/peer-messages.ts'

type Barrier = (failure: string | null) => void

function connect() {
  const items = new Map<string, string>()
  const barriers: Barrier[] = []
  const writes: ((outcome: WriteOutcome) => void)[] = []
  const soon: (() => void)[] = []
  const timers: Timers = {
    after: () => ({ cancel: () => {} }),
    soon: (fn) => void soon.push(fn),
  }
  let handler: StreamHandler | null = null
  let sent = ''
  const stream: Stream = {
    remote: { host: 'client', port: 1 },
    handle: (given) => {
      handler = given
    },
    write: (chunk) => {
      sent += Buffer.from(chunk as Buffer).toString('latin1')
      return true
    },
    writeAll: (chunks) => {
      sent += Buffer.concat(chunks).toString('latin1')
      return true
    },
    bufferedBytes: 0,
    pause: () => {},
    resume: () => {},
    end: () => {},
    destroy: () => {},
  }
  const store: Store = {
    write: (_, __, done) => void writes.push(done),
    answer: () => '',
    remove: () => '',
    openBackup: () => Promise.reject(new Error('none')),
    barrier: (done) => void barriers.push(done),
    get: (key) => {
      const value = items.get(key)
      if (value === undefined) return undefined
      return { flags: 0, expiresAtMs: 0, casUnique: 1, marks: 0, value: Buffer.from(value) }
    },
  }
  new Connection(stream, store, timers, () => {})
  return {
    items,
    barriers,
    writes,
    receive: (text: string) => handler?.onData(Buffer.from(text)),
    /** What the client has read since the last call. */
    replies: () => {
      for (const fn of soon.splice(0)) fn()
      const text = sent
      sent = ''
      return text
    },
  }
}

test('overlapping reads never see less than the one before them', () => {
  const { items, barriers, receive, replies } = connect()
  items.set('k', 'old')
  receive('get k\r\nget k\r\n')
  const [first, second] = barriers
  second?.(null) // the answer to the first question was lost, the second one's came
  expect(replies()).toBe('')
  items.set('k', 'new')
  first?.(null)
  const value = 'VALUE k 0 3\r\nnew\r\nEND\r\n'
  expect(replies()).toBe(value + value)
})

test('a read that failed holds back none behind it', () => {
  const { items, barriers, receive, replies } = connect()
  items.set('k', 'v')
  receive('get k\r\nget k\r\n')
  const [first, second] = barriers
  second?.(null)
  first?.('no leader')
  expect(replies()).toBe('SERVER_ERROR no leader\r\nVALUE k 0 1\r\nv\r\nEND\r\n')
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
  const client = connect()
  client.receive('set k 0 0 1\r\nx\r\n')
  client.writes[0]?.(outcome)
  expect(client.replies()).toBe(`${line}\r\n`)
})
