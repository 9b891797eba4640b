/** The library against servers that the test plays: what is sent where, and what of it again. */
import { describe, expect, test } from 'vitest'
import { CALLS_MAX } from '../../src/client/caller.ts'
import { type Client, connect, StoreError } from '../../src/client/client.ts'
import { FakeCluster, type FakeNode, statusAnswer, watch } from './fake-cluster.ts'

const LB = 'host:1'
const [LEADER, FOLLOWER, THIRD] = [11, 12, 13] as const
const NO_LEADER = 'SERVER_ERROR not stored: no leader\r\n'
const UNCONFIRMED = 'SERVER_ERROR no leader confirmed the read within 2000 ms\r\n'

/** A store of what is set, as far as these tests go. */
function answerOf(request: string): string {
  const [verb = '', key = ''] = request.split(/[ \r]/)
  switch (verb) {
    case 'get':
      return `VALUE ${key} 0 ${key.length}\r\n${key}\r\nEND\r\n`
    case 'get-local':
      return `VALUE ${key} 0 ${key.length} 1\r\n${key}\r\nEND\r\n`
    case 'incr':
      return '1\r\n'
    case 'delete':
      return 'DELETED\r\n'
    default:
      return 'STORED\r\n'
  }
}

interface Played {
  readonly cluster: FakeCluster
  readonly balancer: FakeNode
  readonly leader: FakeNode
  readonly follower: FakeNode
  readonly client: Client
}

async function play(options = {}): Promise<Played> {
  const cluster = new FakeCluster()
  const balancer = cluster.balancer(1, [FOLLOWER, LEADER], LEADER)
  const leader = cluster.node(LEADER, answerOf)
  const follower = cluster.node(FOLLOWER, answerOf)
  const client = await cluster.connect(LB, options)
  return { cluster, balancer, leader, follower, client }
}

/** Nothing is left of it. */
async function end({ cluster, client }: Pick<Played, 'cluster' | 'client'>): Promise<void> {
  await cluster.run(client.close())
  expect(cluster.openCount).toBe(0)
  expect(cluster.timerCount).toBe(0)
}

describe('connect', () => {
  test('asks one load balancer who leads, and opens no connection to servers yet', async () => {
    const played = await play()
    expect(played.balancer.requests).toEqual(['status'])
    expect(played.leader.connectCount + played.follower.connectCount).toBe(0)
    expect(played.cluster.openCount).toBe(0)
    await end(played)
  })

  test('takes the next load balancer where one refuses, and one that is silent costs little', async () => {
    const cluster = new FakeCluster()
    const silent = cluster.node(2, () => null)
    cluster.balancer(3, [LEADER], LEADER)
    const options = { io: cluster.io }
    const connecting = watch(connect(['host:1', 'host:2', { host: 'host', port: 3 }], options))
    await cluster.advance(149)
    expect(silent.requests).toEqual(['status'])
    expect(connecting.isOver).toBe(false)
    await cluster.advance(1)
    expect(connecting.error).toBeUndefined()
    await end({ cluster, client: connecting.value as Client })
  })

  test('asks servers where only those are named', async () => {
    const cluster = new FakeCluster()
    const server = cluster.node(LEADER, (request) =>
      request === 'status'
        ? (statusAnswer([LEADER], LEADER)('status', undefined as never) ?? '')
        : answerOf(request),
    )
    const client = await cluster.connect({ servers: ['host:10', `host:${LEADER}`] })
    expect(String(await cluster.run(client.get('k')))).toBe('k')
    expect(server.requests).toEqual(['status', 'get k'])
    await end({ cluster, client })
  })

  test('says of each that was asked why it could not tell', async () => {
    const cluster = new FakeCluster()
    cluster.balancer(2, [], null)
    const failed = cluster.connect(['host:1', 'host:2'])
    await expect(failed).rejects.toMatchObject({ code: 'unreachable', definite: true })
    await expect(failed).rejects.toThrow(
      /^connect: load balancer host:1 can't be reached \(ECONNREFUSED\).*; load balancer host:2 knows no server: nobody does$/,
    )
    expect(cluster.timerCount + cluster.openCount).toBe(0)
  })

  test.each([
    ['here'],
    ['host:0'],
    ['host:65536'],
    [''],
    [[]],
    [{ servers: [] }],
    [{ port: 1 }],
    [null],
  ])('refuses what is no address: %j', async (where) => {
    const cluster = new FakeCluster()
    await expect(cluster.connect(where as never)).rejects.toMatchObject({ code: 'invalid' })
  })
})

