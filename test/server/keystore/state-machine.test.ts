import fc from 'fast-check'
import { beforeEach, describe, expect, test } from 'vitest'
import { parseOptions } from '../../../src/protocol/commands.ts'
import type { CommandReply } from '../../../src/protocol/replies.ts'
import { type Item, type ItemsView, SLICES } from '../../../src/server/keystore/item-store.ts'
import { type MachineState, StateMachine } from '../../../src/server/keystore/state-machine.ts'
import { EMPTY_CONFIG } from '../../../src/server/raft/config.ts'
import { appliedEntry } from './applied-entry.ts'

const START_MS = 1_700_000_000_500
const DAY_SECONDS = 24 * 60 * 60

let machine: StateMachine
let timeMs: number

beforeEach(() => {
  machine = new StateMachine()
  timeMs = START_MS
})

function applyWhole(body: string | Buffer): CommandReply {
  return machine.apply(appliedEntry(machine.appliedIndex + 1, timeMs, body))
}

/** Applies the next entry, with a command as the log has it. */
function apply(body: string | Buffer): string {
  return applyWhole(body).line
}

function store(verb: string, key: string, value: string, exptime = 0, cas = ''): string {
  return apply(`${verb} ${key} 5 ${exptime} ${value.length}${cas && ` ${cas}`}\r\n${value}\r\n`)
}

function set(key: string, value: string, exptime = 0): string {
  return store('set', key, value, exptime)
}

/** Lets log time pass, by an entry that says so. */
function pass(ms: number): void {
  timeMs += ms
  expect(apply('time\r\n')).toBe('')
}

/** Lets every part of what has expired have its second, and somewhat more. */
function passSweeps(): void {
  for (let second = 0; second < SLICES; second++) pass(1000)
}

function valueAt(key: string): string | undefined {
  return machine.get(key)?.value.toString('latin1')
}

describe('commands', () => {
  test('set stores, and replaces', () => {
    expect(set('k', 'one')).toBe('STORED')
    expect(machine.get('k')).toMatchObject({ flags: 5, casUnique: 1, expiresAtMs: 0 })
    expect(set('k', '')).toBe('STORED')
    expect(valueAt('k')).toBe('')
    expect(machine.get('k')?.casUnique).toBe(2)
    expect(machine.items.count).toBe(1)
  })

  test('add stores only where nothing is', () => {
    expect(store('add', 'k', 'one')).toBe('STORED')
    expect(store('add', 'k', 'two')).toBe('NOT_STORED')
    expect(valueAt('k')).toBe('one')
    expect(machine.get('k')?.casUnique).toBe(1)
    apply('delete k\r\n')
    expect(store('add', 'k', 'three')).toBe('STORED')
  })

  test('cas stores where the item is still the one that was read', () => {
    expect(store('cas', 'k', 'x', 0, '1')).toBe('NOT_FOUND')
    set('k', 'one')
    expect(store('cas', 'k', 'x', 0, '1')).toBe('EXISTS')
    expect(store('cas', 'k', 'two', 0, '2')).toBe('STORED')
    expect(machine.get('k')).toMatchObject({ casUnique: 4 })
    expect(store('cas', 'k', 'x', 0, '2')).toBe('EXISTS')
    expect(store('cas', 'k', 'x', 0, '18446744073709551615')).toBe('EXISTS')
    expect(valueAt('k')).toBe('two')
  })

  test('delete says whether something was there', () => {
    expect(apply('delete k\r\n')).toBe('NOT_FOUND')
    set('k', 'one')
    expect(apply('delete k\r\n')).toBe('DELETED')
    expect(machine.get('k')).toBeUndefined()
    expect(machine.items.count).toBe(0)
    expect(apply('delete k\r\n')).toBe('NOT_FOUND')
  })

  test('the CAS unique of an item is the index that wrote it', () => {
    apply('noop\r\n')
    apply('noop\r\n')
    set('k', 'one')
    expect(machine.get('k')?.casUnique).toBe(3)
  })

  test('values and keys are bytes', () => {
    const value = Buffer.from('\r\nset x 0 0 1\r\n\0\xff', 'latin1')
    const line = Buffer.from(`set k\xe9\xff 4294967295 0 ${value.length}\r\n`, 'latin1')
    expect(apply(Buffer.concat([line, value, Buffer.from('\r\n')]))).toBe('STORED')
    expect(machine.get('k\xe9\xff')?.value.equals(value)).toBe(true)
    expect(machine.get('k\xe9\xff')?.flags).toBe(4294967295)
  })

  test('keys that are named like what objects have', () => {
    for (const key of ['__proto__', 'constructor', 'toString']) {
      expect(machine.get(key)).toBeUndefined()
      set(key, 'x')
      expect(valueAt(key)).toBe('x')
    }
  })

  test('a value is a copy of its own', () => {
    const entry = appliedEntry(1, timeMs, 'set k 0 0 3\r\none\r\n')
    machine.apply(entry)
    entry.memory.fill('x')
    expect(valueAt('k')).toBe('one')
  })

  test('entries of the log itself change nothing and have no reply', () => {
    set('k', 'one')
    for (const body of ['noop\r\n', 'time\r\n', 'config {"members":[],"floor":2}\r\n']) {
      expect(apply(body)).toBe('')
    }
    expect(machine.items.count).toBe(1)
    expect(machine.appliedIndex).toBe(4)
  })

  test('what no version of this store wrote is an error', () => {
    expect(() => apply('rename k l\r\n')).toThrow(/unknown command in the log: "rename"/)
  })
})

