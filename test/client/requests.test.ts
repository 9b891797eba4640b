/** What is sent for each call, what its replies mean, and what is refused before it is sent. */
import { describe, expect, test } from 'vitest'
import type { StoreError } from '../../src/client/errors.ts'
import {
  arithmeticRequest,
  deleteIfRequest,
  deleteRequest,
  flushRequest,
  getManyRequest,
  getRequest,
  type Request,
  statsRequest,
  storeRequest,
  touchRequest,
  UNEXPECTED,
} from '../../src/client/requests.ts'

const WALL_MS = 1_700_000_000_500
const wallMs = () => WALL_MS
const item = (key: string, value: string, casUnique: string | null = null) => ({
  key,
  flags: 7,
  value: Buffer.from(value),
  casUnique,
})
const a = item('a', '1', '18446744073709551615')

describe('what is sent', () => {
  test.each<[string, Request, string]>([
    ['set', storeRequest('set', 'k', 'value', {}, wallMs), 'set k 0 0 5\r\nvalue\r\n'],
    [
      'flags and expiry',
      storeRequest('add', 'k', '', { flags: 2 ** 32 - 1, expiresInS: 60 }, wallMs),
      'add k 4294967295 60 0\r\n\r\n',
    ],
    [
      'a time beyond thirty days, as a date',
      storeRequest('replace', 'k', 'v', { expiresInS: 2_592_001 }, wallMs),
      'replace k 0 1702592002 1\r\nv\r\n',
    ],
    ['thirty days', touchRequest('k', 2_592_000, wallMs), 'touch k 2592000\r\n'],
    ['append', storeRequest('append', 'k', 'v', {}, wallMs), 'append k 0 0 1\r\nv\r\n'],
    ['prepend', storeRequest('prepend', 'k', 'v', {}, wallMs), 'prepend k 0 0 1\r\nv\r\n'],
    [
      'cas',
      storeRequest('cas', 'k', 'v', {}, wallMs, 2n ** 64n - 1n),
      'cas k 0 0 1 18446744073709551615\r\nv\r\n',
    ],
    ['text in bytes', storeRequest('set', 'ä', 'ü', {}, wallMs), 'set Ã¤ 0 0 2\r\nÃ¼\r\n'],
    [
      'bytes as they are',
      storeRequest('set', 'k', Buffer.from([0, 13, 10, 255]), {}, wallMs),
      'set k 0 0 4\r\n\0\r\n\xff\r\n',
    ],
    ['delete', deleteRequest('k'), 'delete k\r\n'],
    ['delete of what looks like an option', deleteRequest('noreply'), 'delete noreply 0\r\n'],
    ['delete of this item', deleteIfRequest('k', 5n), 'md k C5\r\n'],
    ['incr', arithmeticRequest('incr', 'k', 3), 'incr k 3\r\n'],
    ['decr', arithmeticRequest('decr', 'k', 2n ** 64n - 1n), 'decr k 18446744073709551615\r\n'],
    ['touch', touchRequest('k', 0, wallMs), 'touch k 0\r\n'],
    ['flush', flushRequest(0, wallMs), 'flush_all\r\n'],
    ['flush later', flushRequest(5, wallMs), 'flush_all 5\r\n'],
    ['get', getRequest('get', 'k', false), 'get k\r\n'],
    ['gets', getRequest('gets', 'k', false), 'gets k\r\n'],
    ['get here', getRequest('get', 'k', true), 'get-local k\r\n'],
    ['gets here', getManyRequest('gets', ['k', 'l'], true), 'get-local k l\r\n'],
    ['get of several', getManyRequest('get', ['k', 'ä'], false), 'get k Ã¤\r\n'],
    ['stats', statsRequest(''), 'stats\r\n'],
    ['stats of a group', statsRequest('settings'), 'stats settings\r\n'],
  ])('%s', (_, request, text) => {
    expect(request.text).toBe(text)
    expect(request.body).toBeNull()
  })

  test.each([
    ['text', 'ü'.repeat(1_025)],
    ['bytes', Buffer.alloc(2_050, 'x')],
  ])('a long value stands apart: %s', (_, value) => {
    const request = storeRequest('set', 'k', value, {}, wallMs)
    expect(request.text).toBe('set k 0 0 2050\r\n')
    expect(request.body).toEqual(Buffer.from(value as string))
  })

  test('only reads are reads, and only those of one server local', () => {
    expect(getRequest('get', 'k', true)).toMatchObject({ isRead: true, isLocal: true })
    expect(getRequest('gets', 'k', false)).toMatchObject({ isRead: true, isLocal: false })
    expect(statsRequest('')).toMatchObject({ isRead: true, isLocal: false })
    for (const request of [deleteRequest('k'), deleteIfRequest('k', 1n), flushRequest(0, wallMs)]) {
      expect(request).toMatchObject({ isRead: false, isLocal: false })
    }
    for (const request of [arithmeticRequest('incr', 'k', 1), touchRequest('k', 1, wallMs)]) {
      expect(request).toMatchObject({ isRead: false, isLocal: false })
    }
    expect(storeRequest('add', 'k', '', {}, wallMs)).toMatchObject({ isRead: false })
  })
})

