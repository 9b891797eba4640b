import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  canonicalDelete,
  canonicalStore,
  ITEM_SIZE_BOUNDS,
  isCanonical,
  NO_OPTIONS,
  parseCommand,
} from '../../src/protocol/commands.ts'
import { PlainCommand } from '../../src/protocol/plain-commands.ts'

const BEFORE = Buffer.from('before')

/** Reads it among other bytes, which may make a whole command of a piece of one. */
function read(text: string | Buffer, behind = '\r\n0 0 1\r\nx\r\n'): PlainCommand | null {
  const command = Buffer.from(text as string, 'latin1')
  const bytes = Buffer.concat([BEFORE, command, Buffer.from(behind)])
  const plain = new PlainCommand()
  return plain.read(bytes, BEFORE.length, BEFORE.length + command.length) ? plain : null
}

/** The command again, from what was read of it. */
function writtenAgain(plain: PlainCommand): Buffer {
  const { bytes, keyStart, keyEnd, flags, exptime, valueStart, valueEnd } = plain
  const key = bytes.toString('latin1', keyStart, keyEnd)
  if (plain.isDelete) return canonicalDelete(key)
  const length = valueEnd - valueStart
  const line = canonicalStore('set', key, String(flags), String(exptime), length, '')
  const value = bytes.subarray(valueStart, valueEnd)
  return Buffer.concat([Buffer.from(line, 'latin1'), value, Buffer.from('\r\n')])
}

describe('it reads', () => {
  test.each([
    'set k 0 0 0\r\n\r\n',
    'set k 0 0 3\r\n\r\n\r\r\n',
    'set k 4294967295 99999999999 1\r\nv\r\n',
    `set ${'k'.repeat(250)} 1 1893456000 2\r\nvv\r\n`,
    'set \xff\x00\r 0 0 1\r\nv\r\n',
    'delete k\r\n',
    'delete \xff\r\n',
    `delete ${'k'.repeat(250)}\r\n`,
  ])('%j', (text) => {
    expect(writtenAgain(read(text) as PlainCommand).toString('latin1')).toBe(text)
    expect(isCanonical(Buffer.from(text, 'latin1'))).toBe(true)
  })
})

describe('it leaves to others, canonical or not', () => {
  test.each([
    '',
    's',
    'set',
    'set ',
    'set k',
    'set k 0 0 1\r\nv',
    'set k 0 0 1\r\nv\r',
    'set k 0 0 1\r\nv\n\n',
    'set k 0 0 1\r\n',
    'set k 0 0 1\r\nvv\r\n',
    'set k 0 0 2\r\nv\r\n',
    'set k 0 0 1\r\nv\r\nset',
    'set k 0 0 1 \r\nv\r\n',
    'set k 0 0 1 unique=7\r\nv\r\n',
    'set azox 0 0 1 base64\r\nv\r\n',
    'set  0 0 1\r\nv\r\n',
    'set k  0 1\r\nv\r\n',
    'set k 0  1\r\nv\r\n',
    'set k 00 0 1\r\nv\r\n',
    'set k 0 01 1\r\nv\r\n',
    'set k 0 0 01\r\nv\r\n',
    'set k +1 0 1\r\nv\r\n',
    'set k 0 -1 1\r\nv\r\n',
    'set k 4294967296 0 1\r\nv\r\n',
    'set k 0 100000000000 1\r\nv\r\n',
    `set k 0 0 ${ITEM_SIZE_BOUNDS.max + 1}\r\nv\r\n`,
    'set k\n 0 0 1\r\nv\r\n',
    'set k 0 0 1\nv\r\n',
    `set ${'k'.repeat(251)} 0 0 1\r\nv\r\n`,
    'SET k 0 0 1\r\nv\r\n',
    'sets k 0 0 1\r\nv\r\n',
    'add k 0 0 1\r\nv\r\n',
    'd',
    'delete',
    'delete ',
    'delete k',
    'delete k\r',
    'delete k\r\r\n',
    'delete \r\n',
    'delete k \r\n',
    'delete k stale\r\n',
    'delete k\n\r\n',
    'delete k\r\n\r\n',
    `delete ${'k'.repeat(251)}\r\n`,
    'decr k 1\r\n',
  ])('%j', (text) => {
    expect(read(text)).toBeNull()
    expect(read(text, '\n')).toBeNull()
    expect(read(text, '')).toBeNull()
  })
})

test('what it takes of commands with damage is canonical, and what parseCommand reads', () => {
  const whole = fc.constantFrom(
    'set key 0 0 5\r\nvalue\r\n',
    'set k 4294967295 1893456000 12\r\n\r\nset x 0 0\r\n',
    'delete key\r\n',
  )
  const damage = fc.record({
    at: fc.nat(40),
    removed: fc.nat(2),
    put: fc.constantFrom('', ' ', '0', '1', '9', '-', '\r', '\n', '\r\n', 'k', '\xff', ' win'),
  })
  const taken = { same: 0, other: 0 }
  const property = fc.property(whole, fc.array(damage, { maxLength: 3 }), (before, damages) => {
    let text = before
    for (const { at, removed, put } of damages) {
      text = text.slice(0, at) + put + text.slice(at + removed)
    }
    const bytes = Buffer.from(text, 'latin1')
    const plain = read(bytes)
    if (!plain) return
    taken[text === before ? 'same' : 'other']++
    expect(writtenAgain(plain)).toEqual(bytes)
    expect(isCanonical(bytes)).toBe(true)
    const command = parseCommand(bytes)
    expect(command.verb).toBe(plain.isDelete ? 'delete' : 'set')
    if (command.verb !== 'set') return
    const { flags, exptime } = plain
    const value = plain.bytes.subarray(plain.valueStart, plain.valueEnd)
    expect(command).toMatchObject({ flags, exptime, value, options: NO_OPTIONS })
  })
  fc.assert(property, { seed: 1, numRuns: 20_000 })
  expect(taken.same).toBeGreaterThan(300)
  expect(taken.other).toBeGreaterThan(300)
})

test('it takes every set and delete of a plain key, whatever the value is', () => {
  const key = fc.stringMatching(/^[!-~]{1,250}$/)
  const value = fc.uint8Array({ maxLength: 100 })
  const flags = fc.nat(2 ** 32 - 1)
  const exptime = fc.nat(99_999_999_999)
  const property = fc.property(key, flags, exptime, value, (key, flags, exptime, value) => {
    const line = canonicalStore('set', key, String(flags), String(exptime), value.length, '')
    const set = Buffer.concat([Buffer.from(line), value, Buffer.from('\r\n')])
    for (const command of [set, canonicalDelete(key)]) {
      expect(writtenAgain(read(command) as PlainCommand)).toEqual(command)
    }
  })
  fc.assert(property, { seed: 1, numRuns: 300 })
})