/** What an item is, in a line; `-` for none. */
function show(key: string): string {
  const found = machine.get(key)
  if (!found) return '-'
  const { flags, expiresAtMs, casUnique, marks, value } = found
  const left = expiresAtMs === 0 ? '' : ` for ${(expiresAtMs - timeMs) / 1000} s`
  return `"${value}" flags ${flags} cas ${casUnique}${left}${marks ? ` marks ${marks}` : ''}`
}

describe('commands that begin with what is there', () => {
  test('replace stores only where something is', () => {
    expect(store('replace', 'k', 'one')).toBe('NOT_STORED')
    set('k', 'one', 60)
    expect(store('replace', 'k', 'two')).toBe('STORED')
    expect(show('k')).toBe('"two" flags 5 cas 3')
  })

  test('append and prepend keep flags and exptime, and make a new cas unique', () => {
    expect(apply('append k 0 0 1\r\nx\r\n')).toBe('NOT_STORED')
    expect(apply('prepend k 0 0 1\r\nx\r\n')).toBe('NOT_STORED')
    set('k', 'b', 60)
    expect(applyWhole('append k 0 0 1\r\nc\r\n')).toMatchObject({
      line: 'STORED',
      item: { casUnique: 4, valueBytes: 2, ttlS: 60 },
    })
    apply('prepend k 0 0 1\r\na\r\n')
    expect(show('k')).toBe('"abc" flags 5 cas 5 for 60 s')
  })

  test('append makes an item where it may, with flags and a time of its own', () => {
    expect(applyWhole('append k 9 0 2 vivify=30 unique=77\r\nab\r\n')).toMatchObject({
      line: 'STORED',
      item: { casUnique: 77, valueBytes: 2, ttlS: 30 },
    })
    expect(show('k')).toBe('"ab" flags 9 cas 77 for 30 s')
    apply('append k 1 0 2 vivify=90 unique=78\r\ncd\r\n')
    expect(show('k')).toBe('"abcd" flags 9 cas 78 for 30 s')
  })

  test('append with a cas unique to compare', () => {
    expect(apply('append k 0 0 1 compare=1\r\nx\r\n')).toBe('NOT_STORED')
    set('k', 'a')
    expect(apply('append k 0 0 1 compare=1\r\nx\r\n')).toBe('EXISTS')
    expect(apply('append k 0 0 1 compare=2\r\nx\r\n')).toBe('STORED')
    expect(show('k')).toBe('"ax" flags 5 cas 4')
  })

  test('an append past the limit is not stored, and the limit is in the log', () => {
    const config = { ...EMPTY_CONFIG, itemSizeMax: 1_024 }
    machine.apply(appliedEntry(1, timeMs, 'config\r\n', config))
    set('k', 'x'.repeat(1_023))
    expect(apply('append k 0 0 1\r\nx\r\n')).toBe('STORED')
    expect(apply('append k 0 0 1\r\nx\r\n')).toBe('NOT_STORED')
    expect(apply('prepend k 0 0 0\r\n\r\n')).toBe('STORED')
    const index = machine.appliedIndex + 1
    machine.apply(appliedEntry(index, timeMs, 'config\r\n', EMPTY_CONFIG))
    expect(apply('append k 0 0 1\r\nx\r\n')).toBe('STORED')
  })

  test('touch sets the time and nothing else', () => {
    expect(apply('touch k 10\r\n')).toBe('NOT_FOUND')
    set('k', 'x')
    expect(apply('touch k 10\r\n')).toBe('TOUCHED')
    expect(show('k')).toBe('"x" flags 5 cas 2 for 10 s')
    expect(apply('touch k 0\r\n')).toBe('TOUCHED')
    expect(show('k')).toBe('"x" flags 5 cas 2')
    expect(apply('touch k -1\r\n')).toBe('TOUCHED')
    expect(show('k')).toBe('-')
    expect(machine.items.count).toBe(0)
  })

  test('what has expired is nowhere', () => {
    for (const key of ['a', 'b', 'c', 'd', 'e', 'f']) set(key, '1', 1)
    pass(1_000)
    expect(store('replace', 'a', 'x')).toBe('NOT_STORED')
    expect(apply('append b 0 0 1\r\nx\r\n')).toBe('NOT_STORED')
    expect(apply('incr c 1\r\n')).toBe('NOT_FOUND')
    expect(apply('touch d 9\r\n')).toBe('NOT_FOUND')
    expect(apply('get e exptime=9\r\n')).toBe('END')
    expect(apply('delete f stale\r\n')).toBe('NOT_FOUND')
  })

  test('an item can have a key that no line can', () => {
    expect(apply('set YSBi 0 0 1 base64\r\nx\r\n')).toBe('STORED')
    expect(valueAt('a b')).toBe('x')
    expect(apply('incr YSBi 1 vivify=0 base64\r\n')).toMatch('CLIENT_ERROR')
    expect(apply('delete YSBi base64\r\n')).toBe('DELETED')
  })

  test('a cas unique that was chosen is the one to compare', () => {
    apply('set k 0 0 1 unique=18446744073709551615\r\nx\r\n')
    expect(apply('cas k 0 0 1 18446744073709551614\r\ny\r\n')).toBe('EXISTS')
    expect(apply('cas k 0 0 1 18446744073709551615 unique=3\r\ny\r\n')).toBe('STORED')
    expect(show('k')).toBe('"y" flags 0 cas 3')
  })
})

