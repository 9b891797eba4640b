import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Observation, overviewOf } from '../../bin/overview.ts'
import { inPlace } from '../../bin/show-status.ts'
import { drawScreen, PLAIN, wrapped } from '../../bin/status-screen.ts'
import { member, observation, sample, status } from './sightings.ts'

const screen = (differs: Partial<Observation> = {}) => drawScreen(overviewOf(observation(differs)))

const figures = {
  ...{ curr_items: 123_456, bytes: 45 * 2 ** 20, limit_maxbytes: 2 ** 31 },
  ...{ disk_free: 80 * 2 ** 30, disk_kept_free: 2 ** 28, log_bytes: 3_000_000 },
  keystore_bytes: 50_000_000,
}
const ids = ['00000001', '00000002', '00000003']
const before = new Map(ids.map((id) => [id, sample(0, figures)]))
const samples = new Map(
  ids.map((id) => [id, sample(1_000, { ...figures, cmd_get: 23_456, cmd_set: 1_234 })]),
)

test('three servers that are well', () => {
  expect(screen({ before, samples })).toBe(`\
cluster c1: server 00000001 leads, 10.0.0.1:7001, term 3

  server    role      clients        position  behind  heard
  00000001  leader    10.0.0.1:7001      1000       0  0.1 s
  00000002  follower  10.0.0.1:7002      1000       0  0.1 s
  00000003  follower  10.0.0.1:7003      1000       0  0.1 s

  server    items  memory  limit  disk free   log  keystore  reads/s  writes/s
  00000001   123k     45M   2.0G        80G  2.8M       47M   23,456     1,234
  00000002   123k     45M   2.0G        80G  2.8M       47M   23,456     1,234
  00000003   123k     45M   2.0G        80G  2.8M       47M   23,456     1,234
  all                                                         70,368     3,702

voters: 3, of them 3 answer; a majority is 2
membership: every server is a voter
reads: quorum
load balancer: 10.0.0.9:5002
`)
})

test('one dead, one catching up, one that has left; no figures', () => {
  const members = [
    member(1),
    member(2, { alive: false, lastHeardMsAgo: 12_000, note: 'silent 12 s, dead after 30 s' }),
    member(3, { voter: false, lastIndex: 400, note: 'learner, 600 entries behind' }),
    member(4, { alive: false, voter: false, lastHeardMsAgo: 6e5, note: 'no member' }),
  ]
  expect(screen({ status: status({ members, membership: '00000002 does not answer' }) })).toBe(`\
cluster c1: server 00000001 leads, 10.0.0.1:7001, term 3

! server 00000002, 10.0.0.1:7002, does not answer: silent 12 s, dead after 30 s

  server    role       clients        position  behind   heard
  00000001  leader     10.0.0.1:7001      1000       0   0.1 s
  00000002  dead       10.0.0.1:7002      1000       0  12.0 s
  00000003  learner    10.0.0.1:7003       400     600   0.1 s  catching up
  00000004  no member  10.0.0.1:7004      1000       ?  10 min

voters: 2, of them 1 answer; a majority is 2
membership: 00000002 does not answer
reads: quorum
load balancer: 10.0.0.9:5002
`)
})

test('no leader, and nobody known', () => {
  const nothing = { cluster: null, leader: null, membership: null, reads: null, members: [] }
  const whyNoLeader = 'no server has registered'
  expect(screen({ status: { ...nothing, whyNoLeader }, balancers: [] })).toBe(`\
cluster (none yet): no leader: no server has registered
`)
})

describe('colours', () => {
  const marked = (differs: Partial<Observation>) =>
    drawScreen(overviewOf(observation(differs)), {
      columns: 80,
      paint: (style, text) => `<${style}>${text}</${style}>`,
    })

  test('say what is wrong and who leads, and move nothing', () => {
    const members = [member(1), member(2, { alive: false }), member(3, { lastIndex: -1 })]
    const differs = { status: status({ members }), before, samples }
    const drawn = marked(differs)
    expect(drawn).toContain('<green>leader</green>')
    expect(drawn).toContain('<red>dead</red>')
    expect(drawn).toContain('<red>! server 00000002')
    expect(drawn).toContain('<yellow>1,001</yellow>')
    expect(drawn.replace(/<\/?[a-z]+>/g, '')).toBe(screen(differs))
  })
})

test('no line is longer than the columns, whatever there is to show', () => {
  const text = fc.string({ minLength: 1, maxLength: 120 })
  const most = 1e12 - 1 // entries, bytes, requests: more than a server will ever see
  const index = fc.option(fc.nat(most))
  const anyMember = fc
    .record({
      cip: fc.oneof(text, fc.ipV6(), fc.domain()),
      role: fc.constantFrom('leader', 'preCandidate', 'follower', null),
      voter: fc.boolean(),
      ...{ lastIndex: index, commitIndex: index, lastHeardMsAgo: fc.option(fc.nat(4e8)) },
      alive: fc.option(fc.boolean()),
      note: fc.option(text),
    })
    .map((differs) => member(1, differs))
  const anySample = fc.dictionary(
    fc.constantFrom(...Object.keys(figures), 'cmd_get', 'cmd_set', 'disk_free'),
    fc.nat(most),
  )
  fc.assert(
    fc.property(
      fc.array(anyMember, { maxLength: 9 }),
      anySample,
      text,
      fc.integer({ min: 80, max: 200 }),
      (found, stats, why, columns) => {
        const members = found.map((differs, at) => ({ ...differs, id: `0000000${at}` }))
        const later = new Map(members.map(({ id }) => [id, sample(1_000, stats)]))
        const given = observation({
          status: status({ leader: null, whyNoLeader: why, membership: why, members }),
          ...{ samples: later, before: new Map(members.map(({ id }) => [id, sample(0)])) },
          silences: new Map([['00000001', why]]),
        })
        const lines = drawScreen(overviewOf(given), { columns, paint: (_, one) => one }).split('\n')
        for (const line of lines) expect(line.length, line).toBeLessThanOrEqual(columns)
      },
    ),
  )
})

test.each([-1, 0, 1, 2, 3, 19])('%i columns are none: a screen as for 20 is drawn', (columns) => {
  const given = overviewOf(observation({ status: status({ leader: null, whyNoLeader: 'nobody' }) }))
  const drawn = (many: number) => drawScreen(given, { ...PLAIN, columns: many })
  expect(drawn(columns)).toBe(drawn(20))
})

test('texts go on in the next line', () => {
  expect(wrapped('one two three', 80, '! ')).toEqual(['! one two three'])
  expect(wrapped('one two three', 9, '! ')).toEqual(['! one two', '  three'])
  expect(wrapped('one-two-three four', 9)).toEqual(['one-two-t', '  hree', '  four'])
})

test('in place nothing scrolls: what has no room is left out', () => {
  expect(inPlace('a\nb\nc\n', 3)).toBe('\x1b[Ha\x1b[K\r\nb\x1b[K\r\n\x1b[J')
  expect(inPlace('a\n\nb\n', 3)).toBe('\x1b[Ha\x1b[K\r\nb\x1b[K\r\n\x1b[J')
  expect(inPlace('a\n\nb\n', 4)).toBe('\x1b[Ha\x1b[K\r\n\x1b[K\r\nb\x1b[K\r\n\x1b[J')
  expect(inPlace('a\nb\nc\n', 0)).toBe('\x1b[Ha\x1b[K\r\nb\x1b[K\r\nc\x1b[K\r\n\x1b[J')
})
