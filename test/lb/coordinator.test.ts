// Goal: the load balancer's rules, told as stories in virtual milliseconds.
// Method: a balancer and servers that answer at once; what the balancer sends and saves is
// written down as `<ms> <text>`.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Address } from '../../src/io/io.ts'
import {
  type Action,
  type ClusterRecord,
  Coordinator,
  type DiscoverPolicy,
  DEFAULT_COORDINATOR_TIMING as TIMING,
} from '../../src/lb/coordinator.ts'
import {
  type Report,
  SERVERS_MAX,
  type ToBalancer,
  type ToServer,
} from '../../src/protocol/balancer.ts'

const STEP_MS = 10
const REGISTER_MS = 1_000
const OWN: ClusterRecord = { cluster: 'c1', formedBy: null }

interface Actor {
  report: Report
  /** A server that is down says nothing; one that is mute registers but answers nothing. */
  state: 'up' | 'mute' | 'down'
  registerDueMs: number
}

class Story {
  nowMs = 0
  readonly coordinator: Coordinator
  readonly actors = new Map<string, Actor>()
  #log: string[] = []
  readonly #savesByItself: boolean
  #record: ClusterRecord | null = null

  constructor(
    options: {
      readonly record?: ClusterRecord | null
      readonly random?: () => number
      /** Whether a `save` is durable at once. */
      readonly saves?: boolean
    } = {},
  ) {
    this.#savesByItself = options.saves ?? true
    this.coordinator = new Coordinator({
      nowMs: 0,
      record: options.record ?? null,
      random: options.random ?? (() => 0),
      createClusterId: () => 'new',
    })
  }

  /** A server starts to register, now and every second. */
  add(id: string, fields: Partial<Report> = {}): this {
    this.actors.set(id, { report: reportOf(id, fields), state: 'up', registerDueMs: this.nowMs })
    return this.run(0)
  }

  change(id: string, fields: Partial<Report>): this {
    const actor = this.actor(id)
    actor.report = { ...actor.report, ...fields }
    return this
  }

  set(id: string, state: Actor['state']): this {
    this.actor(id).state = state
    return this
  }

  /** One datagram out of order. */
  say(id: string, type: ToBalancer['type'], fields: Partial<Report> = {}): this {
    const server = reportOf(id, fields)
    return this.#receive(type === 'register' ? { type, server, place: 0 } : { type, server })
  }

  run(ms: number): this {
    const endMs = this.nowMs + ms
    for (;;) {
      for (const { report, state, registerDueMs } of this.actors.values()) {
        if (state === 'down' || this.nowMs < registerDueMs) continue
        this.actor(report.id).registerDueMs = this.nowMs + REGISTER_MS
        this.#receive({ type: 'register', server: report, place: 0 })
      }
      this.#perform(this.coordinator.tick(this.nowMs))
      if (this.nowMs >= endMs) return this
      this.nowMs = Math.min(endMs, this.nowMs + STEP_MS)
    }
  }

  /** What was written down since the last call; `registered` and heartbeats only on request. */
  log(...wanted: readonly string[]): string[] {
    const lines = this.#log
    this.#log = []
    return lines.filter((line) => {
      const [, first = '', second = ''] = line.split(' ')
      const kind = first === 'save' ? first : second
      return wanted.length > 0
        ? wanted.includes(kind)
        : kind !== 'registered' && kind !== 'lbHeartbeat'
    })
  }

  leader(): string | null {
    return this.coordinator.leader(this.nowMs)?.id ?? null
  }

  why(): string {
    return this.coordinator.whyNoLeader(this.nowMs)
  }

  actor(id: string): Actor {
    const actor = this.actors.get(id)
    if (!actor) throw new Error(`no server ${id}`)
    return actor
  }

  /** What was to be saved last is durable. */
  saved(): void {
    if (this.#record) this.coordinator.clusterSaved(this.#record)
  }

  #receive(message: ToBalancer): this {
    const from = addressOf(message.server.id)
    this.#perform(this.coordinator.receive(this.nowMs, message, from))
    return this
  }

  #perform(actions: readonly Action[]): void {
    for (const action of actions) {
      this.#log.push(`${this.nowMs} ${describeAction(action)}`)
      if (action.kind === 'save') {
        this.#record = action.record
        if (this.#savesByItself) this.saved()
      } else {
        this.#answer(action.to, action.message)
      }
    }
  }

  #answer(to: Address, message: ToServer): void {
    const actor = this.actors.get(to.host)
    if (actor?.state !== 'up') return
    const server = actor.report
    if (message.type === 'lbHeartbeat') this.#receive({ type: 'lbHeartbeatResp', server })
    if (message.type === 'status') this.#receive({ type: 'statusResp', server })
  }
}

// ---------------------------------------------------------------- forming

