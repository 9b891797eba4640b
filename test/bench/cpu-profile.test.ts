import { expect, test } from 'vitest'
import { describeSelfTimes, selfTimes } from '../../bench/cpu-profile.ts'

const frame = (functionName: string, url = '', lineNumber = -1) => ({
  callFrame: { functionName, url, lineNumber },
})

test('times of a function add up wherever it was called; what was idle does not count', () => {
  const profile = {
    nodes: [
      { id: 1, ...frame('(idle)') },
      { id: 2, ...frame('apply', 'file:///p/dist/node.js', 9) },
      { id: 3, ...frame('', 'file:///p/dist/node.js', 20) },
      { id: 4, ...frame('apply', 'file:///p/dist/node.js', 9) },
      { id: 5, ...frame('writev') },
    ],
    samples: [1, 2, 3, 4, 5, 2],
    timeDeltas: [100_000, 1_000, 500, 2_000, 5_500, 1_000],
  }
  const times = selfTimes(profile)
  expect(times).toEqual([
    { name: 'writev', place: '', ms: 5.5 },
    { name: 'apply', place: 'node.js:10', ms: 4 },
    { name: '(anonymous)', place: 'node.js:21', ms: 0.5 },
  ])
  const lines = describeSelfTimes(times, 2).split('\n')
  expect(lines[0]?.trim()).toBe('55.0 %      6 ms  writev')
  expect(lines[1]?.trim()).toBe('40.0 %      4 ms  apply  node.js:10')
  expect(lines).toHaveLength(3)
})
