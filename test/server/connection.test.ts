/** One client connection over a store that answers when the test says so. */
import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import type { DiskFile } from '../../src/io/io.ts'
import { FlushQueue } from '../../src/server/flush-queue.ts'
import type { WriteOutcome } from '../../src/server/peer-messages.ts'
import { Client, ReplicaStore } from './client.ts'

test('overlapping reads never see less than the one before them', () => {
  const client = new Client()
  const { store } = client
  store.apply('set k 0 0 3\r\nold\r\n')
  client.receive('get k\r\n')
  client.receive('get k\r\n')
  expect(store.barriers).toHaveLength(2)
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
  client.receive('get k\r\n')
  client.receive('get k\r\n')
  const [first, second] = store.barriers
  second?.(null)
  first?.('no leader')
  expect(client.replies()).toBe('SERVER_ERROR no leader\r\nVALUE k 0 1\r\nv\r\nEND\r\n')
})

test('reads that come together are confirmed together', () => {
  const client = clientWith('set k 0 0 1\r\nv\r\n')
  client.receive('get k\r\nget j\r\nmg k v\r\n')
  expect(client.store.barriers).toHaveLength(1)
  client.store.confirm()
  expect(client.replies()).toBe('VALUE k 0 1\r\nv\r\nEND\r\nEND\r\nVA 1\r\nv\r\n')
})

describe('where reads need no confirmation', () => {
  test('they are answered at once', () => {
    const client = leasedWith('set k 0 0 1\r\nv\r\n')
    client.receive('get k\r\nget j\r\nmg k v\r\nge')
    expect(client.store.barriers).toHaveLength(0)
    expect(client.repliesAtOnce()).toBe('VALUE k 0 1\r\nv\r\nEND\r\nEND\r\nVA 1\r\nv\r\n')
  })

  test('they wait for writes before them', () => {
    const client = leasedWith('set k 0 0 1\r\nv\r\n')
    client.receive('set k 0 0 1\r\nw\r\nget k\r\n')
    expect(client.repliesAtOnce()).toBe('')
    client.store.finishWrite()
    expect(client.replies()).toBe('STORED\r\nVALUE k 0 1\r\nw\r\nEND\r\n')
  })

  test('one that changes something is logged, and those behind it are confirmed after it', () => {
    const client = leasedWith('set k 0 0 1\r\nv\r\n')
    client.receive('gat 100 k\r\nget k\r\n')
    expect(client.repliesAtOnce()).toBe('')
    expect(client.store.writes.map(({ command }) => String(command))).toEqual([
      'get k exptime=100\r\n',
    ])
    expect(client.settle()).toBe('VALUE k 0 1\r\nv\r\nEND\r\n'.repeat(2))
  })

  test('they are answered in order with all else, in whatever pieces they come', () => {
    const value = (length: number) => `${length}\r\n${'v'.repeat(length)}\r\n`
    const requests = fc.constantFrom(
      ...['get k\r\n', 'gets k\r\n', 'get none\r\n', 'get k long none short k\r\n'],
      ...['get short\r\n', 'get long\r\n', 'mg k v\r\n', 'gat 100 k\r\n', 'bad\r\n', 'version\r\n'],
      ...[
        'stats\r\n',
        'verbosity 1 noreply\r\n',
        'get\r\n',
        'delete k\r\n',
        'set k 1 0 1\r\nw\r\n',
      ],
      ...[`set short 0 0 ${value(2_048)}`, `set long 0 0 ${value(2_049)}`, 'set k 1 0 1\r\nw\r\n'],
      ...['get short\r\n'.repeat(40), 'get long\r\n'.repeat(40), 'get k\r\n'.repeat(300)],
      ...['quit\r\n', 'shutdown\r\n'],
    )
    fc.assert(
      fc.property(fc.array(requests), fc.array(fc.nat({ max: 400 })), (texts, lengths) => {
        const [client, confirmed] = [leasedWith(), clientWith()]
        const text = `set short 0 0 ${value(2_000)}${texts.join('')}`
        let at = 0
        for (const length of [...lengths, text.length]) {
          client.receive(text.slice(at, at + length))
          at += length
        }
        expect(client.settle()).toBe(confirmed.say(text))
        expect(client.isEnded).toBe(confirmed.isEnded)
        expect(client.isPaused).toBe(confirmed.isPaused)
      }),
      { numRuns: 300 },
    )
  })

  test('what closed meanwhile leaves nothing to those that come after it', () => {
    const store = new ReplicaStore()
    store.apply('set k 0 0 1\r\nv\r\n')
    store.isLeased = true
    const flushes = new FlushQueue({ soon: () => {}, after: () => ({ cancel: () => {} }) })
    const [gone, client] = [new Client(store, flushes), new Client(store, flushes)]
    store.setVerbosity = () => gone.connection.destroy()
    gone.receive('get k\r\nverbosity 1\r\nget k\r\n')
    client.receive('get none\r\n')
    expect(client.repliesAtOnce()).toBe('END\r\n')
  })

  test('what is answered behind them does not overtake them', () => {
    const store = new ReplicaStore()
    store.isLeased = true
    const flushes = new FlushQueue({ soon: () => {}, after: () => ({ cancel: () => {} }) })
    const client = new Client(store, flushes)
    client.receive('set k 0 0 1\r\nv\r\n')
    store.finishWrite()
    client.receive('version\r\n') // all is written, and it is still in the queue
    expect(client.repliesAtOnce()).toMatch(/^STORED\r\nVERSION .*\r\n$/)
    store.write = (_lane, _command, waiter) => {
      waiter.done(NO)
      flushes.run()
    }
    client.receive('get none\r\nset k 0 0 1\r\nv\r\n')
    expect(client.repliesAtOnce()).toBe('END\r\nSERVER_ERROR not stored: no\r\n')
  })

  test('they do not overtake one that is being confirmed', () => {
    const client = clientWith('set k 0 0 1\r\nv\r\n')
    client.receive('get k\r\n')
    client.store.isLeased = true
    client.receive('get j\r\n')
    expect(client.repliesAtOnce()).toBe('')
    client.store.confirm()
    client.store.confirm()
    expect(client.replies()).toBe('VALUE k 0 1\r\nv\r\nEND\r\nEND\r\n')
  })

  test('a client that takes no replies gets no more made', () => {
    const client = leasedWith(`set k 0 0 600000\r\n${'v'.repeat(600_000)}\r\n`)
    client.isReading = false
    client.receive('get k\r\n'.repeat(100))
    expect(client.bufferedBytes).toBeLessThan(2_000_000)
    client.drain()
    expect(client.settle().length).toBeGreaterThan(1_000_000)
  })
})

