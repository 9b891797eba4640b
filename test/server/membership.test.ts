import { describe, expect, test } from 'vitest'
import type { Registration, ServerAddress } from '../../src/protocol/balancer.ts'
import {
  DEFAULT_RULES,
  type Health,
  nextConfig,
  type Situation,
} from '../../src/server/membership.ts'
import { isSingleChange } from '../../src/server/raft/config.ts'
import type { Config } from '../../src/server/raft/types.ts'

interface Row {
  readonly title: string
  /** Members: a voter as `a`, a learner as `-a`; then the floor. */
  readonly config: string
  /** Who is registered. `a@2`: at another address. `a!`: heard by load balancers, however silent. */
  readonly registered: string
  readonly caughtUp: string
  /** Who has been silent for how many seconds: `a:4 b:31`. */
  readonly silent?: string
  readonly leaving?: string
  readonly notes?: Readonly<Record<string, string>>
  readonly next: string | null
  readonly why: string
}

const CATCHING_UP = 'learners are catching up'
const ALL_VOTE = 'every server is a voter'
const ENOUGH = '5 voters are enough, 2 more stand by'
const SIXTEEN = 'a b c d -e -f -g -h -i -j -k -l -m -n -o -p'

const ROWS: readonly Row[] = [
  {
    title: 'one server, nobody else',
    config: 'a floor 2',
    registered: 'a',
    caughtUp: 'a',
    next: null,
    why: ALL_VOTE,
  },
  {
    title: 'a new server joins as a learner, even where it has the whole log',
    config: 'a floor 2',
    registered: 'a b',
    caughtUp: 'a b',
    next: 'a -b floor 2',
    why: 'server b joins as a learner',
  },
  {
    title: 'two new servers join one at a time, in the order registered',
    config: 'a floor 2',
    registered: 'c a b',
    caughtUp: '',
    next: 'a -c floor 2',
    why: 'server c joins as a learner',
  },
  {
    title: 'a learner behind waits',
    config: 'a -b floor 2',
    registered: 'a b',
    caughtUp: 'a',
    next: null,
    why: CATCHING_UP,
  },
  {
    title: 'a learner that has caught up gets its vote',
    config: 'a -b floor 2',
    registered: 'a b',
    caughtUp: 'a b',
    next: 'a b floor 2',
    why: 'server b becomes a voter: has caught up',
  },
  {
    title: 'the third voter raises the floor to 3',
    config: 'a b -c floor 2',
    registered: 'a b c',
    caughtUp: 'a b c',
    next: 'a b c floor 3',
    why: 'server c becomes a voter: has caught up',
  },
  {
    title: 'the fourth voter leaves the floor at 3',
    config: 'a b c -d floor 3',
    registered: 'a b c d',
    caughtUp: 'd',
    next: 'a b c d floor 3',
    why: 'server d becomes a voter: has caught up',
  },
  {
    title: 'the fifth voter leaves the floor at 3',
    config: 'a b c d -e floor 3',
    registered: 'a b c d e',
    caughtUp: 'e',
    next: 'a b c d e floor 3',
    why: 'server e becomes a voter: has caught up',
  },
  {
    title: 'a newcomer waits while one of three voters is missing: the quorum would need it',
    config: 'a b c -d floor 3',
    registered: 'a b d',
    caughtUp: 'a b d',
    silent: 'c:4',
    next: null,
    why: 'c does not answer',
    notes: { c: 'silent 4 s, dead after 30 s', d: 'learner, stands by' },
  },
  {
    title: 'of four voters one may be missing: a fifth lets another one die',
    config: 'a b c d -e floor 3',
    registered: 'a b c e',
    caughtUp: 'a b c e',
    silent: 'd:4',
    next: 'a b c d e floor 3',
    why: 'server e becomes a voter: has caught up',
  },
  {
    title: 'a floor that was reached never sinks',
    config: 'a -b floor 3',
    registered: 'a b',
    caughtUp: 'b',
    next: 'a b floor 3',
    why: 'server b becomes a voter: has caught up',
  },
  {
    title: 'a sixth server stands by',
    config: 'a b c d e -f floor 3',
    registered: 'a b c d e f',
    caughtUp: 'a b c d e f',
    next: null,
    why: '5 voters are enough, 1 more stand by',
  },
  {
    title: 'a server that will stand by still joins',
    config: 'a b c d e floor 3',
    registered: 'a b c d e f',
    caughtUp: '',
    next: 'a b c d e -f floor 3',
    why: 'server f joins as a learner',
  },
  {
    title: 'of several learners the first one ready gets its vote',
    config: 'a -b -c -d floor 2',
    registered: 'a b c d',
    caughtUp: 'd c',
    next: 'a -b c -d floor 2',
    why: 'server c becomes a voter: has caught up',
  },
  {
    title: 'a learner that the leader hears gets its vote, whoever else knows of it',
    config: 'a -b floor 2',
    registered: 'a',
    caughtUp: 'a b',
    next: 'a b floor 2',
    why: 'server b becomes a voter: has caught up',
  },
  {
    title: 'a learner that is here goes before one that is not',
    config: 'a -b -c floor 2',
    registered: 'a b c',
    caughtUp: 'a b c',
    silent: 'b:4',
    next: 'a -b c floor 2',
    why: 'server c becomes a voter: has caught up',
  },
  {
    title: 'a vote goes before a join',
    config: 'a -b floor 2',
    registered: 'a b c',
    caughtUp: 'b',
    next: 'a b floor 2',
    why: 'server b becomes a voter: has caught up',
  },
  {
    title: 'a new address goes before a join and a vote',
    config: 'a -b floor 2',
    registered: 'c a@2 b',
    caughtUp: 'b',
    next: 'a@2 -b floor 2',
    why: 'server a has a new address',
  },
  {
    title: 'a learner’s new address; it stays a learner',
    config: 'a b c -d floor 3',
    registered: 'a b c d@2',
    caughtUp: '',
    next: 'a b c -d@2 floor 3',
    why: 'server d has a new address',
  },
  {
    title: 'two new addresses, one at a time',
    config: 'a b floor 2',
    registered: 'b@2 a@2',
    caughtUp: '',
    next: 'a b@2 floor 2',
    why: 'server b has a new address',
  },
  {
    title: 'voters that are not registered stay',
    config: 'a b c floor 3',
    registered: 'a',
    caughtUp: '',
    next: null,
    why: ALL_VOTE,
  },
  {
    title: 'nobody registered, nothing changes',
    config: 'a b c floor 3',
    registered: '',
    caughtUp: '',
    next: null,
    why: ALL_VOTE,
  },
  {
    title: 'with fifteen members a sixteenth joins',
    config: `${SIXTEEN.slice(0, -3)} floor 3`,
    registered: 'p',
    caughtUp: '',
    next: `${SIXTEEN} floor 3`,
    why: 'server p joins as a learner',
  },
  {
    title: 'a seventeenth does not join',
    config: `${SIXTEEN} floor 3`,
    registered: 'q',
    caughtUp: '',
    next: null,
    why: CATCHING_UP,
  },
  {
    title: 'a seventeenth does not keep a learner from its vote',
    config: `${SIXTEEN} floor 3`,
    registered: 'q e',
    caughtUp: 'e',
    next: `${SIXTEEN.replace('-e', 'e')} floor 3`,
    why: 'server e becomes a voter: has caught up',
  },
  {
    title: 'a dead voter is removed while the rest stays at the floor',
    config: 'a b c d floor 3',
    registered: 'a b c d',
    caughtUp: 'b c',
    silent: 'd:30',
    next: 'a b c floor 3',
    why: 'server d is removed: dead 30 s',
  },
  {
    title: 'not a moment sooner, and it says when',
    config: 'a b c d floor 3',
    registered: 'a b c',
    caughtUp: '',
    silent: 'd:29.9',
    next: null,
    why: 'd does not answer',
    notes: { d: 'silent 29 s, dead after 30 s' },
  },
  {
    title: 'at the floor a dead voter is kept where nobody stands by',
    config: 'a b c floor 3',
    registered: 'a b c',
    caughtUp: '',
    silent: 'c:42',
    next: null,
    why: 'c does not answer',
    notes: { c: 'dead 42 s, kept: removing it would leave 2 voters' },
  },
  {
    title: 'at the floor of two as well',
    config: 'a b floor 2',
    registered: 'a b',
    caughtUp: '',
    silent: 'b:42',
    next: null,
    why: 'b does not answer',
    notes: { b: 'dead 42 s, kept: removing it would leave 1 voter' },
  },
  {
    title: 'at the floor a learner that stands by gets its vote first',
    config: 'a b c -d floor 3',
    registered: 'a b d',
    caughtUp: 'd',
    silent: 'c:30',
    next: 'a b c d floor 3',
    why: 'server d becomes a voter: in place of c, dead 30 s',
  },
  {
    title: 'and then the dead one goes',
    config: 'a b c d floor 3',
    registered: 'a b d',
    caughtUp: 'd',
    silent: 'c:31',
    next: 'a b d floor 3',
    why: 'server c is removed: dead 31 s',
  },
  {
    title: 'of five the one silent longest goes first',
    config: 'a b c d e floor 3',
    registered: 'a b c d e',
    caughtUp: '',
    silent: 'd:31 e:40',
    next: 'a b c d floor 3',
    why: 'server e is removed: dead 40 s',
  },
  {
    title: 'no removal that would leave no live quorum',
    config: 'a b c d e floor 3',
    registered: 'a b',
    caughtUp: '',
    silent: 'c:31 d:40 e:4',
    next: null,
    why: 'c, d, e do not answer',
    notes: {
      c: 'dead 31 s, kept: the other voters alone would have no live quorum',
      d: 'dead 40 s, kept: the other voters alone would have no live quorum',
      e: 'silent 4 s, dead after 30 s',
    },
  },
  {
    title: 'a learner that only load balancers hear stays, or it would join again at once',
    config: 'a b c -d floor 3',
    registered: 'a b c d@1!',
    caughtUp: '',
    silent: 'd:60',
    next: null,
    why: CATCHING_UP,
    notes: { d: 'learner, silent 60 s' },
  },
  {
    title: 'a dead learner goes, whatever the floor',
    config: 'a b c -d floor 3',
    registered: 'a b c',
    caughtUp: '',
    silent: 'd:30',
    next: 'a b c floor 3',
    why: 'server d, a learner, is removed: dead 30 s',
  },
  {
    title: 'a silent learner gets no vote',
    config: 'a b -c floor 2',
    registered: 'a b c',
    caughtUp: 'c',
    silent: 'c:3',
    next: null,
    why: CATCHING_UP,
    notes: { c: 'learner, silent 3 s' },
  },
  {
    title: 'no vote that would leave no live quorum',
    config: 'a b -c floor 2',
    registered: 'a b c',
    caughtUp: 'c',
    silent: 'b:4',
    next: 'a b c floor 3',
    why: 'server c becomes a voter: has caught up',
  },
  {
    title: 'who was evicted and is silent does not join again',
    config: 'a b c floor 3',
    registered: 'a b c d',
    caughtUp: '',
    silent: 'd:60',
    next: null,
    why: ALL_VOTE,
  },
  {
    title: 'who was evicted and registers again joins as a learner',
    config: 'a b c floor 3',
    registered: 'a b c d',
    caughtUp: '',
    next: 'a b c -d floor 3',
    why: 'server d joins as a learner',
  },
  {
    title: 'a server that shall leave leaves, and does not come back',
    config: 'a b c d floor 3',
    registered: 'a b c d',
    caughtUp: '',
    leaving: 'd',
    next: 'a b c floor 3',
    why: 'server d is removed: shall leave',
  },
  {
    title: 'not below the floor',
    config: 'a b c floor 3',
    registered: 'a b c',
    caughtUp: '',
    leaving: 'b',
    next: null,
    why: ALL_VOTE,
    notes: { b: 'shall leave, kept: removing it would leave 2 voters' },
  },
  {
    title: 'a leader that shall leave hands over first',
    config: 'a b c d floor 3',
    registered: 'a b c d',
    caughtUp: '',
    leaving: 'a',
    next: null,
    why: 'server a shall leave: handing over',
  },
  {
    title: 'six voters, all well: one stands by',
    config: 'a b c d e f floor 3',
    registered: 'a b c d e f',
    caughtUp: '',
    next: 'a b c d e -f floor 3',
    why: 'server f stands by: 5 voters are enough',
  },
  {
    title: 'a learner says how far behind it is',
    config: 'a b -c floor 2',
    registered: 'a b c',
    caughtUp: '',
    next: null,
    why: CATCHING_UP,
    notes: { c: 'learner, 1,204 entries behind' },
  },
]