describe('incr and decr', () => {
  test('answer the new number; flags and exptime stay, the cas unique does not', () => {
    set('k', '10', 60)
    expect(applyWhole('incr k 5\r\n')).toMatchObject({ line: '15', item: { casUnique: 2 } })
    expect(apply('decr k 4\r\n')).toBe('11')
    expect(show('k')).toBe('"11" flags 5 cas 3 for 60 s')
    expect(apply('incr missing 1\r\n')).toBe('NOT_FOUND')
  })

  test('a shorter number is padded where the longer one stood', () => {
    set('k', '100')
    expect(apply('decr k 99\r\n')).toBe('1')
    expect(valueAt('k')).toBe('1  ')
    expect(apply('incr k 18446744073709551614\r\n')).toBe('18446744073709551615')
    expect(apply('incr k 2\r\n')).toBe('1')
    expect(valueAt('k')).toBe('1'.padEnd(20))
    expect(apply('decr k 2\r\n')).toBe('0')
  })

  test('what is no number stays', () => {
    for (const value of ['', 'x', '-1', '18446744073709551616']) {
      set('k', value)
      expect(apply('incr k 1 exptime=5\r\n')).toBe(
        'CLIENT_ERROR cannot increment or decrement non-numeric value',
      )
      expect(show('k')).toBe(`"${value}" flags 5 cas ${machine.appliedIndex - 1}`)
    }
  })

  test('make a number where they may, to which nothing is added', () => {
    expect(applyWhole('incr k 5 vivify=30 initial=7\r\n')).toMatchObject({
      line: '7',
      item: { ttlBeforeS: -1, ttlS: 30, casUnique: 1 },
    })
    expect(apply('incr k 5 vivify=90 initial=7\r\n')).toBe('12')
    expect(show('k')).toBe('"12" flags 0 cas 2 for 30 s')
    expect(apply('decr other 5 vivify=0 unique=9\r\n')).toBe('0')
    expect(show('other')).toBe('"0" flags 0 cas 9')
    expect(apply('incr gone 1 vivify=-1\r\n')).toBe('0')
    expect(show('gone')).toBe('-')
  })

  test('of two times the last one counts for an item that is made', () => {
    apply('incr a 1 vivify=30 exptime=60\r\n')
    apply('incr b 1 exptime=60 vivify=30\r\n')
    expect([show('a'), show('b')]).toEqual([
      '"0" flags 0 cas 1 for 60 s',
      '"0" flags 0 cas 2 for 30 s',
    ])
  })

  test('compare, and touch', () => {
    set('k', '1', 60)
    expect(apply('incr k 1 compare=9\r\n')).toBe('EXISTS')
    apply(`set large 0 0 600000\r\n${'1 '.repeat(300_000)}\r\n`)
    expect(apply('incr large 1 compare=9\r\n')).toMatch('non-numeric')
    expect(applyWhole('incr k 1 compare=1 exptime=90 unique=40\r\n')).toMatchObject({
      line: '2',
      item: { ttlBeforeS: 60, ttlS: 90 },
    })
    expect(show('k')).toBe('"2" flags 5 cas 40 for 90 s')
  })
})

describe('stale items', () => {
  test('delete may mark one as stale, with a new cas unique and time', () => {
    set('k', 'x', 60)
    expect(apply('delete k stale\r\n')).toBe('DELETED')
    expect(show('k')).toBe('"x" flags 5 cas 2 for 60 s marks 1')
    expect(apply('delete k stale exptime=30 unique=70\r\n')).toBe('DELETED')
    expect(show('k')).toBe('"x" flags 5 cas 70 for 30 s marks 1')
    expect(apply('delete k stale exptime=-1\r\n')).toBe('DELETED')
    expect(show('k')).toBe('-')
  })

  test('delete may leave the item without its value', () => {
    set('k', 'x', 60)
    apply('delete k clear\r\n')
    expect(show('k')).toBe('"" flags 0 cas 1')
    apply('delete k clear stale flags=9 exptime=30\r\n')
    expect(show('k')).toBe('"" flags 9 cas 3 for 30 s marks 1')
  })

  test('delete compares, and then does nothing', () => {
    set('k', 'x')
    for (const options of ['', ' stale', ' clear']) {
      expect(apply(`delete k compare=9${options}\r\n`)).toBe('EXISTS')
      expect(apply(`delete missing compare=9${options}\r\n`)).toBe('NOT_FOUND')
    }
    expect(show('k')).toBe('"x" flags 5 cas 1')
    expect(apply('delete k compare=1\r\n')).toBe('DELETED')
  })

  test('one reader wins, until somebody brings a new value', () => {
    set('k', 'x')
    apply('delete k stale\r\n')
    const marksSeen = () => applyWhole('get k win\r\n').item?.marks
    expect([marksSeen(), marksSeen(), marksSeen()]).toEqual(['XW', 'ZX', 'ZX'])
    set('k', 'y')
    expect([marksSeen(), marksSeen()]).toEqual(['', ''])
  })

  test('a value that comes too late is stored as stale, and leaves turn and time as they are', () => {
    set('k', 'x', 60)
    apply('delete k stale\r\n')
    apply('get k win\r\n')
    expect(apply('cas k 9 5 3 1 stale\r\nold\r\n')).toBe('STORED')
    expect(show('k')).toBe('"old" flags 9 cas 4 for 60 s marks 3')
    // From the future it is a mistake.
    expect(apply('cas k 9 5 3 5 stale\r\nnew\r\n')).toBe('EXISTS')
    expect(apply('cas k 9 5 3 0 stale\r\nnew\r\n')).toBe('EXISTS')
    expect(apply('cas k 9 5 3 4 stale\r\nnew\r\n')).toBe('STORED')
    expect(show('k')).toBe('"new" flags 9 cas 7 for 5 s')
  })

  test('a longer number is a new value, one in its place is not', () => {
    set('k', '98')
    apply('delete k stale\r\n')
    apply('incr k 1\r\n')
    expect(show('k')).toBe('"99" flags 5 cas 3 marks 1')
    apply('incr k 1\r\n')
    expect(show('k')).toBe('"100" flags 5 cas 4')
  })
})

