import { execFileSync } from 'node:child_process'
import {
  closeSync,
  constants,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { HISTORY_LINES_MAX, History, historyPath } from '../../../bin/client/history.ts'
import { makeDirectory } from '../../e2e/cluster.ts'

let directory: string
let path: string
let warnings: string[]

beforeEach(() => {
  directory = makeDirectory()
  path = join(directory, 'history')
  warnings = []
})

afterEach(() => rmSync(directory, { recursive: true }))

const open = (at: string | null = path) => new History(at, (text) => warnings.push(text))
const modeOf = (file: string) => statSync(file).mode & 0o777

test('where it is', () => {
  expect(historyPath({})).toBe(join(homedir(), '.raftcached_history'))
  expect(historyPath({ RAFTCACHED_HISTORY: '/x/y' })).toBe('/x/y')
  expect(historyPath({ RAFTCACHED_HISTORY: '' })).toBeNull()
})

test('there is none for a user without a home, unless a file is named', () => {
  const homeless = () => {
    throw new Error('uv_os_homedir returned ENOENT')
  }
  expect(historyPath({}, homeless)).toBeNull()
  expect(historyPath({ RAFTCACHED_HISTORY: '/x/y' }, homeless)).toBe('/x/y')
})

test('keeps lines for the next time, the newest first, for its owner alone', () => {
  const history = open()
  expect(history.load()).toEqual([])
  for (const line of ['a', ' b  c ', '', '  ', 'a', 'a']) history.add(line)
  expect(open().load()).toEqual(['a', ' b  c ', 'a'])
  expect(modeOf(path)).toBe(0o600)
  expect(warnings).toEqual([])
})

test('takes the file from others who could read it', () => {
  writeFileSync(path, 'a\n', { mode: 0o644 })
  const history = open()
  history.load()
  history.add('b')
  expect(modeOf(path)).toBe(0o600)
})

test('leaves what is no file, such as /dev/null, to those who use it', () => {
  execFileSync('mkfifo', ['-m', '644', path])
  const reader = openSync(path, constants.O_RDWR) // or to append would wait for one
  open().add('a')
  closeSync(reader)
  expect(modeOf(path)).toBe(0o644)
  expect(warnings).toEqual([])
})

test('is bounded, in lines and in their length', () => {
  const lines = Array.from({ length: HISTORY_LINES_MAX + 500 }, (_, at) => `line ${at}`)
  writeFileSync(path, `${lines.join('\n')}\n`)
  const history = open()
  expect(history.load()).toEqual(lines.slice(500).reverse())
  expect(readFileSync(path, 'utf8')).toBe(`${lines.slice(500).join('\n')}\n`)
  expect(modeOf(path)).toBe(0o600)
  history.add('x'.repeat(5_000))
  expect(history.load()).toEqual(lines.slice(500).reverse())
})

test('that can not be kept is said once, and no history is none', () => {
  const history = open(join(directory, 'no', 'such', 'place'))
  expect(history.load()).toEqual([])
  history.add('a')
  history.add('b')
  expect(warnings).toEqual([
    `history is not kept: ${directory}/no/such/place (ENOENT); see RAFTCACHED_HISTORY`,
  ])
  open(null).add('a')
  expect(open(null).load()).toEqual([])
})
