import { describe, expect, test } from 'vitest'
import { NO_OPTIONS, type Options, parseOptions } from '../../../src/protocol/commands.ts'
import { getItem } from '../../../src/server/keystore/get.ts'
import { type Item, STALE, WON } from '../../../src/server/keystore/item-store.ts'

const NOW_MS = 1_700_000_000_000
const NEXT = 99

function item(fields: Partial<Item> = {}): Item {
  return {
    ...{ flags: 7, expiresAtMs: NOW_MS + 30_000, casUnique: 5, marks: 0 },
    value: Buffer.from('x'),
    ...fields,
  }
}

function options(text: string): Options {
  return parseOptions(text.split(' '), 0)
}

/** `ttl before/ttl after`, marks, and what becomes of the item. */
function get(before: Item | undefined, asked: string): string {
  const { reply, after } = getItem(before, options(asked), NEXT, NOW_MS)
  const marks = reply?.marks ? ` ${reply.marks}` : ''
  const shown = reply ? `${reply.ttlBeforeS}/${reply.ttlS}${marks}` : 'miss'
  if (after === undefined) return `${shown}, unchanged`
  if (after === null) return `${shown}, gone`
  const left = after.expiresAtMs === 0 ? 'for ever' : `${(after.expiresAtMs - NOW_MS) / 1000} s`
  return `${shown}, ${left}, marks ${after.marks}, cas ${after.casUnique}`
}

test('without options it is what a get answers, and changes nothing', () => {
  const before = item()
  expect(getItem(before, NO_OPTIONS, NEXT, NOW_MS)).toEqual({
    after: undefined,
    reply: {
      ...{ flags: 7, ttlBeforeS: 30, ttlS: 30, casUnique: 5, valueBytes: 1, marks: '' },
      value: before.value,
    },
  })
  expect(getItem(undefined, NO_OPTIONS, NEXT, NOW_MS)).toEqual({ reply: null, after: undefined })
})

describe('touch', () => {
  test.each([
    ['exptime=60', '30/60, 60 s, marks 0, cas 5'],
    ['exptime=0', '30/-1, for ever, marks 0, cas 5'],
    ['exptime=30', '30/30, unchanged'],
    ['exptime=-1', '30/0, gone'],
    ['exptime=2592001', '30/0, gone'],
  ])('%s', (asked, result) => {
    expect(get(item(), asked)).toBe(result)
  })

  test('of one that never expires', () => {
    expect(get(item({ expiresAtMs: 0 }), 'exptime=0')).toBe('-1/-1, unchanged')
    expect(get(item({ expiresAtMs: 0 }), 'exptime=9')).toBe('-1/9, 9 s, marks 0, cas 5')
  })

  test('a miss makes nothing', () => {
    expect(get(undefined, 'exptime=60')).toBe('miss, unchanged')
    expect(get(undefined, 'recache=60 unique=3')).toBe('miss, unchanged')
  })
})

describe('vivify', () => {
  test.each([
    ['vivify=30', '-1/30 W, 30 s, marks 2, cas 99'],
    ['vivify=30 unique=7', '-1/30 W, 30 s, marks 2, cas 7'],
    ['vivify=0', '-1/-1 W, for ever, marks 2, cas 99'],
    ['vivify=30 exptime=60', '-1/60 W, 60 s, marks 2, cas 99'],
    ['exptime=60 vivify=30', '-1/30 W, 30 s, marks 2, cas 99'],
    ['vivify=-1', '-1/0 W, gone'],
    // There is nothing yet that could be recached.
    ['vivify=30 recache=60', '-1/30 W, 30 s, marks 2, cas 99'],
  ])('%s, where nothing is', (asked, result) => {
    expect(get(undefined, asked)).toBe(result)
  })

  test('where something is, it does nothing', () => {
    expect(get(item(), 'vivify=90 unique=7')).toBe('30/30, unchanged')
  })

  test('what it makes is empty', () => {
    const { after } = getItem(undefined, options('vivify=30'), NEXT, NOW_MS)
    expect(after).toMatchObject({ flags: 0, value: Buffer.alloc(0) })
  })
})

describe('recache', () => {
  test.each<[string, Partial<Item>, string, string]>([
    ['less is left', {}, 'recache=31', '30/30 W, 30 s, marks 2, cas 5'],
    ['as much is left', {}, 'recache=30', '30/30, unchanged'],
    ['it never expires', { expiresAtMs: 0 }, 'recache=99', '-1/-1, unchanged'],
    ['somebody has won', { marks: WON }, 'recache=99', '30/30 Z, unchanged'],
    ['it was touched before', {}, 'exptime=90 recache=60', '30/90, 90 s, marks 0, cas 5'],
    ['it is touched after', {}, 'recache=60 exptime=90', '30/90 W, 90 s, marks 2, cas 5'],
  ])('where %s', (_, fields, asked, result) => {
    expect(get(item(fields), asked)).toBe(result)
  })
})

describe('a stale item', () => {
  const stale = item({ marks: STALE })

  test('the first reader that asks to wins, the others do not', () => {
    expect(get(stale, 'win')).toBe('30/30 XW, 30 s, marks 3, cas 5')
    expect(get(stale, 'win exptime=60')).toBe('30/60 XW, 60 s, marks 3, cas 5')
    expect(get(item({ marks: STALE | WON }), 'win')).toBe('30/30 ZX, unchanged')
  })

  test('one that knows nothing of winning leaves the turn to others', () => {
    expect(get(stale, 'exptime=60')).toBe('30/60 X, 60 s, marks 1, cas 5')
    expect(getItem(stale, NO_OPTIONS, NEXT, NOW_MS).after).toBeUndefined()
  })
})

test('one that is not stale has nothing to win', () => {
  expect(get(item(), 'win')).toBe('30/30, unchanged')
  expect(get(undefined, 'win')).toBe('miss, unchanged')
})
