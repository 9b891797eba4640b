// Goal: commands that are proposed before anybody has seen the newest entry join it, and none
// joins one that somebody has seen.
import { expect, test } from 'vitest'
import { DEFAULT_TIMING, Raft } from '../../../src/server/raft/raft.ts'
import type { Entry, Ready } from '../../../src/server/raft/types.ts'

interface Joinable extends Entry {
  bytes: number
  readonly commands: string[]
  isClosed: boolean
}

const ROOM = 3

function start(voters: readonly string[], learners: readonly string[] = []) {
  const member = { cip: 'h', cport: 1, sip: 'h', sport: 1 }
  const members = [
    ...voters.map((id) => ({ ...member, id, voter: true })),
    ...learners.map((id) => ({ ...member, id, voter: false })),
  ]
  const config = { members, floor: 1 }
  const first: Joinable = {
    ...{ term: 1, index: 1, timeMs: 0, bytes: 10, config },
    ...{ commands: [], isClosed: true },
  }
  const raft = new Raft<Joinable>({
    ...{ id: 'a', hardState: { term: 1, vote: '' }, nowMs: 0, wallMs: 0, random: () => 0 },
    log: {
      ...{ termRuns: [first], tail: [first], lastIndex: 1, lastTimeMs: 0, commitIndex: 1 },
      configs: [{ index: 1, config }],
    },
    timing: { ...DEFAULT_TIMING, gatherBytes: 1_000 },
    createEntry: (id, timeMs, payload) => {
      const commands = payload.kind === 'command' ? [String(payload.command)] : []
      return { ...id, timeMs, bytes: 10, commands, isClosed: payload.kind !== 'command' }
    },
    extendEntry: (entry, command) => {
      if (entry.isClosed) throw new Error(`entry ${entry.index} was seen already`)
      if (entry.commands.length === ROOM) return false
      entry.commands.push(String(command))
      entry.bytes += 4
      return true
    },
    closeEntry: (entry) => {
      entry.isClosed = true
    },
  })
  const propose = (text: string) => {
    const proposed = raft.propose({ kind: 'command', command: Buffer.from(text) })
    return 'index' in proposed ? proposed.index : proposed.refused
  }
  return { raft, propose }
}

/** All there is to do; entries are durable at once. */
function takeAll(raft: Raft<Joinable>, mayWait = false): Ready<Joinable>[] {
  const all: Ready<Joinable>[] = []
  for (let ready = raft.takeReady(mayWait); ready; ready = raft.takeReady(mayWait)) {
    const sent = ready.messages.flatMap((each) => (each.type === 'append' ? each.entries : []))
    for (const entry of [...ready.entries, ...sent]) expect(entry.isClosed).toBe(true)
    all.push(ready)
    const last = ready.entries.at(-1)
    if (last) raft.stable(last)
  }
  return all
}

function lead(raft: Raft<Joinable>, voter: string): void {
  raft.campaign()
  raft.step({ type: 'preVoteResp', from: voter, to: 'a', term: 2, granted: true })
  raft.step({ type: 'voteResp', from: voter, to: 'a', term: 2, granted: true, wallMs: 0 })
  takeAll(raft)
}

/** These have everything up to `matchIndex`. */
function match(raft: Raft<Joinable>, peers: readonly string[], matchIndex: number): void {
  for (const from of peers) raft.step({ type: 'appendResp', from, to: 'a', term: 2, matchIndex })
}

const commandsOf = (readies: readonly Ready<Joinable>[], what: 'entries' | 'committed') =>
  readies.flatMap((ready) => ready[what].map(({ index, commands }) => [index, ...commands]))