describe('requests', () => {
  test('of one turn leave in one write of reads and one of writes, in order, and replies are matched in order', async () => {
    const played = await play()
    const { cluster, client, leader } = played
    await cluster.run(client.get('first'))
    const calls = Promise.all([
      client.set('a', 'A'),
      client.get('b'),
      client.incr('c'),
      client.delete('d'),
      client.get('none-after').then(String),
    ])
    expect(
      (await cluster.run(calls)).map((result) =>
        Buffer.isBuffer(result) ? String(result) : result,
      ),
    ).toEqual([undefined, 'b', 1n, true, 'none-after'])
    const [reads, writes] = [...leader.connections].map(({ writes }) => writes.slice(1))
    expect(reads).toEqual(['get first\r\n', 'get b\r\nget none-after\r\n'])
    expect(writes).toEqual(['set a 0 0 1\r\nA\r\nincr c 1\r\ndelete d\r\n'])
    expect(played.follower.connectCount).toBe(0)
    await end(played)
  })

  test('with long values between short ones', async () => {
    const played = await play()
    const { cluster, client, leader } = played
    const long = 'x'.repeat(5_000)
    await cluster.run(
      Promise.all([client.set('a', '1'), client.set('b', long), client.set('c', '2')]),
    )
    expect(leader.requests).toEqual([
      'set a 0 0 1\r\n1',
      `set b 0 0 5000\r\n${long}`,
      'set c 0 0 1\r\n2',
    ])
    await end(played)
  })

  test('wait where the socket is full, and those can be taken back', async () => {
    const played = await play()
    const { cluster, client, leader } = played
    await cluster.run(client.set('first', ''))
    leader.connection.isRoomy = false
    const big = client.set('big', 'x'.repeat(300_000))
    const abort = new AbortController()
    const taken = watch(client.set('taken', '', { signal: abort.signal }))
    const kept = client.set('kept', '')
    await cluster.run(big)
    abort.abort()
    leader.connection.drain()
    await cluster.run(kept)
    expect(taken.error).toMatchObject({ code: 'aborted', definite: true })
    expect(leader.requests.map((request) => request.split(' ')[1])).toEqual([
      'first',
      'big',
      'kept',
    ])
    await end(played)
  })

  test('that are wrong reject, and nothing is sent', async () => {
    const played = await play()
    const { cluster, client, leader } = played
    for (const wrong of [
      () => client.get('a b'),
      () => client.set('', ''),
      () => client.get('k', { timeoutMs: 0 }),
      () => client.get('k', { read: 'any' as never }),
      () => client.update('', () => 'x'),
    ]) {
      await expect(cluster.run<unknown>(wrong())).rejects.toMatchObject({
        code: 'invalid',
        definite: true,
      })
    }
    expect(leader.connectCount).toBe(0)
    await end(played)
  })

  test('without keys need no server', async () => {
    const played = await play()
    expect(await played.cluster.run(played.client.get([]))).toEqual(new Map())
    await end(played)
  })

  test('beyond the bound are refused', async () => {
    const played = await play()
    const { cluster, client, leader } = played
    leader.door = 'silent'
    played.follower.door = 'silent'
    const calls = Array.from({ length: CALLS_MAX }, () => watch(client.get('k')))
    await expect(client.set('k', 'v')).rejects.toMatchObject({ code: 'busy', definite: true })
    await cluster.advance(5_000)
    expect(calls.every(({ isOver }) => isOver)).toBe(true)
    await end(played)
  })
})

test('values that wait are bounded as well, and count until their call has ended', async () => {
  const played = await play()
  const { cluster, client, leader, follower } = played
  const value = Buffer.alloc(16 * 1024 * 1024)
  const abort = new AbortController()
  await cluster.run(client.set('k', value, { signal: abort.signal }))
  abort.abort() // that is over, and counts for nothing any more
  leader.connection.lose('ECONNRESET')
  leader.door = 'refuses'
  follower.door = 'refuses'
  for (let round = 0; round < 2; round++) {
    const calls = Array.from({ length: 15 }, () => watch(client.set('k', value)))
    await expect(client.set('k', value)).rejects.toMatchObject({ code: 'busy', definite: true })
    const small = watch(client.set('k', 'v'))
    await cluster.advance(5_000)
    expect([...calls, small].map(({ error }) => (error as StoreError).code)).toEqual(
      Array(16).fill('unreachable'),
    )
  }
  await end(played)
})

