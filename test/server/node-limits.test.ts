/** A node whose memory or disk has no room, or whose disk is slow; its peers are the test's. */
import { expect, test } from 'vitest'
import {
  type Condition,
  DEFAULT_LIMITS,
  DEFAULT_SLOWNESS,
  type Limits,
} from '../../src/server/admission.ts'
import { itemBytes } from '../../src/server/keystore/item-store.ts'
import { createLane } from '../../src/server/node.ts'
import type { WriteOutcome } from '../../src/server/peer-messages.ts'
import type { Payload } from '../../src/server/raft/types.ts'
import { LOG, Machine, Member, SELF } from './node-harness.ts'

const RESERVE = 1_000_000
const PEERS = ['b', 'c']
const WELL: Condition = {
  ...{ room: 'enough', freeBytes: 1e9, keptBytes: RESERVE },
  ...{ slowForMs: 0, owedIndex: 0, mendedCount: 0 },
}
const LOW: Condition = { ...WELL, room: 'low', freeBytes: 1 }
const NO_DISK: WriteOutcome = { kind: 'notStored', why: 'out of disk space', lacks: 'disk' }
const NO_MEMORY: WriteOutcome = {
  ...{ kind: 'notStored', why: 'out of memory storing object', lacks: 'memory' },
}
const KEPT: Limits = { ...DEFAULT_LIMITS, diskReserveBytes: RESERVE }

/** A leader in term 3 of three voters, and what the other two do. */
class Leading {
  readonly member: Member
  readonly machine: Machine
  /** How the disks of those are that answer. */
  readonly peers = new Map<string, Condition>(PEERS.map((id) => [id, WELL]))
  readonly timeoutNow: string[] = []

  private constructor(member: Member) {
    this.member = member
    this.machine = member.machine
  }

  static async start(limits: Limits = KEPT): Promise<Leading> {
    const member = await Member.start(new Machine(), limits)
    await member.joinVoters('b', 2)
    await member.becomeLeader(3, 'c')
    const leading = new Leading(member)
    await leading.pass(1)
    return leading
  }

  /** Time passes, and the peers acknowledge all there is. */
  async pass(ms: number): Promise<void> {
    const { node } = this.member
    for (let passed = 0; passed < ms; passed += 50) {
      await this.machine.advance(Math.min(50, ms - passed))
      for (const [from, condition] of this.peers) {
        const route = { from, to: SELF, term: 3 }
        node.receive({ type: 'heartbeatResp', ...route, round: 1e6 })
        node.receive({ type: 'appendResp', ...route, matchIndex: node.raft.log.lastIndex })
        node.receive({ type: 'condition', ...route, ...condition })
      }
      await this.machine.advance()
      this.timeoutNow.push(...this.member.sent('timeoutNow').map(({ to }) => to))
    }
  }

  /** Null where nothing is known yet. */
  async outcomeOf(command: string): Promise<WriteOutcome | null> {
    let found: WriteOutcome | null = null
    const done = (outcome: WriteOutcome) => {
      found = outcome
    }
    this.member.node.write(createLane(), Buffer.from(command), { done })
    await this.pass(1)
    return found
  }

  set(key: string, value: string): Promise<WriteOutcome | null> {
    return this.outcomeOf(`set ${key} 0 0 ${value.length}\r\n${value}\r\n`)
  }

  get note(): string | null | undefined {
    return this.member.node.status().members.find(({ id }) => id === SELF)?.note
  }
}

// ---------------------------------------------------------------- disk space

test('a leader without room refuses every write, those of followers too, until there is some', async () => {
  const leading = await Leading.start()
  const { machine, member } = leading
  for (const id of PEERS) leading.peers.set(id, LOW)
  expect(await leading.set('k', 'x')).toMatchObject({ kind: 'applied' })
  machine.disk.roomBytes = RESERVE - 1
  await leading.pass(2_000)

  const { lastIndex } = member.node.raft.log
  expect(await leading.set('k', 'x')).toEqual(NO_DISK)
  expect(await leading.outcomeOf('delete k\r\n')).toEqual(NO_DISK)
  await member.hearForward('b', 3, 'theirs')
  const [answer] = member.sent('forwardResp')
  expect(answer?.results.map(({ outcome }) => outcome)).toEqual([NO_DISK])
  expect(member.node.raft.log.lastIndex).toBe(lastIndex)
  expect(leading.note).toBe('out of disk space: 976 KiB free, 976 KiB kept')
  expect(leading.timeoutNow).toEqual([])
  const reads: (string | null)[] = []
  member.node.barrier((failure) => void reads.push(failure))
  await leading.pass(100)
  expect(reads).toEqual([null])

  machine.disk.roomBytes = 2 * RESERVE
  await leading.pass(2_000)
  // Of the three disks two would do.
  expect(await leading.set('k', 'x')).toEqual(NO_DISK)
  leading.peers.set('b', WELL)
  await leading.pass(200)
  expect(await leading.set('k', 'x')).toMatchObject({ kind: 'applied', reply: 'STORED' })
  expect(leading.note).toBeNull()
})

