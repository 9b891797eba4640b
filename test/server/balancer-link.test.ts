/** A server between two load balancers. */
import { expect, test } from 'vitest'
import type { Io } from '../../src/io/io.ts'
import type { Registration, Report, ToBalancer } from '../../src/protocol/balancer.ts'
import { BalancerLink } from '../../src/server/balancer-link.ts'

const REPORT: Report = {
  ...{ id: 'me', cip: 'me', cport: 1, sip: 'me', sport: 2, cluster: 'c', role: 'follower' },
  ...{ voter: true, term: 1, leader: null, lastTerm: 1, lastIndex: 1 },
  ...{ commitIndex: 1, appliedIndex: 1, requestCount: 0 },
}
const BALANCERS = ['first', 'second'].map((host) => ({ host, port: 5001 }))

function known(id: string, cip: string, silentMs: number): Registration {
  return { id, cip, cport: 1, sip: cip, sport: 2, silentMs }
}

function start() {
  let nowMs = 0
  const sent: { to: string; message: ToBalancer }[] = []
  const said: string[] = []
  const servers: string[] = []
  const say = (_: object, text: string) => void said.push(text)
  const link = new BalancerLink({
    io: {
      clock: { monotonicMs: () => nowMs, wallMs: () => nowMs },
      timers: { after: () => ({ cancel: () => {} }), soon: () => {} },
    } as unknown as Io,
    log: { info: say, warn: say, error: say },
    balancers: BALANCERS,
    report: () => REPORT,
    send: (message, to) => void sent.push({ message, to: to.host }),
    onForm: () => {},
    onCluster: (_, all) =>
      void servers.splice(0, servers.length, ...all.map(({ id, cip }) => `${id} ${cip}`)),
    onCampaign: () => {},
    onSuperseded: (why) => void said.push(`superseded: ${why}`),
  })
  return {
    sent,
    said,
    servers,
    after: (ms: number) => {
      nowMs += ms
      link.register()
    },
    refuse: (cluster: string) =>
      link.receive(
        { type: 'registered', cluster, servers: [], place: 0, refused: 'moved on' },
        { host: 'any', port: 1 },
      ),
    hear: (place: number, ...list: Registration[]) =>
      link.receive(
        { type: 'registered', cluster: 'c', servers: list, place },
        { host: 'any', port: 1 },
      ),
  }
}

test('registers with each under its place', () => {
  const { after, sent } = start()
  after(0)
  expect(sent).toMatchObject([
    { to: 'first', message: { type: 'register', place: 0 } },
    { to: 'second', message: { type: 'register', place: 1 } },
  ])
})

test('of a server that both know, the freshest news counts, and ages', () => {
  const { after, hear, servers } = start()
  hear(0, known('a', 'old', 500), known('b', 'there', 0))
  hear(1, known('a', 'new', 100))
  expect(servers.sort()).toEqual(['a new', 'b there'])
  after(1_000)
  hear(0, known('a', 'newest', 600), known('b', 'there', 0)) // the second's news is 1,100 ms old by now
  expect(servers.sort()).toEqual(['a newest', 'b there'])
})

test('says which one is silent, and that they all are, once', () => {
  const { after, hear, said } = start()
  after(2_000)
  hear(1)
  after(2_000)
  after(2_000)
  expect(said).toEqual([
    'load balancer first:5001 does not answer: trying on',
    'load balancer second:5001 does not answer: trying on; the servers elect a leader themselves',
  ])
  hear(1)
  expect(said.at(-1)).toBe('load balancer second:5001 answers again')
})

test('news under a place that is not in the list is ignored', () => {
  const { hear, servers } = start()
  hear(7, known('x', 'x', 0))
  expect(servers).toEqual([])
})

test('a server whose cluster was recovered without it is told, one of another cluster is not', () => {
  const { refuse, said } = start()
  const refusal = 'load balancer first:5001 refuses this server: moved on'
  refuse('d')
  refuse('d.1-a')
  expect(said).toEqual([refusal])
  refuse('c.1-a')
  expect(said).toEqual([refusal, 'superseded: moved on'])
})
