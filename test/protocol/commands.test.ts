import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type Command,
  canonicalGet,
  canonicalLine,
  canonicalStore,
  ITEM_SIZE_BOUNDS,
  isCanonical,
  isKnownBefore,
  KEY_BYTES_MAX,
  keyWord,
  needsBase64,
  type OptionName,
  parseCommand,
  type StoreVerb,
} from '../../src/protocol/commands.ts'

const UINT64 = fc.oneof(fc.maxSafeNat(), fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n }))
const EXPTIME = fc.oneof(fc.constant(-1), fc.integer({ min: 0, max: 99_999_999_999 }))
const FLAGS = fc.integer({ min: 0, max: 2 ** 32 - 1 })

const VALUES: Readonly<Record<OptionName, fc.Arbitrary<number | bigint>>> = {
  compare: UINT64,
  unique: UINT64,
  win: fc.constant(0),
  stale: fc.constant(0),
  clear: fc.constant(0),
  flags: FLAGS,
  exptime: EXPTIME,
  vivify: EXPTIME,
  recache: EXPTIME,
  initial: UINT64,
  base64: fc.constant(0),
}

/** Of which command, in no particular order; base64 comes with the key. */
const OPTIONS: Readonly<Record<string, readonly OptionName[]>> = {
  set: ['unique'],
  add: ['unique'],
  replace: ['unique'],
  append: ['compare', 'unique', 'vivify'],
  prepend: ['compare', 'unique', 'vivify'],
  cas: ['unique', 'stale'],
  delete: ['compare', 'unique', 'stale', 'clear', 'flags', 'exptime'],
  incr: ['compare', 'unique', 'exptime', 'vivify', 'initial'],
  decr: ['compare', 'unique', 'exptime', 'vivify', 'initial'],
  get: ['win', 'unique', 'exptime', 'vivify', 'recache'],
  touch: [],
  flush_all: [],
}

/** Any bytes; one that a line can't have is written in base64 and has to be short enough for it. */
const KEY = fc
  .oneof(
    fc.uint8Array({ minLength: 1, maxLength: KEY_BYTES_MAX }),
    fc.uint8Array({ minLength: 1, maxLength: 4 }),
  )
  .map((bytes) => Buffer.from(bytes).toString('latin1'))
  .filter((key) => keyWord(key)[0].length <= KEY_BYTES_MAX)

function optionsOf(verb: string): fc.Arbitrary<[OptionName, number | bigint][]> {
  return fc
    .shuffledSubarray([...(OPTIONS[verb] ?? [])])
    .chain((names) =>
      fc.tuple(...names.map((name) => VALUES[name].map((value) => [name, value] as const))),
    )
    .map((pairs) => pairs.map(([name, value]): [OptionName, number | bigint] => [name, value]))
}

interface Made {
  readonly verb: string
  readonly key: string
  readonly options: [OptionName, number | bigint][]
  readonly flags: number
  readonly exptime: number
  readonly number: number | bigint
  readonly value: Buffer
}

const MADE: fc.Arbitrary<Made> = fc.constantFrom(...Object.keys(OPTIONS)).chain((verb) =>
  fc.record({
    verb: fc.constant(verb),
    key: verb === 'touch' ? KEY.filter((key) => !needsBase64(key)) : KEY,
    options: optionsOf(verb),
    flags: FLAGS,
    exptime: EXPTIME,
    number: UINT64,
    value: fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)),
  }),
)