test.each(ROWS)('$title', (row) => {
  const config = configOf(row.config)
  const decision = nextConfig(situationOf(row))
  expect(decision.change && describeConfig(decision.change)).toBe(row.next)
  expect(decision.why).toBe(row.why)
  if (row.notes) expect(Object.fromEntries(decision.notes)).toEqual(row.notes)
  if (decision.change) expect(isSingleChange(config, decision.change)).toBe(true)
})

describe('an address is new where any part of it is', () => {
  test.each([
    ['cip', { cip: 'other' }],
    ['cport', { cport: 9 }],
    ['sip', { sip: 'other' }],
    ['sport', { sport: 9 }],
  ])('%s', (_part, part) => {
    const moved = { ...addressOf('a'), ...part }
    const { change } = nextConfig({
      ...situationOf({ config: 'a b floor 2' }),
      registered: [{ ...moved, silentMs: 0 }],
    })
    expect(change?.members[0]).toEqual({ ...moved, voter: true })
    expect(change?.members[1]).toEqual(configOf('a b floor 2').members[1])
  })
})

test('a member holds its address and nothing else a report says', () => {
  const report = { ...addressOf('b'), silentMs: 0, term: 7, role: 'follower', voter: true }
  const { change } = nextConfig({
    ...situationOf({ config: 'a floor 2' }),
    registered: [report],
  })
  expect(change?.members[1]).toEqual({ ...addressOf('b'), voter: false })
})