test('it counts what it has appended since it asked the disk', async () => {
  const leading = await Leading.start()
  for (const id of PEERS) leading.peers.set(id, LOW)
  leading.machine.disk.roomBytes = RESERVE + 100_000
  await leading.pass(2_000)
  leading.peers.set('b', WELL)
  await leading.pass(200)
  // The data counts as well: it is written once more, into the next keystore.
  expect(await leading.set('a', 'x'.repeat(40_000))).toMatchObject({ kind: 'applied' })
  expect(await leading.set('b', 'x'.repeat(40_000))).toMatchObject({ kind: 'applied' })
  expect(await leading.set('c', 'x')).toEqual(NO_DISK)
})

test('where a quorum of others has room it hands over to one of them', async () => {
  const leading = await Leading.start()
  const { machine, member } = leading
  await leading.pass(1_000)
  machine.disk.roomBytes = RESERVE - 1
  await leading.pass(500)
  expect(leading.timeoutNow).toHaveLength(1)
  expect(PEERS).toContain(leading.timeoutNow[0])
  await leading.pass(1_000)
  expect(member.node.raft.role).toBe('follower') // it asked, and stops to lead in any case
})

test('never to one without room, or to one that does not say', async () => {
  for (const fit of PEERS) {
    const leading = await Leading.start()
    const other = PEERS.find((id) => id !== fit) ?? ''
    leading.peers.set(other, { ...WELL, slowForMs: 2_000 })
    await leading.pass(1_000)
    leading.machine.disk.roomBytes = RESERVE - 1
    await leading.pass(1_500)
    expect(leading.timeoutNow).toEqual([fit])
  }
})

test('a follower with little room takes no writes, yet the own entries of a leader, and lives', async () => {
  const machine = new Machine()
  const member = await Member.start(machine, KEPT)
  const { raft } = member.node
  await member.joinVoters('b', 2)
  machine.disk.roomBytes = RESERVE / 2 - 1
  await machine.advance(1_100)
  await member.hearLeader('b', 2)
  expect(member.sent('condition').at(-1)).toMatchObject({ to: 'b', room: 'scarce' })

  const value = 'x'.repeat(RESERVE / 8)
  const command = Buffer.from(`set k 0 0 ${value.length}\r\n${value}\r\n`)
  const set = { kind: 'command', command } as const
  const append = (index: number, payload?: Payload) => {
    const entry = member.entry(2, index, payload)
    return member.hearAppend('b', 2, { term: 2, index: index - 1 }, [entry])
  }
  await append(2, set) // on its way already
  expect(raft.log.lastIndex).toBe(2)
  await append(3, set)
  expect(raft.log.lastIndex).toBe(2)
  await append(3)
  expect(raft.log.lastIndex).toBe(3)
  member.sent('heartbeatResp')
  await member.hearLeader('b', 2)
  expect(member.sent('heartbeatResp')).toHaveLength(1)

  machine.disk.roomBytes = RESERVE / 16 - 1
  await machine.advance(1_100)
  await append(4)
  expect(raft.log.lastIndex).toBe(3)

  machine.disk.roomBytes = 2 * RESERVE
  await machine.advance(1_100)
  await append(4, set)
  expect(raft.log.lastIndex).toBe(4)
  expect(machine.failures).toEqual([])
})

test('with nothing left not even the time is written', async () => {
  for (const isFull of [false, true]) {
    const leading = await Leading.start()
    for (const id of PEERS) leading.peers.set(id, LOW)
    await leading.outcomeOf('set k 0 1000 1\r\nx\r\n')
    if (isFull) leading.machine.disk.roomBytes = RESERVE / 16 - 1
    await leading.pass(2_000)
    const { lastIndex } = leading.member.node.raft.log
    await leading.pass(3_000)
    expect(leading.member.node.raft.log.lastIndex > lastIndex).toBe(!isFull)
    expect(leading.member.node.raft.role).toBe('leader')
    expect(leading.machine.failures).toEqual([])
  }
})

// ---------------------------------------------------------------- slow disks

test('a leader whose disk hangs hands over to who has what it has not', async () => {
  const leading = await Leading.start()
  await leading.pass(DEFAULT_SLOWNESS.graceMs)
  const release = leading.machine.hold('datasync', LOG)
  expect(await leading.set('k', 'x')).toBeNull()
  await leading.pass(DEFAULT_SLOWNESS.slowMs - 100)
  expect(leading.timeoutNow).toEqual([])
  expect(leading.member.node.raft.role).toBe('leader')
  await leading.pass(300)
  expect(leading.timeoutNow).toHaveLength(1)
  await leading.pass(1_000)
  expect(leading.member.node.raft.role).toBe('follower')
  release()
})

test('it stays while its disk is no slower than those of others', async () => {
  const leading = await Leading.start()
  await leading.pass(DEFAULT_SLOWNESS.graceMs)
  leading.peers.delete('c') // without it nothing is committed, whoever leads
  const release = leading.machine.hold('datasync', LOG)
  expect(await leading.set('k', 'x')).toBeNull()
  await leading.pass(3_000)
  expect(leading.timeoutNow).toEqual([])
  expect(leading.member.node.raft.role).toBe('leader')
  expect(leading.note).toMatch(/^slow disk: writes late for \d+\.\d s$/)
  release()
})

