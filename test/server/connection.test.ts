/** One client connection over a store that answers when the test says so. */
import { expect, test } from 'vitest'
import type { Stream, StreamHandler, Timers } from '../../src/io/io.ts'
import { Connection, type Store } from '../../src/server/connection.ts'

type Barrier = (failure: string | null) => void

function connect() {
  const items = new Map<string, string>()
  const barriers: Barrier[] = []
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
    write: () => {},
    answer: () => '',
    remove: () => '',
    openBackup: () => Promise.reject(new Error('none')),
    barrier: (done) => void barriers.push(done),
    get: (key) => {
      const value = items.get(key)
      if (value === undefined) return undefined
      return { flags: 0, expiresAtMs: 0, casUnique: 1, value: Buffer.from(value) }
    },
  }
  new Connection(stream, store, timers, () => {})
  return {
    items,
    barriers,
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
