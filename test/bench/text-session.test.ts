import { describe, expect, test } from 'vitest'
import { jobFor } from './job.ts'
import { Recorder } from './recorder.ts'

const READ = jobFor({ valueBytes: 10 })
const WRITE = jobFor({ kind: 'write', valueBytes: 10 })
const GOOD = 'VALUE key-00000003 0 10\r\n0123456789\r\nEND\r\n'

/** Every length of pieces, so that each byte is once the first of one. */
function forEachCut(bytes: Buffer, check: (pieceBytes: number) => void): void {
  for (let pieceBytes = 1; pieceBytes <= bytes.length; pieceBytes++) check(pieceBytes)
}

test('connections begin in the script where they are told to, and go round', () => {
  const job = jobFor({ kind: 'write', keyCount: 3, valueBytes: 1, isFill: true })
  const recorder = new Recorder(job, 2)
  recorder.session.request(2)
  recorder.session.request(1)
  const keys = recorder
    .takeSent()
    .toString()
    .match(/key-\d+/g)
  expect(keys).toEqual(['key-00000002', 'key-00000000', 'key-00000001'])
})

describe('memcached', () => {
  test('replies are counted however they are cut', () => {
    const bytes = Buffer.from(GOOD.repeat(3))
    forEachCut(bytes, (pieceBytes) => {
      const recorder = new Recorder(READ)
      recorder.receive(bytes, pieceBytes)
      expect(recorder).toMatchObject({ replies: [0, 1, 2], errors: [] })
    })
  })

  test('an error in between is told, and counted as a reply', () => {
    const bytes = Buffer.from(`${GOOD}SERVER_ERROR busy\r\n${GOOD}`)
    forEachCut(bytes, (pieceBytes) => {
      const recorder = new Recorder(READ)
      recorder.receive(bytes, pieceBytes)
      expect(recorder).toMatchObject({ replies: [0, 1, 2], errors: ['SERVER_ERROR busy'] })
    })
  })

  test.each([
    ['a miss', 'END\r\n'],
    ['a value that is too long', 'VALUE key-00000003 0 11\r\n01234567890\r\nEND\r\n'],
    ['a value that is too short', `VALUE key-00000003 0 9\r\n012345678\r\nEND\r\n${GOOD}`],
  ])('%s is an error', (_what, reply) => {
    const recorder = new Recorder(READ)
    recorder.receive(Buffer.from(reply))
    expect(recorder.errors.length).toBeGreaterThan(0)
  })

  test('writes are stored or not', () => {
    const bytes = Buffer.from('STORED\r\nSERVER_ERROR not stored: why\r\nSTORED\r\n')
    forEachCut(bytes, (pieceBytes) => {
      const recorder = new Recorder(WRITE)
      recorder.receive(bytes, pieceBytes)
      expect(recorder.replies).toEqual([0, 1, 2])
      expect(recorder.errors).toEqual(['SERVER_ERROR not stored: why'])
    })
  })

  test('in a mix each reply is that of its request', () => {
    const recorder = new Recorder(jobFor({ kind: 'mix', valueBytes: 10 }))
    recorder.session.request(50)
    const requests =
      recorder
        .takeSent()
        .toString()
        .match(/[gs]et key/g) ?? []
    expect(new Set(requests).size).toBe(2)
    const replies = requests.map((request) => (request === 'set key' ? 'STORED\r\n' : GOOD))
    recorder.receive(Buffer.from(replies.join('')), 7)
    expect(recorder.replies).toHaveLength(50)
    expect(recorder.errors).toEqual([])
    recorder.receive(Buffer.from('x\r\n'))
    expect(recorder.errors).toEqual(['x'])
  })
})

describe('Redis', () => {
  test('requests are arrays of strings', () => {
    const recorder = new Recorder({ ...WRITE, protocol: 'redis', isFill: true, keyCount: 1 })
    recorder.session.request(1)
    const text = '*3\r\n$3\r\nSET\r\n$12\r\nkey-00000000\r\n$10\r\n00000000-v\r\n'
    expect(recorder.takeSent().toString()).toBe(text)
  })

  test('replies are counted however they are cut, errors told', () => {
    const bytes = Buffer.from('$10\r\n0123456789\r\n-ERR why\r\n$10\r\n0123456789\r\n$-1\r\n')
    forEachCut(bytes, (pieceBytes) => {
      const recorder = new Recorder({ ...READ, protocol: 'redis' })
      recorder.receive(bytes, pieceBytes)
      expect(recorder).toMatchObject({ replies: [0, 1, 2, 3], errors: ['-ERR why', '$-1'] })
    })
  })
})