/** The canonical command, and what it is read as. */
function spell(made: Made): { bytes: Buffer; command: Command } {
  const { verb, key, flags, exptime, number, value } = made
  const [word, ...mark] = keyWord(key)
  const options = [...made.options, ...mark.map((name): [OptionName, number] => [name, 0])]
  const words = options.map(([name, value]) => {
    return ['win', 'stale', 'clear', 'base64'].includes(name) ? name : `${name}=${value}`
  })
  const map = new Map(options)
  switch (verb) {
    case 'flush_all':
      return { bytes: canonicalLine(verb, `${exptime}`), command: { verb, exptime } }
    case 'touch':
      return { bytes: canonicalLine(verb, word, `${exptime}`), command: { verb, key, exptime } }
    case 'delete':
    case 'get':
      return { bytes: canonicalLine(verb, word, ...words), command: { verb, key, options: map } }
    case 'incr':
    case 'decr':
      return {
        bytes: canonicalLine(verb, word, `${number}`, ...words),
        command: { verb, key, delta: number, options: map },
      }
  }
  const store = verb as StoreVerb
  const line = canonicalStore(
    ...([store, word, `${flags}`, `${exptime}`, value.length, `${number}`] as const),
    words.map((option) => ` ${option}`).join(''),
  )
  const casUnique = verb === 'cas' ? number : 0
  return {
    bytes: Buffer.concat([Buffer.from(line, 'latin1'), value, Buffer.from('\r\n')]),
    command: { verb: store, key, flags, exptime, casUnique, options: map, value },
  }
}

describe('canonical commands', () => {
  test('what is made is canonical, and is read as what it was made of', () => {
    fc.assert(
      fc.property(MADE, (made) => {
        const { bytes, command } = spell(made)
        expect(isCanonical(bytes)).toBe(true)
        expect(parseCommand(bytes)).toEqual(command)
      }),
      { numRuns: 2_000 },
    )
  })

  test('options are read in the order in which they stand', () => {
    const { options } = parseCommand(Buffer.from('get k vivify=30 exptime=5 recache=1\r\n')) as {
      options: ReadonlyMap<string, number>
    }
    expect([...options]).toEqual([
      ['vivify', 30],
      ['exptime', 5],
      ['recache', 1],
    ])
  })

  test('one with a byte more, less or changed is none, or another one', () => {
    fc.assert(
      fc.property(MADE, fc.nat(), fc.nat(255), (made, place, byte) => {
        const { bytes } = spell(made)
        const at = place % bytes.length
        const longer = Buffer.concat([bytes, Buffer.from([byte])])
        expect(isCanonical(longer)).toBe(false)
        expect(isCanonical(bytes.subarray(0, bytes.length - 1))).toBe(false)
        const changed = Buffer.from(bytes)
        changed[at] = byte
        if (isCanonical(changed)) expect(() => parseCommand(changed)).not.toThrow()
      }),
      { numRuns: 1_000 },
    )
  })

  test('two spellings of one command are not both canonical', () => {
    fc.assert(
      fc.property(MADE, MADE, (one, other) => {
        const [first, second] = [spell(one), spell(other)]
        if (first.bytes.equals(second.bytes)) return
        expect(parseCommand(first.bytes)).not.toEqual(parseCommand(second.bytes))
      }),
    )
  })

  test.each([
    'replace k 0 0 1\r\nx\r\n',
    'append k 0 0 1 compare=7 unique=18446744073709551615 vivify=-1\r\nx\r\n',
    'cas k 0 0 1 7 unique=8 stale\r\nx\r\n',
    'delete k compare=1 unique=2 stale clear flags=4294967295 exptime=30\r\n',
    'incr k 18446744073709551615 vivify=0 initial=18446744073709551615\r\n',
    'get k exptime=-1\r\n',
    'touch k 99999999999\r\n',
    'flush_all -1\r\n',
    'delete YSBi base64\r\n', // "a b"
    'delete YQpi base64\r\n', // "a\nb"
    'delete base64\r\n',
    'delete stale stale\r\n',
  ])('%j is canonical', (text) => {
    expect(isCanonical(Buffer.from(text))).toBe(true)
  })

  test.each([
    ['an option twice', 'get k exptime=1 exptime=2\r\n'],
    ['an option of another command', 'set k 0 0 1 stale\r\nx\r\n'],
    ['a word that is no option', 'delete k 0\r\n'],
    ['a name that objects have', 'delete k constructor\r\n'],
    ['an option without its value', 'get k exptime\r\n'],
    ['an option with a value too much', 'delete k stale=1\r\n'],
    ['a value of an option that is not spelled so', 'get k exptime=01\r\n'],
    ['exptime below -1', 'get k exptime=-2\r\n'],
    ['exptime past any calendar', 'get k exptime=100000000000\r\n'],
    ['unique of 65 bits', 'get k unique=18446744073709551616\r\n'],
    ['flags of 33 bits', 'delete k clear flags=4294967296\r\n'],
    ['two blanks', 'get k  exptime=1\r\n'],
    ['a blank at the end', 'get k \r\n'],
    ['base64 of a key that needs none', 'delete YWI= base64\r\n'],
    ['base64 that is none', 'delete !!! base64\r\n'],
    ['base64 spelled with other bits at its end', 'delete YSBj/R== base64\r\n'],
    ['base64 that is not last', 'delete YSBi base64 stale\r\n'],
    ['a newline in a key', 'delete a\nb\r\n'],
    ['a touch with options', 'touch k 0 unique=1\r\n'],
    ['a touch without a time', 'touch k\r\n'],
    ['an incr without a delta', 'incr k\r\n'],
    ['an incr by less than nothing', 'incr k -1\r\n'],
    ['a flush_all without a time', 'flush_all\r\n'],
    ['a flush_all with more', 'flush_all 0 0\r\n'],
    ['bytes behind a line', 'incr k 1\r\nx'],
    ['a length past the largest limit', `set k 0 0 ${ITEM_SIZE_BOUNDS.max + 1}\r\nx\r\n`],
    ['noreply', 'incr k 1 noreply\r\n'],
    ['gets', 'gets k\r\n'],
  ])('%s is not canonical', (_, text) => {
    expect(isCanonical(Buffer.from(text))).toBe(false)
  })
})

