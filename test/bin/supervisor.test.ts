import type { ChildProcess } from 'node:child_process'
import { EventEmitter } from 'node:events'
import { describe, expect, test } from 'vitest'
import { STARTED, Supervisor } from '../../bin/supervisor.ts'
import { ManualTimers, settle } from '../io/manual-timers.ts'

/** A process that does nothing by itself. */
class FakeChild extends EventEmitter {
  pid: number | undefined = 1
  readonly signals: string[] = []

  kill(signal: string): boolean {
    return this.signals.push(signal) > 0
  }

  end(code: number | null, signal: string | null = null): void {
    this.emit('exit', code, signal)
  }
}

class Story {
  readonly timers = new ManualTimers()
  readonly said: string[] = []
  /** All that were forked, by the member's name, the newest last. */
  readonly children = new Map<string, FakeChild[]>()
  failureCount = 0
  /** How the system refuses the next processes. */
  refusal: 'thrown' | 'emitted' | null = null
  nowMs = 0
  readonly supervisor: Supervisor

  constructor({ restart = true, refusal = null as Story['refusal'] } = {}) {
    this.refusal = refusal
    this.supervisor = new Supervisor(
      ['lb', 'srv'].map((name) => ({ name, args: [name] })),
      {
        io: {
          timers: this.timers,
          clock: { monotonicMs: () => this.nowMs, wallMs: () => this.nowMs },
        },
        fork: ([name = '']) => this.fork(name),
        say: (text) => this.said.push(text),
        restart,
        onFailure: () => this.failureCount++,
      },
    )
    this.supervisor.start()
  }

  fork(name: string): ChildProcess {
    const error = new Error('spawn node EAGAIN')
    if (this.refusal === 'thrown') throw error
    const child = new FakeChild()
    if (this.refusal === 'emitted') {
      child.pid = undefined
      process.nextTick(() => child.emit('error', error))
    }
    this.children.set(name, [...(this.children.get(name) ?? []), child])
    return child as unknown as ChildProcess
  }

  child(name: string): FakeChild {
    const child = this.children.get(name)?.at(-1)
    if (!child) throw new Error(`${name} was never forked`)
    return child
  }

  count(name: string): number {
    return this.children.get(name)?.length ?? 0
  }
}

/** All members have started, and the cluster is ready. */
function ready(options = {}): Story {
  const story = new Story(options)
  for (const name of ['lb', 'srv']) story.child(name).emit('message', STARTED)
  story.supervisor.becomeReady()
  return story
}

test('a member that dies is started again, each time later, until it runs for long', () => {
  const story = ready()
  for (const seconds of [1, 2, 4, 8, 16, 30, 30]) {
    story.child('srv').end(null, 'SIGKILL')
    expect(story.said.at(-1)).toBe(`srv was ended by SIGKILL: starting it again in ${seconds} s`)
    story.timers.fire()
  }
  story.nowMs += 60_001
  story.child('srv').end(1)
  expect(story.said.at(-1)).toBe('srv ended with exit status 1: starting it again in 1 s')
  expect([story.count('lb'), story.count('srv')]).toEqual([1, 8])
})

test('one that ended in order, or that is not to be started again, stays down', () => {
  const story = ready()
  story.child('srv').end(0)
  const other = ready({ restart: false })
  other.child('srv').end(1)
  expect([...story.said, ...other.said]).toEqual([
    'srv ended with exit status 0',
    'srv ended with exit status 1',
  ])
  expect([story, other].map(({ timers }) => timers.waitingCount)).toEqual([0, 0])
})

test('all have started once each of them has said so', () => {
  const story = new Story()
  story.child('lb').emit('message', STARTED)
  story.child('srv').emit('message', 'something else')
  expect(story.supervisor.isStarted).toBe(false)
  story.child('srv').emit('message', STARTED)
  expect(story.supervisor.isStarted).toBe(true)
})

test('one that ends before it has started ends all of it, however long the others wait', () => {
  const story = new Story()
  story.child('lb').emit('message', STARTED)
  story.supervisor.becomeReady()
  story.child('srv').end(1)
  expect(story.said).toEqual(['srv ended with exit status 1 before it had started'])
  expect([story.failureCount, story.timers.waitingCount]).toEqual([1, 0])
})

test('so does one that has started, before the cluster is ready', () => {
  const story = new Story()
  story.child('lb').emit('message', STARTED)
  story.child('lb').end(1)
  expect(story.said).toEqual(['lb ended with exit status 1 before the cluster was ready'])
  expect([story.failureCount, story.timers.waitingCount]).toEqual([1, 0])
})

test('a stop asks all members to end, and those that do not end are killed', async () => {
  const story = ready()
  const stopped = story.supervisor.stop()
  expect(story.said).toEqual(['stopping'])
  story.child('lb').end(0)
  await settle()
  story.timers.fire()
  expect([story.child('lb'), story.child('srv')].map(({ signals }) => signals)).toEqual([
    ['SIGTERM'],
    ['SIGTERM', 'SIGKILL'],
  ])
  story.child('srv').end(null, 'SIGKILL')
  await stopped
  expect(story.said).toEqual(['stopping'])
})

test('whoever asks for a stop that is under way waits for it too', async () => {
  const story = ready()
  let overCount = 0
  for (let count = 0; count < 2; count++) void story.supervisor.stop().then(() => overCount++)
  story.child('lb').end(0)
  await settle()
  expect([overCount, story.said]).toEqual([0, ['stopping']])
  expect(story.child('srv').signals).toEqual(['SIGTERM'])
  story.child('srv').end(0)
  await settle()
  expect(overCount).toBe(2)
})

describe.each(['emitted', 'thrown'] as const)(
  'a process that the system refuses, %s',
  (refusal) => {
    test('is asked for again later', async () => {
      const story = ready()
      story.refusal = refusal
      story.child('srv').end(1)
      for (const seconds of [2, 4]) {
        story.timers.fire()
        await settle()
        expect(story.said.at(-1)).toBe(
          `srv got no process (spawn node EAGAIN): starting it again in ${seconds} s`,
        )
      }
      story.refusal = null
      story.timers.fire()
      story.child('srv').end(1)
      expect(story.said.at(-1)).toBe('srv ended with exit status 1: starting it again in 8 s')
    })

    test('is waited for by nobody who stops', async () => {
      const story = ready()
      story.refusal = refusal
      story.child('srv').end(1)
      story.timers.fire()
      await settle()
      const stopped = story.supervisor.stop()
      story.child('lb').end(0)
      await stopped
      const { length } = story.said
      story.timers.fire()
      expect(story.said).toHaveLength(length)
    })

    test('ends the whole where it is the first', async () => {
      const story = new Story({ refusal })
      await settle()
      expect(story.said).toContain('lb got no process (spawn node EAGAIN) before it had started')
      expect(story.failureCount).toBeGreaterThan(0)
    })
  },
)