/** What becomes of one call, in a cluster where something happens to it once. */
describe('what is repeated', () => {
  const CALLS = {
    read: (client: Client) => client.get('k').then(String),
    write: (client: Client) => client.set('k', 'v').then(() => 'stored'),
    incr: (client: Client) => client.incr('k').then(String),
  }
  type What = keyof typeof CALLS

  test.each<[What, string]>([
    ['write', NO_LEADER],
    ['incr', NO_LEADER],
    ['read', UNCONFIRMED],
    ['read', 'SERVER_ERROR stopping\r\n'],
  ])('a %s that is answered %j', async (what, line) => {
    const played = await play()
    const { cluster, client, leader } = played
    leader.answer = (request) => {
      leader.answer = answerOf
      return request === '' ? null : line
    }
    const call = watch(CALLS[what](client))
    await cluster.settle()
    expect(leader.requests).toHaveLength(1)
    expect(call.isOver).toBe(false)
    await cluster.advance(20)
    expect(call.isOver && !call.error).toBe(true)
    expect(leader.requests).toHaveLength(2)
    await end(played)
  })

  test.each<[What, string, string, boolean]>([
    ['write', 'SERVER_ERROR outcome unknown: the leader was lost\r\n', 'unknown', false],
    ['incr', 'SERVER_ERROR outcome unknown: the leader was lost\r\n', 'unknown', false],
    ['write', 'SERVER_ERROR out of memory storing object\r\n', 'noRoom', true],
    ['write', 'SERVER_ERROR out of disk space\r\n', 'noRoom', true],
    ['write', 'SERVER_ERROR object too large for cache\r\n', 'tooLarge', true],
    ['incr', 'CLIENT_ERROR cannot increment or decrement non-numeric value\r\n', 'notNumber', true],
    ['write', 'CLIENT_ERROR bad command line format\r\n', 'invalid', true],
    ['write', 'ERROR\r\n', 'protocol', false],
    ['write', 'NOT_FOUND\r\n', 'protocol', false],
    ['write', 'SERVER_ERROR some day\r\n', 'protocol', false],
    ['read', 'SERVER_ERROR out of memory writing get response\r\n', 'tooLarge', true],
    ['read', 'ERROR\r\n', 'protocol', true],
  ])('not a %s that is answered %j', async (what, line, code, definite) => {
    const played = await play()
    const { cluster, client, leader, follower } = played
    leader.answer = () => line
    const call = watch(CALLS[what](client))
    await cluster.advance(4_000)
    expect(call.error).toMatchObject({ code, definite })
    expect((call.error as StoreError).message).toMatch(
      new RegExp(`^(get|set|incr) k: [^\\r\\n]*server host:${LEADER}[^\\r\\n]*$`),
    )
    expect([...leader.requests, ...follower.requests]).toHaveLength(1)
    await end(played)
  })

  test.each<What>(['read', 'write', 'incr'])(
    'a %s whose server refuses to be connected to, elsewhere',
    async (what) => {
      const played = await play()
      const { cluster, client, leader, follower } = played
      leader.door = 'refuses'
      await cluster.run(CALLS[what](client))
      expect([leader.requests.length, follower.requests.length]).toEqual([0, 1])
      await end(played)
    },
  )

  test.each<What>(['read', 'write', 'incr'])(
    'a %s that waited to be let in when the connection was lost',
    async (what) => {
      const played = await play()
      const { cluster, client, leader, follower } = played
      leader.greeting = ''
      const call = CALLS[what](client)
      await cluster.settle()
      expect(leader.connection.writes).toEqual(['version\r\n'])
      leader.connection.lose('ECONNRESET')
      await cluster.run(call)
      expect([leader.requests.length, follower.requests.length]).toEqual([0, 1])
      await end(played)
    },
  )

  test.each<What>(['read', 'write'])('a %s whose server does not let it in', async (what) => {
    const played = await play()
    const { cluster, client, leader, follower } = played
    leader.door = 'silent'
    const call = watch(CALLS[what](client))
    await cluster.advance(999)
    expect(call.isOver).toBe(false)
    await cluster.advance(1)
    expect([call.isOver, call.error]).toEqual([true, undefined])
    expect(follower.requests).toHaveLength(1)
    await end(played)
  })

  test('what was never sent is sent elsewhere in the order of the calls', async () => {
    const played = await play()
    const { cluster, client, leader, follower } = played
    leader.greeting = ''
    const calls = ['a', 'b', 'c'].map((key) => client.set(key, ''))
    await cluster.settle()
    leader.connection.lose('ECONNRESET')
    const late = client.set('d', '')
    await cluster.run(Promise.all([...calls, late]))
    expect(follower.requests.map((request) => request.split(' ')[1])).toEqual(['a', 'b', 'c', 'd'])
    await end(played)
  })

  test.each(['lost', 'ended'])('a read on a connection that is %s, elsewhere', async (how) => {
    const played = await play()
    const { cluster, client, leader, follower } = played
    leader.answer = () => null
    const call = watch(client.get('k'))
    await cluster.settle()
    leader.door = 'refuses'
    if (how === 'lost') leader.connection.lose('ECONNRESET')
    else leader.connection.end()
    await cluster.advance(20)
    expect(String(call.value)).toBe('k')
    expect([leader.requests.length, follower.requests.length]).toEqual([1, 1])
    await end(played)
  })

  test.each(['lost', 'ended'])('not a write on a connection that is %s', async (how) => {
    const played = await play()
    const { cluster, client, leader, follower } = played
    leader.answer = () => null
    const call = watch(client.incr('k'))
    await cluster.settle()
    if (how === 'lost') leader.connection.lose('ECONNRESET')
    else leader.connection.end()
    await cluster.advance(4_000)
    expect(call.error).toBeInstanceOf(StoreError)
    expect(call.error).toMatchObject({ code: 'unknown', definite: false })
    expect([leader.requests.length, follower.requests.length]).toEqual([1, 0])
    await end(played)
  })

  test('of those on a lost connection only what was answered before is answered', async () => {
    const played = await play()
    const { cluster, client, leader } = played
    leader.answer = (request) => (request.includes('one') ? 'STORED\r\n' : null)
    const [one, two] = [watch(client.set('one', '')), watch(client.set('two', ''))]
    await cluster.settle()
    leader.connection.lose('ECONNRESET')
    await cluster.settle()
    expect(one).toEqual({ isOver: true, value: undefined })
    expect(two.error).toMatchObject({ code: 'unknown', definite: false })
    await end(played)
  })

  test('longer and longer pauses, until the time is over; then the last reason is the error', async () => {
    const played = await play()
    const { cluster, client, leader } = played
    const atMs: number[] = []
    leader.answer = () => {
      atMs.push(cluster.nowMs)
      return NO_LEADER
    }
    const call = watch(client.set('k', 'v', { timeoutMs: 4_000 }))
    await cluster.advance(3_999)
    expect(call.isOver).toBe(false)
    await cluster.advance(1)
    expect(call.error).toMatchObject({ code: 'notStored', definite: true })
    expect((call.error as StoreError).message).toMatch(
      /^set k: .*no leader.*\(tried for 4000 ms\)$/,
    )
    const pauses = atMs.slice(1).map((ms, at) => Math.round(ms - (atMs[at] ?? 0)))
    expect(pauses).toEqual([15, 30, 60, 120, 240, 480, 750, 750, 750, 750].slice(0, pauses.length))
    expect(pauses.length).toBeGreaterThan(7)
    await end(played)
  })

  /** As a server that has no leader: it waits for one. */
  function refuseLate({ cluster, leader, follower }: Played, afterMs: number): void {
    leader.answer = (_, connection) => {
      cluster.io.timers.after(afterMs, () => connection.send(NO_LEADER))
      return null
    }
    follower.answer = leader.answer
  }

  test('a write that was refused is not sent again where it would be cut off: that is certain', async () => {
    const played = await play()
    const { cluster, client, leader, follower } = played
    refuseLate(played, 2_000)
    const call = watch(client.set('k', 'v'))
    await cluster.advance(4_500)
    expect(call.error).toMatchObject({ code: 'notStored', definite: true })
    expect((call.error as StoreError).message).toMatch(
      /^set k: not stored: no leader, says server host:1\d: try again later \(tried for 40\d\d of 5000 ms: to be refused again takes longer\)$/,
    )
    expect([...leader.requests, ...follower.requests]).toHaveLength(2)
    await cluster.advance(1_000)
    await end(played)
  })

  test('a write that was refused and then not answered says both, and is not certain', async () => {
    const played = await play()
    const { cluster, client, leader } = played
    leader.answer = () => {
      leader.answer = () => null
      return NO_LEADER
    }
    const call = watch(client.set('k', 'v'))
    await cluster.advance(5_000)
    expect(call.error).toMatchObject({ code: 'timeout', definite: false })
    expect((call.error as StoreError).message).toMatch(
      /did not answer within 5000 ms: it may have happened: .*; before that: not stored: no leader/,
    )
    await end(played)
  })

  test('a server that answers what nobody asked is not believed', async () => {
    const played = await play()
    const { cluster, client, leader, follower } = played
    follower.door = 'refuses'
    leader.answer = () => 'STORED\r\nSTORED\r\n'
    expect(await cluster.run(client.set('k', 'v'))).toBeUndefined()
    expect(cluster.openCount).toBe(0)
    leader.answer = () => 'VALUE k 0 zero\r\n'
    const call = watch(client.set('k', 'v'))
    await cluster.advance(20)
    expect(call.error).toMatchObject({ code: 'unknown', definite: false })
    await end(played)
  })
})

