/**
 * Orders that a node and its server keep while something else is under way:
 * writes of one connection across a change of leader, the log and the vote
 * file, and one opening of the data directory after the other. Each of these
 * was a race once.
 */
import { describe, expect, test } from 'vitest'
import { GROUP_COMMANDS_MAX } from '../../src/protocol/commands.ts'
import { readKeystoreHeader } from '../../src/server/keystore/keystore-file.ts'
import { LogStore } from '../../src/server/log/log-store.ts'
import { createLane } from '../../src/server/node.ts'
import type { WriteOutcome } from '../../src/server/peer-messages.ts'
import {
  CLUSTER,
  DATA,
  LOG,
  Machine,
  Member,
  REQUEST_TIMEOUT_MS,
  SELF,
  VOTE,
} from './node-harness.ts'

const REFUSED: WriteOutcome = { kind: 'refused', why: 'does not lead any more' }
const APPLIED: WriteOutcome = { kind: 'applied', reply: 'STORED', index: 1 }
/** After so long, what was refused is sent again. */
const RETRY_MS = 20

describe('writes of one connection', () => {
  /** The leader of term 2, b, has the first write of a connection and owes the answer. */
  async function firstForwarded() {
    const member = await Member.start()
    const lane = createLane()
    await member.joinVoters('b', 2)
    member.write(lane, 'first')
    await member.machine.advance()
    expect(member.forwards()).toEqual(['b in term 2: first'])
    return { member, lane, machine: member.machine }
  }

  test('one that is refused is sent again in time, however often its connection writes', async () => {
    const { member, lane, machine } = await firstForwarded()
    await member.hearLeader('c', 3)
    await member.hearAnswer('b', 'first', REFUSED)
    for (let ms = 0; ms < 2 * RETRY_MS; ms += 5) {
      member.write(lane, `after ${ms} ms`)
      await machine.advance(5)
    }
    expect(member.forwards()[0]).toMatch(/^c in term 3: first after/)
  })

  test('none overtakes one that was refused and waits to be sent again', async () => {
    const { member, lane, machine } = await firstForwarded()
    await member.hearLeader('c', 3)
    await member.hearAnswer('b', 'first', REFUSED)
    member.write(lane, 'second')
    await machine.advance()
    expect(member.forwards()).toEqual([])
    await machine.advance(RETRY_MS)
    expect(member.forwards()).toEqual(['c in term 3: first second'])
  })

  test('none goes to a new leader while an older one owes an answer', async () => {
    const { member, lane, machine } = await firstForwarded()
    await member.hearLeader('c', 3)
    member.write(lane, 'second')
    await machine.advance(5 * RETRY_MS)
    expect(member.forwards()).toEqual([])
    await member.hearAnswer('b', 'first', APPLIED)
    await machine.advance(RETRY_MS)
    expect(member.forwards()).toEqual(['c in term 3: second'])
  })

  test('one that an older leader refuses at last goes before those that waited for it', async () => {
    const { member, lane, machine } = await firstForwarded()
    await member.hearLeader('c', 3)
    member.write(lane, 'second')
    await machine.advance()
    await member.hearAnswer('b', 'first', REFUSED)
    await machine.advance(RETRY_MS)
    expect(member.forwards()).toEqual(['c in term 3: first second'])
  })

  test('a leader that was elected again is a new one', async () => {
    const { member, lane, machine } = await firstForwarded()
    await member.hearLeader('b', 4)
    member.write(lane, 'second')
    await machine.advance(5 * RETRY_MS)
    expect(member.forwards()).toEqual([])
    await member.hearAnswer('b', 'first', REFUSED)
    await machine.advance(RETRY_MS)
    expect(member.forwards()).toEqual(['b in term 4: first second'])
  })

  test('so is this server itself', async () => {
    const { member, lane, machine } = await firstForwarded()
    await member.becomeLeader(3, 'c')
    member.write(lane, 'second')
    await machine.advance(5 * RETRY_MS)
    expect(member.proposed()).toEqual([])
    await member.hearAnswer('b', 'first', REFUSED)
    await machine.advance(RETRY_MS)
    expect(member.proposed()).toEqual(['first', 'second'])
  })

  test('in one term none waits for the answer to another', async () => {
    const { member, lane, machine } = await firstForwarded()
    member.write(lane, 'second')
    await machine.advance()
    expect(member.forwards()).toEqual(['b in term 2: second'])
  })

  test('those of another connection wait for none of this', async () => {
    const { member, lane, machine } = await firstForwarded()
    await member.hearLeader('c', 3)
    member.write(lane, 'second')
    member.write(createLane(), 'theirs')
    await machine.advance()
    expect(member.forwards()).toEqual(['c in term 3: theirs'])
  })

  test('a leader takes none that was meant for an earlier term of its own', async () => {
    const member = await Member.start()
    await member.joinVoters('b', 2)
    await member.becomeLeader(3, 'c')
    await member.hearForward('b', 2, 'first', 'second')
    const results = member.sent('forwardResp').flatMap((answer) => answer.results)
    expect(results.map(({ outcome }) => outcome.kind)).toEqual(['refused', 'refused'])
    expect(member.proposed()).toEqual([])
    await member.hearForward('b', 3, 'third')
    expect(member.proposed()).toEqual(['third'])
  })
})