describe('what replies mean', () => {
  const store = (verb: 'set' | 'add' | 'cas') => storeRequest(verb, 'k', 'v', {}, wallMs, 1n)
  const itemA = { value: Buffer.from('1'), flags: 7, casUnique: 2n ** 64n - 1n }
  test.each<[string, Request, string, unknown]>([
    ['set', store('set'), 'STORED', undefined],
    ['set', store('set'), 'NOT_STORED', UNEXPECTED],
    ['add', store('add'), 'STORED', true],
    ['add', store('add'), 'NOT_STORED', false],
    ['cas', store('cas'), 'STORED', 'stored'],
    ['cas', store('cas'), 'EXISTS', 'exists'],
    ['cas', store('cas'), 'NOT_FOUND', 'notFound'],
    ['delete', deleteRequest('k'), 'DELETED', true],
    ['delete', deleteRequest('k'), 'NOT_FOUND', false],
    ['delete of this item', deleteIfRequest('k', 1n), 'HD', 'deleted'],
    ['delete of this item', deleteIfRequest('k', 1n), 'EX', 'exists'],
    ['delete of this item', deleteIfRequest('k', 1n), 'NF', 'notFound'],
    ['incr', arithmeticRequest('incr', 'k', 1), '18446744073709551615', 2n ** 64n - 1n],
    ['incr', arithmeticRequest('incr', 'k', 1), 'NOT_FOUND', null],
    ['incr', arithmeticRequest('incr', 'k', 1), 'STORED', UNEXPECTED],
    ['touch', touchRequest('k', 1, wallMs), 'TOUCHED', true],
    ['touch', touchRequest('k', 1, wallMs), 'NOT_FOUND', false],
    ['flush', flushRequest(0, wallMs), 'OK', undefined],
    ['get of none', getRequest('get', 'k', false), 'END', null],
    ['gets of none', getRequest('gets', 'k', false), 'END', null],
    ['get', getRequest('get', 'k', false), 'SERVER_ERROR x', UNEXPECTED],
    ['an inherited name', store('set'), 'constructor', UNEXPECTED],
  ])('%s, %s', (_, request, line, result) => {
    expect(request.readReply(line, [], [])).toEqual(result)
  })

  test('items', () => {
    const two = [item('\xc3\xa4', '2', '3'), a]
    expect(getRequest('get', 'a', false).readReply('END', [a], [])).toEqual(Buffer.from('1'))
    expect(getRequest('gets', 'a', false).readReply('END', [a], [])).toEqual(itemA)
    expect(getRequest('gets', 'a', false).readReply('END', two, [])).toBe(UNEXPECTED)
    expect(getManyRequest('get', ['ä', 'a'], false).readReply('END', two, [])).toEqual(
      new Map([
        ['ä', Buffer.from('2')],
        ['a', Buffer.from('1')],
      ]),
    )
    const items = getManyRequest('gets', ['a'], false).readReply('END', [a], [])
    expect(items).toEqual(new Map([['a', itemA]]))
  })

  test('statistics', () => {
    const lines = ['STAT pid 1', 'STAT version 1.6 of it', 'STAT empty']
    expect(statsRequest('').readReply('END', [], lines)).toEqual(
      new Map([
        ['pid', '1'],
        ['version', '1.6 of it'],
        ['empty', ''],
      ]),
    )
    expect(statsRequest('reset').readReply('RESET', [], [])).toEqual(new Map())
  })
})