describe('time and signals', () => {
  test.each([
    ['read', true],
    ['write', false],
  ] as const)(
    'a %s that was sent times out: definite %s; its reply is for nobody',
    async (what, definite) => {
      const played = await play()
      const { cluster, client, leader } = played
      const ask = (key: string, options = {}): Promise<unknown> =>
        what === 'read' ? client.get(key, options).then(String) : client.set(key, 'v', options)
      await cluster.run(ask('first'))
      leader.answer = () => null
      const call = watch(ask('k', { timeoutMs: 500 }))
      await cluster.advance(499)
      expect(call.isOver).toBe(false)
      await cluster.advance(1)
      expect(call.error).toMatchObject({ code: 'timeout', definite })
      leader.answer = answerOf
      leader.connection.send(what === 'read' ? 'VALUE k 0 3\r\nold\r\nEND\r\n' : 'STORED\r\n')
      expect(await cluster.run(ask('next'))).toBe(what === 'read' ? 'next' : undefined)
      expect(leader.connectCount).toBe(1)
      await end(played)
    },
  )

  test('what was never sent times out as definite, whatever it is', async () => {
    const played = await play({ timeoutMs: 700 })
    const { cluster, client, leader, follower } = played
    leader.door = 'refuses'
    follower.door = 'refuses'
    const calls = [watch(client.get('k')), watch(client.set('k', 'v'))]
    await cluster.advance(700)
    for (const { error } of calls) {
      expect(error).toMatchObject({ code: 'unreachable', definite: true })
      expect((error as StoreError).message).toMatch(
        /^[gs]et k: server host:1\d can't be reached \(ECONNREFUSED\)/,
      )
    }
    // Servers were tried again and again, but not all the time.
    expect(leader.connectCount).toBeGreaterThan(2)
    expect(leader.connectCount).toBeLessThan(15)
    await end(played)
  })

  test.each([
    ['read', true],
    ['write', false],
  ] as const)('a signal ends a %s that was sent: definite %s', async (what, definite) => {
    const played = await play()
    const { cluster, client, leader } = played
    leader.answer = () => null
    const abort = new AbortController()
    const options = { signal: abort.signal }
    const call = watch<unknown>(
      what === 'read' ? client.get('k', options) : client.set('k', 'v', options),
    )
    await cluster.settle()
    abort.abort()
    await cluster.settle()
    expect(call.error).toMatchObject({ code: 'aborted', definite })
    await end(played)
  })

  test('a signal ends what was not sent yet, and what it had ended before', async () => {
    const played = await play()
    const { cluster, client, leader } = played
    const abort = new AbortController()
    const call = watch(client.set('k', 'v', { signal: abort.signal }))
    abort.abort()
    const late = watch(client.set('k', 'v', { signal: abort.signal }))
    await cluster.settle()
    for (const { error } of [call, late]) {
      expect(error).toMatchObject({ code: 'aborted', definite: true })
    }
    expect(leader.requests).toEqual([])
    await end(played)
  })

  test('what its signal ended while no server could be reached is never sent', async () => {
    const played = await play()
    const { cluster, client, leader, follower } = played
    leader.door = 'refuses'
    follower.door = 'refuses'
    const abort = new AbortController()
    const call = watch(client.set('ended', '', { signal: abort.signal }))
    const kept = watch(client.set('kept', ''))
    await cluster.advance(5)
    abort.abort()
    leader.door = 'open'
    await cluster.advance(1_000)
    expect(call.error).toMatchObject({ code: 'aborted', definite: true })
    expect(kept).toEqual({ isOver: true, value: undefined })
    expect([...leader.requests, ...follower.requests]).toEqual(['set kept 0 0 0\r\n'])
    await end(played)
  })

  test('many calls listen to one signal once, and no longer than they last', async () => {
    const played = await play()
    const { cluster, client, leader } = played
    let listenerCount = 0
    class CountedSignal extends EventTarget {
      aborted = false
      override addEventListener(...args: Parameters<EventTarget['addEventListener']>) {
        listenerCount++
        super.addEventListener(...args)
      }
    }
    const signal = new CountedSignal() as unknown as AbortSignal
    const first = client.set('k', 'v', { signal })
    await cluster.run(first)
    leader.answer = () => null
    const late = Array.from({ length: 20 }, () => watch(client.set('k', 'v', { signal })))
    await cluster.settle()
    signal.dispatchEvent(new Event('abort'))
    await cluster.settle()
    for (const { error } of late) expect(error).toMatchObject({ code: 'aborted' })
    expect(listenerCount).toBe(1)
    await expect(first).resolves.toBeUndefined()
    await end(played)
  })

  test('a server that stalls gets nothing more; reads go elsewhere, writes wait for it', async () => {
    const played = await play()
    const { cluster, client, leader, follower } = played
    leader.answer = () => null
    const [read, write] = [watch(client.get('read')), watch(client.set('write', ''))]
    await cluster.advance(1_100)
    expect(String(read.value)).toBe('read')
    expect(write.isOver).toBe(false)
    await cluster.run(client.set('other', ''))
    expect(follower.requests.map((request) => request.split(' ')[1])).toEqual(['read', 'other'])
    // It wakes: its answers count, and it gets calls again.
    leader.connection.send('STORED\r\n')
    await cluster.settle()
    expect(write).toEqual({ isOver: true, value: undefined })
    leader.answer = answerOf
    await cluster.run(client.set('again', ''))
    expect(leader.requests.at(-1)).toContain('again')
    await end(played)
  })

  test('reads do not wait behind writes for which there is no server', async () => {
    const played = await play()
    const { cluster, client, leader, follower } = played
    await cluster.run(client.set('first', ''))
    follower.door = 'refuses'
    leader.answer = (request) => (request.startsWith('set') ? null : answerOf(request))
    const sent = watch(client.set('sent', ''))
    await cluster.advance(1_000)
    const tried = watch(client.set('tried', ''))
    await cluster.settle()
    const unsent = watch(client.set('unsent', '', { timeoutMs: 5 }))
    expect(String(await cluster.run(client.get('read')))).toBe('read')
    await cluster.advance(5)
    expect(unsent.error).toMatchObject({
      code: 'unreachable',
      definite: true,
      message: `set unsent: no server took it within 5 ms: server host:${FOLLOWER} can't be reached (ECONNREFUSED)`,
    })
    await cluster.advance(5_000)
    expect(sent.error).toMatchObject({ code: 'timeout', definite: false })
    expect(tried.error).toMatchObject({ code: 'unreachable', definite: true })
    await end(played)
  })

  test('reads come back to the only server, which stalled, over a new connection', async () => {
    const played = await play()
    const { cluster, client, leader, follower } = played
    follower.door = 'refuses'
    leader.answer = () => null
    const calls = [watch(client.get('a')), watch(client.get('b'))]
    await cluster.advance(1_100)
    expect(calls.map(({ isOver }) => isOver)).toEqual([false, false])
    leader.answer = answerOf
    await cluster.advance(2_000)
    expect(calls.map(({ value }) => String(value))).toEqual(['a', 'b'])
    expect(leader.requests).toHaveLength(4)
    await end(played)
  })

  test('what was not written yet when the server stalled goes elsewhere, writes as well', async () => {
    const played = await play()
    const { cluster, client, leader, follower } = played
    await cluster.run(client.set('first', ''))
    leader.answer = () => null
    leader.connection.isRoomy = false
    const sent = watch(client.set('sent', ''))
    await cluster.settle()
    const unsent = watch(client.set('unsent', ''))
    await cluster.advance(1_000)
    expect([sent.isOver, unsent.isOver]).toEqual([false, true])
    expect(unsent.error).toBeUndefined()
    expect(follower.requests).toEqual(['set unsent 0 0 0\r\n'])
    await cluster.advance(4_000)
    expect(sent.error).toMatchObject({ code: 'timeout', definite: false })
    await end(played)
  })

  test('a stalled connection that nobody waits for any more is given up', async () => {
    const played = await play()
    const { cluster, client, leader } = played
    leader.answer = () => null
    const call = watch(client.set('k', 'v', { timeoutMs: 2_000 }))
    await cluster.advance(2_000)
    expect(call.error).toMatchObject({ code: 'timeout', definite: false })
    expect(cluster.openCount).toBe(0)
    await end(played)
  })
})