describe('forming a cluster', () => {
  test('two registered servers: saved after the grace time, then the first one is asked', () => {
    const story = new Story().add('b').add('a').run(3_000)
    expect(story.log('save', 'form')).toEqual([
      '1200 save new by b',
      '2000 b form new',
      '3000 b form new',
    ])
  })

  test('not before the grace time is over', () => {
    const story = new Story()
      .add('a')
      .add('b')
      .run(TIMING.formAfterMs - 1)
    expect(story.log('save', 'form')).toEqual([])
    expect(story.coordinator.cluster).toBeNull()
    expect(story.run(1).log('save', 'form')).toEqual(['1200 save new by a'])
    expect(story.coordinator.cluster).toBe('new')
  })

  test('only the first load balancer of their list forms, another one adopts', () => {
    const { coordinator } = new Story()
    const say = (nowMs: number, id: string, fields: Partial<Report> = {}) => {
      const message = { type: 'register', server: reportOf(id, fields), place: 1 } as const
      return coordinator.receive(nowMs, message, addressOf(id))
    }
    say(0, 'a')
    say(0, 'b')
    expect(coordinator.tick(2_000)).toEqual([])
    expect(coordinator.whyNoLeader(2_000)).toBe(
      'waiting for the first load balancer of their list to form a cluster',
    )
    expect(say(2_100, 'a', { cluster: 'theirs' })).toMatchObject([
      { kind: 'save', record: { cluster: 'theirs', formedBy: null } },
      { kind: 'send', message: { type: 'registered', place: 1 } },
    ])
  })

  test.each([
    ['c1', 'c1.1-a'],
    ['c1.1-b', 'c1.2-a'],
  ])(
    'a cluster that has a leader is left for none that was recovered from it: %s, %s',
    (cluster, other) => {
      const story = new Story({ record: { cluster, formedBy: null } })
      story.add('b', member({ cluster, role: 'leader', leader: 'b' }))
      const hear = () => {
        const server = reportOf('a', member({ cluster: other }))
        const { coordinator, nowMs } = story
        return coordinator.receive(nowMs, { type: 'register', server, place: 0 }, addressOf('a'))
      }
      expect(hear()).toMatchObject([
        {
          message: { refused: expect.stringContaining(`${cluster} has a leader and lost nothing`) },
        },
      ])
      expect(story.coordinator.cluster).toBe(cluster)
      // Once nobody has heard of one for a while it is taken for lost.
      story.set('b', 'down').run(1_100)
      expect(hear()[0]).toMatchObject({ kind: 'save', record: { cluster: other } })
    },
  )

  test('a cluster that was recovered under a new epoch is followed, and its old members are not', () => {
    const story = new Story({ record: { cluster: 'c1', formedBy: null } })
    story.say('a', 'register', member({ cluster: 'c1.1-a' }))
    expect(story.log('save')).toEqual(['0 save c1.1-a by nobody'])
    const old = reportOf('b', member({ cluster: 'c1' }))
    const [answer] = story.coordinator.receive(
      10,
      { type: 'register', server: old, place: 0 },
      addressOf('b'),
    )
    expect(answer).toMatchObject({
      message: { refused: expect.stringContaining('was recovered without it, as c1.1-a') },
    })
    expect(story.coordinator.cluster).toBe('c1.1-a')
  })

  test('one server alone never forms', () => {
    expect(new Story().add('a').run(60_000).log('save', 'form')).toEqual([])
  })

  test('one server that registers twice is one server', () => {
    const story = new Story().add('a').say('a', 'register').say('a', 'register').run(5_000)
    expect(story.log('save', 'form')).toEqual([])
  })

  test('a second server that comes late forms at once, and the first one is asked', () => {
    const story = new Story().add('b').run(30_000).add('a').run(1_000)
    expect(story.log('save', 'form')).toEqual(['30000 save new by b', '31000 b form new'])
  })

  test('a server that died before the second one came does not count', () => {
    const story = new Story()
      .add('a')
      .run(2_000)
      .set('a', 'down')
      .run(TIMING.deadMs + STEP_MS)
    expect(story.add('b').run(5_000).log('save', 'form')).toEqual([])
    story.set('a', 'up').run(1_000)
    expect(story.log('save', 'form')).toEqual(['10010 save new by a', '11010 a form new'])
  })

  test('of three the one that died is not asked', () => {
    const story = new Story().add('a').set('a', 'down').run(1_100)
    story.nowMs = 4_000
    story.add('c').add('b').run(2_000)
    expect(story.log('save', 'form')).toEqual([
      '4000 save new by c',
      '5000 c form new',
      '6000 c form new',
    ])
  })

  test('nobody hears of the cluster before it is on disk', () => {
    const story = new Story({ saves: false }).add('a').add('b').run(10_000)
    expect(story.log('save', 'form', 'registered').slice(-4)).toEqual([
      '9000 a registered none: a b',
      '9000 b registered none: a b',
      '10000 a registered none: a b',
      '10000 b registered none: a b',
    ])
    story.saved()
    story.run(1_000)
    expect(story.log('save', 'form', 'registered')).toEqual([
      '11000 a form new',
      '11000 b registered new: a b',
    ])
  })

  test('one that is durable vouches for none that came after it', () => {
    const story = new Story({ saves: false })
    const first = { cluster: 'c1', formedBy: null }
    story.say('a', 'register', { cluster: 'c1' }).say('b', 'register', { cluster: 'c1.1-b' })
    story.coordinator.clusterSaved(first)
    expect(story.say('b', 'register', { cluster: 'c1.1-b' }).log('registered').slice(-1)).toEqual([
      '0 b registered none: b',
    ])
    story.saved()
    expect(story.say('b', 'register', { cluster: 'c1.1-b' }).log('registered')).toEqual([
      '0 b registered c1.1-b: b',
    ])
  })

  test('is saved once, however long the disk takes', () => {
    const story = new Story({ saves: false }).add('a').add('b').run(10_000)
    expect(story.log('save', 'form')).toHaveLength(1)
  })

  test('the server that formed it is told of it like the others', () => {
    const story = new Story().add('a').add('b').run(2_000)
    story.change('a', { cluster: 'new', lastIndex: 1, lastTerm: 1 }).run(1_000)
    expect(story.log('form', 'registered').slice(-2)).toEqual([
      '3000 a registered new: a b',
      '3000 b registered new: a b',
    ])
  })

  test('one that stopped after it had joined but before it had formed is asked again', () => {
    const story = new Story({ record: { cluster: 'c1', formedBy: 'a' } })
    expect(story.say('a', 'register', { cluster: 'c1' }).log('save', 'form')).toEqual([
      '0 a form c1',
    ])
  })

  test('the choice is never made again: the others wait for it', () => {
    const story = new Story().add('a').add('b').add('c').run(1_500)
    story.set('a', 'down').run(TIMING.forgetMs + 10_000)
    expect(story.log('save', 'form')).toEqual(['1200 save new by a'])
    expect(story.why()).toBe('waiting for server a, which shall form the cluster or has formed it')
    story.set('a', 'up').run(0)
    expect(story.log('save', 'form')).toEqual([`${story.nowMs} a form new`])
  })

  test('a balancer that restarts asks only the server in its record', () => {
    const story = new Story({ record: { cluster: 'c1', formedBy: 'c' } })
    story.add('a').add('b').run(5_000).add('c')
    expect(story.log('save', 'form')).toEqual(['5000 c form c1'])
  })

  test('a balancer with the record of a cluster that others formed asks nobody', () => {
    const story = new Story({ record: OWN }).add('a').add('b').run(10_000)
    expect(story.log('save', 'form')).toEqual([])
  })

  test('only a register is answered', () => {
    const story = new Story({ record: { cluster: 'c1', formedBy: 'a' } })
    story.say('a', 'statusResp').say('a', 'lbHeartbeatResp').say('b', 'statusResp')
    expect(story.log('save', 'form', 'registered')).toEqual([])
  })

  test('whatever comes in whatever order, one save, and only its server forms, and only then', () => {
    const register = fc.record({
      kind: fc.constantFrom('register', 'register', 'statusResp', 'lbHeartbeatResp'),
      id: fc.constantFrom('a', 'b', 'c', 'd'),
      cluster: fc.oneof(
        { weight: 30, arbitrary: fc.constant(null) },
        fc.constantFrom('old', 'new'),
      ),
      lastIndex: fc.constantFrom(0, 0, 3),
    })
    const wait = fc.record({
      kind: fc.constant('wait' as const),
      ms: fc.constantFrom(0, 10, 500, 1_000, 4_000),
    })
    const saved = fc.record({ kind: fc.constant('saved' as const) })
    const event = fc.oneof({ weight: 4, arbitrary: register }, wait, saved)
    let formCount = 0
    fc.assert(
      fc.property(fc.array(event, { minLength: 20, maxLength: 60, size: 'max' }), (events) => {
        const story = new Story({ saves: false })
        let record: string | null = null
        let isSaved = false
        for (const step of events) {
          if (step.kind === 'wait') story.run(step.ms)
          else if (step.kind === 'saved') {
            isSaved ||= record !== null
            if (record !== null) story.saved()
          } else {
            const { kind, id, ...fields } = step
            story.say(id, kind as ToBalancer['type'], fields)
          }
          for (const line of story.log('save', 'form')) {
            const text = line.replace(/^\d+ /, '')
            if (text.startsWith('save')) {
              expect(record).toBeNull()
              record = text
            } else {
              expect(isSaved).toBe(true)
              const [id, , cluster] = text.split(' ')
              expect(record).toBe(`save ${cluster} by ${id}`)
              formCount++
            }
          }
        }
      }),
      { numRuns: 500 },
    )
    expect(formCount).toBeGreaterThan(50)
  })
})