test.each(ROWS.filter(({ next }) => next !== null))(
  'what the log may have and the limit for values stay: $title',
  (row) => {
    const situation = situationOf(row)
    const lasting = { protocol: 3, itemSizeMax: 5_000, reads: 'lease' as const }
    const { change } = nextConfig({
      ...situation,
      config: { ...situation.config, ...lasting },
      registered: situation.registered.map((server) => ({ ...server, protocol: 3 })),
      health: (id) => ({ ...situation.health(id), protocol: 3 }),
    })
    expect(change && describeConfig(change)).toBe(row.next)
    expect(change).toMatchObject(lasting)
  },
)

describe('what all speak', () => {
  /** @param spoken `a:3 b:2 c:? d:3!`: members, and what they said, where they did; ! is down. @param others Servers that registered. */
  function next(spoken: string, others = '', protocol?: number) {
    const said = new Map(words(spoken).map((word) => word.split(':') as [string, string]))
    const config = configOf(`${[...said.keys()].join(' ')} floor 2`)
    const registered = words(others).map((word): Registration => {
      const [id = '', version = ''] = word.split(':')
      const heard = { ...addressOf(id), silentMs: 0 }
      return version === '?' ? heard : { ...heard, protocol: Number(version) }
    })
    const decision = nextConfig({
      ...situationOf({}),
      config: protocol === undefined ? config : { ...config, protocol },
      registered,
      health: (id) => ({
        ...{ silentMs: 0, lag: 0, isCaughtUp: true },
        isLive: !said.get(id)?.endsWith('!'),
        protocol: said.get(id) === '?' ? null : Number.parseInt(said.get(id) ?? '', 10),
      }),
    })
    const { change, why } = decision
    return change ? `${describeConfig(change)} protocol ${change.protocol ?? '?'}` : why
  }

  test.each([
    ['all members a later one', 'a:3 b:3', '', undefined, 'a b floor 2 protocol 3'],
    ['the least of what they speak', 'a:5 b:4 c:5', '', 3, 'a b c floor 2 protocol 4'],
    // A load balancer of an older version tells nobody what they speak.
    [
      'members that register, whatever is told of them',
      'a:3 b:3',
      'a:? b:?',
      undefined,
      'a b floor 2 protocol 3',
    ],
    [
      'nobody tells what one that registers speaks',
      'a:3',
      'b:?',
      3,
      'b or its load balancer: of an older version, to be upgraded',
    ],
    ['one has not said', 'a:3 b:?', '', undefined, ALL_VOTE],
    ['one is down, and may come back as an older one', 'a:3 b:3!', '', undefined, ALL_VOTE],
    ['one is older', 'a:3 b:2', '', undefined, 'b: of an older version, to be upgraded'],
    ['it is said already', 'a:3 b:3', '', 3, ALL_VOTE],
    // Their configuration never says less.
    ['one has gone back', 'a:3 b:2', '', 3, 'b: of an older version, to be upgraded'],
    [
      'one that registers is older, and joins first',
      'a:3',
      'b:2',
      undefined,
      'a -b floor 2 protocol ?',
    ],
    ['one that registers does not say', 'a:3', 'b:?', undefined, 'a -b floor 2 protocol ?'],
    ['one that registers speaks it too', 'a:3', 'b:3', undefined, 'a floor 2 protocol 3'],
    [
      'an older one can not join any more',
      'a:3',
      'b:2',
      3,
      'b: of an older version, to be upgraded',
    ],
    ['others can, behind it', 'a:3', 'b:2 c:3', 3, 'a -c floor 2 protocol 3'],
  ])('%s', (_, spoken, others, protocol, decision) => {
    expect(next(spoken, others, protocol)).toBe(decision)
  })
})

