import { expect, test } from 'vitest'
import { parseMemccapable } from './memccapable.ts'
import { parseTap } from './tap.ts'

const parse = (text: string) => parseTap(text.split('\n'))

test('subtests with and without number and name, and what is said about a failure', () => {
  const result = parse(
    [
      '1..4',
      'ok 1 - stored foo',
      'not ok 2 - foo == <undef>',
      "#   Failed test 'foo == <undef>'",
      "#          got: 'VALUE foo 0 3",
      'WANT TO ISSUE KILL: 2',
      'ok 3',
      'ok - a \\# b',
    ].join('\n'),
  )
  expect(result.planned).toBe(4)
  expect(result.skippedWhy).toBeNull()
  expect(result.subtests.map(({ number, name, isOk }) => [number, name, isOk])).toEqual([
    [1, 'stored foo', true],
    [2, 'foo == <undef>', false],
    [3, '', true],
    [4, 'a # b', true],
  ])
  expect(result.subtests[1]?.details).toEqual([
    "Failed test 'foo == <undef>'",
    "got: 'VALUE foo 0 3",
  ])
})

test('what is skipped, and what is still to do, counts as passed', () => {
  const { subtests } = parse(
    'ok 1 # skip no UDP\nok 2 - x # SKIP\nnot ok 3 - later # TODO some day',
  )
  expect(subtests.map(({ name, isOk, isSkipped }) => [name, isOk, isSkipped])).toEqual([
    ['', true, true],
    ['x', true, true],
    ['later', true, false],
  ])
})

test('a name that speaks of skipping is a name', () => {
  expect(parse('not ok 1 - skip list').subtests[0]).toMatchObject({ isOk: false, isSkipped: false })
})

test('only the outermost level counts', () => {
  const { planned, subtests } = parse(
    '# Subtest: inner\n    not ok 1 - deep\n    1..1\nnot ok 1 - inner\n1..1',
  )
  expect(planned).toBe(1)
  expect(subtests.map(({ name, isOk }) => [name, isOk])).toEqual([['inner', false]])
})

test('a program that skips everything says why', () => {
  expect(parse('1..0 # SKIP Privilege drop not supported')).toEqual({
    planned: 0,
    skippedWhy: 'Privilege drop not supported',
    subtests: [],
  })
})

test('a program that dies before its plan has none', () => {
  expect(parse("ok 1 - one\nCan't locate MemcachedTest.pm")).toMatchObject({ planned: null })
})

test('memccapable: a name in a column, then how it went', () => {
  const name = (text: string) => text.padEnd(40)
  const { planned, subtests } = parseMemccapable([
    `${name('ascii set noreply')}[pass]`,
    name('ascii delete'),
    '[FAIL]',
    '',
    `./src/bin/memcapable.cc:1456: receive_error_response()${name('ascii stat')}1 of 27 tests failed`,
    '[pass]',
  ])
  expect(planned).toBe(27)
  expect(subtests.map(({ name, isOk, details }) => [name, isOk, details.length])).toEqual([
    ['ascii set noreply', true, 0],
    ['ascii delete', false, 1],
    ['ascii stat', true, 0],
  ])
})