describe('a server of an older cluster', () => {
  test('tells which one it is: saved, and no other is formed', () => {
    const story = new Story().add('a').add('b').run(1_000).add('c', { cluster: 'old' }).run(10_000)
    expect(story.log('save', 'form')).toEqual(['1000 save old by nobody'])
    expect(story.coordinator.cluster).toBe('old')
  })

  test('is adopted even where it comes alone and first', () => {
    const story = new Story().add('a', { cluster: 'old' }).add('b').add('c').run(10_000)
    expect(story.log('save', 'form')).toEqual(['0 save old by nobody'])
  })

  test('the new ones hear of it, once it is on disk', () => {
    const story = new Story({ saves: false }).add('a', { cluster: 'old' }).add('b')
    expect(story.log('registered')).toEqual(['0 a registered none: a', '0 b registered none: a b'])
    story.saved()
    expect(story.run(1_000).log('registered')).toEqual([
      '1000 a registered old: a b',
      '1000 b registered old: a b',
    ])
  })

  test('that has answered but not yet registered keeps a new one from being formed', () => {
    const story = new Story().say('a', 'lbHeartbeatResp', { cluster: 'old', lastIndex: 9 }).add('b')
    story.run(TIMING.formAfterMs)
    expect(story.log('save', 'form')).not.toContain('1200 save new by a')
    expect(story.coordinator.cluster).not.toBe('new')
  })
})