describe('the list of servers', () => {
  test('is asked for anew when the leader is lost; calls follow the new one', async () => {
    const played = await play()
    const { cluster, client, balancer, leader, follower } = played
    const third = cluster.node(THIRD, answerOf)
    await cluster.run(client.set('before', ''))
    balancer.answer = statusAnswer([LEADER, FOLLOWER, THIRD], THIRD)
    leader.door = 'refuses'
    leader.connection.lose('ECONNRESET')
    await cluster.advance(200)
    const call = watch(client.set('after', ''))
    await cluster.advance(200)
    await cluster.run(client.set('last', ''))
    expect(call).toEqual({ isOver: true, value: undefined })
    expect(third.requests.at(-1)).toContain('last')
    expect(follower.requests.length + third.requests.length).toBe(2)
    await end(played)
  })

  test('comes from a server when no load balancer answers', async () => {
    const played = await play()
    const { cluster, client, balancer, leader, follower } = played
    const third = cluster.node(THIRD, answerOf)
    const know = statusAnswer([FOLLOWER, THIRD], THIRD)
    follower.answer = (request, connection) =>
      request === 'status' ? know(request, connection) : NO_LEADER
    balancer.door = 'refuses'
    leader.door = 'refuses'
    const call = watch(client.set('k', 'v'))
    await cluster.advance(500)
    expect(call).toEqual({ isOver: true, value: undefined })
    expect(third.requests).toEqual(['set k 0 0 1\r\nv'])
    await end(played)
  })

  test('is asked for again and again while nobody leads, and calls go to any server', async () => {
    const played = await play()
    const { cluster, client, balancer, leader, follower } = played
    balancer.answer = statusAnswer([LEADER, FOLLOWER], null)
    leader.door = 'refuses'
    follower.answer = (request) => (request === 'status' ? 'SERVER_ERROR\r\nend\r\n' : NO_LEADER)
    const call = watch(client.set('k', 'v', { timeoutMs: 3_000 }))
    await cluster.advance(2_000)
    expect(call.isOver).toBe(false)
    expect(follower.requests.length).toBeGreaterThan(2)
    expect(balancer.requests.length).toBeGreaterThan(3)
    expect(balancer.requests.length).toBeLessThan(20)
    balancer.answer = statusAnswer([LEADER, FOLLOWER], FOLLOWER)
    follower.answer = answerOf
    await cluster.advance(1_000)
    expect(call).toEqual({ isOver: true, value: undefined })
    await end(played)
  })

  test('drops connections to servers that have left', async () => {
    const played = await play()
    const { cluster, client, balancer, leader, follower } = played
    await cluster.run(client.get('k', { read: 'local' }))
    expect(leader.connection.isClosed).toBe(false)
    balancer.answer = statusAnswer([FOLLOWER], FOLLOWER)
    await cluster.advance(10_000)
    await cluster.run(client.set('k', 'v'))
    await cluster.run(client.get('k', { read: 'local' }))
    await cluster.advance(1_000)
    expect(() => leader.connection).toThrow('0 connections are open')
    expect(follower.requests.at(-1)).toBe('get-local k')
    await end(played)
  })

  test('is asked for now and then though nothing is wrong', async () => {
    const played = await play()
    const { cluster, client, balancer, follower } = played
    balancer.answer = statusAnswer([LEADER, FOLLOWER], FOLLOWER)
    await cluster.run(client.set('k', 'v'))
    expect(follower.requests).toEqual([])
    await cluster.advance(10_000)
    await cluster.run(client.set('k', 'v'))
    await cluster.run(client.set('k', 'v'))
    expect(balancer.requests).toEqual(['status', 'status'])
    expect(follower.requests).toHaveLength(1)
    await end(played)
  })
})

