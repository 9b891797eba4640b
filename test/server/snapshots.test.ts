/** A snapshot on its way, over a link that may be cut, from and to disks in memory. */
import { describe, expect, test } from 'vitest'
import type { Io, Timer } from '../../src/io/io.ts'
import { ItemStore } from '../../src/server/keystore/item-store.ts'
import { type KeystoreHeader, writeKeystore } from '../../src/server/keystore/keystore-file.ts'
import type { Snap, SnapResp } from '../../src/server/peer-messages.ts'
import {
  type ReceivedSnapshot,
  SnapshotReceiver,
  SnapshotSender,
} from '../../src/server/snapshots.ts'
import { settle } from '../io/manual-timers.ts'
import { MemoryDisk } from '../io/memory-disk.ts'

const GROUP = 'data/groups/0'
const PATH = `${GROUP}/keystore`
const PIECE_BYTES = 1_000
const STEP_MS = 100
const HEADER: KeystoreHeader = {
  ...{ format: 2, clusterId: 'c', group: 0, index: 900, term: 3, timeMs: 5_000, flushAtMs: 0 },
  config: { members: [], floor: 2 },
}

class Transfer {
  readonly from = new MemoryDisk()
  readonly to = new MemoryDisk()
  readonly events: string[] = []
  /** Offsets of the pieces that left. */
  readonly pieces: number[] = []
  received: ReceivedSnapshot | null = null
  isCut = false
  #nowMs = 0
  #timers: { readonly atMs: number; readonly fn: () => void }[] = []
  readonly sender: SnapshotSender
  readonly receiver: SnapshotReceiver

  constructor() {
    const io: Io = {
      clock: { monotonicMs: () => this.#nowMs, wallMs: () => this.#nowMs },
      random: { float: () => 0, hex: () => 'f00d' },
      timers: { after: (delayMs, fn) => this.#after(delayMs, fn), soon: setImmediate },
      disk: this.from,
      network: null as never,
      process: null as never,
    }
    this.sender = new SnapshotSender({
      ...{ io, path: PATH, pieceBytes: PIECE_BYTES },
      send: (message) => {
        if (message.piece.length > 0) this.pieces.push(message.offset)
        this.#pass(() => this.receiver.receive({ ...message, from: 'a', term: 3 } as Snap))
      },
      onMoved: () => {},
      onEnded: () => void this.events.push('ended'),
      onDamaged: () => void this.events.push('damaged'),
    })
    this.receiver = new SnapshotReceiver({
      ...{ disk: this.to, directory: GROUP, clusterId: 'c' },
      send: (message) =>
        this.#pass(() => this.sender.answered({ ...message, from: 'b', term: 3 } as SnapResp)),
      onReceived: async (snapshot) => {
        this.received = snapshot
        this.events.push('received')
      },
      onKnown: () => void this.events.push('known'),
      onFailure: (error) => void this.events.push(`failed: ${error}`),
    })
  }

  /** A keystore file of about this size. */
  async prepare(itemCount = 100, header = HEADER): Promise<number> {
    const items = new ItemStore()
    for (let at = 0; at < itemCount; at++) {
      const value = Buffer.from(`${at}`.padEnd(200, 'v'))
      const fields = { flags: 0, expiresAtMs: 0, casUnique: at + 1, marks: 0 }
      items.set(`key-${at}`, { ...fields, value, isFetched: false, accessedS: 0 })
    }
    await this.from.makeDirectory(GROUP)
    await this.to.makeDirectory(GROUP)
    return writeKeystore(this.from, GROUP, header, items.view())
  }

  async run(ms: number): Promise<void> {
    for (const endMs = this.#nowMs + ms; this.#nowMs < endMs; this.#nowMs += STEP_MS) {
      for (let round = 0; round < 10; round++) await settle()
      const due = this.#timers.filter(({ atMs }) => atMs <= this.#nowMs)
      this.#timers = this.#timers.filter((timer) => !due.includes(timer))
      for (const { fn } of due) fn()
    }
  }

  #after(delayMs: number, fn: () => void): Timer {
    const timer = { atMs: this.#nowMs + delayMs, fn }
    this.#timers.push(timer)
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== timer)
      },
    }
  }

  #pass(deliver: () => void): void {
    if (!this.isCut) queueMicrotask(deliver)
  }
}

test.each([HEADER, { ...HEADER, format: 1 } as const])(
  'the whole file arrives, in pieces, each sent once, in format $format',
  async (header) => {
    const transfer = new Transfer()
    const bytes = await transfer.prepare(100, header)
    transfer.sender.start('b')
    await transfer.run(5_000)
    expect(transfer.events).toEqual(['received', 'ended'])
    expect(transfer.received?.header).toEqual(header)
    expect(transfer.received?.machine.items.count).toBe(100)
    expect(transfer.to.bytes(`${GROUP}/snapshot`)).toEqual(transfer.from.bytes(PATH))
    const count = Math.ceil(bytes / PIECE_BYTES)
    expect(transfer.pieces).toEqual(Array.from({ length: count }, (_, at) => at * PIECE_BYTES))
  },
)