describe('a server of another cluster', () => {
  const refusal = 'it belongs to cluster other, this load balancer to c1'

  test('is refused, and told so every time', () => {
    const story = new Story({ record: OWN }).add('x', { cluster: 'other' }).run(1_000)
    expect(story.log('registered')).toEqual([
      `0 x registered c1: nobody, refused: ${refusal}`,
      `1000 x registered c1: nobody, refused: ${refusal}`,
    ])
  })

  test('is not named to the members, and they are not refused', () => {
    const story = new Story({ record: OWN }).add('x', { cluster: 'other' })
    story.add('a', { cluster: 'c1' }).add('b')
    expect(story.log('registered').slice(1)).toEqual([
      '0 a registered c1: a',
      '0 b registered c1: a b',
    ])
  })

  test('does not form, even where the record names it', () => {
    const story = new Story({ record: { cluster: 'c1', formedBy: 'x' } })
    story.add('x', { cluster: 'other' }).run(5_000)
    expect(story.log('form', 'save')).toEqual([])
  })

  test('changes no record', () => {
    const story = new Story({ record: OWN }).add('x', { cluster: 'other' })
    expect(story.coordinator.cluster).toBe('c1')
  })

  test('is never the leader, gets no heartbeat and is asked for no campaign', () => {
    const story = new Story({ record: OWN })
    story.add('x', { cluster: 'other', role: 'leader', leader: 'x', term: 99, lastTerm: 99 })
    story.add('a', { cluster: 'c1', term: 1, lastTerm: 1, lastIndex: 1 }).run(1_000)
    expect(story.leader()).toBeNull()
    expect(story.log('lbHeartbeat')).toEqual([])
    story.change('a', { voter: false }).run(3_000)
    expect(story.log('campaign').filter((line) => line.includes(' x '))).toEqual([])
  })
})

// ---------------------------------------------------------------- the leader

describe('heartbeats', () => {
  test('go to the leader, where its datagrams come from, ten a second', () => {
    const story = new Story({ record: OWN })
      .add('a', member({ role: 'leader', leader: 'a' }))
      .add('b', member({ leader: 'a' }))
      .run(1_000)
    const lines = story.log('lbHeartbeat')
    expect(lines).toHaveLength(11)
    expect(lines.slice(0, 3)).toEqual(['0 a lbHeartbeat', '100 a lbHeartbeat', '200 a lbHeartbeat'])
  })

  test('go to nobody where nobody leads', () => {
    const story = new Story({ record: OWN }).add('a', member()).add('b', member()).run(2_000)
    expect(story.log('lbHeartbeat')).toEqual([])
  })

  test('go to nobody where there is no cluster', () => {
    const story = new Story().add('a', { role: 'leader', leader: 'a' }).run(2_000)
    expect(story.log('lbHeartbeat')).toEqual([])
  })

  test('follow the leader to a new address', () => {
    const { coordinator } = new Story({ record: OWN })
    const server = reportOf('a', member({ role: 'leader' }))
    coordinator.receive(0, { type: 'register', server, place: 0 }, { host: 'one', port: 1 })
    expect(coordinator.tick(0)).toMatchObject([{ to: { host: 'one', port: 1 } }])
    coordinator.receive(100, { type: 'lbHeartbeatResp', server }, { host: 'two', port: 2 })
    expect(coordinator.tick(100)).toMatchObject([{ to: { host: 'two', port: 2 } }])
  })

  test('a leader that answers is never suspected', () => {
    const story = cluster().run(30_000)
    expect(story.log()).toEqual([])
    expect(story.leader()).toBe('a')
  })
})

describe('a silent leader', () => {
  test('the rest are asked, then the best is asked to campaign', () => {
    const story = cluster({ b: { lastIndex: 9 }, c: { lastIndex: 12 } }).run(1_000)
    story.set('a', 'down')
    const lines = untilCampaign(story)
    expect(lines.map(text)).toEqual(['b status', 'c status', 'c campaign'])
    expect(msOf(lines[2]) - msOf(lines[0])).toBe(TIMING.askMs)
  })

  test('it is not suspected sooner than it may be', () => {
    const story = cluster().run(1_000).set('a', 'down').run(TIMING.suspectMs)
    expect(story.log()).toEqual([])
  })

  // The time is counted twice: from its last word, and again from when that became too old.
  test('it is suspected as soon as it has been silent for suspectMs', () => {
    const story = cluster().run(1_000).set('a', 'down')
    const silentMs = msOf(untilCampaign(story)[0]) - 1_000
    expect(silentMs).toBeLessThanOrEqual(TIMING.suspectMs + 2 * STEP_MS)
  })

  test('it is suspected in any case within twice that', () => {
    const story = cluster().run(1_000).set('a', 'down')
    const silentMs = msOf(untilCampaign(story)[0]) - 1_000
    expect(silentMs).toBeLessThanOrEqual(2 * TIMING.suspectMs + 2 * STEP_MS)
  })

  test('one that speaks again before the answers are in stays', () => {
    const story = cluster().run(1_000).set('a', 'mute')
    while (story.log('status').length === 0) story.run(STEP_MS)
    story.set('a', 'up').say('a', 'lbHeartbeatResp', story.actor('a').report).run(10_000)
    expect(story.log()).toEqual([])
  })

  test('a cluster that never had one gets the same', () => {
    const story = new Story({ record: OWN })
    story.add('a', member({ lastIndex: 3 })).add('b', member({ lastIndex: 4 }))
    expect(untilCampaign(story).map(text)).toEqual(['a status', 'b status', 'b campaign'])
  })

  test('dead servers are not asked', () => {
    const story = cluster()
      .run(1_000)
      .set('c', 'down')
      .run(TIMING.deadMs + REGISTER_MS)
    story.set('a', 'down')
    expect(untilCampaign(story).map(text)).toEqual(['b status', 'b campaign'])
  })
})