describe('local reads', () => {
  test('are answered by a server that is connected, one and the same', async () => {
    const played = await play()
    const { cluster, client, leader, follower } = played
    await cluster.run(client.set('k', 'v'))
    for (let count = 0; count < 3; count++) {
      expect(String(await cluster.run(client.get('k', { read: 'local' })))).toBe('k')
    }
    expect(leader.requests.slice(1)).toEqual(['get-local k', 'get-local k', 'get-local k'])
    const several = await cluster.run(client.gets(['k'], { read: 'local' }))
    expect(several.get('k')).toEqual({ value: Buffer.from('k'), flags: 0, casUnique: 1n })
    expect(follower.connectCount).toBe(0)
    await end(played)
  })

  test('go elsewhere where that one is lost', async () => {
    const played = await play()
    const { cluster, client, leader, follower } = played
    await cluster.run(client.get('k', { read: 'local' }))
    leader.door = 'refuses'
    leader.connection.lose('ECONNRESET')
    expect(String(await cluster.run(client.get('k', { read: 'local' })))).toBe('k')
    expect(follower.requests).toEqual(['get-local k'])
    await end(played)
  })
})

describe('a login', () => {
  const login = { user: 'anna', password: 'secret' }

  test('comes before all else', async () => {
    const cluster = new FakeCluster()
    cluster.balancer(1, [LEADER], LEADER)
    const leader = cluster.node(LEADER, answerOf)
    leader.greeting = 'STORED\r\n'
    const client = await cluster.connect(LB, { login })
    await cluster.run(client.set('k', 'v'))
    expect(leader.connection.writes).toEqual([
      'set auth - - 11\r\nanna secret\r\n',
      'set k 0 0 1\r\nv\r\n',
    ])
    await end({ cluster, client })
  })

  test.each([
    [login, 'CLIENT_ERROR authentication failure\r\n', /refused user anna/],
    [null, 'CLIENT_ERROR unauthenticated\r\n', /wants a login/],
  ])('that is refused ends calls at once, and nothing was sent', async (given, greeting, words) => {
    const cluster = new FakeCluster()
    cluster.balancer(1, [LEADER], LEADER)
    const leader = cluster.node(LEADER, answerOf)
    leader.greeting = greeting
    const client = await cluster.connect(LB, { login: given })
    const call = cluster.run(client.set('k', 'v'))
    await expect(call).rejects.toMatchObject({ code: 'login', definite: true })
    await expect(call).rejects.toThrow(words)
    expect(leader.requests).toEqual([])
    await end({ cluster, client })
  })

  test('that is refused where servers are asked who they are', async () => {
    const cluster = new FakeCluster()
    const server = cluster.node(LEADER, answerOf)
    server.greeting = 'CLIENT_ERROR unauthenticated\r\n'
    const connecting = cluster.connect({ servers: [`host:${LEADER}`] })
    await expect(connecting).rejects.toMatchObject({ code: 'login', definite: true })
  })

  test('is not why where a server has too many connections', async () => {
    const played = await play()
    const { cluster, client, leader, follower } = played
    leader.greeting = 'ERROR Too many open connections\r\n'
    await cluster.run(client.set('k', 'v'))
    expect([leader.requests.length, follower.requests.length]).toEqual([0, 1])
    await end(played)
  })
})