describe('gets that change something', () => {
  test('answer the item, as it was and as it is', () => {
    set('k', 'value', 60)
    expect(applyWhole('get k exptime=90\r\n')).toEqual({
      line: 'VALUE',
      item: {
        ...{ flags: 5, ttlBeforeS: 60, ttlS: 90, casUnique: 1, valueBytes: 5, marks: '' },
        value: Buffer.from('value'),
      },
    })
    expect(show('k')).toBe('"value" flags 5 cas 1 for 90 s')
    expect(applyWhole('get missing exptime=90\r\n')).toEqual({ line: 'END' })
  })

  test('one whose time is over is answered once more', () => {
    set('k', 'x')
    expect(applyWhole('get k exptime=-1\r\n').item).toMatchObject({ ttlBeforeS: -1, ttlS: 0 })
    expect(apply('get k exptime=90\r\n')).toBe('END')
  })

  test('make an empty item, for which the first one has the turn', () => {
    expect(applyWhole('get k win vivify=30\r\n').item).toMatchObject({ marks: 'W', casUnique: 1 })
    expect(applyWhole('get k win vivify=90\r\n').item).toMatchObject({ marks: 'Z', ttlS: 30 })
    expect(show('k')).toBe('"" flags 0 cas 1 for 30 s marks 2')
  })

  test('the value answered is a copy', () => {
    set('k', 'one')
    const { item: seen } = applyWhole('get k exptime=9\r\n')
    set('k', 'two')
    expect(`${seen?.value}`).toBe('one')
  })

  test('a preview says what applying them would do, and does nothing', () => {
    set('k', 'x', 60)
    const commands = ['exptime=90', 'exptime=60', 'recache=90', 'win', 'exptime=-1']
    for (const text of commands) {
      const found = machine.get('k')
      const { reply, after } = machine.preview(found, parseOptions(text.split(' '), 0))
      const before = show('k')
      expect(applyWhole(`get k ${text}\r\n`).item).toEqual(reply)
      const isChanged = show('k') !== before
      expect(after !== undefined).toBe(isChanged)
    }
  })
})

describe('flush_all', () => {
  test('at once: what is there is gone, what comes then stays', () => {
    set('a', 'x')
    expect(apply('flush_all 0\r\n')).toBe('OK')
    set('b', 'x')
    expect([show('a'), show('b')]).toEqual(['-', '"x" flags 5 cas 3'])
    expect(apply('flush_all -1\r\n')).toBe('OK')
    expect(machine.items.count).toBe(0)
    expect(machine.hasExpiring).toBe(false)
  })

  test('later: what was stored until then vanishes, with that very moment', () => {
    set('a', 'x')
    expect(apply('flush_all 10\r\n')).toBe('OK')
    expect(machine.flushAtMs).toBe(START_MS + 10_000)
    expect(machine.hasExpiring).toBe(true)
    set('b', 'x')
    pass(9_999)
    expect([valueAt('a'), valueAt('b')]).toEqual(['x', 'x'])
    timeMs += 1
    set('c', 'x') // its entry is the first of that time
    expect([valueAt('a'), valueAt('b'), valueAt('c')]).toEqual([undefined, undefined, 'x'])
    expect(machine.flushAtMs).toBe(0)
    pass(60_000)
    expect(valueAt('c')).toBe('x')
  })

  test('a later one takes the place of one that is pending, whatever it says', () => {
    apply('flush_all 10\r\n')
    apply('flush_all 60\r\n')
    set('k', 'x')
    pass(10_000)
    expect(valueAt('k')).toBe('x')
    apply('flush_all 0\r\n')
    set('k', 'y')
    pass(60_000)
    expect(valueAt('k')).toBe('y')
  })

  test('a time that is over flushes nothing', () => {
    set('k', 'x')
    expect(apply('flush_all 2592001\r\n')).toBe('OK')
    expect(apply(`flush_all ${Math.floor(START_MS / 1000)}\r\n`)).toBe('OK')
    expect(valueAt('k')).toBe('x')
    expect(machine.flushAtMs).toBe(0)
  })

  test('one that is pending goes on after a restore', () => {
    machine.restoreItem('k', item('x'))
    machine.restore({ index: 9, timeMs, flushAtMs: timeMs + 500, config: EMPTY_CONFIG })
    expect(valueAt('k')).toBe('x')
    pass(500)
    expect(valueAt('k')).toBeUndefined()
  })
})