test('commands of one turn are one entry, and are committed together', () => {
  const { raft, propose } = start(['a'])
  raft.campaign()
  takeAll(raft)
  expect(['x', 'y'].map(propose)).toEqual([3, 3])
  expect(raft.unappliedBytes).toBe(14)
  const readies = takeAll(raft)
  expect(commandsOf(readies, 'entries')).toEqual([[3, 'x', 'y']])
  expect(commandsOf(readies, 'committed')).toEqual([[3, 'x', 'y']])
  expect(raft.unappliedBytes).toBe(0)
  expect(raft.log.last).toEqual({ term: 2, index: 3 })
  expect(propose('z')).toBe(4)
})

test('where there is no room the next entry begins, and nothing joins one that is not the last', () => {
  const { raft, propose } = start(['a'])
  raft.campaign()
  takeAll(raft)
  expect(['1', '2', '3', '4'].map(propose)).toEqual([3, 3, 3, 4])
  raft.propose({ kind: 'time' })
  expect(propose('5')).toBe(6)
  expect(commandsOf(takeAll(raft), 'committed')).toEqual([
    [3, '1', '2', '3'],
    [4, '4'],
    [5],
    [6, '5'],
  ])
})

test('an entry that was sent takes no more, whoever it was sent to', () => {
  const { raft, propose } = start(['a', 'b', 'c'], ['d'])
  lead(raft, 'b')
  match(raft, ['b', 'c'], 2)
  takeAll(raft)
  propose('sent')
  takeAll(raft)
  // Voters have something on its way, so what comes gathers; the learner is sent it all the same.
  expect(['x', 'y'].map(propose)).toEqual([4, 4])
  takeAll(raft)
  expect(propose('z')).toBe(4)
  match(raft, ['d'], 3)
  const sent = takeAll(raft).flatMap(({ messages }) => messages)
  expect(sent.map(({ type, to }) => `${type} ${to}`)).toContain('append d')
  expect(propose('late')).toBe(5)
  match(raft, ['b', 'c'], 3)
  expect(commandsOf(takeAll(raft), 'entries')).toEqual([
    [4, 'x', 'y', 'z'],
    [5, 'late'],
  ])
})

test('one that waits for more commands takes them', () => {
  const { raft, propose } = start(['a', 'b', 'c'])
  lead(raft, 'b')
  match(raft, ['b', 'c'], 2)
  takeAll(raft)
  propose('x')
  expect(commandsOf(takeAll(raft, true), 'entries')).toEqual([])
  expect(raft.isWaiting).toBe(true)
  expect(propose('y')).toBe(3)
  expect(commandsOf(takeAll(raft), 'entries')).toEqual([[3, 'x', 'y']])
})

test('one that comes much later has a time of its own', () => {
  const { raft, propose } = start(['a', 'b', 'c'])
  lead(raft, 'b')
  expect(propose('x')).toBe(3)
  raft.tick(10, 10)
  expect(propose('y')).toBe(3)
  raft.tick(11, 11)
  expect(propose('z')).toBe(4)
  raft.propose({ kind: 'time' })
  expect(
    takeAll(raft)
      .flatMap(({ entries }) => entries)
      .map(({ timeMs }) => timeMs),
  ).toEqual([0, 11, 11])
})

test('nothing joins an entry of a term that is over', () => {
  const { raft, propose } = start(['a', 'b', 'c'])
  lead(raft, 'b')
  match(raft, ['b', 'c'], 2)
  takeAll(raft)
  propose('old')
  expect(commandsOf(takeAll(raft, true), 'entries')).toEqual([])
  raft.step({ type: 'heartbeat', from: 'b', to: 'a', term: 3, commitIndex: 0, round: 0 })
  raft.peerClosed('b')
  raft.campaign()
  raft.step({ type: 'preVoteResp', from: 'c', to: 'a', term: 4, granted: true })
  raft.step({ type: 'voteResp', from: 'c', to: 'a', term: 4, granted: true, wallMs: 0 })
  expect(propose('new')).toBe(5)
  expect(commandsOf(takeAll(raft), 'entries')).toEqual([[3, 'old'], [4], [5, 'new']])
})