test('writes of one entry that another leader replaces did not happen, none of them', async () => {
  const member = await Member.start()
  await member.joinVoters('b', 2)
  await member.becomeLeader(3, 'c')
  const outcomes: WriteOutcome[] = []
  for (const name of ['x', 'y', 'z']) member.write(createLane(), name, outcomes)
  await member.machine.advance()
  const { lastIndex } = member.node.raft.log
  expect([lastIndex, member.proposed()]).toEqual([3, ['x', 'y', 'z']])
  const entries = [member.entry(4, 2), member.entry(4, 3)]
  await member.hearAppend('b', 4, { term: 2, index: 1 }, entries, 3)
  const why = 'another leader took over before it was replicated (term 4)'
  expect(outcomes).toEqual(Array(3).fill({ kind: 'notStored', why }))
})

describe('sets that came together', () => {
  async function leader() {
    const member = await Member.start()
    await member.joinVoters('b', 2)
    await member.becomeLeader(3, 'c')
    return member
  }
  const applied = (names: string[], index: number) => ({
    kind: 'applied',
    reply: 'STORED',
    index: index * GROUP_COMMANDS_MAX + names.length - 1,
  })

  test('have one outcome, among others of the same entry', async () => {
    const member = await leader()
    const [first, second, third] = [[], [], []] as WriteOutcome[][]
    member.write(createLane(), 'a', first)
    expect(member.writeSets(createLane(), ['b', 'c', 'd'], second)).toBe(true)
    await member.hearForward('b', 3, 'theirs')
    member.write(createLane(), 'e', third)
    await member.machine.advance(10)
    expect(member.proposed()).toEqual(['a', 'b', 'c', 'd', 'theirs', 'e'])
    const { lastIndex } = member.node.raft.log
    for (const from of ['b', 'c']) {
      member.node.receive({ type: 'appendResp', from, to: SELF, term: 3, matchIndex: lastIndex })
    }
    await member.machine.advance(10)
    expect(first).toEqual([applied(['a'], 3)])
    expect(second).toEqual([applied(['a', 'b', 'c', 'd'], 3)])
    const results = member.sent('forwardResp').flatMap((answer) => answer.results)
    expect(results.map(({ outcome }) => outcome)).toMatchObject([{ kind: 'applied' }])
    expect(third).toMatchObject([{ kind: 'applied', reply: 'STORED' }])
  })

  test('are each counted where an entry may take no more: no two have the same place', async () => {
    const member = await leader()
    const outcomes: WriteOutcome[] = []
    const names = Array.from({ length: 64 }, (_, at) => `name${at}`)
    for (let times = 1; times <= 9; times++) member.writeSets(createLane(), names, outcomes)
    await member.machine.advance(10)
    const { log } = member.node.raft
    const entries = log.slice(3, log.lastIndex, Number.POSITIVE_INFINITY)
    const counts = entries.map(({ body }) => body.toString().split('set ').length - 1)
    expect(counts).toEqual([4 * 64, 4 * 64, 64])
    for (const from of ['b', 'c']) {
      member.node.receive({
        type: 'appendResp',
        from,
        to: SELF,
        term: 3,
        matchIndex: log.lastIndex,
      })
    }
    await member.machine.advance(10)
    const places = outcomes.map((outcome) => outcome.kind === 'applied' && outcome.index)
    const lastOf = (index: number, count: number) => index * GROUP_COMMANDS_MAX + count * 64 - 1
    const wanted = [3, 4].flatMap((index) => [1, 2, 3, 4].map((count) => lastOf(index, count)))
    expect(places).toEqual([...wanted, lastOf(5, 1)])
  })

  test('did not happen, none of them, where another leader replaces their entry', async () => {
    const member = await leader()
    const outcomes: WriteOutcome[] = []
    member.writeSets(createLane(), ['x', 'y', 'z'], outcomes)
    await member.machine.advance()
    const entries = [member.entry(4, 2), member.entry(4, 3)]
    await member.hearAppend('b', 4, { term: 2, index: 1 }, entries, 3)
    const why = 'another leader took over before it was replicated (term 4)'
    expect(outcomes).toEqual([{ kind: 'notStored', why }])
  })

  test('are not known of where no majority confirms them in time', async () => {
    const member = await leader()
    const outcomes: WriteOutcome[] = []
    member.writeSets(createLane(), ['x', 'y'], outcomes)
    for (let ms = 0; ms < 2_100; ms += 100) {
      const heard = { term: 3, round: 1e6 }
      for (const from of ['b', 'c'])
        member.node.receive({ type: 'heartbeatResp', from, to: SELF, ...heard })
      await member.machine.advance(100)
    }
    expect(outcomes).toMatchObject([{ kind: 'unknown' }])
  })

  test('are not taken as one by a follower, nor before others of their connection', async () => {
    const member = await Member.start()
    const lane = createLane()
    await member.joinVoters('b', 2)
    expect(member.writeSets(lane, ['x', 'y'])).toBe(false)
    member.write(lane, 'first')
    await member.machine.advance()
    await member.becomeLeader(3, 'c')
    expect(member.writeSets(lane, ['x', 'y'])).toBe(false)
    expect(member.writeSets(createLane(), ['x', 'y'])).toBe(true)
    expect(member.proposed()).toEqual(['x', 'y'])
  })

  test('are not taken as one by members that know entries of one command only', async () => {
    const member = await Member.start()
    await member.joinVoters('b', 2, 4)
    await member.becomeLeader(3, 'c')
    expect(member.writeSets(createLane(), ['x', 'y'])).toBe(false)
    expect(member.proposed()).toEqual([])
  })
})

