import fs, { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { InvalidArgumentError } from 'commander'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { programOf } from '../../bin/completion.ts'
import { loggingTo } from '../../bin/run.ts'

let directory: string
let path: string
let fd: number

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'raftcached-test-'))
  path = join(directory, 'log')
  fd = openSync(path, 'w')
})

afterEach(() => {
  vi.restoreAllMocks()
  closeSync(fd)
  rmSync(directory, { recursive: true })
})

test.each([
  'ENOSPC', // a disk that is full
  'EIO', // a terminal that is gone
  'EPIPE', // nobody reads
])('log lines that cannot be written are lost, and the next ones are not: %s', (code) => {
  const log = loggingTo(fd)
  log.write('one\n')
  const failing = vi.spyOn(fs, 'writeSync').mockImplementation(() => {
    throw Object.assign(new Error(code), { code })
  })
  for (const line of ['two\n', 'three\n', 'four\n']) log.write(line)
  expect(failing).toHaveBeenCalledTimes(3)
  failing.mockRestore()
  log.write('five\n')
  expect(readFileSync(path, 'utf8')).toBe('one\nfive\n')
})

test('store up takes no cluster that would wait for a second server for ever', async () => {
  const store = await programOf(() => import('../../bin/store.ts'))
  const up = store.commands.find((command) => command.name() === 'up')
  const servers = up?.options.find(({ long }) => long === '--servers')
  expect(servers?.parseArg?.('2', 3)).toBe(2)
  for (const count of ['1', '0', 'two']) {
    expect(() => servers?.parseArg?.(count, 3)).toThrow(InvalidArgumentError)
  }
})
