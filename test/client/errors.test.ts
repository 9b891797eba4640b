/** The codes, what of a server's words they stand for, and their table in the docs. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ERROR_CODES, type ErrorCode, StoreError } from '../../src/client/errors.ts'
import { errorOf, refusalOf } from '../../src/client/failures.ts'
import { getRequest, storeRequest } from '../../src/client/requests.ts'

const DOCS = join(import.meta.dirname, '..', '..', 'docs', 'ERRORS.md')

test('docs/ERRORS.md has these codes, no others, in this order, and what is definite', () => {
  const rows = [...readFileSync(DOCS, 'utf8').matchAll(/^\| `(\w+)` \|[^|]+\| (\w+)[^|]*\|/gm)]
  const documented = rows.map(([, code, definite]) => [code, definite === 'yes'])
  expect(documented).toEqual(Object.entries(ERROR_CODES))
})

test('an error is as definite as its code, unless it says otherwise', () => {
  for (const [code, definite] of Object.entries(ERROR_CODES)) {
    expect(new StoreError(code as ErrorCode, 'x').definite).toBe(definite)
  }
  expect(new StoreError('timeout', 'x', true).definite).toBe(true)
})

describe('what a line of a server means', () => {
  const write = storeRequest('set', 'k', 'v', {}, () => 0)
  const read = getRequest('get', 'k', false)
  test.each<[string, ErrorCode, boolean, boolean]>([
    ['SERVER_ERROR not stored: no leader', 'notStored', true, true],
    ['SERVER_ERROR outcome unknown: the leader was lost', 'unknown', false, false],
    ['SERVER_ERROR outcome unknown: not all keys were touched', 'unknown', false, false],
    ['SERVER_ERROR out of memory storing object', 'noRoom', true, false],
    ['SERVER_ERROR out of disk space', 'noRoom', true, false],
    ['SERVER_ERROR object too large for cache', 'tooLarge', true, false],
    ['CLIENT_ERROR cannot increment or decrement non-numeric value', 'notNumber', true, false],
    ['CLIENT_ERROR bad command line format', 'invalid', true, false],
    ['CLIENT_ERROR unauthenticated', 'login', true, false],
    ['SERVER_ERROR some day', 'protocol', false, false],
    ['ERROR', 'protocol', false, false],
  ])('of a write: %s', (line, code, definite, isTransient) => {
    const refusal = refusalOf(line, write, 'host:1')
    expect(refusal.isTransient).toBe(isTransient)
    const error = errorOf(write, refusal)
    expect(error).toMatchObject({ code, definite })
    expect(error.message).toMatch(/^set k: [^\r\n]*server host:1[^\r\n]*$/)
  })

  test.each<[string, ErrorCode, boolean]>([
    ['SERVER_ERROR no leader confirmed the read within 2000 ms', 'notRead', true],
    ['SERVER_ERROR stopping', 'notRead', true],
    ['SERVER_ERROR out of memory writing get response', 'tooLarge', false],
    ['CLIENT_ERROR line too long', 'invalid', false],
    ['ERROR', 'protocol', false],
  ])('of a read: %s', (line, code, isTransient) => {
    const refusal = refusalOf(line, read, 'host:1')
    expect(refusal.isTransient).toBe(isTransient)
    expect(errorOf(read, refusal)).toMatchObject({ code, definite: true })
  })
})