describe('the log and the vote', () => {
  test('the log hears of entries before the vote is durable, nobody else does', async () => {
    const member = await Member.start()
    const { machine } = member
    const written: string[] = []
    machine.disk.onMutation = ({ kind, path }) => {
      if (kind === 'write') written.push(path.startsWith(LOG) ? LOG : path)
    }
    const release = machine.hold('write', VOTE)
    await member.hearAppend('b', 2, { term: 0, index: 0 }, [member.entry(2, 1)])
    expect(written).toEqual([LOG, VOTE])
    expect(member.node.raft.log.stableIndex).toBe(1)
    expect(member.sent('appendResp')).toEqual([])
    release()
    await machine.advance()
    expect(member.sent('appendResp')).toMatchObject([{ to: 'b', term: 2, matchIndex: 1 }])
  })

  test('what is acknowledged stays, though entries were replaced and came back', async () => {
    const member = await Member.start()
    const { machine } = member
    const [first, second, third] = [1, 2, 3].map((index) => member.entry(2, index))
    if (!first || !second || !third) throw new Error('unreachable')

    // While the log syncs three entries of b's, c replaces two of them in a term not yet on disk,
    // and d, which leads after c, brings them back.
    const releaseLog = machine.hold('datasync', LOG)
    await member.hearAppend('b', 2, { term: 0, index: 0 }, [first, second, third])
    const releaseVote = machine.hold('write', VOTE)
    await member.hearAppend('c', 3, first, [member.entry(3, 2)])
    await member.hearAppend('d', 4, first, [second, third, member.entry(4, 4)])

    // The sync ends and the next one, of c's entry, does not; then both terms go to the disk.
    const releaseRest = machine.hold('datasync', LOG)
    releaseLog()
    await machine.advance()
    releaseVote()
    await machine.advance()
    const acks = member.sent('appendResp').filter(({ to }) => to === 'd')
    const acknowledged = Math.max(...acks.map(({ matchIndex }) => matchIndex))

    // Now power is lost, with c's entry in the file behind those it replaces.
    const disk = machine.disk.crash({ contents: 'keep', names: 'keep' })
    releaseRest()
    const { timers } = machine.io
    const { log } = await LogStore.open({
      ...{ disk, timers, directory: LOG, clusterId: CLUSTER, group: 0 },
    })
    const found = await log.read(1, acknowledged, Number.POSITIVE_INFINITY)
    expect(acknowledged).toBeGreaterThan(0)
    expect(found.map(({ term }) => term)).toEqual([2, 2, 2, 4].slice(0, acknowledged))
  })
})