describe('the best to campaign', () => {
  type Logs = Readonly<Record<string, Partial<Report>>>
  const rows: readonly (readonly [string, Logs, string])[] = [
    [
      'the last term goes before the last index',
      { b: { lastTerm: 3, lastIndex: 5 }, c: { lastTerm: 2, lastIndex: 900 } },
      'b',
    ],
    [
      'the same last term: the last index decides',
      { b: { lastTerm: 3, lastIndex: 5 }, c: { lastTerm: 3, lastIndex: 6 } },
      'c',
    ],
    [
      'neither the term nor the commit index matters',
      {
        b: { lastTerm: 3, lastIndex: 6, term: 3, commitIndex: 0 },
        c: { lastTerm: 3, lastIndex: 5, term: 3, commitIndex: 5, appliedIndex: 5 },
      },
      'b',
    ],
    [
      'a learner with a longer log does not',
      { b: { lastTerm: 3, lastIndex: 5 }, c: { lastTerm: 4, lastIndex: 99, voter: false } },
      'b',
    ],
  ]
  test.each(rows)('%s', (_title, logs, best) => {
    const story = cluster(logs).run(1_000).set('a', 'down')
    expect(untilCampaign(story).at(-1)).toContain(` ${best} campaign`)
  })

  test.each([
    [0, 'b'],
    [0.33, 'b'],
    [0.34, 'c'],
    [0.66, 'c'],
    [0.67, 'd'],
    [0.999_999, 'd'],
  ])('equals: a dice of %d falls on %s', (dice, best) => {
    const story = new Story({ record: OWN, random: () => dice })
    for (const id of ['e', 'b', 'c', 'd']) {
      story.add(id, member({ lastTerm: 3, lastIndex: id === 'e' ? 7 : 8 }))
    }
    expect(untilCampaign(story).at(-1)).toContain(` ${best} campaign`)
  })

  test('one that has not answered since is passed over, however long its log', () => {
    const story = cluster({ b: { lastIndex: 5 }, c: { lastIndex: 99 } }).run(1_050)
    story.set('a', 'down').set('c', 'mute')
    expect(untilCampaign(story).map(text)).toEqual(['b status', 'c status', 'b campaign'])
  })

  test('what it answers now counts, not what it said before', () => {
    const story = cluster({ b: { lastIndex: 5 }, c: { lastIndex: 4 } }).run(1_050)
    story.set('a', 'down').change('c', { lastIndex: 6 })
    expect(untilCampaign(story).at(-1)).toContain(' c campaign')
  })

  test('where no voter answers they are asked again, and nobody campaigns', () => {
    const story = cluster({ b: { voter: false }, c: { voter: false } }).run(1_000)
    story.set('a', 'down').run(3_000)
    expect(story.log('campaign')).toEqual([])
    story.run(1_000)
    expect(story.log('status').length).toBeGreaterThan(2)
    story.change('c', { voter: true })
    expect(untilCampaign(story).at(-1)).toContain(' c campaign')
  })
})

describe('a campaign', () => {
  test('that brings no leader is followed by the next', () => {
    const story = cluster({ b: { lastIndex: 5 }, c: { lastIndex: 6 } }).run(1_000)
    story.set('a', 'down').run(4_000)
    const lines = story.log('campaign')
    expect(lines.length).toBeGreaterThanOrEqual(4)
    expect(lines.every((line) => line.includes(' c campaign'))).toBe(true)
    const gaps = lines.slice(1).map((line, at) => msOf(line) - msOf(lines[at]))
    for (const gap of gaps) {
      expect(gap).toBeGreaterThanOrEqual(TIMING.campaignMs + TIMING.askMs)
      expect(gap).toBeLessThanOrEqual(TIMING.campaignMs + TIMING.askMs + 3 * STEP_MS)
    }
  })

  test('of a server that then dies is followed by one of the next best', () => {
    const story = cluster({ b: { lastIndex: 5 }, c: { lastIndex: 6 } }).run(1_000)
    story.set('a', 'down')
    expect(untilCampaign(story).at(-1)).toContain(' c campaign')
    story.set('c', 'down')
    expect(untilCampaign(story).at(-1)).toContain(' b campaign')
  })

  test('that brings a leader ends the search; heartbeats go there', () => {
    const story = cluster({ b: { lastIndex: 5 }, c: { lastIndex: 6 } }).run(1_000)
    story.set('a', 'down')
    untilCampaign(story)
    const won = { term: 4, leader: 'c', lastTerm: 4, lastIndex: 7 }
    story.change('c', { ...won, role: 'leader' }).change('b', { ...won, lastTerm: 3 })
    story.say('c', 'register', story.actor('c').report).run(200)
    expect(story.leader()).toBe('c')
    expect(new Set(story.log('lbHeartbeat').map(text))).toEqual(new Set(['c lbHeartbeat']))
    expect(story.run(20_000).log()).toEqual([])
  })

  test('a second leader that goes silent is suspected as the first was', () => {
    const story = cluster().run(1_000).set('a', 'down')
    untilCampaign(story)
    story.change('c', { term: 4, leader: 'c', role: 'leader' })
    story.change('b', { term: 4, leader: 'c' })
    story.run(TIMING.deadMs + REGISTER_MS).log()
    story.set('c', 'down')
    expect(untilCampaign(story).map(text)).toEqual(['b status', 'b campaign'])
  })
})