describe('how an item was used', () => {
  const used = (key: string) => {
    const { isFetched, accessedS } = machine.items.look(key) ?? {}
    return { isFetched, accessedS }
  }
  const startS = Math.floor(START_MS / 1000)

  test('is noted where a client reads it, and told as it was before', () => {
    set('k', 'x')
    expect(machine.get('k', startS + 5)).toMatchObject({ isFetched: false, accessedS: startS })
    expect(machine.get('k')).toMatchObject({ isFetched: true, accessedS: startS + 5 })
  })

  test('stays with the item, and begins anew with a new value', () => {
    set('k', '1')
    machine.get('k', startS + 5)
    for (const command of ['touch k 60', 'get k exptime=90', 'incr k 1', 'delete k stale']) {
      apply(`${command}\r\n`)
      expect(used('k')).toEqual({ isFetched: true, accessedS: startS + 5 })
    }
    apply('append k 0 0 1\r\nx\r\n')
    expect(used('k')).toEqual({ isFetched: false, accessedS: startS })
  })

  test('is not part of what replicas agree about', () => {
    set('k', 'x')
    machine.get('k', startS + 5)
    const [[, seen] = []] = machine.items
    expect(seen).toEqual({ flags: 5, expiresAtMs: 0, casUnique: 1, marks: 0, value: seen?.value })
  })
})

describe('an entry of several commands', () => {
  const GROUPS = { ...EMPTY_CONFIG, protocol: 5 }

  test('does one after the other, each with a CAS unique of its own', () => {
    machine.apply(appliedEntry(1, timeMs, 'config\r\n', GROUPS))
    const body =
      'set k 0 0 1\r\n1\r\nincr k 8\r\nset l 0 0 2\r\n\r\n\r\ndelete k\r\ncas l 0 0 1 5\r\nx\r\n'
    const heard: string[] = []
    const seen: number[] = []
    const last = machine.apply(appliedEntry(2, timeMs, body), ({ line }, place) => {
      heard.push(`${line} ${place - 512}`)
      seen.push(machine.appliedIndex)
    })
    expect(heard).toEqual(['STORED 0', '9 1', 'STORED 2', 'DELETED 3', 'EXISTS 4'])
    expect(last.line).toBe('EXISTS')
    // Nobody reads a part of it for the whole.
    expect(seen).toEqual([1, 1, 1, 1, 1])
    expect(machine.appliedIndex).toBe(2)
    expect(machine.get('l')).toMatchObject({ casUnique: 514, value: Buffer.from('\r\n') })
    expect(machine.appliedPlace).toBe(2 * 256 + 255)
  })

  test('while members know none of them, the CAS unique is the index', () => {
    machine.apply(appliedEntry(1, timeMs, 'config\r\n', { ...GROUPS, protocol: 4 }))
    set('k', 'x')
    expect(machine.get('k')?.casUnique).toBe(2)
    expect(machine.appliedPlace).toBe(2)
    machine.apply(appliedEntry(3, timeMs, 'config\r\n', GROUPS))
    set('l', 'x')
    expect(machine.get('l')?.casUnique).toBe(4 * 256)
    expect(apply('cas k 0 0 1 2\r\ny\r\n')).toBe('STORED')
  })

  test.each(['set k 0 0 1\r\nx\r\nset l 0 0 9\r\nx\r\n', 'delete k\r\ndelete'])(
    'what does not end with a command is refused: %j',
    (body) => {
      const entry = appliedEntry(1, timeMs, body)
      expect(() => machine.apply(entry)).toThrow('entry 1 does not end with a command')
    },
  )
})

describe('order', () => {
  test.each([0, 1, 2, 4, 10])('after entry 2, entry %d is refused', (index) => {
    apply('noop\r\n')
    apply('noop\r\n')
    const entry = appliedEntry(index, timeMs, 'set k 0 0 1\r\nx\r\n')
    expect(() => machine.apply(entry)).toThrow(`entry ${index} applied after 2`)
    expect(machine.appliedIndex).toBe(2)
    expect(machine.get('k')).toBeUndefined()
  })

  test('after a restore it goes on from there', () => {
    machine.restoreItem('k', item('one', { casUnique: 7 }))
    machine.restore({ index: 9, timeMs: START_MS, flushAtMs: 0, config: EMPTY_CONFIG })
    expect(machine.appliedIndex).toBe(9)
    expect(machine.timeMs).toBe(START_MS)
    expect(() => machine.apply(appliedEntry(1, timeMs, 'noop\r\n'))).toThrow()
    expect(store('cas', 'k', 'two', 0, '7')).toBe('STORED')
    expect(machine.get('k')?.casUnique).toBe(10)
  })
})

function item(value: string, fields: Partial<Item> = {}): Item {
  return { flags: 0, expiresAtMs: 0, casUnique: 1, marks: 0, ...fields, value: Buffer.from(value) }
}