test('a keystore file begun before what is committed is applied has the configuration of then', async () => {
  const member = await Member.start()
  await member.joinVoters('b', 1)
  const { node, machine } = member
  const { config } = node.raft
  const learner = { id: 'd', voter: false, cip: 'd', cport: 1, sip: 'd', sport: 2 }
  const grown = { ...config, members: [...config.members, learner] }
  const hearTo = async (lastIndex: number, commitIndex: number, configIndex = 0) => {
    const { last } = node.raft.log
    const entries = Array.from({ length: lastIndex - last.index }, (_, at) => {
      const index = last.index + 1 + at
      return index === configIndex
        ? member.entry(1, index, { kind: 'config', config: grown })
        : member.entry(1, index)
    })
    await member.hearAppend('b', 1, last, entries, commitIndex)
    await machine.advance(20)
  }
  // More than memory keeps of them: what is applied and old is forgotten with the next turn.
  for (let index = 500; index <= 4_000; index += 500) await hearTo(index, index)
  await hearTo(4_120, 4_000, 4_110)

  const release = machine.hold('write', VOTE)
  const prev = node.raft.log.last
  node.receive({
    ...{ type: 'append', from: 'c', to: SELF, term: 2, prev, commitIndex: 4_120, entries: [] },
  })
  await machine.advance()
  expect([node.machine.appliedIndex, node.raft.log.appliedIndex]).toEqual([4_000, 4_120])
  const written = node.writeKeystoreNow()
  await machine.advance()
  release()
  await machine.advance(50)
  await written
  const header = await readKeystoreHeader(machine.disk, `${DATA}/groups/0/keystore`)
  expect([header?.index, header?.config]).toEqual([4_000, config])
})

test('requests have an answer in time though the loop waits for the disk', async () => {
  const member = await Member.start()
  const { node, machine } = member
  await member.joinVoters('b', 1)
  const release = machine.hold('write', VOTE)
  const prev = node.raft.log.last
  node.receive({
    ...{ type: 'append', from: 'c', to: SELF, term: 2, prev, commitIndex: 1, entries: [] },
  })
  await machine.advance()
  const heard: unknown[] = []
  const outcomes: WriteOutcome[] = []
  member.write(createLane(), 'name', outcomes)
  node.barrier((failure) => heard.push(failure))
  await machine.advance(REQUEST_TIMEOUT_MS + 10)
  expect(outcomes).toMatchObject([{ kind: 'unknown' }])
  expect(heard).toEqual([`no leader confirmed the read within ${REQUEST_TIMEOUT_MS} ms`])
  release()
  await machine.advance(10)
  expect([outcomes.length, heard.length, machine.failures]).toEqual([1, 1, []])
})

test('heartbeats are answered while a snapshot waits for the keystore file that is being written', async () => {
  const leader = await Member.start()
  await leader.joinVoters('b', 1)
  const { last } = leader.node.raft.log
  await leader.hearAppend('b', 1, last, [leader.entry(1, 2), leader.entry(1, 3)], 3)
  await leader.machine.advance(10)
  await leader.node.writeKeystoreNow()
  const KEYSTORE = `${DATA}/groups/0/keystore`
  const piece = leader.machine.disk.bytes(KEYSTORE)

  const member = await Member.start()
  const { node, machine } = member
  await member.joinVoters('b', 1)
  await member.hearAppend('b', 1, last, [], 1)
  const release = machine.hold('write', KEYSTORE)
  const written = node.writeKeystoreNow()
  await machine.advance(10)
  const snap = { type: 'snap', from: 'b', to: SELF, term: 1, id: 's', size: piece.length } as const
  node.receive({ ...snap, offset: 0, piece: Buffer.alloc(0) })
  await machine.advance(10)
  node.receive({ ...snap, offset: 0, piece })
  await machine.advance(10)
  member.sent('heartbeatResp')
  for (let round = 1; round <= 3; round++) {
    node.receive({ type: 'heartbeat', from: 'b', to: SELF, term: 1, commitIndex: 3, round })
    await machine.advance(10)
  }
  expect(member.sent('heartbeatResp')).toHaveLength(3)
  expect(node.machine.appliedIndex).toBe(1)
  release()
  await written
  await machine.advance(20)
  expect([node.machine.appliedIndex, machine.failures]).toEqual([3, []])
})

