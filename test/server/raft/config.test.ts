import { describe, expect, test } from 'vitest'
import {
  EMPTY_CONFIG,
  isQuorum,
  isSingleChange,
  memberOf,
  quorumSize,
  quorumValue,
  voterIds,
} from '../../../src/server/raft/config.ts'
import { parseConfig } from './describe.ts'

describe('quorum of', () => {
  test.each([
    { voters: 1, size: 1 },
    { voters: 2, size: 2 },
    { voters: 3, size: 2 },
    { voters: 4, size: 3 },
    { voters: 5, size: 3 },
  ])('$voters voters is $size', ({ voters, size }) => {
    expect(quorumSize(voters)).toBe(size)
  })
})

describe('quorumValue', () => {
  test.each([
    { config: '1', reached: [7], value: 7 },
    { config: '1 2', reached: [7, 3], value: 3 },
    { config: '1 2 3', reached: [7, 3, 5], value: 5 },
    { config: '1 2 3 4', reached: [7, 3, 5, 6], value: 5 },
    { config: '1 2 3 4 5', reached: [9, 1, 9, 1, 4], value: 4 },
    // Numbers, not text: 10 is more than 9.
    { config: '1 2 3', reached: [10, 9, 8], value: 9 },
    // Learners do not count.
    { config: '1 2 3 | 4 5', reached: [2, 1, 1, 9, 9], value: 1 },
    { config: '', reached: [9], value: 0 },
  ])('of [$reached] among "$config" is $value', ({ config, reached, value }) => {
    expect(quorumValue(parseConfig(config), (id) => reached[Number(id) - 1] ?? 0)).toBe(value)
  })
})

describe('isQuorum', () => {
  test.each([
    { config: '1', ids: ['1'], is: true },
    { config: '1 2', ids: ['1'], is: false },
    { config: '1 2 3', ids: ['1'], is: false },
    { config: '1 2 3', ids: ['1', '3'], is: true },
    { config: '1 2 3 4', ids: ['1', '3'], is: false },
    { config: '1 2 | 3', ids: ['1', '3'], is: false },
    { config: '', ids: ['1'], is: false },
    { config: '| 1', ids: ['1'], is: false },
  ])('of $ids in "$config" is $is', ({ config, ids, is }) => {
    expect(isQuorum(parseConfig(config), (id) => ids.includes(id))).toBe(is)
  })
})

describe('isSingleChange', () => {
  test.each([
    { from: '1', to: '1 | 2', is: true },
    { from: '1 | 2', to: '1 2', is: true },
    { from: '1 2', to: '1 2 3', is: true },
    { from: '1 2 3', to: '1 2', is: true },
    { from: '1 2 3', to: '1 2 | 3', is: true },
    { from: '1 2 3', to: '1 2 3', is: true },
    { from: '1 | 2 3', to: '1 | 4 5', is: true },
    { from: '1 2', to: '1 2 3 floor=3', is: true },
    { from: '1', to: '1 2 3', is: false },
    { from: '1 2 3', to: '1', is: false },
    { from: '1 2 3', to: '1 2 4', is: false },
    { from: '1 2 | 3', to: '1 3 | 2', is: false },
    { from: '1', to: '| 1', is: false },
    { from: '1', to: '', is: false },
    { from: '1 2', to: '1 2 2', is: false },
    { from: '1 2', to: '1 2 | 2', is: false },
    { from: '1 2 3 floor=3', to: '1 2 3', is: false },
  ])('from "$from" to "$to" is $is', ({ from, to, is }) => {
    expect(isSingleChange(parseConfig(from), parseConfig(to))).toBe(is)
  })
})

test.each([
  [undefined, 3, true],
  [undefined, 2, true],
  [2, undefined, true],
  [3, 3, true],
  [3, 4, true],
  [3, 2, false],
  [3, undefined, false],
])('from protocol %s to %s: %s', (from, to, is) => {
  const config = parseConfig('1 2')
  const speaking = (protocol?: number) => (protocol ? { ...config, protocol } : config)
  expect(isSingleChange(speaking(from), speaking(to))).toBe(is)
})

test('members are found with and without a vote', () => {
  const config = parseConfig('1 2 | 3')
  expect(voterIds(config)).toEqual(['1', '2'])
  expect(memberOf(config, '3')?.voter).toBe(false)
  expect(memberOf(config, '4')).toBeUndefined()
  expect(voterIds(EMPTY_CONFIG)).toEqual([])
})