test('step by step seven servers become five voters and two that stand by', () => {
  const all = 'a b c d e f g'
  let config = configOf('a floor 2')
  const steps: string[] = []
  for (let step = 0; step < 20; step++) {
    const { change, why } = nextConfig({
      ...situationOf({ registered: all, caughtUp: all }),
      config,
    })
    steps.push(why)
    if (!change) break
    expect(isSingleChange(config, change)).toBe(true)
    config = change
  }
  expect(describeConfig(config)).toBe('a b c d e -f -g floor 3')
  expect(steps).toHaveLength(11)
  expect(steps.at(-1)).toBe(ENOUGH)
})

function words(text: string): string[] {
  return text.split(' ').filter((word) => word !== '')
}

/** `a` or `a@2`: a server at its first or its second address. */
function addressOf(word: string): ServerAddress {
  const [id = '', place = '1'] = word.split('@')
  return { id, cip: `${id}.example`, cport: 11_211, sip: `10.0.${place}.1`, sport: 7_000 }
}

function configOf(text: string): Config {
  const [members = '', floor = ''] = text.split(' floor ')
  return {
    floor: Number(floor),
    members: words(members).map((word) => ({
      ...addressOf(word.replace('-', '')),
      voter: !word.startsWith('-'),
    })),
  }
}

function describeConfig({ members, floor }: Config): string {
  const parts = members.map(({ id, voter, sip }) => {
    const place = sip.split('.')[2]
    return `${voter ? '' : '-'}${id}${place === '1' ? '' : `@${place}`}`
  })
  return `${parts.join(' ')} floor ${floor}`
}

function situationOf(row: Partial<Row>): Situation {
  const silent = new Map(words(row.silent ?? '').map((word) => word.split(':') as [string, string]))
  const silentMs = (id: string) => Number(silent.get(id) ?? 0) * 1_000
  const health = (id: string): Health => ({
    silentMs: silentMs(id),
    isLive: silentMs(id) < 600,
    lag: 1_204,
    isCaughtUp: words(row.caughtUp ?? '').includes(id),
    protocol: null,
  })
  const registered = words(row.registered ?? '').map((word): Registration => {
    const address = addressOf(word.replace('!', ''))
    return { ...address, silentMs: word.endsWith('!') ? 0 : silentMs(address.id) }
  })
  const config = configOf(row.config ?? 'a floor 2')
  const leaving = new Set(words(row.leaving ?? ''))
  return { config, self: 'a', registered, health, leaving, rules: DEFAULT_RULES }
}