test('after a cut it goes on where it was', async () => {
  const transfer = new Transfer()
  const bytes = await transfer.prepare(2_000)
  transfer.sender.start('b')
  await settle()
  while (transfer.pieces.length < 10) await settle()
  transfer.isCut = true
  await transfer.run(2_000)
  const sentCount = transfer.pieces.length
  transfer.isCut = false
  await transfer.run(60_000)
  expect(transfer.events).toEqual(['received', 'ended'])
  expect(transfer.pieces[sentCount]).toBeGreaterThanOrEqual(9 * PIECE_BYTES)
  // At the most what was on its way is sent again.
  expect(transfer.pieces.length).toBeLessThanOrEqual(Math.ceil(bytes / PIECE_BYTES) + 1)
  expect(transfer.to.bytes(`${GROUP}/snapshot`)).toEqual(transfer.from.bytes(PATH))
})

test('a cut that lasts ends it', async () => {
  const transfer = new Transfer()
  await transfer.prepare(2_000)
  transfer.sender.start('b')
  await settle()
  transfer.isCut = true
  await transfer.run(7_000)
  expect(transfer.events).toEqual(['ended'])
  expect(await transfer.to.list(GROUP)).not.toContain('snapshot')
})

test('a newer file under its name does not mix with it', async () => {
  const transfer = new Transfer()
  await transfer.prepare(2_000)
  const before = transfer.from.bytes(PATH)
  transfer.sender.start('b')
  while (transfer.pieces.length < 10) await settle()
  await transfer.prepare(50)
  await transfer.run(60_000)
  expect(transfer.events).toEqual(['received', 'ended'])
  expect(transfer.to.bytes(`${GROUP}/snapshot`)).toEqual(before)
})

test('a damaged file is refused, and its leader hears of it', async () => {
  const transfer = new Transfer()
  const bytes = await transfer.prepare()
  transfer.from.flipBit(PATH, Math.floor(bytes / 2))
  transfer.sender.start('b')
  await transfer.run(5_000)
  expect(transfer.events).toEqual(['damaged', 'ended'])
  expect(transfer.received).toBe(null)
  expect(await transfer.to.list(GROUP)).not.toContain('snapshot')
})

test.each([
  ['can not be read', () => Promise.reject(Object.assign(new Error('EIO'), { code: 'EIO' }))],
  ['is shorter than it was', () => Promise.resolve(Buffer.alloc(0))],
])('a file that %s is written again', async (_, read) => {
  const transfer = new Transfer()
  await transfer.prepare()
  const { from } = transfer
  const open = from.open.bind(from)
  from.open = async (path, options) => {
    const file = await open(path, options)
    return { ...file, read, size: () => file.size(), close: () => file.close() }
  }
  transfer.sender.start('b')
  await transfer.run(2_000)
  expect(transfer.events).toEqual(['damaged', 'ended'])
})

test('a disk that fails under it is reported', async () => {
  const transfer = new Transfer()
  await transfer.prepare()
  transfer.to.fail('datasync')
  transfer.sender.start('b')
  await transfer.run(2_000)
  expect(transfer.events[0]).toMatch(/^failed: Error: EIO/)
})

test('who leads no more sends no more', async () => {
  const transfer = new Transfer()
  await transfer.prepare(2_000)
  transfer.sender.start('b')
  while (transfer.pieces.length < 10) await settle()
  transfer.sender.stop()
  const sentCount = transfer.pieces.length
  await transfer.run(10_000)
  expect(transfer.pieces.length).toBeLessThanOrEqual(sentCount + 1)
  expect(transfer.events).toEqual([])
})

const STEPS = ['open', 'size', 'read'] as const

/** Opened, asked for its size and read, it waits to be told how that ends. */
class HeldFile {
  openCount = 0
  /** Closed twice, or while it was read: by then its number may be another file's. */
  isMisused = false
  #waiting: { readonly step: string; readonly end: (error?: Error) => void }[] = []

  constructor(disk: MemoryDisk) {
    const open = disk.open.bind(disk)
    disk.open = async (path, options) => {
      const file = await open(path, options)
      await this.#turn('open')
      this.openCount++
      let usedCount = 0
      const use = async <T>(step: string, call: () => Promise<T>) => {
        usedCount++
        await this.#turn(step).finally(() => usedCount--)
        return call()
      }
      let isClosed = false
      return {
        ...file,
        size: () => use('size', () => file.size()),
        read: (offset, length) => use('read', () => file.read(offset, length)),
        close: async () => {
          this.isMisused ||= isClosed || usedCount > 0
          isClosed = true
          this.openCount--
        },
      }
    }
  }

  async until(step: string): Promise<void> {
    while (this.#waiting[0]?.step !== step) {
      this.end()
      await settle()
    }
  }

  end(error?: Error): void {
    this.#waiting.shift()?.end(error)
  }

  #turn(step: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ step, end: (error) => (error ? reject(error) : resolve()) })
    })
  }
}

describe('a file that is sent is closed once, and nobody reads it then', () => {
  const CASES = STEPS.flatMap((step) =>
    [true, false].flatMap((isStopped) =>
      ['and goes on', 'and fails'].map((outcome) => ({ step, isStopped, outcome })),
    ),
  )

  test.each(CASES)(
    'stopped: $isStopped, at $step $outcome',
    async ({ step, isStopped, outcome }) => {
      const transfer = new Transfer()
      await transfer.prepare()
      const held = new HeldFile(transfer.from)
      transfer.sender.start('b')
      await held.until(step)
      if (isStopped) transfer.sender.stop()
      held.end(outcome === 'and fails' ? new Error('EBUSY') : undefined)
      await settle()
      if (!isStopped && outcome === 'and fails') expect(transfer.events).toEqual(['ended'])
      transfer.sender.stop()
      for (let count = 0; count < 3; count++) {
        held.end()
        await settle()
      }
      expect(held).toMatchObject({ openCount: 0, isMisused: false })
    },
  )
})