describe('a server opens its data directory once at a time', () => {
  const FORM = { type: 'form', cluster: CLUSTER } as const
  const REGISTERED = { type: 'registered', cluster: CLUSTER, servers: [], place: 0 } as const

  test('when it has data, whatever a load balancer says meanwhile', async () => {
    const machine = new Machine()
    const before = await machine.startServer()
    machine.receive(FORM)
    await machine.advance()
    await before.stop()

    const release = machine.hold('write', VOTE)
    const starting = machine.startServer()
    await machine.advance()
    machine.receive(REGISTERED)
    machine.receive(FORM)
    await machine.advance()
    release()
    const server = await starting
    await machine.advance()
    expect(machine.disk.openedTwice).toEqual([])
    expect(machine.failures).toEqual([])
    expect(server.node?.raft.log.last).toEqual({ term: 1, index: 1 })
  })

  test.each([
    ['join, then to form', [REGISTERED, FORM], 0],
    ['form, then to join', [FORM, REGISTERED], 1],
    ['form twice', [FORM, FORM], 1],
  ])('when it is asked to %s, and does the first', async (_, messages, lastIndex) => {
    const machine = new Machine()
    const server = await machine.startServer()
    for (const message of messages) machine.receive(message)
    await machine.advance()
    expect(machine.disk.openedTwice).toEqual([])
    expect(machine.failures).toEqual([])
    expect(server.node?.raft.log.lastIndex).toBe(lastIndex)
  })

  test('when it had joined and is asked to form: it closes what is open first', async () => {
    const machine = new Machine()
    const server = await machine.startServer()
    machine.receive(REGISTERED)
    await machine.advance()
    const joined = server.node
    machine.receive(FORM)
    await machine.advance()
    expect(machine.disk.openedTwice).toEqual([])
    expect(machine.failures).toEqual([])
    expect(server.node).not.toBe(joined)
    expect(server.node?.raft.log.last).toEqual({ term: 1, index: 1 })
  })

  test('so the node that forms finds the vote that the one before was writing', async () => {
    const machine = new Machine()
    const server = await machine.startServer()
    machine.receive(REGISTERED)
    await machine.advance()
    const release = machine.hold('write', VOTE)
    const last = { term: 0, index: 0 }
    const vote = { type: 'vote', from: 'b', to: server.id, term: 5, last, handover: false } as const
    machine.receive({ ...vote, cluster: CLUSTER, group: 0 })
    await machine.advance()
    machine.receive(FORM)
    await machine.advance()
    release()
    await machine.advance()
    expect(server.node?.raft.log.lastIndex).toBe(1)
    expect(server.node?.raft.term).toBe(5)
  })

  test('a member whose log is gone does not begin anew: it would vote as if it had never had one', async () => {
    const machine = new Machine()
    const server = await machine.startServer()
    machine.receive(REGISTERED)
    await machine.advance()
    await server.stop()
    for (const path of machine.disk.files().filter((name) => name.startsWith(LOG))) {
      await machine.disk.remove(path)
    }
    await expect(machine.startServer()).rejects.toThrow('data/groups/0/log is missing')
  })
})

describe('reads', () => {
  test('the answer to any question for a read index will do, however late', async () => {
    const member = await Member.start()
    await member.joinVoters('b', 2)
    const answers: (string | null)[] = []
    member.node.barrier((failure) => void answers.push(failure))
    await member.machine.advance(300)
    const [first, ...others] = member.sent('readIndex')
    expect(others).toHaveLength(1) // asked again, because the answer seemed lost
    const { from, to, term, id } = first ?? { from: '', to: '', term: 0, id: 0 }
    member.node.receive({ type: 'readIndexResp', from: to, to: from, term, id, index: 0 })
    await member.machine.advance()
    expect(answers).toEqual([null])
  })
})

describe('removals', () => {
  test('a server is out once its removal is committed, and is told to stop then', async () => {
    const member = await Member.start()
    await member.joinVoters('b', 2)
    await member.becomeLeader(3, 'c')
    const { raft } = member.node
    const acknowledge = async () => {
      const matchIndex = raft.log.lastIndex
      const resp = { type: 'appendResp', to: SELF, term: 3, matchIndex } as const
      for (const from of ['b', 'c']) member.node.receive({ ...resp, from })
      await member.machine.advance()
    }
    await acknowledge()
    expect(member.node.remove('c').isOut).toBe(false)
    await member.machine.advance()
    expect(member.node.remove('c')).toEqual({
      isOut: false,
      why: 'the change is not committed yet',
    })
    expect(member.sent('leave')).toEqual([])
    await acknowledge()
    expect(member.node.remove('c').isOut).toBe(true)
    await member.machine.advance()
    expect(member.sent('leave').map(({ to }) => to)).toEqual(['c'])
  })
})