describe('who leads', () => {
  test('nobody, where nobody has registered', () => {
    expect(new Story({ record: OWN }).leader()).toBeNull()
  })

  test('the leader of the newest term, whichever spoke last', () => {
    const story = new Story({ record: OWN })
      .say('b', 'register', member({ role: 'leader', term: 5 }))
      .say('a', 'register', member({ role: 'leader', term: 4 }))
    expect(story.leader()).toBe('b')
  })

  test('nobody, where a newer term has none yet', () => {
    const story = new Story({ record: OWN })
      .say('a', 'register', member({ role: 'leader', leader: 'a', term: 4 }))
      .say('b', 'register', member({ role: 'candidate', term: 5 }))
    expect(story.leader()).toBeNull()
  })

  test('whom the followers of the newest term name, before its own word comes', () => {
    const story = new Story({ record: OWN })
      .say('a', 'register', member({ role: 'leader', leader: 'a', term: 4 }))
      .say('b', 'register', member({ role: 'candidate', term: 4 }))
      .say('c', 'register', member({ leader: 'b', term: 5 }))
    expect(story.leader()).toBe('b')
    expect(story.run(0).log('lbHeartbeat')).toEqual(['0 b lbHeartbeat'])
  })

  test('the word of a follower in an older term does not count', () => {
    const story = new Story({ record: OWN })
      .say('a', 'register', member({ term: 5 }))
      .say('b', 'register', member({ leader: 'a', term: 4 }))
    expect(story.leader()).toBeNull()
  })

  test('a leader that is named but unknown is none', () => {
    const story = new Story({ record: OWN }).say('b', 'register', member({ leader: 'z', term: 4 }))
    expect(story.leader()).toBeNull()
  })

  test('a leader that is named but of another cluster, or dead, is none', () => {
    const story = new Story({ record: OWN })
      .say('a', 'register', { cluster: 'other' })
      .say('b', 'register', member({ leader: 'a', term: 4 }))
    expect(story.leader()).toBeNull()
    const late = new Story({ record: OWN }).say('a', 'register', member())
    late.nowMs = TIMING.deadMs + 1
    expect(late.say('b', 'register', member({ leader: 'a', term: 4 })).leader()).toBeNull()
  })

  test('one that is silent is not offered, until it speaks again', () => {
    const story = new Story({ record: OWN }).say('a', 'register', member({ role: 'leader' }))
    story.nowMs = TIMING.offerMs
    expect(story.leader()).toBe('a')
    story.nowMs++
    expect(story.leader()).toBeNull()
    expect(story.say('a', 'lbHeartbeatResp', member({ role: 'leader' })).leader()).toBe('a')
  })

  test('one that is silent is still sent heartbeats, until it counts as dead', () => {
    const story = cluster()
      .run(1_000)
      .set('a', 'down')
      .run(TIMING.offerMs + 500)
    story.log()
    expect(story.run(500).log('lbHeartbeat').length).toBeGreaterThan(0)
    story.run(TIMING.deadMs).log()
    expect(
      story
        .run(500)
        .log('lbHeartbeat')
        .filter((line) => line.includes(' a ')),
    ).toEqual([])
  })

  test('a server that says it steps down leads no more', () => {
    const story = cluster().run(1_000)
    story.say('a', 'register', member({ term: 3, lastTerm: 3 }))
    story.change('b', { leader: null }).change('c', { leader: null }).run(1_000)
    story.say('a', 'register', member({ term: 3, lastTerm: 3 }))
    expect(story.leader()).toBeNull()
  })
})

