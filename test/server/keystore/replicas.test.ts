/**
 * Replicas that applied the same entries are the same, whatever the commands and the times,
 * also one that began with the keystore file of another in between: the same items, and the
 * same answers to everything after.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { CommandReply } from '../../../src/protocol/replies.ts'
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
/** Entries of one command, and of several. */
const CONFIGS: readonly Config[] = [3, 5].map((protocol) => {
  return { members: [], floor: 2, protocol, itemSizeMax: 1_024 }
})

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
async function copyOf(machine: StateMachine, config: Config): Promise<StateMachine> {
  const disk = new MemoryDisk()
  await disk.makeDirectory(DIRECTORY)
  const { appliedIndex: index, timeMs, flushAtMs, items } = machine
  const header = { clusterId: 'c', group: 0, term: 1, index, timeMs, flushAtMs, config }
  const view = items.view()
  await writeKeystore(disk, DIRECTORY, { format: formatFor(config), ...header }, view)
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

test.each(CONFIGS)('any commands at any times, a keystore file in between: %j', async (config) => {
  const isGroup = config.protocol === 5
  const step = fc.record({
    commands: fc.array(COMMAND, { minLength: 1, maxLength: isGroup ? 4 : 1 }),
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
    const start = appliedEntry(1, timeMs, 'config\r\n', config)
    for (const each of [first, second]) each.apply(start)
    let lastPlace = 0
    for (const [at, { commands, passMs, isRead }] of entries.entries()) {
      timeMs += passMs
      if (at === copiedAt) second = await copyOf(first, config)
      if (isRead) for (const key of ['a', 'b']) first.get(key, Math.floor(timeMs / 1000))
      // The log's own entries are none of several.
      const own = commands.find((command) => command === 'time\r\n')
      const entry = appliedEntry(at + 2, timeMs, own ?? commands.join(''))
      const heard: [CommandReply, number][] = []
      first.apply(entry, (...reply) => heard.push(reply))
      const again: typeof heard = []
      second.apply(entry, (...reply) => again.push(reply))
      expect(again).toEqual(heard)
      expect(heard).toHaveLength(own ? 1 : commands.length)
      expect(contentsOf(second)).toEqual(contentsOf(first))
      for (const [{ line }, place] of heard) {
        seen.add(line.replace(/\d+/, 'number'))
        expect(place).toBeGreaterThan(lastPlace)
        lastPlace = place
      }
      expect(first.appliedPlace).toBeGreaterThanOrEqual(lastPlace)
      lastPlace = first.appliedPlace
    }
  })
  await fc.assert(property, { seed: 1, numRuns: isGroup ? 200 : 400 })
  // Else the commands were not as different as they should be.
  const lines = ['STORED', 'NOT_STORED', 'EXISTS', 'NOT_FOUND', 'DELETED', 'TOUCHED', 'VALUE']
  for (const line of [...lines, 'END', 'OK', 'number', '']) expect(seen).toContain(line)
})