describe('exptime', () => {
  test('0 is never', () => {
    set('k', 'one', 0)
    pass(100 * 365 * DAY_SECONDS * 1000)
    expect(valueAt('k')).toBe('one')
    expect(machine.hasExpiring).toBe(false)
  })

  test('up to 30 days it counts from the log time of the entry', () => {
    set('second', 'x', 1)
    set('month', 'x', 30 * DAY_SECONDS)
    expect(machine.get('second')?.expiresAtMs).toBe(START_MS + 1000)
    expect(machine.get('month')?.expiresAtMs).toBe(START_MS + 30 * DAY_SECONDS * 1000)
    pass(999)
    expect(valueAt('second')).toBe('x')
    pass(1)
    expect(machine.get('second')).toBeUndefined()
    pass(30 * DAY_SECONDS * 1000 - 1001)
    expect(valueAt('month')).toBe('x')
    pass(1)
    expect(machine.get('month')).toBeUndefined()
  })

  test('above 30 days it is Unix time', () => {
    const second = Math.floor(START_MS / 1000) + 10
    set('k', 'x', second)
    expect(machine.get('k')?.expiresAtMs).toBe(second * 1000)
    pass(second * 1000 - 1 - timeMs)
    expect(valueAt('k')).toBe('x')
    pass(1)
    expect(machine.get('k')).toBeUndefined()
  })

  test('one past 30 days is long ago: it replaces what was there by nothing', () => {
    set('k', 'one')
    expect(set('k', 'two', 30 * DAY_SECONDS + 1)).toBe('STORED')
    expect(machine.get('k')).toBeUndefined()
    expect(machine.items.count).toBe(0)
    expect(set('k', 'three', Math.floor(START_MS / 1000))).toBe('STORED')
    expect(machine.get('k')).toBeUndefined()
  })

  test('negative is gone at once', () => {
    set('k', 'one')
    expect(set('k', 'two', -1)).toBe('STORED')
    expect(machine.get('k')).toBeUndefined()
    expect(store('add', 'k', 'three', -1)).toBe('STORED')
    expect(store('add', 'k', 'four')).toBe('STORED')
    expect(store('cas', 'k', 'five', -1, '4')).toBe('STORED')
    expect(machine.items.count).toBe(0)
    expect(machine.hasExpiring).toBe(false)
  })

  test('for commands an item that has expired is not there', () => {
    for (const key of ['a', 'c', 'd']) set(key, 'old', 2)
    // Hidden at once, though none is reclaimed yet.
    pass(2000)
    expect(machine.items.count).toBe(3)
    expect(store('cas', 'c', 'x', 0, '2')).toBe('NOT_FOUND')
    expect(apply('delete d\r\n')).toBe('NOT_FOUND')
    expect(store('add', 'a', 'new')).toBe('STORED')
    passSweeps()
    expect(valueAt('a')).toBe('new')
    expect(machine.items.count).toBe(1)
  })

  test('an entry already sees its own time', () => {
    set('k', 'old', 1)
    timeMs += 1000
    expect(store('add', 'k', 'new')).toBe('STORED')
  })

  test('only log time counts', () => {
    set('k', 'x', 1)
    for (let count = 0; count < 5; count++) apply('noop\r\n')
    expect(valueAt('k')).toBe('x')
    expect(machine.timeMs).toBe(START_MS)
  })
})

describe('reclaiming', () => {
  test('what has expired leaves memory a part at a time, all of it once round', () => {
    for (let at = 0; at < 1000; at++) set(`k${at}`, 'x', 1 + (at % 10))
    set('later', 'x', 2 * SLICES)
    pass(10_000)
    for (let at = 0; at < 1000; at++) expect(machine.get(`k${at}`)).toBeUndefined()
    let before = machine.items.count
    for (let second = 0; second < SLICES; second++) {
      pass(1000)
      expect(before - machine.items.count).toBeLessThan(30)
      before = machine.items.count
    }
    expect(machine.items.count).toBe(1)
    expect(machine.hasExpiring).toBe(true)
    for (let second = 0; second < 2 * SLICES; second++) pass(1000)
    expect(machine.items.count).toBe(0)
    expect(machine.hasExpiring).toBe(false)
  })

  test('after a long time at once: hidden all, and reclaimed in as many parts', () => {
    for (let at = 0; at < 1000; at++) set(`k${at}`, 'x', 1 + at * 7)
    set('stays', 'x')
    set('later', 'x', 20_000)
    pass(10_000 * 1000)
    expect(machine.items.count).toBeGreaterThan(900)
    for (let at = 0; at < 1000; at++) expect(machine.get(`k${at}`)).toBeUndefined()
    passSweeps()
    expect([...machine.items].map(([key]) => key).sort()).toEqual(['later', 'stays'])
    expect(machine.hasExpiring).toBe(true)
  })

  test('seconds that are never seen make no difference in the end', () => {
    for (let at = 0; at < 1000; at++) set(`k${at}`, 'x', 1)
    for (let count = 0; count < SLICES; count++) pass(2500)
    expect(machine.items.count).toBeLessThan(200)
    passSweeps()
    expect(machine.items.count).toBe(0)
  })

  test('an item written again does not expire by its old exptime', () => {
    set('k', 'one', 1)
    set('k', 'two')
    expect(machine.hasExpiring).toBe(false)
    set('l', 'one', 1)
    set('l', 'two', 5)
    pass(3000)
    expect(valueAt('k')).toBe('two')
    expect(valueAt('l')).toBe('two')
    pass(4000)
    expect(valueAt('k')).toBe('two')
    expect(valueAt('l')).toBeUndefined()
    passSweeps()
    expect(machine.items.count).toBe(1)
  })

  test('nothing that expires is left over when items are written again, deleted, or expire', () => {
    set('k', 'x', 10)
    set('k', 'x', 20)
    set('k', 'x', 30)
    expect(machine.hasExpiring).toBe(true)
    apply('delete k\r\n')
    expect(machine.hasExpiring).toBe(false)
    set('k', 'x', 10)
    set('k', 'x', -1)
    expect(machine.hasExpiring).toBe(false)
    set('k', 'x', 10)
    store('cas', 'k', 'y', 0, String(machine.appliedIndex))
    expect(machine.hasExpiring).toBe(false)
    set('k', 'x', 1)
    passSweeps()
    expect(machine.hasExpiring).toBe(false)
  })

  test('items restored expire like others', () => {
    machine.restoreItem('a', item('x', { expiresAtMs: START_MS + 100 }))
    machine.restoreItem('b', item('x', { expiresAtMs: START_MS + 60_000 }))
    machine.restoreItem('c', item('x'))
    machine.restore({ index: 9, timeMs: START_MS, flushAtMs: 0, config: EMPTY_CONFIG })
    expect(valueAt('a')).toBe('x')
    pass(100)
    expect(machine.get('a')).toBeUndefined()
    pass(61_000)
    expect(machine.get('b')).toBeUndefined()
    passSweeps()
    expect(machine.items.count).toBe(1)
    expect(machine.hasExpiring).toBe(false)
  })

  test('a view stays as it was', () => {
    set('a', 'one')
    set('b', 'one', 1)
    const view = machine.items.view()
    set('a', 'two')
    pass(5000)
    const values = [...view].map(([key, { value }]) => [key, value.toString()])
    expect(values.sort()).toEqual([
      ['a', 'one'],
      ['b', 'one'],
    ])
  })
})