describe('what is refused at once', () => {
  const set = (key: unknown, value: unknown = '', options = {}) =>
    storeRequest('set', key as string, value as string, options, wallMs)
  test.each<[string, () => unknown, string]>([
    ['an empty key', () => set(''), 'a key is 1 to 250 bytes'],
    ['a long key', () => set('x'.repeat(251)), 'a key is 1 to 250 bytes'],
    ['a key that is long in bytes', () => set('ä'.repeat(126)), 'a key is 1 to 250 bytes'],
    ['a blank', () => set('a b'), 'a key is'],
    ['a line end', () => set('a\r\nflush_all'), 'a key is'],
    ['a blank after a letter of two bytes', () => set('ä b'), 'a key is'],
    ['a control character', () => set('a\x7f'), 'a key is'],
    ['half a character', () => set('\ud800'), 'a key is'],
    ['no key', () => set(undefined), 'a key is'],
    ['a value that is no text', () => set('k', 5), 'a value is a Buffer or a string: "number"'],
    ['flags below 0', () => set('k', '', { flags: -1 }), 'flags are'],
    ['flags beyond 32 bits', () => set('k', '', { flags: 2 ** 32 }), 'flags are'],
    ['half a second', () => set('k', '', { expiresInS: 0.5 }), 'a time is'],
    ['a time before now', () => touchRequest('k', -1, wallMs), 'a time is'],
    ['no time', () => touchRequest('k', Number.NaN, wallMs), 'a time is'],
    ['less than nothing', () => arithmeticRequest('incr', 'k', -1), 'by is'],
    ['a half', () => arithmeticRequest('incr', 'k', 0.5), 'by is'],
    ['an inexact number', () => arithmeticRequest('incr', 'k', 2 ** 53), 'by is'],
    ['more than 64 bits', () => arithmeticRequest('incr', 'k', 2n ** 64n), 'by is'],
    ['no CAS unique', () => storeRequest('cas', 'k', '', {}, wallMs), 'casUnique is'],
    ['two groups', () => statsRequest('detail on'), 'a group is one word'],
    [
      'too many keys',
      () => getManyRequest('get', Array(3_000).fill('x'.repeat(250)), false),
      'are too many',
    ],
  ])('%s', (_, create, words) => {
    const error = thrown(create)
    expect(error).toMatchObject({ code: 'invalid', definite: true })
    expect(error.message).toContain(words)
    expect(error.message).not.toMatch(/[\r\n]/)
  })

  test('a value that no cluster takes', () => {
    const error = thrown(() => set('k', Buffer.alloc(16 * 1024 * 1024 + 1)))
    expect(error).toMatchObject({ code: 'tooLarge', definite: true })
  })

  test('not what is just allowed', () => {
    expect(set('x'.repeat(250)).key).toHaveLength(250)
    expect(set('ä'.repeat(125)).key).toHaveLength(125)
    expect(set('k', Buffer.alloc(16 * 1024 * 1024)).body).toHaveLength(16 * 1024 * 1024)
  })
})

function thrown(create: () => unknown): StoreError {
  try {
    create()
  } catch (error) {
    return error as StoreError
  }
  throw new Error('it was taken')
}
