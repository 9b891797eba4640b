// Goal: whatever bytes come, the decoder and a live server stay in step and within bounds.
// Method: a few thousand of the inputs that npm run fuzz has millions of.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { TestCluster } from '../e2e/cluster.ts'
import { fuzzDecoder, fuzzEndlessStreams } from './decoder.ts'
import { fuzzLive } from './live.ts'
import { findMalformed } from './replies.ts'

let cluster: TestCluster

beforeAll(async () => {
  cluster = await TestCluster.start(3)
})

afterAll(() => cluster.stop())

test('the decoder stays in step, however its input is cut', () => {
  fuzzDecoder(1, 20_000)
})

test('the decoder holds no more of a stream without end than of one request', () => {
  fuzzEndlessStreams(4 * 1024 * 1024)
})

test('a live server answers well, closes when its client does, and goes on', async () => {
  const { place, cport } = await cluster.leader()
  await fuzzLive({ host: place.cip, port: cport }, 1, 500, 8)
})

test('what is no reply of memcached is recognised', () => {
  expect(findMalformed('VALUE a 0 3\r\nabc\r\nEND\r\nHD t-1 kab Oq W\r\n12\r\n')).toBeNull()
  expect(findMalformed('VALUE a 0 3\r\nabcd\r\nEND\r\n')).toMatch(/unfinished/)
  expect(findMalformed('VALUE a 0 3\r\nabc\r\n')).toMatch(/without its END/)
  expect(findMalformed('STAT a 1\r\nOK\r\n')).toMatch(/in a list/)
  expect(findMalformed('VA 2 v\r\nhi\r\n')).toMatch(/no reply/)
  expect(findMalformed('STORED\r\nundefined\r\n')).toMatch(/no reply/)
  expect(findMalformed('STORED')).toMatch(/unfinished/)
})