describe('against a model', () => {
  const key = fc.constantFrom('a', 'b', 'c')
  const exptime = fc.constantFrom(-1, 0, 0, 1, 2, 3, 60, 1_700_000_003, 1_700_000_100, 2_600_000)
  const action = fc.record({
    verb: fc.constantFrom('set', 'set', 'add', 'cas', 'delete', 'time'),
    key,
    exptime,
    back: fc.nat(3),
    passMs: fc.constantFrom(0, 0, 1, 499, 500, 1000, 1000, 2500, 60_000),
  })

  interface ModelItem {
    readonly index: number
    readonly expiresAtMs: number
  }

  test('any commands and times; a copy restored half way goes on alike', () => {
    const property = fc.property(
      fc.array(action, { maxLength: 40 }),
      fc.nat(40),
      (actions, half) => {
        const whole = new StateMachine()
        let restored: StateMachine | null = null
        const model = new Map<string, ModelItem>()
        let nowMs = START_MS

        for (const [at, { verb, key, exptime, back, passMs }] of actions.entries()) {
          if (at === half) {
            restored = new StateMachine()
            for (const [key, item] of whole.items) restored.restoreItem(key, item)
            restored.restore(stateOf(whole))
          }
          const index = at + 1
          nowMs += passMs
          for (const [key, { expiresAtMs }] of model) if (expiresAtMs <= nowMs) model.delete(key)
          const current = model.get(key)
          const cas = Math.max(0, (current?.index ?? 1) - (back % 2))
          const expected = expectedReply(verb, current, cas)
          const body = bodyOf(verb, key, exptime, index, cas)
          expect(whole.apply(appliedEntry(index, nowMs, body)).line).toBe(expected)
          restored?.apply(appliedEntry(index, nowMs, body))
          if (expected === 'DELETED') model.delete(key)
          if (expected === 'STORED') {
            const expiresAtMs = expiry(exptime, nowMs)
            if (expiresAtMs > nowMs) model.set(key, { index, expiresAtMs })
            else model.delete(key)
          }
          for (const each of ['a', 'b', 'c']) {
            expect(whole.get(each)?.casUnique).toBe(model.get(each)?.index)
            if (restored) expect(restored.get(each)?.casUnique).toBe(model.get(each)?.index)
          }
          const items = sorted(whole)
          const isAnyExpiring = items.some(([, { expiresAtMs }]) => expiresAtMs !== 0)
          expect(whole.hasExpiring).toBe(isAnyExpiring)
          // Those that have expired and are still there as well.
          if (restored) expect(sorted(restored)).toEqual(items)
        }
      },
    )
    fc.assert(property, { seed: 1, numRuns: 500 })
  })

  function stateOf({ appliedIndex, timeMs, flushAtMs }: StateMachine): MachineState {
    return { index: appliedIndex, timeMs, flushAtMs, config: EMPTY_CONFIG }
  }

  function sorted({ items }: StateMachine): (readonly [string, Item])[] {
    return [...items].sort(([a], [b]) => (a < b ? -1 : 1))
  }

  test('replicas restored at any moment hold the same as one that was not', () => {
    const step = fc.record({
      firstKey: fc.nat(3000),
      keyCount: fc.nat(1500),
      exptime: fc.constantFrom(0, 1, 2, 30, 200, 1000),
      seconds: fc.nat(40),
      millis: fc.constantFrom(0, 1, 500, 999),
      isRestored: fc.boolean(),
    })
    const property = fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
      let replicas = [new StateMachine(), new StateMachine()]
      let nowMs = START_MS
      let index = 0
      const applyAll = (body: string) => {
        index++
        for (const each of replicas) each.apply(appliedEntry(index, nowMs, body))
      }
      for (const { firstKey, keyCount, exptime, seconds, millis, isRestored } of steps) {
        for (let key = firstKey; key < firstKey + keyCount; key++) {
          applyAll(key % 7 === 0 ? `delete k${key}\r\n` : `set k${key} 0 ${exptime} 1\r\nx\r\n`)
        }
        const [whole = new StateMachine(), other = whole] = replicas
        if (isRestored) {
          const restored = new StateMachine()
          for (const [key, item] of other.items) restored.restoreItem(key, item)
          restored.restore(stateOf(other))
          replicas = [whole, restored]
        }
        for (let second = 0; second < seconds; second++) {
          nowMs += 1000
          applyAll('time\r\n')
        }
        nowMs += millis + 1000 * (seconds % 5)
        applyAll('time\r\n')
        const [, compared = other] = replicas
        expect(contentsOf(compared)).toEqual(contentsOf(whole))
        expect(compared.items.count).toBe(whole.items.count)
        expect(compared.items.bytes).toBe(whole.items.bytes)
        expect(compared.hasExpiring).toBe(whole.hasExpiring)
      }
    })
    fc.assert(property, { seed: 1, numRuns: 40 })
  })

  function contentsOf(machine: StateMachine): string {
    const lines = sorted(machine).map(([key, { casUnique, expiresAtMs }]) => {
      return `${key} ${casUnique} ${expiresAtMs}`
    })
    return lines.join('\n')
  }

  function expectedReply(verb: string, current: ModelItem | undefined, cas: number): string {
    switch (verb) {
      case 'add':
        return current ? 'NOT_STORED' : 'STORED'
      case 'cas':
        if (!current) return 'NOT_FOUND'
        return current.index === cas ? 'STORED' : 'EXISTS'
      case 'delete':
        return current ? 'DELETED' : 'NOT_FOUND'
      case 'time':
        return ''
      default:
        return 'STORED'
    }
  }

  function bodyOf(verb: string, key: string, exptime: number, index: number, cas: number): Buffer {
    if (verb === 'time') return Buffer.from('time\r\n')
    if (verb === 'delete') return Buffer.from(`delete ${key}\r\n`)
    const value = `value ${index}`
    const end = verb === 'cas' ? ` ${cas}` : ''
    return Buffer.from(`${verb} ${key} 0 ${exptime} ${value.length}${end}\r\n${value}\r\n`)
  }

  function expiry(exptime: number, nowMs: number): number {
    if (exptime === 0) return Infinity
    if (exptime < 0) return 0
    return exptime <= 30 * DAY_SECONDS ? nowMs + exptime * 1000 : exptime * 1000
  }
})