describe('what a member of the version before knows', () => {
  test.each([
    ['set k 0 0 1\r\nx\r\n', true],
    ['add k 0 0 1\r\nx\r\n', true],
    ['cas k 0 0 1 18446744073709551615\r\nx\r\n', true],
    ['delete k\r\n', true],
    ['set k 0 0 1 unique=5\r\nx\r\n', false],
    ['add k 0 0 1 unique=5\r\nx\r\n', false],
    ['cas k 0 0 1 7 stale\r\nx\r\n', false],
    ['delete k stale\r\n', false],
    ['delete YSBi base64\r\n', false],
    ['replace k 0 0 1\r\nx\r\n', false],
    ['append k 0 0 1\r\nx\r\n', false],
    ['prepend k 0 0 1\r\nx\r\n', false],
    ['incr k 1\r\n', false],
    ['decr k 1\r\n', false],
    ['touch k 1\r\n', false],
    ['get k exptime=1\r\n', false],
    ['flush_all 0\r\n', false],
  ])('%j: %s', (text, isKnown) => {
    expect(isCanonical(Buffer.from(text))).toBe(true)
    expect(isKnownBefore(Buffer.from(text))).toBe(isKnown)
  })

  test('of any command: what has no option and is one of four', () => {
    fc.assert(
      fc.property(MADE, (made) => {
        const isPlain = made.options.length === 0 && !needsBase64(made.key)
        const isOld = ['set', 'add', 'cas', 'delete'].includes(made.verb)
        expect(isKnownBefore(spell(made).bytes)).toBe(isPlain && isOld)
      }),
    )
  })
})

test('a read that changes something is written with its options', () => {
  expect(canonicalGet('k', new Map([['exptime', -1]])).toString()).toBe('get k exptime=-1\r\n')
})

test.each([
  ['k', ['k']],
  ['a b', ['YSBi', 'base64']],
  ['a\nb', ['YQpi', 'base64']],
  ['a\rb\0\xff', ['a\rb\0\xff']],
])('a key %j is written %j', (key, words) => {
  expect(keyWord(key)).toEqual(words)
})
