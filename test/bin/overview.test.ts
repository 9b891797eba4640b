import { describe, expect, test } from 'vitest'
import { countText, overviewOf, sizeText } from '../../bin/overview.ts'
import { member, observation, sample, status } from './sightings.ts'

const shown = (at: number, given = observation()) => overviewOf(given).members[at - 1]

describe('lag', () => {
  test('is what the leader knows, because reports are older than that', () => {
    const members = [
      member(1, { lastIndex: 5_000 }),
      member(2, { lastIndex: 4_990, commitIndex: null }),
      member(3, { lastIndex: 4_000, commitIndex: null }),
    ]
    const given = observation({ leaderStatus: status({ members }) })
    expect(shown(1, given)).toMatchObject({ lastIndex: 5_000, lag: 0 })
    expect(shown(2, given)).toMatchObject({ lastIndex: 4_990, lag: 10, commitIndex: 1_000 })
    expect(shown(3, given)).toMatchObject({ lastIndex: 4_000, lag: 1_000 })
  })

  test('without the leader it is taken from what whoever was asked knows', () => {
    const members = [member(1), member(2, { lastIndex: 900 }), member(3, { lastIndex: null })]
    const given = observation({ status: status({ members }) })
    expect(shown(2, given)?.lag).toBe(100)
    expect(shown(3, given)?.lag).toBe(null)
  })

  test('of a silent server that a new leader knows nothing of is what it had committed', () => {
    const members = [member(1, { lastIndex: 5_000 }), member(2, { lastIndex: 0 }), member(3)]
    const given = observation({ leaderStatus: status({ members }) })
    expect(shown(2, given)).toMatchObject({ lastIndex: 1_000, lag: 4_000 })
  })

  test('a leader that was deposed meanwhile is not listened to', () => {
    const members = [member(1, { lastIndex: 9_000 }), member(2), member(3)]
    const given = observation({ leaderStatus: status({ leader: '00000002', members }) })
    expect(shown(2, given)?.lag).toBe(0)
  })

  test('without a leader, and of a server that is no member, there is none', () => {
    const leaderless = observation({ status: status({ leader: null, whyNoLeader: 'why' }) })
    expect(shown(2, leaderless)?.lag).toBe(null)
    const members = [member(1), member(2), member(3, { note: 'no member' })]
    expect(shown(3, observation({ status: status({ members }) }))?.lag).toBe(null)
  })
})

test('what a server that was asked does not know of the others its leader tells', () => {
  const unknown = { role: null, lastHeardMsAgo: null, alive: null, note: null } as const
  const told = status({ membership: null, members: [member(1), member(2, unknown)] })
  const leaderStatus = status({
    membership: 'waiting',
    members: [member(1), member(2, { alive: false, lastHeardMsAgo: 9_000, note: 'dead 9 s' })],
  })
  const overview = overviewOf(observation({ status: told, leaderStatus, balancers: [] }))
  expect(overview.membership).toBe('waiting')
  expect(overview.members[1]).toMatchObject({ alive: false, lastHeardMsAgo: 9_000 })
  expect(overview.problems.map(({ kind }) => kind)).toEqual(['silent'])
})

describe('requests a second', () => {
  const between = (first: ReturnType<typeof sample>, second: ReturnType<typeof sample>) => {
    const [id] = ['00000001']
    return observation({ before: new Map([[id, first]]), samples: new Map([[id, second]]) })
  }

  test('are the difference of two samples: keys read, and everything that goes through the log', () => {
    const writes = { cmd_set: 10, cmd_touch: 1, cmd_flush: 1, delete_hits: 1, delete_misses: 1 }
    const counters = { incr_hits: 1, incr_misses: 1, decr_hits: 1, decr_misses: 1 }
    const given = between(
      sample(1_000, { cmd_get: 100 }),
      sample(3_000, { cmd_get: 400, get_hits: 300, ...writes, ...counters }),
    )
    expect(shown(1, given)).toMatchObject({ readsPerSecond: 150, writesPerSecond: 9 })
    expect(overviewOf(given)).toMatchObject({ readsPerSecond: 150, writesPerSecond: 9 })
    expect(shown(2, given)).toMatchObject({ readsPerSecond: null, writesPerSecond: null })
  })

  test.each([
    ['a restart', { pid: 2, cmd_get: 500 }],
    ['a reset', { cmd_get: 50 }],
  ])('are not known across %s', (_, stats) => {
    const given = between(sample(1_000, { cmd_get: 100 }), sample(2_000, stats))
    expect(shown(1, given)?.readsPerSecond).toBe(null)
    expect(overviewOf(given).readsPerSecond).toBe(null)
  })
})