test('of the items in memory no more than asked for are looked at, expired ones too', () => {
  for (let at = 0; at < 100; at++) set(`old${at}`, 'x', 1)
  for (let at = 0; at < 100; at++) set(`new${at}`, 'x')
  pass(1_000)
  expect(machine.items.count).toBeGreaterThan(150)
  expect([...machine.liveItems(machine.items.count)]).toHaveLength(100)
  const [some, none] = [60, 0].map((looksMax) => [...machine.liveItems(looksMax)].length)
  expect(some).toBeLessThan(60) // the others of these have expired
  expect(none).toBe(0)
})

describe('plain commands', () => {
  const LARGE_BYTES = 70_000
  const START_S = Math.floor(START_MS / 1000)

  /** What does the same, and is not plain: the unique is the one it would have anyway. */
  function general(machine: StateMachine, plain: string, index: number): string {
    const [verb, key = ''] = plain.split(/[ \r]/, 2)
    if (verb === 'set') return plain.replace('\r\n', ` unique=${index}\r\n`)
    return `delete ${key} compare=${machine.get(key)?.casUnique ?? 1}\r\n`
  }

  test('do what the same ones do that are not plain, with a view open or not', () => {
    const key = fc.constantFrom('a', 'b', 'c', 'a-longer-key-of-more-than-32-bytes')
    const exptime = fc.constantFrom(0, 0, 0, 1, 2, 30, START_S - 5, START_S + 3, 99_999_999_999)
    const length = fc.oneof(
      { weight: 9, arbitrary: fc.nat(40) },
      { weight: 3, arbitrary: fc.nat(3_000) },
      { weight: 1, arbitrary: fc.constantFrom(65_536, LARGE_BYTES) },
    )
    const step = fc.record({
      ...{ key, exptime, length, isDelete: fc.nat(3).map((at) => at === 0) },
      passMs: fc.constantFrom(0, 0, 0, 1, 500, 1_000, 5_000),
      view: fc.constantFrom('', '', '', 'open', 'close'),
    })
    const seen = new Set<string>()
    const property = fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const plainly = new StateMachine()
      const generally = new StateMachine()
      let nowMs = START_MS
      let opened: { view: ItemsView; contents: unknown[] } | null = null
      for (const [at, { key, exptime, length, isDelete, passMs, view }] of steps.entries()) {
        const index = at + 1
        nowMs += passMs
        if (view === 'open' && !opened) {
          opened = { view: plainly.items.view(), contents: copied(plainly.items) }
        }
        if (view === 'close') {
          opened?.view.close()
          opened = null
        }
        const value = `${index} `.repeat(length).slice(0, length)
        const body = isDelete
          ? `delete ${key}\r\n`
          : `set ${key} ${index} ${exptime} ${length}\r\n${value}\r\n`
        const other = general(generally, body, index)
        const reply = plainly.apply(appliedEntry(index, nowMs, body))
        expect(reply).toEqual(generally.apply(appliedEntry(index, nowMs, other)))
        seen.add(reply.line)
        for (const each of ['a', 'b', 'c']) {
          expect(shown(plainly.items.look(each))).toEqual(shown(generally.items.look(each)))
        }
        const { bytes, count, hasExpiring } = generally.items
        expect(plainly.items).toMatchObject({ bytes, count, hasExpiring })
        if (opened) expect(copied(opened.view)).toEqual(opened.contents)
      }
      opened?.view.close()
    })
    fc.assert(property, { seed: 1, numRuns: 300 })
    expect([...seen].sort()).toEqual(['DELETED', 'NOT_FOUND', 'STORED'])
  })

  /** With a text for its bytes, which are compared faster. */
  function shown(item: Item | undefined): object | undefined {
    return item && { ...item, value: item.value.toString('latin1') }
  }

  function copied(items: Iterable<readonly [string, Item]>): unknown[] {
    return [...items].map(([key, item]) => [key, shown(item)])
  }

  test('what only begins like one is none', () => {
    expect(() => apply('settle\r\n')).toThrow('unknown command in the log: "settle"')
  })
})
