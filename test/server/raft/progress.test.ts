import { describe, expect, test } from 'vitest'
import { Progress } from '../../../src/server/raft/progress.ts'

const MEBIBYTE = 1024 * 1024

/** Its logs agree up to 10; nothing is on its way. */
function createReplicating(): Progress {
  const progress = new Progress(11, 0)
  progress.maybeMatch(10)
  return progress
}

test('a probe waits for its answer', () => {
  const progress = new Progress(11, 0)
  expect(progress.isPaused).toBe(false)
  progress.sent(12, 100, 5)
  expect(progress).toMatchObject({ state: 'probe', nextIndex: 11, isPaused: true, probeSentMs: 5 })
  expect(progress.maybeMatch(12)).toBe(true)
  expect(progress).toMatchObject({ state: 'replicate', matchIndex: 12, nextIndex: 13 })
  expect(progress.isPaused).toBe(false)
})

describe('pipeline', () => {
  test('goes on to the entry after the last that was sent', () => {
    const progress = createReplicating()
    progress.sent(12, 100, 0)
    progress.sent(13, 100, 0)
    expect(progress).toMatchObject({ nextIndex: 14, inflightCount: 2, isPaused: false })
  })

  test('does not count appends without entries', () => {
    const progress = createReplicating()
    progress.sent(10, 0, 0)
    expect(progress).toMatchObject({ nextIndex: 11, inflightCount: 0 })
  })

  test('pauses at 256 appends until one is acknowledged', () => {
    const progress = createReplicating()
    for (let index = 11; index < 11 + 255; index++) progress.sent(index, 1, 0)
    expect(progress.isPaused).toBe(false)
    progress.sent(11 + 255, 1, 0)
    expect(progress.isPaused).toBe(true)
    progress.maybeMatch(11)
    expect(progress).toMatchObject({ isPaused: false, inflightCount: 255 })
  })

  test('pauses at 16 MiB until enough is acknowledged', () => {
    const progress = createReplicating()
    progress.sent(11, 8 * MEBIBYTE, 0)
    progress.sent(12, 8 * MEBIBYTE - 1, 0)
    expect(progress.isPaused).toBe(false)
    progress.sent(13, 1, 0)
    expect(progress.isPaused).toBe(true)
    progress.maybeMatch(11)
    expect(progress.isPaused).toBe(false)
  })

  test('frees an append once all of it is acknowledged', () => {
    const progress = createReplicating()
    progress.sent(13, 100, 0)
    progress.maybeMatch(12)
    expect(progress).toMatchObject({ matchIndex: 12, nextIndex: 14, inflightCount: 1 })
    progress.maybeMatch(13)
    expect(progress.inflightCount).toBe(0)
  })
})

test('an old acknowledgement takes nothing back', () => {
  const progress = createReplicating()
  progress.sent(12, 100, 0)
  expect(progress.maybeMatch(9)).toBe(false)
  expect(progress).toMatchObject({ matchIndex: 10, nextIndex: 13, inflightCount: 1 })
})

test('what waits for the log of this server waits alone', () => {
  const progress = createReplicating()
  progress.logRead = { to: 'b', firstIndex: 1, bytesMax: 1 }
  expect(progress.isPaused).toBe(true)
})

test('a loss makes it probe from what was acknowledged, with nothing on its way', () => {
  const progress = createReplicating()
  progress.sent(12, 17 * MEBIBYTE, 0)
  progress.logRead = { to: 'b', firstIndex: 1, bytesMax: 1 }
  progress.commitSent = 12
  progress.becomeProbe()
  expect(progress).toMatchObject({
    state: 'probe',
    matchIndex: 10,
    nextIndex: 11,
    commitSent: 0,
    inflightCount: 0,
    isPaused: false,
  })
  progress.maybeMatch(10)
  progress.sent(12, 1, 0)
  expect(progress.isPaused).toBe(false)
})
