/**
 * Replicas that applied the same entries are the same, whatever the commands and the times,
 * also one that began with the keystore file of another in between: the same items, and the
 * same answers to everything after.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  formatFor,
  readKeystore,
  writeKeystore,
} from '../../../src/server/keystore/keystore-file.ts'
import { StateMachine } from '../../../src/server/keystore/state-machine.ts'
import type { Config } from '../../../src/server/raft/types.ts'
import { MemoryDisk } from '../../io/memory-disk.ts'
import { appliedEntry } from './applied-entry.ts'

const START_MS = 1_700_000_000_500
const DIRECTORY = 'data/groups/0'
const CONFIG: Config = { members: [], floor: 2, protocol: 3, itemSizeMax: 1_024 }

const KEY = fc.constantFrom('a', 'b', 'c', 'd')
const VALUE = fc.constantFrom('', '1', '9', '99', '18446744073709551615', 'x', 'y'.repeat(600))
const SECONDS = fc.constantFrom(-1, 0, 1, 2, 30, 2_592_001, START_MS / 1000 + 5)
const UNIQUE = fc.constantFrom(1, 2, 3, 5, 8, 13, 2n ** 64n - 1n)

function options(...names: string[]): fc.Arbitrary<string> {
  const values: Readonly<Record<string, fc.Arbitrary<string>>> = {
    win: fc.constant('win'),
    stale: fc.constant('stale'),
    clear: fc.constant('clear'),
    flags: fc.constant('flags=9'),
    compare: UNIQUE.map((unique) => `compare=${unique}`),
    unique: UNIQUE.map((unique) => `unique=${unique}`),
    exptime: SECONDS.map((seconds) => `exptime=${Math.floor(seconds)}`),
    vivify: SECONDS.map((seconds) => `vivify=${Math.floor(seconds)}`),
    recache: SECONDS.map((seconds) => `recache=${Math.floor(seconds)}`),
    initial: fc.constantFrom('initial=0', 'initial=98'),
  }
  return fc
    .shuffledSubarray(names)
    .chain((chosen) => fc.tuple(...chosen.map((name) => values[name] as fc.Arbitrary<string>)))
    .map((words) => words.map((word) => ` ${word}`).join(''))
}

function store(verb: string, ...names: string[]): fc.Arbitrary<string> {
  return fc.tuple(KEY, SECONDS, VALUE, UNIQUE, options(...names)).map((parts) => {
    const [key, seconds, value, unique, words] = parts
    const cas = verb === 'cas' ? ` ${unique}` : ''
    const line = `${verb} ${key} 7 ${Math.floor(seconds)} ${value.length}${cas}${words}`
    return `${line}\r\n${value}\r\n`
  })
}

function line(verb: string, operand: fc.Arbitrary<string>, ...names: string[]) {
  return fc
    .tuple(KEY, operand, options(...names))
    .map(([key, word, words]) => `${verb} ${key}${word}${words}\r\n`)
}

const DELTA = fc.constantFrom(' 1', ' 2', ' 18446744073709551615')
const COMMAND = fc.oneof(
  store('set', 'unique'),
  store('set'),
  store('add', 'unique'),
  store('replace', 'unique'),
  store('append', 'compare', 'unique', 'vivify'),
  store('prepend', 'compare', 'unique', 'vivify'),
  store('cas', 'unique', 'stale'),
  line('delete', fc.constant('')),
  line('delete', fc.constant(''), 'compare', 'unique', 'stale', 'clear', 'flags', 'exptime'),
  line('incr', DELTA, 'compare', 'unique', 'exptime', 'vivify', 'initial'),
  line('decr', DELTA, 'compare', 'unique', 'exptime', 'vivify', 'initial'),
  line('get', fc.constant(''), 'win', 'unique', 'exptime', 'vivify', 'recache'),
  line('get', fc.constant(' win')),
  line(
    'touch',
    SECONDS.map((seconds) => ` ${Math.floor(seconds)}`),
  ),
  fc.constantFrom('flush_all 0\r\n', 'flush_all 3\r\n', 'flush_all 2592001\r\n', 'time\r\n'),
)

/** A replica that begins with the keystore file of another. */
async function copyOf(machine: StateMachine): Promise<StateMachine> {
  const disk = new MemoryDisk()
  await disk.makeDirectory(DIRECTORY)
  const { appliedIndex: index, timeMs, flushAtMs, items } = machine
  const header = { clusterId: 'c', group: 0, term: 1, index, timeMs, flushAtMs, config: CONFIG }
  const view = items.view()
  await writeKeystore(disk, DIRECTORY, { format: formatFor(CONFIG), ...header }, view)
  view.close()
  const copy = new StateMachine()
  const read = await readKeystore(disk, `${DIRECTORY}/keystore`, (key, item) => {
    copy.restoreItem(key, item)
  })
  if (!read) throw new Error('no keystore file')
  copy.restore(read)
  return copy
}

function contentsOf({ items, flushAtMs, timeMs, hasExpiring }: StateMachine) {
  const lines = [...items].map(([key, { value, ...item }]) => {
    return `${key} ${Object.values(item)} ${value.toString('latin1')}`
  })
  return { lines: lines.sort(), bytes: items.bytes, flushAtMs, timeMs, hasExpiring }
}

test('any commands at any times, with a keystore file in between', async () => {
  const step = fc.record({
    command: COMMAND,
    passMs: fc.constantFrom(0, 0, 0, 1, 500, 1_000, 5_000),
    /** Whether a client of the first replica reads something first. */
    isRead: fc.boolean(),
  })
  const steps = fc.array(step, { minLength: 1, maxLength: 40 })
  const seen = new Set<string>()
  const property = fc.asyncProperty(steps, fc.nat(40), async (entries, copiedAt) => {
    const first = new StateMachine()
    let second = new StateMachine()
    let timeMs = START_MS
    const config = appliedEntry(1, timeMs, 'config\r\n', CONFIG)
    for (const each of [first, second]) each.apply(config)
    for (const [at, { command, passMs, isRead }] of entries.entries()) {
      timeMs += passMs
      if (at === copiedAt) second = await copyOf(first)
      if (isRead) for (const key of ['a', 'b']) first.get(key, Math.floor(timeMs / 1000))
      const entry = appliedEntry(at + 2, timeMs, command)
      const reply = first.apply(entry)
      expect(second.apply(entry)).toEqual(reply)
      expect(contentsOf(second)).toEqual(contentsOf(first))
      seen.add(reply.line.replace(/\d+/, 'number'))
    }
  })
  await fc.assert(property, { seed: 1, numRuns: 400 })
  // Else the commands were not as different as they should be.
  const lines = ['STORED', 'NOT_STORED', 'EXISTS', 'NOT_FOUND', 'DELETED', 'TOUCHED', 'VALUE']
  for (const line of [...lines, 'END', 'OK', 'number', '']) expect(seen).toContain(line)
})