test('a slow follower keeps nobody waiting', async () => {
  const leading = await Leading.start()
  leading.peers.delete('c')
  expect(await leading.set('k', 'x')).toMatchObject({ kind: 'applied' })
})

// ---------------------------------------------------------------- memory

test('what would take items past the limit is refused; deletes and overwriting go on', async () => {
  const memoryBytes = 2 * itemBytes(1, 100)
  const leading = await Leading.start({ ...KEPT, memoryBytes })
  const { items } = leading.member.node.machine
  const value = 'x'.repeat(100)
  expect(await leading.set('a', value)).toMatchObject({ reply: 'STORED' })
  expect(await leading.set('b', value)).toMatchObject({ reply: 'STORED' })
  expect(items.bytes).toBe(memoryBytes)
  expect(await leading.set('c', 'x')).toEqual(NO_MEMORY)
  expect(await leading.set('a', `${value}${value}`)).toEqual(NO_MEMORY)
  expect(await leading.set('a', value)).toMatchObject({ reply: 'STORED' })
  await leading.member.hearForward('b', 3, 'theirs')
  const [answer] = leading.member.sent('forwardResp')
  expect(answer?.results.map(({ outcome }) => outcome)).toEqual([NO_MEMORY])
  expect(await leading.outcomeOf('delete a\r\n')).toMatchObject({ reply: 'DELETED' })
  expect(await leading.set('c', 'x')).toMatchObject({ reply: 'STORED' })
  expect(items.bytes).toBe(itemBytes(1, 100) + itemBytes(1, 1))
})

test('sets that came together are taken as one only where all surely fit', async () => {
  const leading = await Leading.start({ ...KEPT, memoryBytes: 1_000 })
  const { node } = leading.member
  const outcomes: WriteOutcome[] = []
  const done = (outcome: WriteOutcome) => void outcomes.push(outcome)
  const value = 'x'.repeat(200)
  const setsOf = (...keys: string[]) =>
    Buffer.from(keys.map((key) => `set ${key} 0 0 200\r\n${value}\r\n`).join(''))
  expect(node.writeSets(createLane(), setsOf('a', 'b', 'c', 'd'), 4, { done })).toBe(false)
  expect(node.writeSets(createLane(), setsOf('a', 'b'), 2, { done })).toBe(true)
  expect(node.writeSets(createLane(), setsOf('c', 'd'), 2, { done })).toBe(false)
  await leading.pass(50)
  expect(outcomes).toMatchObject([{ kind: 'applied' }])

  leading.machine.disk.roomBytes = RESERVE - 1
  for (const id of PEERS) leading.peers.set(id, LOW)
  await leading.pass(2_000)
  expect(node.writeSets(createLane(), setsOf('a', 'b'), 2, { done })).toBe(false)
})

test('values that are not large are 20 GiB at the most, whatever memory there is', async () => {
  const leading = await Leading.start()
  const { items } = leading.member.node.machine
  expect(await leading.set('a', 'x'.repeat(100_000))).toMatchObject({ reply: 'STORED' })
  expect(items.smallBytes).toBeLessThan(100)
  expect(await leading.outcomeOf('delete a\r\n')).toMatchObject({ reply: 'DELETED' })
  expect(items.smallBytes).toBe(0)
  let smallBytes = 20 * 2 ** 30 - itemBytes(1, 10) - 100
  Object.defineProperty(items, 'smallBytes', { get: () => smallBytes })
  expect(await leading.set('b', 'x'.repeat(10))).toMatchObject({ reply: 'STORED' })
  smallBytes += 101
  expect(await leading.set('c', 'x'.repeat(10))).toEqual(NO_MEMORY)
})

test('a keystore file for which there is no room since the disk was looked at is refused', async () => {
  const leading = await Leading.start()
  leading.machine.disk.roomBytes = 2 * RESERVE
  await leading.pass(2_000)
  const { node } = leading.member
  Object.defineProperty(node.machine.items, 'bytes', { get: () => 10 * RESERVE })
  await expect(node.writeKeystoreNow()).rejects.toThrow('running out of disk space')
})

test('what is in flight counts', async () => {
  const leading = await Leading.start({ ...KEPT, memoryBytes: 1_000 })
  const outcomes: WriteOutcome[] = []
  const value = 'x'.repeat(200)
  for (const key of ['a', 'b', 'c', 'd', 'e', 'f']) {
    const command = Buffer.from(`set ${key} 0 0 200\r\n${value}\r\n`)
    const done = (outcome: WriteOutcome) => void outcomes.push(outcome)
    leading.member.node.write(createLane(), command, { done })
  }
  await leading.pass(50)
  expect(outcomes.filter(({ kind }) => kind === 'applied')).toHaveLength(3)
  expect(outcomes.filter((outcome) => 'lacks' in outcome)).toHaveLength(3)
  expect(leading.member.node.machine.items.bytes).toBeLessThanOrEqual(1_000)
})
