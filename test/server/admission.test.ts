import { describe, expect, test } from 'vitest'
import {
  type Condition,
  defaultReserveBytes,
  describeCondition,
  isWell,
  keptBytes,
  Lag,
  lacksMemory,
  lacksQuorum,
  type Room,
  roomOf,
  takesEntries,
  type VoterRoom,
} from '../../src/server/admission.ts'
import { ItemStore, itemBytes } from '../../src/server/keystore/item-store.ts'

const MIB = 2 ** 20

describe('disk space', () => {
  test.each([
    ['no disk is that small', 0, 0],
    ['an eighth of a small disk', 64 * MIB, 8 * MIB],
    ['no more than 256 MiB', 2 ** 40, 256 * MIB],
  ])('the default reserve: %s', (_, diskBytes, reserveBytes) => {
    expect(defaultReserveBytes(diskBytes)).toBe(reserveBytes)
  })

  // A reserve of 160, and 40 of data: 200 are kept, and 240 are free before there is room again.
  test.each<[number, Room, Room]>([
    [1_000, 'enough', 'enough'],
    [200, 'enough', 'enough'],
    [199, 'enough', 'low'],
    [200, 'low', 'low'],
    [239, 'low', 'low'],
    [240, 'low', 'enough'],
    [240, 'scarce', 'enough'],
    [239, 'none', 'low'],
    [80, 'enough', 'low'],
    [79, 'enough', 'scarce'],
    [80, 'scarce', 'low'],
    [10, 'low', 'scarce'],
    [9, 'low', 'none'],
    [0, 'enough', 'none'],
  ])('%i free after %s is %s', (freeBytes, before, room) => {
    expect(roomOf({ freeBytes, reserveBytes: 160, dataBytes: 40 }, before)).toBe(room)
  })

  test('without a reserve there is always enough', () => {
    const space = { freeBytes: 0, reserveBytes: 0, dataBytes: 1_000 }
    expect(roomOf(space, 'enough')).toBe('enough')
    expect(keptBytes(space)).toBe(0)
  })

  const own = [{ body: Buffer.from('noop\r\n') }, { body: Buffer.from('time\r\n') }]
  const config = { body: Buffer.from('config {}\r\n'), config: {} }
  const shortest = { body: Buffer.from('delete k\r\n') }
  test.each<[Room, number, boolean, boolean, boolean]>([
    ['enough', 1_000, true, true, true],
    ['low', 1_000, true, true, true],
    ['scarce', 19, true, true, true],
    ['scarce', 20, true, true, false],
    ['none', 0, true, false, false],
  ])(
    'room %s, %i taken: nothing %s, own entries %s, a write among them %s',
    (room, taken, ...is) => {
      const takes = (entries: Parameters<typeof takesEntries>[3]) =>
        takesEntries(room, 160, taken, entries)
      expect([takes([]), takes([...own, config]), takes([...own, shortest])]).toEqual(is)
    },
  )

  const voter = (room: Room | null, isLive = true): VoterRoom => ({ room, isLive })
  test.each<[string, VoterRoom[], boolean]>([
    ['all have room', [voter('enough'), voter('enough'), voter('enough')], false],
    ['one of three has none', [voter('enough'), voter('enough'), voter('low')], false],
    ['two of three have none', [voter('enough'), voter('scarce'), voter('low')], true],
    ['one has none and one is dead', [voter('enough'), voter('low'), voter(null, false)], true],
    ['two are dead: that is another story', [voter('enough'), voter(null, false)], false],
    ['one has none and one did not say', [voter('enough'), voter('low'), voter(null)], false],
    ['one of two has none', [voter('low'), voter('enough')], true],
    ['nobody is there', [], false],
  ])('a quorum lacks room: %s', (_, voters, isShort) => {
    expect(lacksQuorum(voters, ['low', 'scarce', 'none'])).toBe(isShort)
  })

  test('a quorum may lack room for writes and have some for the rest', () => {
    const voters = [voter('scarce'), voter('scarce'), voter('none')]
    expect(lacksQuorum(voters, ['low', 'scarce', 'none'])).toBe(true)
    expect(lacksQuorum(voters, ['none'])).toBe(false)
  })
})