describe('reads of this server alone', () => {
  test('a read here is refused where nothing is here yet', () => {
    const client = clientWith(K)
    client.store.whyNothingHere = 'this server is starting'
    client.receive('get-local k\r\nversion\r\n')
    expect(client.replies()).toMatch(/^SERVER_ERROR this server is starting\r\nVERSION /)
  })

  test('are confirmed by nobody', () => {
    const client = clientWith('set k 3 0 1\r\nv\r\n')
    client.receive('get-local k j\r\nget-local j\r\n')
    expect(client.store.barriers).toHaveLength(0)
    expect(client.replies()).toBe('VALUE k 3 1 1\r\nv\r\nEND\r\nEND\r\n')
  })

  test('wait for the reads and writes in front of them', () => {
    const client = clientWith('set k 0 0 1\r\nv\r\n')
    client.receive('get k\r\nget-local k\r\nget j\r\nset k 0 0 1\r\nw\r\nget-local k\r\n')
    expect(client.store.barriers).toHaveLength(1)
    expect(client.replies()).toBe('')
    client.store.confirm()
    const [before, after] = ['v', 'w'].map((value) => `\r\n${value}\r\nEND\r\n`)
    expect(client.replies()).toBe(`VALUE k 0 1${before}VALUE k 0 1 1${before}END\r\n`)
    client.store.finishWrite()
    expect(client.replies()).toBe(`STORED\r\nVALUE k 0 1 2${after}`)
  })

  test('see what a read in front of them changes', () => {
    const client = clientWith('set k 0 0 1\r\nv\r\n')
    client.receive('mg k v T100 t\r\nget-local k\r\n')
    client.store.confirm()
    expect(client.replies()).toBe('')
    client.store.finishWrite()
    expect(client.replies()).toBe('VA 1 t100\r\nv\r\nVALUE k 0 1 1\r\nv\r\nEND\r\n')
    expect(client.store.barriers).toHaveLength(0)
  })

  test('of a client that takes no replies are not made', () => {
    const client = clientWith(`set k 0 0 600000\r\n${'v'.repeat(600_000)}\r\n`)
    client.isReading = false
    client.receive('get-local k\r\n'.repeat(100))
    expect(client.bufferedBytes).toBeLessThan(2_000_000)
    client.drain()
    expect(client.settle().length).toBeGreaterThan(1_000_000)
  })
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

describe('plain sets that come together', () => {
  const sets = (...keys: string[]) => keys.map((key) => `set ${key} 0 0 1\r\nv\r\n`).join('')
  const takingClient = () => {
    const client = new Client()
    client.store.takesSets = true
    return client
  }
  const written = (client: Client) => client.store.writes.map(({ command }) => command.toString())

  test('are one write, each with its reply', () => {
    const client = takingClient()
    client.receive(`${sets('a', 'b', 'c')}delete a\r\n${sets('d')}`)
    expect(written(client)).toEqual([sets('a', 'b', 'c'), 'delete a\r\n', sets('d')])
    client.store.finishWrite()
    client.store.finishWrite()
    client.store.finishWrite()
    expect(client.replies()).toBe('STORED\r\nSTORED\r\nSTORED\r\nDELETED\r\nSTORED\r\n')
    expect(client.store.stats.counts).toMatchObject({ cmd_set: 4, total_items: 4 })
    expect(client.store.stats.requestCount).toBe(5)
  })

  test.each([
    [NO, 'SERVER_ERROR not stored: no\r\n'],
    [LOST, 'SERVER_ERROR outcome unknown: lost\r\n'],
  ])('each is told what became of them: %j', (outcome, line) => {
    const client = takingClient()
    client.receive(sets('a', 'b'))
    client.store.finishWrite(outcome)
    expect(client.replies()).toBe(line.repeat(2))
    expect(client.store.stats.counts).toMatchObject({ cmd_set: 0, total_items: 0 })
  })

  test('are written one by one where they can not be one', () => {
    const client = new Client()
    client.receive(sets('a', 'b'))
    expect(written(client)).toEqual([sets('a'), sets('b')])
    client.store.finishWrite()
    client.store.finishWrite(NO)
    expect(client.replies()).toBe('STORED\r\nSERVER_ERROR not stored: no\r\n')
  })

  test('are counted by their prefixes where that is wanted', () => {
    const client = takingClient()
    client.store.stats.isDetailed = true
    client.receive(sets('a:1', 'b:1', 'a:2'))
    for (let left = 3; left > 0; left--) client.store.finishWrite()
    expect(client.store.stats.detail).toBe(
      'PREFIX a get 0 hit 0 set 2 del 0\r\nPREFIX b get 0 hit 0 set 1 del 0\r\nEND\r\n',
    )
  })

  test('wait for reads before them, and reads for them', () => {
    const client = takingClient()
    client.receive(`get a\r\n${sets('a', 'b')}get b\r\n`)
    expect(written(client)).toEqual([])
    client.store.confirm()
    expect(client.replies()).toBe('END\r\n')
    expect(written(client)).toEqual([sets('a', 'b')])
    expect(client.store.barriers).toHaveLength(0)
    client.store.finishWrite()
    expect(client.replies()).toBe('STORED\r\nSTORED\r\n')
    client.store.confirm()
    expect(client.replies()).toBe('VALUE b 0 1\r\nv\r\nEND\r\n')
  })
})

/** With items that are there before. */
function clientWith(...commands: string[]): Client {
  const store = new ReplicaStore()
  for (const command of commands) store.apply(command)
  store.log.length = 0
  return new Client(store)
}

/** Whose reads need no confirmation. */
function leasedWith(...commands: string[]): Client {
  const client = clientWith(...commands)
  client.store.isLeased = true
  return client
}

const NO: WriteOutcome = { kind: 'notStored', why: 'no' }
const LOST: WriteOutcome = { kind: 'unknown', why: 'lost' }

const K = 'set k 7 100 1\r\nx\r\n'

describe('reads that change something', () => {
  test.each([
    ['gat 100 k missing', 'VALUE k 7 1\r\nx\r\nEND\r\n', []],
    ['gat 50 k missing', 'VALUE k 7 1\r\nx\r\nEND\r\n', ['get k exptime=50']],
    [
      'gats 50 k k',
      'VALUE k 7 1 1\r\nx\r\nVALUE k 7 1 1\r\nx\r\nEND\r\n',
      ['get k exptime=50', 'get k exptime=50'],
    ],
    ['gat -1 k', 'VALUE k 7 1\r\nx\r\nEND\r\n', ['get k exptime=-1']],
    ['gat 50 missing', 'END\r\n', []],
    ['mg k v t', 'VA 1 t100\r\nx\r\n', []],
    ['mg k T100 t', 'HD t100\r\n', []],
    ['mg k T50 t', 'HD t50\r\n', ['get k win exptime=50']],
    ['mg k R100 t', 'HD t100\r\n', []],
    ['mg k R101 t', 'HD t100 W\r\n', ['get k win recache=101']],
    ['mg k N30 t', 'HD t100\r\n', []],
    ['mg new N30 t c', 'HD t30 c2 W\r\n', ['get new win vivify=30']],
    ['mg new N30 E77 c', 'HD c77 W\r\n', ['get new win vivify=30 unique=77']],
    ['mg missing T30', 'EN\r\n', []],
    ['me k', 'ME k exp=100 la=0 cas=1 fetch=no cls=1 size=48\r\n', []],
  ])('%s', (line, reply, log) => {
    const client = clientWith(K)
    expect(client.say(`${line}\r\n`)).toBe(reply)
    expect(client.store.log).toEqual(log.map((command) => `${command}\r\n`))
  })

  test('the one who wins is logged, and nobody after', () => {
    const client = clientWith(K, 'delete k stale\r\n')
    expect(client.say('mg k\r\nmg k\r\nget k\r\n')).toBe(
      'HD X W\r\nHD Z X\r\nVALUE k 7 1\r\nx\r\nEND\r\n',
    )
    expect(client.store.log).toEqual(['get k win\r\n'])
  })

  test('writes and reads behind one wait for it, and it for those before', () => {
    const client = clientWith(K)
    const { store } = client
    client.receive('set a 0 0 1\r\n1\r\nmg k T50 t\r\nget k a\r\nset a 0 0 1\r\n2\r\nget a\r\n')
    // The first write, nothing else.
    expect([store.writes.length, store.barriers.length]).toEqual([1, 0])
    store.finishWrite()
    expect(client.replies()).toBe('STORED\r\n')
    // Both reads are asked about at once, the write behind them waits.
    expect([store.writes.length, store.barriers.length]).toEqual([0, 1])
    store.confirm()
    expect(store.writes.map(({ command }) => `${command}`)).toEqual(['get k win exptime=50\r\n'])
    expect(client.replies()).toBe('')
    store.finishWrite()
    expect(client.replies()).toBe('HD t50\r\n')
    // What was confirmed before it took effect is asked about again.
    expect([store.writes.length, store.barriers.length]).toEqual([0, 1])
    store.confirm()
    expect(client.replies()).toBe('VALUE k 7 1\r\nx\r\nVALUE a 0 1\r\n1\r\nEND\r\n')
    expect(client.settle()).toBe('STORED\r\nVALUE a 0 1\r\n2\r\nEND\r\n')
    expect(store.log).toHaveLength(3)
  })

  test('a write waits for one though nothing else does', () => {
    const client = clientWith(K)
    const { store } = client
    client.receive('mg k T50\r\nset k 0 0 1\r\ny\r\n')
    store.confirm()
    client.replies()
    expect(store.writes.map(({ command }) => `${command}`)).toEqual(['get k win exptime=50\r\n'])
    expect(client.settle()).toBe('HD\r\nSTORED\r\n')
  })

  test('a read behind one sees what others did up to its own confirmation', () => {
    const client = clientWith(K)
    const { store } = client
    client.receive('mg k T50\r\nget k\r\n')
    store.confirm()
    store.confirm()
    store.finishWrite()
    store.apply('set k 0 0 1\r\ny\r\n')
    store.confirm()
    expect(client.replies()).toBe('HD\r\nVALUE k 0 1\r\ny\r\nEND\r\n')
  })

  test.each<[string, (WriteOutcome | undefined)[], string]>([
    ['none', [NO, NO], 'not stored: no'],
    ['some', [undefined, NO], 'outcome unknown: not all keys were touched: no'],
    ['nobody knows which', [NO, LOST], 'outcome unknown: lost'],
    ['some, and others perhaps', [undefined, LOST], 'outcome unknown: lost'],
  ])('a gat of several keys that touched %s of them', (_, outcomes, line) => {
    const client = clientWith(K, 'set a 0 0 1\r\nx\r\n')
    client.receive('gat 50 k a\r\nget k\r\n')
    client.store.confirm()
    for (const outcome of outcomes) client.store.finishWrite(outcome)
    expect(client.settle()).toBe(`SERVER_ERROR ${line}\r\nVALUE k 7 1\r\nx\r\nEND\r\n`)
  })

  test('the answer is of the moment at which it was applied', () => {
    const client = clientWith(K)
    const { store } = client
    client.receive('gats 50 k\r\n')
    store.confirm()
    store.apply('set k 9 0 2\r\nyy\r\n')
    store.finishWrite()
    expect(client.replies()).toBe('VALUE k 9 2 2\r\nyy\r\nEND\r\n')
    client.receive('gat 60 k\r\n')
    store.confirm()
    store.apply('delete k\r\n')
    store.finishWrite()
    expect(client.replies()).toBe('END\r\n')
  })

  test('somebody else was first: of two that would win one does', () => {
    const store = clientWith(K, 'delete k stale\r\n').store
    const clients = [new Client(store), new Client(store)]
    for (const client of clients) client.receive('mg k\r\n')
    store.confirm()
    store.confirm()
    expect(store.writes).toHaveLength(2)
    store.finishWrite()
    store.finishWrite()
    expect(clients.map((client) => client.replies())).toEqual(['HD X W\r\n', 'HD Z X\r\n'])
  })

  test.each<[WriteOutcome, string]>([
    [{ kind: 'notStored', why: 'no' }, 'SERVER_ERROR not stored: no'],
    [{ kind: 'unknown', why: 'lost' }, 'SERVER_ERROR outcome unknown: lost'],
    [
      { kind: 'notStored', why: 'out of memory storing object', lacks: 'memory' },
      'SERVER_ERROR out of memory storing object',
    ],
  ])('one that could not be logged: %j', (outcome, line) => {
    const client = clientWith(K)
    const { store } = client
    client.receive('gat 50 k k\r\nmg k T50\r\nget k\r\n')
    store.confirm()
    store.confirm()
    store.confirm()
    store.finishWrite(outcome)
    expect(client.replies()).toBe('')
    store.finishWrite(outcome)
    expect(client.settle()).toBe(`${line}\r\nHD\r\nVALUE k 7 1\r\nx\r\nEND\r\n`)
  })

  test('one that was not confirmed changes nothing', () => {
    const client = clientWith(K)
    client.receive('gat 50 k\r\n')
    client.store.confirm('no leader')
    expect(client.settle()).toBe('SERVER_ERROR no leader\r\n')
    expect(client.store.log).toEqual([])
  })
})

describe('how an item was used', () => {
  test('is of before this read, and counted from it', () => {
    const client = clientWith(K)
    client.nowMs = 5_000
    expect(client.say('mg k h l u\r\nmg k h l\r\n')).toBe('HD h0 l5\r\nHD h0 l5\r\n')
    client.nowMs = 8_000
    expect(client.say('mg k l h\r\nget k\r\nmg k h l\r\n')).toBe(
      'HD l3 h1\r\nVALUE k 7 1\r\nx\r\nEND\r\nHD h1 l0\r\n',
    )
    expect(client.store.log).toEqual([])
  })

  test('me and gat: one looks, the other reads', () => {
    const client = clientWith(K)
    expect(client.say('me k\r\nmg k h\r\n')).toMatch(/^ME k .* fetch=no .*\r\nHD h0\r\n$/)
    expect(client.say('gat 100 k\r\nme k\r\n')).toMatch(/ fetch=yes /)
  })

  test('a touch counts as a read', () => {
    const client = clientWith(K)
    client.nowMs = 5_000
    expect(client.say('touch k 100\r\nmg k h l u\r\n')).toBe('TOUCHED\r\nHD h1 l0\r\n')
  })

  test('is forgotten where it becomes another item, and else not', () => {
    const client = new Client()
    client.say('set k 0 0 1\r\n8\r\nget k\r\nincr k 1\r\n')
    expect(client.say('mg k h u\r\n')).toBe('HD h1\r\n')
    expect(client.say('incr k 1\r\nmg k h u\r\n')).toBe('10\r\nHD h0\r\n')
    expect(client.say('get k\r\nmd k I\r\nmg k h u\r\n')).toContain('HD h1 X W\r\n')
    expect(client.say('md k x\r\nmg k h u\r\n')).toBe('HD\r\nHD h0\r\n')
  })

  test('one that was made has been read by that', () => {
    const client = new Client()
    expect(client.say('mg k N30 h\r\nmg k h\r\n')).toBe('HD h0 W\r\nHD h1 Z\r\n')
    expect(client.say('mg other N30 u\r\nmg other h u\r\n')).toBe('HD W\r\nHD h0 Z\r\n')
  })
})

describe('replies to writes of meta commands', () => {
  test('tell the cas unique and the length that came of them', () => {
    const client = new Client()
    expect(client.say('ms k 2 c s k Ox\r\nab\r\n')).toBe('HD c1 s2 kk Ox\r\n')
    expect(client.say('ms k 2 MA c s\r\ncd\r\n')).toBe('HD c2 s4\r\n')
    expect(client.say('ms k 2 MA C7 c\r\ncd\r\n')).toBe('EX c0\r\n')
    expect(client.say('ma n N0 J5 c v\r\nma n c v\r\n')).toBe('VA 1 c4\r\n5\r\nVA 1 c5\r\n6\r\n')
    expect(client.say('ma n value\r\n')).toBe('VA 1\r\n7\r\n')
  })

  test('are errors as of any other', () => {
    const client = new Client()
    client.receive('ms k 2 q\r\nab\r\nmd k q\r\n')
    client.store.finishWrite({ kind: 'notStored', why: 'no' })
    client.store.finishWrite({ kind: 'unknown', why: 'lost' })
    expect(client.replies()).toBe(
      'SERVER_ERROR not stored: no\r\nSERVER_ERROR outcome unknown: lost\r\n',
    )
  })
})

test('noreply keeps every reply away, but not the write', () => {
  const client = new Client()
  expect(
    client.say('set k 0 0 1 noreply\r\n1\r\nincr k 1 noreply\r\nadd k 0 0 1 noreply\r\nx\r\n'),
  ).toBe('')
  expect(client.say('delete missing noreply\r\nverbosity 1 noreply\r\nget k\r\n')).toBe(
    'VALUE k 0 1\r\n2\r\nEND\r\n',
  )
})

describe("what is the server's", () => {
  test('verbosity and the limit of memory', () => {
    const client = new Client()
    const text =
      'verbosity 2\r\ncache_memlimit 64\r\ncache_memlimit 65 noreply\r\nitem-size-max 2048\r\n'
    expect(client.say(text)).toBe('OK\r\nOK\r\nitem size 2048\r\nend\r\n')
    expect(client.store.calls).toEqual([
      'verbosity 2',
      `memory limit ${64 * 2 ** 20}`,
      `memory limit ${65 * 2 ** 20}`,
    ])
  })

  test('stats wait for what came before them', () => {
    const client = clientWith(K)
    client.receive('set k 0 0 1\r\nx\r\nstats items x\r\n')
    expect(client.replies()).toBe('')
    expect(client.settle()).toBe('STORED\r\nSTATS items x\r\n')
  })

  test('shutdown, where it is allowed, and not where it is not', () => {
    const client = clientWith()
    expect(client.say('shutdown\r\nshutdown noreply\r\n')).toBe(
      'SERVER_ERROR: shutdown not enabled\r\n',
    )
    client.store.mayShutDown = true
    expect(client.say('shutdown now\r\n')).toBe('CLIENT_ERROR invalid shutdown mode\r\n')
    expect(client.say('shutdown now noreply\r\nshutdown noreply\r\n')).toBe('')
    expect(client.store.calls).toEqual([])
    client.receive('set k 0 0 1\r\nx\r\nshutdown graceful\r\nset k 0 0 1\r\ny\r\n')
    expect(client.store.calls).toEqual([])
    expect(client.settle()).toContain('STORED\r\n')
    expect(client.store.calls).toEqual(['shut down'])
    expect(client.isEnded).toBe(true)
  })

  test('a value past the limit is refused by its length, whatever the limit is now', () => {
    const client = clientWith(K)
    client.store.itemSizeMax = 2
    expect(
      client.say('set k 0 0 3\r\nxxx\r\nms k 3 q\r\nxxx\r\nset k 0 0 3 noreply\r\nxxx\r\nmn\r\n'),
    ).toBe(
      'SERVER_ERROR object too large for cache\r\nSERVER_ERROR object too large for cache\r\nMN\r\n',
    )
    expect(client.store.log).toEqual([])
    client.store.itemSizeMax = 3
    expect(client.say('set k 0 0 3\r\nxxx\r\n')).toBe('STORED\r\n')
  })
})

describe('who a client is', () => {
  function guarded(): Client {
    const store = new ReplicaStore()
    store.users = new Map([
      ['me', 'pass word'],
      ['', ''],
    ])
    return new Client(store)
  }
  const auth = (token: string) => `set auth 0 0 ${token.length}\r\n${token}\r\n`

  test('has to be said before anything else', () => {
    const client = guarded()
    expect(client.say('version\r\nget k\r\n')).toBe(
      'CLIENT_ERROR unauthenticated\r\nCLIENT_ERROR unauthenticated\r\n',
    )
    expect(client.say(`${auth('me pass word')}version\r\nset k 0 0 1\r\nx\r\n`)).toBe(
      'STORED\r\nVERSION 1.6.45\r\nSTORED\r\n',
    )
    expect(client.store.log).toEqual(['set k 0 0 1\r\nx\r\n'])
  })

  test.each([
    ['another password', auth('me password'), 'CLIENT_ERROR authentication failure\r\n'],
    ['nobody known', auth('you x'), 'CLIENT_ERROR authentication failure\r\n'],
    ['no password', auth('me'), 'CLIENT_ERROR bad authentication token format\r\n'],
    [
      'a block of another length',
      'set a 0 0 2\r\nmexx',
      'CLIENT_ERROR bad command line termination\r\n',
    ],
    ['too much', 'set a 0 0 16385\r\n', 'CLIENT_ERROR auth token too long\r\n'],
    ['no length', 'set a 0 0\r\n', 'CLIENT_ERROR unauthenticated\r\n'],
    ['another command', 'add a 0 0 2\r\n', 'CLIENT_ERROR unauthenticated\r\n'],
  ])('with %s it is still to be said', (_, text, reply) => {
    const client = guarded()
    expect(client.say(text)).toBe(reply)
    expect(client.say(auth('me pass word'))).toBe('STORED\r\n')
    const { auth_cmds, auth_errors } = client.store.stats.counts
    expect(auth_cmds - auth_errors).toBe(1)
    expect(auth_errors).toBe(reply.includes('failure') ? 1 : 0)
  })

  test('comes in any pieces', () => {
    const client = guarded()
    const replies = [...auth('me pass word')].map((char) => client.say(char))
    expect(replies.join('')).toBe('STORED\r\n')
  })

  test('a line too short for it closes the connection', () => {
    const client = guarded()
    expect(client.say('mn\r\n')).toBe('')
    expect(client.isEnded).toBe(true)
  })

  test('no line before it may be long, not even a get', () => {
    const client = guarded()
    client.say(`get ${'k'.repeat(3_000)}`)
    expect(client.isEnded).toBe(true)
  })

  test('both may be empty', () => {
    expect(guarded().say(auth(' '))).toBe('STORED\r\n')
  })
})

describe('bounds', () => {
  const MIB = 2 ** 20
  const big = `set big 0 0 ${MIB}\r\n${'x'.repeat(MIB)}\r\n`

  test('of one that does not read few replies are made, and none of its requests are taken', () => {
    const client = clientWith(big)
    client.isReading = false
    client.say('get big\r\n'.repeat(100))
    expect(client.bufferedBytes).toBeLessThan(2.1 * MIB)
    expect(client.isPaused).toBe(true)
    client.receive('set k 0 0 1\r\nx\r\n')
    client.settle()
    expect(client.store.log).toEqual([])
    // It reads after all.
    let text = ''
    for (let turn = 0; turn < 200; turn++) {
      client.drain()
      text += client.settle()
    }
    expect(client.isPaused).toBe(false)
    expect(client.store.log).toHaveLength(1)
    expect(text.length).toBeGreaterThan(97 * MIB)
    expect(text.endsWith('STORED\r\n')).toBe(true)
  })

  test('few are made as well where all reads are confirmed at once', () => {
    const client = clientWith(big)
    client.isReading = false
    client.receive('get big\r\n'.repeat(100))
    const { barriers } = client.store
    while (barriers.length > 0) client.store.confirm()
    expect(client.replies().length).toBeLessThan(2.1 * MIB)
  })

  test('one that takes nothing for a minute is closed', () => {
    const client = clientWith(big)
    client.isReading = false
    client.say('get big\r\n'.repeat(3))
    client.connection.check(10_000, 0)
    client.bufferedBytes -= 1 // it took a byte
    client.connection.check(50_000, 0)
    client.connection.check(110_000, 0)
    expect(client.isDestroyed).toBe(false)
    client.connection.check(110_001, 0)
    expect(client.isDestroyed).toBe(true)
  })

  test('one that takes a backup may take as long as it wants', async () => {
    const client = new Client()
    const end = { read: () => new Promise<Buffer>(() => {}), close: async () => {} }
    client.store.openBackup = async () => {
      return { file: end as unknown as DiskFile, bytes: 1, close: end.close }
    }
    client.isReading = false
    client.receive('backup\r\n')
    await vi.waitFor(() => expect(client.bufferedBytes).toBeGreaterThan(0))
    for (const nowMs of [30_000, 61_000, 600_000]) client.connection.check(nowMs, 0)
    expect(client.isDestroyed).toBe(false)
  })

  test('one that has taken everything is not', () => {
    const client = clientWith(K)
    client.say('get k\r\n')
    for (const nowMs of [1e6, 2e6, 3e6]) client.connection.check(nowMs, 0)
    expect(client.isDestroyed).toBe(false)
  })

  test('one that asks nothing any more is closed, where there is such a bound', () => {
    const client = clientWith(K)
    client.nowMs = 1_000
    client.say('get k\r\n')
    client.connection.check(61_000, 60_000)
    expect(client.isDestroyed).toBe(false)
    expect(client.connection.facts(61_999)).toEqual({
      remote: { host: 'client', port: 1 },
      idleS: 60,
    })
    client.connection.check(61_001, 60_000)
    expect(client.isDestroyed).toBe(true)
  })

  test('one that takes a long reply is not idle, nor closed before it has it all', () => {
    const client = clientWith(big)
    client.isReading = false
    client.receive('get big\r\n')
    client.end()
    client.settle()
    expect(client.isEnded).toBe(true)
    expect(client.bufferedBytes).toBeGreaterThan(MIB)
    for (let turn = 0; turn < 9; turn++) {
      client.pass(10, 10_000)
      client.connection.check(client.nowMs, 60_000)
    }
    expect(client.isDestroyed).toBe(false)
    client.pass(30, 10_000)
    expect(client.isDestroyed).toBe(true)
  })

  test('one that has ended and takes nothing more is closed', () => {
    const client = clientWith(K)
    client.isReading = false
    client.receive('get k\r\nquit\r\n')
    client.settle()
    expect(client.bufferedBytes).toBeGreaterThan(0)
    client.pass(60, 0)
    expect(client.isDestroyed).toBe(false)
    client.pass(10, 0)
    expect(client.isDestroyed).toBe(true)
  })

  test('one that is still sending a value is not idle', () => {
    const client = new Client()
    client.receive('set k 0 0 3\r\nx')
    client.nowMs = 59_000
    client.receive('x')
    client.connection.check(100_000, 60_000)
    expect(client.isDestroyed).toBe(false)
    client.connection.check(119_001, 60_000)
    expect(client.isDestroyed).toBe(true)
  })

  test('one that waits for an answer is not idle', () => {
    const client = clientWith(K)
    client.receive('get k\r\n')
    client.connection.check(100_000, 60_000)
    expect(client.isDestroyed).toBe(false)
  })

  test('requests in flight, and those behind them in their turn', () => {
    const client = new Client()
    const { store } = client
    client.receive('incr n 1 \r\n'.repeat(2_000))
    expect(store.writes).toHaveLength(1_024)
    expect(client.isPaused).toBe(true)
    expect(client.settle()).toBe('NOT_FOUND\r\n'.repeat(2_000))
    expect(client.isPaused).toBe(false)
  })

  test('and so are plain sets that came together', () => {
    const client = new Client()
    const { store } = client
    store.takesSets = true
    client.receive('set k 0 0 1\r\nx\r\n'.repeat(3_000))
    const inFlight = store.writes.reduce((sum, { command }) => sum + command.length / 16, 0)
    expect(inFlight).toBe(1_024)
    expect(client.isPaused).toBe(true)
    expect(client.settle()).toBe('STORED\r\n'.repeat(3_000))
    expect(client.isPaused).toBe(false)
  })

  test('a get counts by its keys', () => {
    const client = new Client()
    client.receive(`get ${'k '.repeat(10_000)}\r\n`.repeat(100))
    expect(client.store.barriers.length).toBeLessThan(20)
    expect(client.settle()).toBe('END\r\n'.repeat(100))
  })

  test.each([
    ['blanks', `get ${' '.repeat(60_000)}${'k'.repeat(20)}\r\n`],
    ['what a flag has behind it', `mg k L${'x'.repeat(60_000)}\r\n`],
  ])('a line counts by its length, even if it is of %s', (_, line) => {
    const client = new Client()
    client.receive(line.repeat(500))
    expect(client.store.barriers.length).toBeLessThan(200)
  })

  test('one get answers no more than 64 MiB, and the connection goes on', () => {
    const client = clientWith(big)
    expect(client.say(`get${' big'.repeat(64)}\r\n`)).toBe(
      'SERVER_ERROR out of memory writing get response\r\n',
    )
    expect(client.say(`gat 0${' big'.repeat(65)}\r\nmn\r\n`)).toBe(
      'SERVER_ERROR out of memory writing get response\r\nMN\r\n',
    )
    expect(client.say(`get${' big'.repeat(63)}\r\n`).length).toBeGreaterThan(63 * MIB)
  })
})

test('what is counted', () => {
  const client = clientWith(K)
  client.store.itemSizeMax = 3
  client.say('get k missing k\r\ngat 50 k missing\r\nmg k v\r\nmg k T5\r\nme k\r\n')
  client.say(
    'set a 0 0 1\r\nx\r\nset a 0 0 4\r\nxxxx\r\nms b 1\r\n1\r\nincr b 1\r\ncas a 0 0 1 9\r\nx\r\n',
  )
  client.receive('set c 0 0 1\r\nx\r\n')
  client.store.finishWrite({ kind: 'notStored', why: 'out of memory', lacks: 'memory' })
  client.receive('set c 0 0 1\r\nx\r\n')
  client.store.finishWrite({ kind: 'unknown', why: 'lost' })
  client.replies()
  expect(client.store.stats.counts).toMatchObject({
    ...{ cmd_get: 4, get_hits: 3, get_misses: 1, cmd_touch: 3, touch_hits: 2, touch_misses: 1 },
    ...{ cmd_set: 3, cmd_meta: 1, incr_hits: 1, cas_badval: 1, total_items: 2 },
    ...{ store_too_large: 1, store_no_memory: 1 },
  })
})

test('bytes are counted both ways', () => {
  const client = clientWith(K)
  const asked = 'get k\r\nmn\r\n'
  const reply = client.say(asked)
  const { bytesRead, bytesWritten } = client.store.stats
  expect([bytesRead, bytesWritten]).toEqual([asked.length, reply.length])
})
