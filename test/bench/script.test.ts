import { expect, test } from 'vitest'
import { memcachedProtocol } from '../../bench/load/memcached.ts'
import { createScript } from '../../bench/load/script.ts'
import { jobFor } from './job.ts'

const requestsOf = (script: ReturnType<typeof createScript>) =>
  Array.from({ length: script.length }, (_, at) =>
    script.bytes.toString('latin1', script.offsets[at], script.offsets[at + 1]),
  )

test('a fill writes each key once', () => {
  const job = jobFor({ kind: 'write', keyCount: 3, valueBytes: 4, isFill: true })
  expect(requestsOf(createScript(job, memcachedProtocol))).toEqual([
    'set key-00000000 0 0 4\r\n0000\r\n',
    'set key-00000001 0 0 4\r\n0000\r\n',
    'set key-00000002 0 0 4\r\n0000\r\n',
  ])
})

test('a mix is one write to nine reads, the same every time, and over all keys', () => {
  const job = jobFor({ kind: 'mix', keyCount: 100 })
  const script = createScript(job, memcachedProtocol)
  const requests = requestsOf(script)
  const writeCount = requests.filter((request) => request.startsWith('set ')).length
  expect(writeCount / requests.length).toBeGreaterThan(0.09)
  expect(writeCount / requests.length).toBeLessThan(0.11)
  expect(requests.map((request) => (request.startsWith('set ') ? 1 : 0))).toEqual([
    ...script.writes,
  ])
  expect(new Set(requests.map((request) => request.split(' ')[1]?.trim())).size).toBe(100)
  expect(createScript(job, memcachedProtocol).bytes.equals(script.bytes)).toBe(true)
  const other = createScript({ ...job, seed: 2 }, memcachedProtocol)
  expect(other.bytes.equals(script.bytes)).toBe(false)
})

test('large values make a short script', () => {
  const script = createScript(jobFor({ kind: 'write', valueBytes: 65_536 }), memcachedProtocol)
  expect(script.length).toBeGreaterThanOrEqual(256)
  expect(script.bytes.length).toBeLessThan(40 * 2 ** 20)
})