test('a load balancer of an older version tells less', () => {
  const { reads: _, ...older } = status()
  const given = observation({ status: older as ReturnType<typeof status> })
  expect(overviewOf(given).reads).toBe(null)
})

test('a server of an older version tells less', () => {
  const samples = new Map([['00000001', sample(1, { curr_items: 5, bytes: 320 })]])
  expect(shown(1, observation({ samples }))).toMatchObject({
    ...{ items: 5, itemBytes: 320, memoryLimitBytes: 0 },
    ...{ diskFreeBytes: null, diskKeptBytes: null, logBytes: null, keystoreBytes: null },
  })
  expect(overviewOf(observation({ samples })).problems).toEqual([])
})

describe('problems', () => {
  const kinds = (given = observation()) =>
    overviewOf(given).problems.map(({ kind, server }) => [kind, server])
  const one = (differs: Parameters<typeof member>[1]) =>
    observation({ status: status({ members: [member(1), member(2, differs), member(3)] }) })

  test('there are none where all is well', () => {
    expect(kinds()).toEqual([])
    expect(kinds(one({ voter: false, note: 'learner, 12,345 entries behind' }))).toEqual([])
    expect(kinds(one({ voter: true, note: 'learner, stands by' }))).toEqual([])
    expect(kinds(one({ alive: false, note: 'no member' }))).toEqual([])
  })

  test('the worst first', () => {
    const members = [
      member(1, { note: 'slow disk: writes late for 2.0 s' }),
      member(2, { alive: false, lastHeardMsAgo: 12_345 }),
      member(3),
    ]
    const given = observation({
      status: status({ leader: null, whyNoLeader: 'none for 900 ms', members }),
      balancers: [{ host: 'lb', port: 5002, failure: "load balancer lb:5002 can't be reached" }],
      samples: new Map([['00000003', sample(1, { disk_free: 500, disk_kept_free: 300 })]]),
      silences: new Map([['00000001', 'wants a login']]),
    })
    expect(overviewOf(given).problems).toEqual([
      { kind: 'noLeader', server: null, text: 'no leader: none for 900 ms' },
      {
        ...{ kind: 'silent', server: '00000002' },
        text: 'server 00000002, 10.0.0.1:7002, does not answer: last heard 12.3 s ago',
      },
      {
        ...{ kind: 'condition', server: '00000001' },
        text: 'server 00000001, 10.0.0.1:7001, slow disk: writes late for 2.0 s',
      },
      {
        ...{ kind: 'disk', server: '00000003' },
        text: 'server 00000003, 10.0.0.1:7003, disk low: 500B free, writes end at 300B',
      },
      { kind: 'balancer', server: null, text: "load balancer lb:5002 can't be reached" },
      {
        ...{ kind: 'figures', server: '00000001' },
        text: 'no figures of 00000001: wants a login',
      },
    ])
  })

  test('a learner that is slow, and a member never heard of', () => {
    expect(kinds(one({ voter: false, note: 'learner, stands by; slow disk' }))).toEqual([
      ['condition', '00000002'],
    ])
    const unheard = overviewOf(one({ alive: false, lastHeardMsAgo: null }))
    expect(unheard.problems[0]?.text).toMatch(/does not answer: last heard never$/)
  })

  test('a disk that is as good as full is told once', () => {
    const samples = new Map([['00000002', sample(1, { disk_free: 1, disk_kept_free: 300 })]])
    const note = 'out of disk space: 0 KiB free, 0 KiB kept'
    expect(kinds({ ...one({ note }), samples })).toEqual([['condition', '00000002']])
    expect(kinds({ ...one({}), samples })).toEqual([['disk', '00000002']])
  })

  test('servers that keep their figures for the same reason are one line', () => {
    const why = 'wants a login: add --auth-file <path>'
    const silences = new Map(['00000001', '00000002', '00000003'].map((id) => [id, why]))
    expect(overviewOf(observation({ silences })).problems).toEqual([
      {
        ...{ kind: 'figures', server: null },
        text: `no figures of 00000001, 00000002, 00000003: ${why}`,
      },
    ])
  })
})

test('sizes are rounded down and short, counts as well', () => {
  const sizes = [0, 1_023, 1_024, 10_239, 10_240, 2 ** 20 - 1, 1.99 * 2 ** 30, 1_000 * 2 ** 40]
  expect(sizes.map(sizeText)).toEqual([
    '0B',
    '1023B',
    '1.0K',
    '9.9K',
    '10K',
    '1023K',
    '1.9G',
    '1000T',
  ])
  const counts = [0, 0.4, 99_999, 100_000, 999_999, 1_234_567, 999_999_999, 5e9]
  expect(counts.map(countText)).toEqual([
    '0',
    '0',
    '99,999',
    '100k',
    '999k',
    '1.2M',
    '999.9M',
    '5.0G',
  ])
})
