import { describe, expect, test } from 'vitest'
import type { CasUnique } from '../../src/protocol/cas-unique.ts'
import { isCanonical, isKnownBefore } from '../../src/protocol/commands.ts'
import {
  decodeBase64,
  metaDebugReply,
  metaGetReply,
  metaWriteReply,
  parseMetaArithmetic,
  parseMetaDelete,
  parseMetaGet,
  parseMetaSet,
} from '../../src/protocol/meta.ts'
import type { ItemReply } from '../../src/protocol/replies.ts'

const UNUSED = { isFetched: false, idleS: 0 }
const ITEM: ItemReply = {
  ...{ flags: 7, ttlBeforeS: 40, ttlS: 90, casUnique: 12, valueBytes: 5, marks: '' },
  value: Buffer.from('hello'),
}
const K251 = 'k'.repeat(251)

/** The command without its end, and without the block of an ms; or the error. */
function parse(line: string): string {
  const words = line.split(' ')
  switch (words[0]) {
    case 'mg':
      return textOf(parseMetaGet(words))
    case 'md':
      return textOf(parseMetaDelete(words))
    case 'ma':
      return textOf(parseMetaArithmetic(words))
    default: {
      const set = parseMetaSet(words, Number(words[2]))
      if ('error' in set) return set.error
      expect(isCanonical(Buffer.from(`${set.header}${'x'.repeat(set.meta.valueBytes)}\r\n`))).toBe(
        true,
      )
      return set.header.trimEnd()
    }
  }
}

function textOf(parsed: { readonly error: string } | { readonly command: Buffer }): string {
  if ('error' in parsed) return parsed.error
  expect(isCanonical(parsed.command)).toBe(true)
  return parsed.command.toString('latin1').trimEnd()
}

describe('the canonical command', () => {
  test.each([
    ['mg k', 'get k win'],
    ['mg k s v t f c h l u k q Ox', 'get k win'],
    ['mg k T30 t', 'get k win exptime=30'],
    ['mg k T-7', 'get k win exptime=-1'],
    ['mg k R5 N60 T9', 'get k win recache=5 vivify=60 exptime=9'],
    ['mg k N60 E77', 'get k win vivify=60 unique=77'],
    ['mg k E77', 'get k win'],
    ['mg k C5 v', 'get k win'],
    ['mg YSBi b T1', 'get YSBi win exptime=1 base64'],
    ['mg YWI= b', 'get ab win'],
    ['mg k PX LY', 'get k win'],
    ['ms k 2', 'set k 0 0 2'],
    ['ms k 2 F7 T30', 'set k 7 30 2'],
    ['ms k 2 I', 'set k 0 0 2'],
    ['ms k 2 C5', 'cas k 0 0 2 5'],
    ['ms k 2 MR C5 I E9', 'cas k 0 0 2 5 stale unique=9'],
    ['ms k 2 ME C5', 'add k 0 0 2'],
    ['ms k 2 MR', 'replace k 0 0 2'],
    ['ms k 2 MSet', 'set k 0 0 2'],
    ['ms k 2 MA T5 F9', 'append k 0 0 2'],
    ['ms k 2 MP C5 E6', 'prepend k 0 0 2 compare=5 unique=6'],
    ['ms k 2 MA N30 F9', 'append k 9 0 2 vivify=30'],
    ['ms YSBi 2 b E3', 'set YSBi 0 0 2 unique=3 base64'],
    ['md k', 'delete k'],
    ['md k q k Ox', 'delete k'],
    ['md k T5', 'delete k'],
    ['md k E5', 'delete k'],
    ['md k C5', 'delete k compare=5'],
    ['md k C0', 'delete k compare=0'],
    ['md k I T30', 'delete k stale exptime=30'],
    ['md k T30 I E4 C3', 'delete k compare=3 exptime=30 stale unique=4'],
    ['md k x', 'delete k clear'],
    ['md k x F9 T1', 'delete k clear flags=9 exptime=1'],
    ['ma k', 'incr k 1'],
    ['ma k D5', 'incr k 5'],
    ['ma k MI', 'incr k 1'],
    ['ma k M+', 'incr k 1'],
    ['ma k MD D18446744073709551615', 'decr k 18446744073709551615'],
    ['ma k M- q v t c', 'decr k 1'],
    ['ma k N30 J7', 'incr k 1 vivify=30 initial=7'],
    ['ma k J7', 'incr k 1'],
    ['ma k T9 C5 E6', 'incr k 1 exptime=9 compare=5 unique=6'],
    ['ma k C0', 'incr k 1'],
  ])('%s', (line, command) => {
    expect(parse(line)).toBe(command)
  })

  test('plain ones are known by members of the version before', () => {
    for (const line of ['md k q', 'md YWI= b']) {
      const parsed = parseMetaDelete(line.split(' '))
      expect('command' in parsed && isKnownBefore(parsed.command)).toBe(true)
    }
  })
})