describe('close', () => {
  test('waits for calls under way, refuses those that come later, and can be repeated', async () => {
    const played = await play()
    const { cluster, client, leader } = played
    leader.answer = () => null
    const call = watch(client.set('k', 'v'))
    await cluster.settle()
    const closing = watch(client.close())
    await expect(client.get('k')).rejects.toMatchObject({ code: 'closed', definite: true })
    await expect(client.update('k', () => 'x')).rejects.toMatchObject({ code: 'closed' })
    await cluster.settle()
    expect(closing.isOver).toBe(false)
    leader.connection.send('STORED\r\n')
    await cluster.settle()
    expect(call).toEqual({ isOver: true, value: undefined })
    expect(closing.isOver).toBe(true)
    await cluster.run(client.finalize())
    await end(played)
  })

  test('is over with the time of what was called before, even where no server answers', async () => {
    const played = await play()
    const { cluster, client, leader, follower } = played
    leader.door = 'silent'
    follower.door = 'refuses'
    const call = watch(client.set('k', 'v', { timeoutMs: 2_500 }))
    const closing = watch(client.close())
    await cluster.advance(2_499)
    expect(closing.isOver).toBe(false)
    await cluster.advance(1)
    expect(call.error).toMatchObject({ definite: true })
    expect(closing.isOver).toBe(true)
    await end(played)
  })

  test('of ten thousand clients leaves no connection, timer or listener', async () => {
    const cluster = new FakeCluster()
    cluster.balancer(1, [LEADER], LEADER)
    const leader = cluster.node(LEADER, answerOf)
    for (let round = 0; round < 100; round++) {
      const work = Array.from({ length: 100 }, async () => {
        const client = await cluster.connect(LB)
        const stored = client.set('k', 'v')
        await client.close()
        await stored
      })
      // A hundred at once, each waiting for what `settle` lets happen.
      const all = watch(Promise.all(work))
      while (!all.isOver) await cluster.settle()
      expect(all.error).toBeUndefined()
      expect([cluster.openCount, cluster.timerCount]).toEqual([0, 0])
    }
    expect(leader.connectCount).toBe(10_000)
  })
})