describe('why there is no leader', () => {
  test('nobody has registered', () => {
    expect(new Story().why()).toBe('no server has registered')
    expect(new Story({ record: OWN }).why()).toBe('no server has registered')
  })

  test('one server only', () => {
    expect(new Story().add('a').why()).toBe('one server has registered, a new cluster needs two')
  })

  test('two servers, grace time', () => {
    expect(new Story().add('a').add('b').why()).toBe('forming a cluster')
  })

  test('the one that is to form has not', () => {
    const story = new Story({ record: { cluster: 'c1', formedBy: 'a' } }).add('b').add('c')
    expect(story.why()).toBe('waiting for server a, which shall form the cluster or has formed it')
    story.add('a', { cluster: 'c1' })
    expect(story.why()).toBe('waiting for server a, which shall form the cluster or has formed it')
  })

  test('the servers are being asked, then one is to campaign', () => {
    const story = new Story({ record: OWN })
    story.add('a', member({ lastIndex: 3 })).add('b', member({ lastIndex: 4 }))
    story.add('l', member({ voter: false })).add('x', { cluster: 'other' })
    story.run(TIMING.suspectMs)
    expect(story.why()).toBe(
      'none for 400 ms, 2 voters answer, asking the servers how far their logs go',
    )
    story.run(TIMING.askMs)
    expect(story.why()).toBe('none for 500 ms, 2 voters answer, server b was asked to campaign')
  })

  test('all servers died', () => {
    const story = cluster().run(1_000)
    for (const id of ['a', 'b', 'c']) story.set(id, 'down')
    expect(story.run(TIMING.deadMs + STEP_MS).why()).toBe('no server has registered')
  })

  test('a cluster with data waits for nobody to form it', () => {
    const story = new Story({ record: { cluster: 'c1', formedBy: 'a' } })
    story.add('b', member({ lastIndex: 4 })).run(TIMING.suspectMs + TIMING.askMs)
    expect(story.why()).toBe('none for 500 ms, 1 voters answer, server b was asked to campaign')
  })
})

// ---------------------------------------------------------------- bounds

describe('bounds', () => {
  test('no more servers than that are known, and the rest get no answer', () => {
    const story = new Story({ record: OWN })
    for (let at = 0; at < SERVERS_MAX + 50; at++) story.say(`s${at}`, 'register', member())
    expect(story.coordinator.status(0)).toHaveLength(SERVERS_MAX)
    expect(story.log('registered')).toHaveLength(SERVERS_MAX)
    for (const type of ['statusResp', 'lbHeartbeatResp'] as const) story.say('more', type)
    expect(story.coordinator.status(0)).toHaveLength(SERVERS_MAX)
  })

  test('those that are known are still heard', () => {
    const story = new Story({ record: OWN })
    for (let at = 0; at < SERVERS_MAX + 50; at++) story.say(`s${at}`, 'register', member())
    story.log('registered')
    story.say('s0', 'register', member({ role: 'leader', term: 9 }))
    expect(story.log('registered')).toHaveLength(1)
    expect(story.leader()).toBe('s0')
  })

  test('a server that overflows can not bring another cluster', () => {
    const story = new Story()
    for (let at = 0; at < SERVERS_MAX; at++) story.say(`s${at}`, 'register')
    story.say('more', 'register', { cluster: 'old' })
    expect(story.log('save')).toEqual([])
    expect(story.coordinator.cluster).toBeNull()
  })

  test('a server silent for long is forgotten, and makes room', () => {
    const story = new Story({ record: OWN })
    for (let at = 0; at < SERVERS_MAX; at++) story.say(`s${at}`, 'register', member())
    story.nowMs = TIMING.forgetMs
    story.coordinator.tick(story.nowMs)
    expect(story.coordinator.status(story.nowMs)).toHaveLength(SERVERS_MAX)
    story.say('s0', 'statusResp', member())
    story.nowMs++
    story.coordinator.tick(story.nowMs)
    expect(story.coordinator.status(story.nowMs).map(({ id }) => id)).toEqual(['s0'])
    story.log()
    story.say('late', 'register', member())
    expect(story.log('registered')).toEqual([`${story.nowMs} late registered c1: s0 late`])
  })

  test('what is sent in a tick is bounded by the servers known', () => {
    const story = new Story({ record: OWN })
    for (let at = 0; at < 2 * SERVERS_MAX; at++) story.say(`s${at}`, 'register', member())
    story.log('registered')
    story.run(TIMING.suspectMs)
    expect(story.log('status')).toHaveLength(SERVERS_MAX)
  })
})

describe('status', () => {
  test('says who is alive and how long ago it spoke, by address', () => {
    const { coordinator } = new Story({ record: OWN })
    const say = (nowMs: number, id: string, cip: string, cport: number) => {
      const server = reportOf(id, member({ cip, cport }))
      coordinator.receive(nowMs, { type: 'register', server, place: 0 }, addressOf(id))
    }
    say(0, 'a', '10.0.0.2', 9)
    say(0.4, 'b', '10.0.0.1', 10)
    say(1_000, 'c', '10.0.0.1', 9)
    const rows = coordinator
      .status(TIMING.deadMs + 0.2)
      .map(({ id, lastHeardMsAgo, alive }) => ({ id, lastHeardMsAgo, alive }))
    expect(rows).toEqual([
      { id: 'c', lastHeardMsAgo: 2_000, alive: true },
      { id: 'b', lastHeardMsAgo: 3_000, alive: true },
      { id: 'a', lastHeardMsAgo: 3_000, alive: false },
    ])
  })

  test('who is a member, and what is up with it, the leader says', () => {
    const at = (id: string) => ({ id, cip: `${id}.example`, cport: 1, sip: id, sport: 2 })
    const members = [
      { ...at('a'), voter: true, note: null },
      { ...at('b'), voter: false, note: 'learner, 3 entries behind' },
      { ...at('d'), voter: true, note: 'dead 40 s' },
    ]
    const story = cluster({ a: { members } }).run(0)
    const rows = story.coordinator
      .status(0)
      .map(({ id, voter, note }) => `${id} ${voter ? 'voter' : '-'} ${note ?? 'well'}`)
    expect(rows).toEqual([
      'a voter well',
      'b - learner, 3 entries behind',
      'c - no member',
      'd voter dead 40 s', // this balancer has never heard it
    ])
  })

  test('holds what the server said last', () => {
    const story = new Story({ record: OWN })
      .say('a', 'register', member({ term: 1 }))
      .say('a', 'statusResp', member({ term: 2, role: 'candidate' }))
    expect(story.coordinator.status(0)).toMatchObject([{ id: 'a', term: 2, role: 'candidate' }])
  })
})