describe('errors', () => {
  const FORMAT = 'CLIENT_ERROR bad command line format'
  const TOKEN = 'CLIENT_ERROR bad token in command line format'
  const MA = 'CLIENT_ERROR invalid or duplicate flag'
  test.each([
    [`mg ${K251} v`, FORMAT],
    [`ms ${K251} 2`, FORMAT],
    [`md ${K251}`, FORMAT],
    [`ma ${K251}`, MA],
    ['mg k z', 'CLIENT_ERROR invalid flag'],
    ['mg foo m o o o', 'CLIENT_ERROR invalid flag'],
    ['mg k v v', 'CLIENT_ERROR duplicate flag'],
    ['mg k O1 O2', 'CLIENT_ERROR duplicate flag'],
    ['mg k \xff', 'CLIENT_ERROR duplicate flag'],
    ['mg k Nabc', TOKEN],
    ['mg k T', TOKEN],
    ['mg k R-', TOKEN],
    ['mg k C-1', TOKEN],
    ['mg k E18446744073709551616', TOKEN],
    ['ms k 2 Fabc', FORMAT],
    ['ms k 2 F4294967296', FORMAT],
    ['ms k 2 Tabc z', 'CLIENT_ERROR invalid flag'],
    ['ms k 2 MZ', 'CLIENT_ERROR invalid mode for ms M token'],
    ['ms k 2 Mset', 'CLIENT_ERROR invalid mode for ms M token'],
    ['ms k 2 M', 'CLIENT_ERROR invalid mode for ms M token'],
    ['ma k Mincr', 'CLIENT_ERROR invalid mode for ma M token'],
    ['ma k M', 'CLIENT_ERROR invalid mode for ma M token'],
    ['ma k z', MA],
    ['ma k v v', MA],
    ['ma k D-1', MA],
    ['ma k Jabc', MA],
    ['ma k Tabc', MA],
    ['mg !!! b', 'CLIENT_ERROR error decoding key'],
    ['mg YWI b', 'CLIENT_ERROR error decoding key'],
    ['ms Y=I= 2 b', 'CLIENT_ERROR error decoding key'],
    ['ma !!! b', MA],
    [`mg k O${'o'.repeat(32)}`, 'CLIENT_ERROR opaque token too long'],
    [`ma k O${'o'.repeat(32)}`, 'CLIENT_ERROR opaque token too long'],
    ['mg k a b c d e f g h i j k l m n o p q r s', 'CLIENT_ERROR options flags are too long'],
  ])('%s', (line, error) => {
    expect(parse(line)).toBe(error)
  })

  test('31 characters of an opaque are none, nor are 18 flags', () => {
    expect(parse(`mg k O${'o'.repeat(31)}`)).toBe('get k win')
    expect(parse('mg YWI= b O P L k s t c f v h l u q x I M F1')).toBe('get ab win')
  })

  test.each([
    ['', null],
    ['YQ==', 'a'],
    ['YQ=', null],
    ['YQ', null],
    ['====', null],
    ['Y Q=', null],
    ['/+8=', '\xff\xef'],
    ['_-8=', null],
  ])('base64 %j', (text, key) => {
    expect(decodeBase64(text)).toBe(key)
  })
})

describe('the reply to an mg', () => {
  function reply(line: string, item: ItemReply | null = ITEM, usage = UNUSED): string {
    const get = parseMetaGet(line.split(' '))
    if ('error' in get) throw new Error(get.error)
    const { line: text, hasValue } = metaGetReply(get, item, usage)
    return `${text.replace('\r\n', '')}${hasValue ? ' + value' : ''}`
  }

  test.each([
    ['mg k', 'HD'],
    ['mg k q', 'HD'],
    ['mg k v', 'VA 5 + value'],
    ['mg k s v f c k Oxyz', 'VA 5 s5 f7 c12 kk Oxyz + value'],
    ['mg k k s', 'HD kk s5'],
    ['mg k t', 'HD t40'],
    ['mg k T90 t', 'HD t90'],
    ['mg k t T90', 'HD t40'],
    ['mg k N30 T90 t', 'HD t90'],
    ['mg k T90 N30 t', 'HD t90'],
    ['mg k C12 v', 'HD'],
    ['mg k C13 v', 'VA 5 + value'],
    ['mg k h l', 'HD h0 l0'],
    ['mg YWI= b k', 'HD kYWI= b'],
    ['mg k R30 u I x E3 M F1 PX LY', 'HD'],
  ])('%s', (line, text) => {
    expect(reply(line)).toBe(text)
  })

  test('of an item that was used', () => {
    expect(reply('mg k l h', ITEM, { isFetched: true, idleS: 30 })).toBe('HD l30 h1')
  })

  test('marks stand at the end', () => {
    expect(reply('mg k s Ox', { ...ITEM, marks: 'ZX' })).toBe('HD s5 Ox Z X')
    expect(reply('mg k v', { ...ITEM, marks: 'XW' })).toBe('VA 5 X W + value')
  })

  test('of a cas unique that no number is exact for', () => {
    const item = { ...ITEM, casUnique: 2n ** 64n - 1n }
    expect(reply('mg k c', item)).toBe('HD c18446744073709551615')
    expect(reply('mg k v C18446744073709551615', item)).toBe('HD')
    expect(reply('mg k v C18446744073709551614', item)).toBe('VA 5 + value')
  })

  test.each([
    ['mg k', 'EN'],
    ['mg k v s t c h l f', 'EN'],
    ['mg k k Oabc', 'EN kk Oabc'],
    ['mg YWI= k b', 'EN kYWI= b'],
    ['mg k k Oabc q', ''],
  ])('a miss of %s', (line, text) => {
    expect(reply(line, null)).toBe(text)
  })
})