describe('memory', () => {
  const cost = itemBytes(1, 100)
  const value = 'x'.repeat(100)
  const memory = (limitBytes: number, heldBytes = 0, inFlightBytes = 0, present?: number) => ({
    roomBytes: limitBytes - heldBytes - inFlightBytes,
    isAnyInFlight: inFlightBytes > 0,
    valueBytes: () => present,
  })
  const set = Buffer.from(`set k 0 0 100\r\n${value}\r\n`)

  test.each([
    ['fits exactly', memory(cost), false],
    ['is one byte too large', memory(cost - 1), true],
    ['fits beside what is held', memory(1_000 + cost, 1_000), false],
    ['does not fit beside what is held', memory(1_000 + cost - 1, 1_000), true],
    ['does not fit beside what is in flight', memory(1_000 + cost - 1, 500, 500), true],
    ['replaces a larger one at the limit', memory(1_000, 1_000, 0, 101), false],
    ['replaces one as large, past the limit', memory(1_000, 1_500, 0, 100), false],
    ['replaces a smaller one at the limit', memory(1_000, 1_000, 0, 50), true],
    ['meets no limit', memory(Number.POSITIVE_INFINITY, 1e15), false],
  ])('a set that %s', (_, state, isLacking) => {
    expect(lacksMemory(set, state)).toBe(isLacking)
  })

  test.each([
    [`add k 0 0 100\r\n${value}\r\n`, true],
    [`set k 0 0 100\r\n${value}\r\n`, true],
    [`append k 0 0 100 vivify=0\r\n${value}\r\n`, true],
    ['incr k 1 vivify=0\r\n', true],
    ['get k vivify=30\r\n', true],
    // These make no item.
    [`replace k 0 0 100\r\n${value}\r\n`, false],
    [`cas k 0 0 100 7\r\n${value}\r\n`, false],
    [`append k 0 0 100\r\n${value}\r\n`, false],
    ['incr k 1\r\n', false],
    ['get k exptime=30\r\n', false],
    ['touch k 30\r\n', false],
    ['delete k\r\n', false],
    ['flush_all 0\r\n', false],
  ])('where nothing is, at the limit %j is refused: %s', (command, isLacking) => {
    expect(lacksMemory(Buffer.from(command), memory(0, 1_000))).toBe(isLacking)
  })

  test.each([
    [`replace k 0 0 100\r\n${value}\r\n`, true],
    [`append k 0 0 100\r\n${value}\r\n`, true],
    ['incr k 1\r\n', true],
    ['touch k 30\r\n', false],
    ['get k exptime=30\r\n', false],
    ['delete k\r\n', false],
  ])('where something may be under way, at the limit %j is refused: %s', (command, isLacking) => {
    expect(lacksMemory(Buffer.from(command), memory(1_000, 900, 100))).toBe(isLacking)
  })

  test.each([
    ['replace k 0 0 1\r\nx\r\n', 1, false],
    ['append k 0 0 1\r\nx\r\n', 1, true],
    ['prepend k 0 0 0\r\n\r\n', 1, false],
    // A number may become as long as any.
    ['incr k 1\r\n', 1, true],
    ['incr k 1\r\n', 20, false],
    ['get k exptime=30 recache=1\r\n', 5, false],
    ['touch k 0\r\n', 5, false],
    ['delete k stale exptime=30\r\n', 5, false],
  ])('at the limit %j over a value of %d bytes is refused: %s', (command, bytes, isLacking) => {
    expect(lacksMemory(Buffer.from(command), memory(0, 1_000, 0, bytes))).toBe(isLacking)
  })

  test('a store knows what its items take', () => {
    const items = new ItemStore()
    const put = (key: string, bytes: number) => {
      const fields = { flags: 0, expiresAtMs: 0, casUnique: 1, marks: 0 }
      const item = { ...fields, value: Buffer.alloc(bytes), isFetched: false, accessedS: 0 }
      items.set(key, item)
    }
    put('a', 10)
    put('bc', 20)
    put('a', 5)
    expect(items.bytes).toBe(itemBytes(1, 5) + itemBytes(2, 20))
    items.delete('bc')
    items.delete('bc')
    expect(items.bytes).toBe(itemBytes(1, 5))
  })

  test('the item it replaces is looked up by its key', () => {
    const valueBytes = (key: string) => (key === 'k' ? 100 : undefined)
    expect(lacksMemory(set, { ...memory(0), valueBytes })).toBe(false)
    const other = Buffer.from(set.toString().replace(' k ', ' j '))
    expect(lacksMemory(other, { ...memory(0), valueBytes })).toBe(true)
  })
})

