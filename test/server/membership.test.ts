import { describe, expect, test } from 'vitest'
import type { ServerAddress } from '../../src/protocol/balancer.ts'
import { type Health, nextConfig } from '../../src/server/membership.ts'
import { isSingleChange } from '../../src/server/raft/config.ts'
import type { Config } from '../../src/server/raft/types.ts'

interface Row {
  readonly title: string
  /** Members: a voter as `a`, a learner as `-a`; then the floor. */
  readonly config: string
  /** Who is registered. `a@2`: at another address. */
  readonly registered: string
  readonly caughtUp: string
  readonly next: string | null
  readonly why: string
}

const CATCHING_UP = 'learners are catching up'
const ALL_VOTE = 'every server is a voter'
const ENOUGH = '5 voters are enough; the rest stand by'
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
    why: 'server b has caught up and becomes a voter',
  },
  {
    title: 'the third voter raises the floor to 3',
    config: 'a b -c floor 2',
    registered: 'a b c',
    caughtUp: 'a b c',
    next: 'a b c floor 3',
    why: 'server c has caught up and becomes a voter',
  },
  {
    title: 'the fourth voter leaves the floor at 3',
    config: 'a b c -d floor 3',
    registered: 'a b c d',
    caughtUp: 'd',
    next: 'a b c d floor 3',
    why: 'server d has caught up and becomes a voter',
  },
  {
    title: 'the fifth voter leaves the floor at 3',
    config: 'a b c d -e floor 3',
    registered: 'a b c d e',
    caughtUp: 'e',
    next: 'a b c d e floor 3',
    why: 'server e has caught up and becomes a voter',
  },
  {
    title: 'a floor that was reached never sinks',
    config: 'a -b floor 3',
    registered: 'a b',
    caughtUp: 'b',
    next: 'a b floor 3',
    why: 'server b has caught up and becomes a voter',
  },
  {
    title: 'a sixth server stands by',
    config: 'a b c d e -f floor 3',
    registered: 'a b c d e f',
    caughtUp: 'a b c d e f',
    next: null,
    why: ENOUGH,
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
    why: 'server c has caught up and becomes a voter',
  },
  {
    title: 'a learner that is not registered gets no vote, whatever its log',
    config: 'a -b floor 2',
    registered: 'a',
    caughtUp: 'a b',
    next: null,
    why: CATCHING_UP,
  },
  {
    title: 'a learner that is here goes before one that is not',
    config: 'a -b -c floor 2',
    registered: 'a c',
    caughtUp: 'a b c',
    next: 'a -b c floor 2',
    why: 'server c has caught up and becomes a voter',
  },
  {
    title: 'a join goes before a vote',
    config: 'a -b floor 2',
    registered: 'a b c',
    caughtUp: 'b',
    next: 'a -b -c floor 2',
    why: 'server c joins as a learner',
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
    why: 'server e has caught up and becomes a voter',
  },
]

test.each(ROWS)('$title', ({ config: text, registered, caughtUp, next, why }) => {
  const config = configOf(text)
  const decision = nextConfig(config, words(registered).map(addressOf), healthOf(caughtUp))
  expect(decision.change && describeConfig(decision.change)).toBe(next)
  expect(decision.why).toBe(why)
  if (decision.change) expect(isSingleChange(config, decision.change)).toBe(true)
  expect(config).toEqual(configOf(text))
})

describe('an address is new where any part of it is', () => {
  test.each([
    ['cip', { cip: 'other' }],
    ['cport', { cport: 9 }],
    ['sip', { sip: 'other' }],
    ['sport', { sport: 9 }],
  ])('%s', (_part, part) => {
    const moved = { ...addressOf('a'), ...part }
    const { change } = nextConfig(configOf('a b floor 2'), [moved], healthOf(''))
    expect(change?.members[0]).toEqual({ ...moved, voter: true })
    expect(change?.members[1]).toEqual(configOf('a b floor 2').members[1])
  })
})

test('a member holds its address and nothing else a report says', () => {
  const report = { ...addressOf('b'), term: 7, role: 'follower', voter: true }
  const { change } = nextConfig(configOf('a floor 2'), [report], healthOf('b'))
  expect(change?.members[1]).toEqual({ ...addressOf('b'), voter: false })
})

test('step by step seven servers become five voters and two that stand by', () => {
  const registered = words('a b c d e f g').map(addressOf)
  let config = configOf('a floor 2')
  const steps: string[] = []
  for (let step = 0; step < 20; step++) {
    const { change, why } = nextConfig(config, registered, healthOf('a b c d e f g'))
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

function healthOf(caughtUp: string): Health {
  return { isCaughtUp: (id) => words(caughtUp).includes(id) }
}