describe('servers to use', () => {
  const names = (story: Story, policy: DiscoverPolicy) =>
    story.coordinator
      .servers(story.nowMs, policy)
      .map(({ id }) => id)
      .join(' ')

  test('leader: that one alone', () => {
    expect(names(cluster().run(0), 'leader')).toBe('a')
  })

  test('round-robin: all that can serve, another one first each time', () => {
    const story = cluster().run(0)
    const turns = [1, 2, 3, 4].map(() => names(story, 'round-robin'))
    expect(turns).toEqual(['a b c', 'b c a', 'c a b', 'a b c'])
  })

  test('least-requests: who answered fewest lately comes first', () => {
    const story = cluster().run(1_000)
    story.change('a', { requestCount: 900 }).change('b', { requestCount: 20 })
    expect(names(story.run(1_000), 'least-requests')).toBe('c b a')
    story.change('c', { requestCount: 5_000 })
    expect(names(story.run(1_000), 'least-requests')).toBe('a b c')
  })

  test('one that is dead, follows nobody or lags is left out', () => {
    const far = { lastIndex: 5_000, commitIndex: 5_000 }
    const story = cluster({ a: { ...far, appliedIndex: 5_000 }, b: { ...far, appliedIndex: 10 } })
    expect(names(story.run(0), 'round-robin')).toBe('a')
    const other = cluster({ c: { leader: null } })
    other.set('b', 'down').run(TIMING.deadMs + 1)
    expect(names(other, 'round-robin')).toBe('a')
  })

  test('nobody without a leader', () => {
    const story = new Story({ record: OWN }).add('a', member()).run(0)
    expect(names(story, 'round-robin')).toBe('')
  })
})

// ---------------------------------------------------------------- helpers

/** Three voters of `c1` in term 3; `a` leads. */
function cluster(fields: Readonly<Record<string, Partial<Report>>> = {}): Story {
  const story = new Story({ record: OWN })
  for (const id of ['a', 'b', 'c']) {
    const role = id === 'a' ? 'leader' : 'follower'
    const log = { term: 3, lastTerm: 3, lastIndex: 5 }
    story.add(id, member({ ...log, role, leader: 'a', ...fields[id] }))
  }
  return story
}

function member(fields: Partial<Report> = {}): Partial<Report> {
  return { cluster: 'c1', voter: true, term: 1, lastTerm: 1, lastIndex: 1, ...fields }
}

function reportOf(id: string, fields: Partial<Report> = {}): Report {
  return {
    id,
    cip: `${id}.example`,
    cport: 11_211,
    sip: `${id}.example`,
    sport: 7_000,
    cluster: null,
    role: 'follower',
    voter: false,
    term: 0,
    leader: null,
    lastTerm: 0,
    lastIndex: 0,
    commitIndex: 0,
    appliedIndex: 0,
    requestCount: 0,
    ...fields,
  }
}

/** Where a server's datagrams come from, which is not what it reports. */
function addressOf(id: string): Address {
  return { host: id, port: 40_000 }
}

/** Runs until somebody is asked to campaign; what was written down on the way. */
function untilCampaign(story: Story): string[] {
  const lines: string[] = []
  for (let ms = 0; ms < 10_000; ms += STEP_MS) {
    lines.push(...story.run(STEP_MS).log())
    if (lines.at(-1)?.endsWith(' campaign')) return lines
  }
  throw new Error(`no campaign: ${lines.join(', ')}`)
}

function describeAction(action: Action): string {
  if (action.kind === 'save') {
    const { cluster: id, formedBy } = action.record
    return `save ${id} by ${formedBy ?? 'nobody'}`
  }
  const { to, message } = action
  switch (message.type) {
    case 'registered': {
      const ids = message.servers.map(({ id }) => id).join(' ') || 'nobody'
      const refused = message.refused === undefined ? '' : `, refused: ${message.refused}`
      return `${to.host} registered ${message.cluster ?? 'none'}: ${ids}${refused}`
    }
    case 'form':
      return `${to.host} form ${message.cluster}`
    default:
      return `${to.host} ${message.type}`
  }
}

function text(line: string): string {
  return line.replace(/^\d+ /, '')
}

function msOf(line: string | undefined): number {
  return Number(line?.split(' ')[0])
}