describe('slow disks', () => {
  const RULES = { lateMs: 100, slowMs: 300, graceMs: 0, againMs: 0 }

  /** `[time, wanted, reached]` one after the other; how slow it is after each. */
  function slowAfter(...steps: [nowMs: number, wanted: number, reached: number][]): number[] {
    const lag = new Lag(RULES)
    return steps.map(([nowMs, wanted, reached]) => {
      lag.update(nowMs, wanted, reached)
      return lag.slowForMs(nowMs)
    })
  }

  test('one that hangs is slow after a while', () => {
    expect(slowAfter([0, 5, 4], [100, 9, 4], [299, 9, 4], [300, 9, 4], [900, 9, 4])).toEqual([
      ...[0, 0, 0],
      ...[300, 900],
    ])
  })

  test('one that stalls once is not, however long the next ones wait behind it', () => {
    expect(slowAfter([0, 5, 4], [250, 9, 9], [260, 10, 9], [310, 10, 10], [900, 10, 10])).toEqual([
      ...[0, 0, 0, 0, 0],
    ])
  })

  test('one that is late again and again is', () => {
    expect(slowAfter([0, 2, 1], [150, 4, 3], [300, 6, 5], [450, 8, 7])).toEqual([0, 0, 300, 450])
  })

  test('one write in time, and it is not any more', () => {
    const steps = slowAfter([0, 2, 1], [150, 4, 3], [300, 6, 5], [310, 6, 6], [320, 6, 6])
    expect(steps).toEqual([0, 0, 300, 0, 0])
  })

  test('late now and late long ago is not slow', () => {
    expect(slowAfter([0, 2, 1], [150, 2, 2], [9_000, 4, 2], [9_150, 4, 4])).toEqual([0, 0, 0, 0])
  })

  test('idle for a while, it is not slow any more', () => {
    expect(slowAfter([0, 2, 1], [400, 2, 2], [600, 2, 2], [701, 2, 2])).toEqual([0, 400, 400, 0])
  })

  test('always a little behind is not slow', () => {
    const steps: [number, number, number][] = []
    for (let at = 0; at < 100; at++) steps.push([10 * at, at + 5, at])
    expect(Math.max(...slowAfter(...steps))).toBe(0)
  })

  test('what nobody waits for any more is not late: the log was cut there', () => {
    expect(slowAfter([0, 9, 1], [10, 3, 3], [1_000, 3, 3])).toEqual([0, 0, 0])
  })
})

describe('what a server says of itself', () => {
  const well: Condition = {
    ...{ room: 'enough', freeBytes: 1e9, keptBytes: 256 * MIB },
    ...{ slowForMs: 0, owedIndex: 0, mendedCount: 0 },
  }
  test.each<[Condition, string | null]>([
    [well, null],
    [
      { ...well, room: 'low', freeBytes: 12.5 * MIB },
      'out of disk space: 12 MiB free, 256 MiB kept',
    ],
    [
      { ...well, room: 'none', freeBytes: 0, keptBytes: 20 * 2 ** 30 },
      'out of disk space: 0 KiB free, 20 GiB kept',
    ],
    [{ ...well, slowForMs: 1_234 }, 'slow disk: writes late for 1.2 s'],
    [{ ...well, owedIndex: 900 }, 'log damaged: gets entries up to 900 from others'],
    [{ ...well, mendedCount: 2 }, 'disk rots: 2 damaged places replaced since its start'],
    [
      { ...well, room: 'scarce', freeBytes: 4 * MIB, slowForMs: 2_000 },
      'out of disk space: 4096 KiB free, 256 MiB kept; slow disk: writes late for 2.0 s',
    ],
  ])('%j', (condition, text) => {
    expect(describeCondition(condition)).toBe(text)
    expect(isWell(condition)).toBe(text === null)
  })
})
