import { expect, test } from 'vitest'
import { ReadRounds } from '../../../src/server/raft/read-rounds.ts'

const A = { from: '1', id: 7 }
const B = { from: '2', id: 8 }
const C = { from: '1', id: 9 }

test('no round without reads', () => {
  const rounds = new ReadRounds()
  expect(rounds.maybeStart(5)).toBe(false)
  expect(rounds.confirm(0)).toBeNull()
  expect(rounds.round).toBe(0)
})

test('one round serves all reads that came before it, at the index of its start', () => {
  const rounds = new ReadRounds()
  rounds.add(A)
  rounds.add(B)
  expect(rounds.maybeStart(5)).toBe(true)
  expect(rounds.round).toBe(1)
  expect(rounds.confirm(0)).toBeNull()
  expect(rounds.confirm(1)).toMatchObject({ index: 5, reads: [A, B] })
  expect(rounds.confirm(1)).toBeNull()
})

test('a read that comes during a round waits for the next', () => {
  const rounds = new ReadRounds()
  rounds.add(A)
  rounds.maybeStart(5)
  rounds.add(B)
  expect(rounds.maybeStart(6)).toBe(false)
  rounds.add(C)
  expect(rounds.confirm(1)).toMatchObject({ index: 5, reads: [A] })
  expect(rounds.maybeStart(7)).toBe(true)
  expect(rounds.confirm(1)).toBeNull()
  expect(rounds.confirm(2)).toMatchObject({ index: 7, reads: [B, C] })
})

test('a later round confirms reads as well, one that was begun for nobody too', () => {
  const rounds = new ReadRounds()
  expect(rounds.begin()).toBe(1)
  rounds.add(A)
  rounds.maybeStart(5)
  expect(rounds.begin()).toBe(3)
  expect(rounds.confirm(1)).toBeNull()
  expect(rounds.confirm(3)).toMatchObject({ index: 5, reads: [A] })
})

test('reads that no round was started for can be taken back', () => {
  const rounds = new ReadRounds()
  rounds.add(A)
  rounds.maybeStart(5)
  rounds.add(B)
  expect(rounds.takeWaiting()).toEqual([B])
  expect(rounds.takeWaiting()).toEqual([])
  expect(rounds.confirm(1)).toMatchObject({ reads: [A] })
  expect(rounds.maybeStart(6)).toBe(false)
})

test('what is cleared is never served', () => {
  const rounds = new ReadRounds()
  rounds.add(A)
  rounds.maybeStart(5)
  rounds.add(B)
  rounds.clear()
  expect(rounds.confirm(1)).toBeNull()
  expect(rounds.maybeStart(6)).toBe(false)
})