describe('the reply to a write', () => {
  function reply(line: string, outcome: string, item?: ItemReply): string {
    const words = line.split(' ')
    const parsed =
      words[0] === 'ms'
        ? parseMetaSet(words, Number(words[2]))
        : words[0] === 'md'
          ? parseMetaDelete(words)
          : parseMetaArithmetic(words)
    if ('error' in parsed) throw new Error(parsed.error)
    return metaWriteReply(parsed.meta, outcome, item, 99)
  }

  test.each([
    ['ms k 2', 'STORED', 'HD'],
    ['ms YWI= 2 k s c Oab b', 'STORED', 'HD kYWI= b s2 c99 Oab'],
    ['ms k 2 c E1000', 'STORED', 'HD c1000'],
    ['ms k 2 c E01000', 'STORED', 'HD c1000'],
    ['ms k 2 t f v h', 'STORED', 'HD'],
    ['ms k 2 c s', 'NOT_STORED', 'NS c0 s2'],
    ['ms k 2 c C5', 'EXISTS', 'EX c0'],
    ['ms k 2 k Ox C5', 'NOT_FOUND', 'NF kk Ox'],
    ['ms k 2 q k', 'STORED', ''],
    ['ms k 2 q k', 'NOT_STORED', 'NS kk'],
    ['ms k 2 q C5', 'EXISTS', 'EX'],
    ['md k k Oab', 'DELETED', 'HD kk Oab'],
    ['md k q k', 'DELETED', ''],
    ['md k q', 'NOT_FOUND', 'NF'],
    ['md k q C5', 'EXISTS', 'EX'],
    ['md k v c s t', 'DELETED', 'HD'],
    ['ma k q', 'NOT_FOUND', 'NF'],
    ['ma k k c', 'NOT_FOUND', 'NF kk'],
    ['ma k q', 'CLIENT_ERROR cannot increment', 'CLIENT_ERROR cannot increment'],
  ])('%s: %s', (line, outcome, text) => {
    expect(reply(line, outcome)).toBe(text && `${text}\r\n`)
  })

  const number = (ttlBeforeS: number, ttlS: number, casUnique: CasUnique = 12): ItemReply => {
    return { flags: 0, ttlBeforeS, ttlS, casUnique, valueBytes: 2, marks: '' }
  }
  test.each([
    ['ma k', number(-1, -1), 'HD'],
    ['ma k v', number(-1, -1), 'VA 2\r\n42'],
    ['ma k v t c k Oab', number(30, 30), 'VA 2 t30 c12 kk Oab\r\n42'],
    ['ma k t T90 v', number(30, 90), 'VA 2 t30\r\n42'],
    ['ma k T90 t', number(30, 90), 'HD t90'],
    ['ma k N60 t', number(-1, 60), 'HD t60'],
    ['ma k q v', number(-1, -1), ''],
    ['ma k c', number(-1, -1, 2n ** 63n), `HD c${2n ** 63n}`],
  ])('%s', (line, item, text) => {
    expect(reply(line, '42', item)).toBe(text && `${text}\r\n`)
  })

  test('of an append: the whole length, and the cas unique that the item has now', () => {
    const item = { ...number(-1, -1, 7), valueBytes: 12 }
    expect(reply('ms k 2 MA s c', 'STORED', item)).toBe('HD s12 c7\r\n')
  })
})

test('me', () => {
  const usage = { isFetched: true, idleS: 3 }
  expect(metaDebugReply('k', ITEM, usage, 70)).toBe(
    'ME k exp=90 la=3 cas=12 fetch=yes cls=1 size=70\r\n',
  )
  expect(metaDebugReply('k', { ...ITEM, ttlS: -1 }, UNUSED, 70)).toBe(
    'ME k exp=-1 la=0 cas=12 fetch=no cls=1 size=70\r\n',
  )
  expect(metaDebugReply('k', null, UNUSED, 0)).toBe('EN\r\n')
})
