/** What a typed line does, says, and may become; the script around it. */
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import { beforeEach, describe, expect, test } from 'vitest'
import { EXIT } from '../../../bin/client/outcome.ts'
import { runScript } from '../../../bin/client/script.ts'
import { Session } from '../../../bin/client/session.ts'
import { StoreError } from '../../../src/client/errors.ts'
import type { ClusterStatus } from '../../../src/protocol/status.ts'
import { io } from '../../e2e/cluster.ts'
import { FakeClient } from './fake-client.ts'

const IMAGE = join(import.meta.dirname, '..', '..', 'testdata', 'images', 'photo.png')
const IMAGE_HASH = 'c0cd8101030f1fff'

let client: FakeClient
let session: Session

beforeEach(() => {
  client = new FakeClient()
  const status = async () =>
    ({
      cluster: 'c1',
      leader: null,
      whyNoLeader: 'it is a test',
      members: [],
      membership: null,
    }) as unknown as ClusterStatus
  session = new Session({ client, disk: io.disk, status })
})

/** What the prompt would show. */
async function say(line: string): Promise<string> {
  try {
    const replies = await session.run(line)
    return replies === null ? '(end)' : replies.map((reply) => reply.text).join('\n')
  } catch (error) {
    return `error: ${(error as Error).message}`
  }
}

async function conversation(...lines: [line: string, answer: string][]): Promise<void> {
  for (const [line, answer] of lines) expect([line, await say(line)]).toEqual([line, answer])
}

test('words of other systems: read, write, and a cas that says what there was', async () => {
  await conversation(
    ['read k', 'no such key: k'],
    ['write k "two words"', 'STORED'],
    ['read k', 'two words'],
    ['cas k other new', 'not swapped: it is "two words"'],
    ['cas k "two words" "a \\"new\\" one"', 'swapped: it was "two words"'],
    ['cas k x y', 'not swapped: it is "a \\"new\\" one"'],
    ['cas none x y', 'not swapped: no such key: none'],
    ['READ k', 'a "new" one'],
  )
})

test("memcached's words", async () => {
  await conversation(
    ['set a 1 --flags 7 --expires 60', 'STORED'],
    ['add a 2', 'not stored: a: it has a value'],
    ['add b 2', 'STORED'],
    ['replace c 3', 'not stored: c: it has no value'],
    ['replace b 3', 'STORED'],
    ['append b 4', 'STORED'],
    ['prepend b 2', 'STORED'],
    ['append c 4', 'not stored: c: it has no value, or the two together would be too long'],
    ['get a b c', 'a 1\nb 234\nno such key: c'],
    ['gets a', 'a 1 7 1'],
    ['set a 5 --cas 9', 'not stored: a: it has changed since'],
    ['set c 5 --cas 9', 'no such key: c'],
    ['set a 5 --cas 1', 'STORED'],
    ['incr a', '6'],
    ['incr a 18446744073709551000', '18446744073709551006'],
    ['decr b 1000', '0'],
    ['incr c', 'no such key: c'],
    ['touch a 60', 'TOUCHED'],
    ['touch c 60', 'no such key: c'],
    ['delete b', 'DELETED'],
    ['delete b', 'no such key: b'],
    ['stats', 'about all\ncurr_items 1'],
    ['stats settings', 'about settings\ncurr_items 1'],
    ['flush', 'OK'],
    ['get a', 'no such key: a'],
  )
})

test('flags and expiry go with what they are given for', async () => {
  await say('set a 1 --flags 7 --expires 60')
  expect(client.items.get('a')).toMatchObject({ flags: 7, expiresInS: 60 })
  await say('touch a 90')
  expect(client.items.get('a')).toMatchObject({ flags: 7, expiresInS: 90 })
})

test('reads are linearizable unless told otherwise', async () => {
  for (const line of ['get k', 'read k', 'get k --local', 'read --local k']) await say(line)
  expect(client.reads.map(({ read }) => read)).toEqual([
    ...['linearizable', 'linearizable', 'local', 'local'],
  ])
})

test('a key is text, a value any bytes', async () => {
  const wrong = 'error: not UTF-8: "\\xff"; only a value may be any bytes'
  for (const command of [
    ...['get "\\xff"', 'gets k "\\xff"', 'read "\\xff"', 'set "\\xff" v', 'add "\\xff" v'],
    ...['append "\\xff" v', 'cas "\\xff" v w', 'incr "\\xff"', 'delete "\\xff"'],
    ...['touch "\\xff" 1', 'iset "\\xff" x', 'iget "\\xff"'],
  ]) {
    await conversation([command, wrong])
  }
  expect(client.items.size).toBe(0)
  await conversation(
    ['set k "\\xff"', 'STORED'],
    ['cas k "\\xff" "\\xfe"', 'swapped: it was "\\xff"'],
    ['read k', '\\xfe'],
  )
})

test('a value that looks like an option is a value', async () => {
  await conversation(
    ['set k -5', 'STORED'],
    ['read k', '-5'],
    ['set k "--flags"', 'STORED'],
    ['read k', '--flags'],
    ['set --flags 3 k -- --flags', 'STORED'],
    ['gets k', 'k 3 3 --flags'],
    ['append k --flags', 'STORED'],
    ['read k', '--flags--flags'],
  )
})

test('what would harm a terminal, or look like two lines, is shown escaped', async () => {
  await conversation(
    ['set k "a\\nb\\x1b[2J\\xff"', 'STORED'],
    ['read k', 'a\\nb\\x1b[2J\\xff'],
    ['cas k x y', 'not swapped: it is "a\\nb\\x1b[2J\\xff"'],
  )
})

test('what cannot be parsed says why', async () => {
  await conversation(
    ['', ''],
    ['  # a comment', ''],
    ['frobnicate', 'error: no such command: frobnicate; help lists them'],
    ['"get" k', 'error: no such command: "get"; help lists them'],
    [
      'set k',
      'error: too few words: set <key> <value> [--expires <seconds>] [--flags <number>] [--cas <unique>]',
    ],
    [
      'write k two words',
      'error: too many words: write <key> <value> [--expires <seconds>] [--flags <number>]; quote a value that has blanks',
    ],
    ['set k "v', 'error: the quote that begins "v has no end'],
    ['set k v --flags', 'error: --flags needs <number>'],
    ['set k v --flags x', 'error: --flags: a whole number from 0 on, not "x"'],
    ['incr k 1.5', 'error: what is added or taken: a whole number from 0 on, not "1.5"'],
    ['touch k soon', 'error: seconds: a whole number from 0 on, not "soon"'],
    ['status now', 'error: too many words: status'],
    ['help nothing', 'error: no such command: nothing; help lists them'],
    ['quit', '(end)'],
    ['exit', '(end)'],
  )
})

describe('images', () => {
  test('the whole metadata is kept, blanks and quotes included', async () => {
    for (const [typed, kept] of [
      ['a cat,  asleep on  the "key board" ', 'a cat,  asleep on  the "key board" '],
      [' two blanks before', ' two blanks before'],
      ['"quoted as a whole"', 'quoted as a whole'],
      ['"it" begins so', '"it" begins so'],
      ['"it begins so', '"it begins so'],
      ["it's --flags 3 # x", "it's --flags 3 # x"],
    ]) {
      expect(await say(`iset ${IMAGE} ${typed}`)).toBe(`STORED ${IMAGE_HASH}`)
      expect(String(client.items.get(IMAGE_HASH)?.value)).toBe(kept)
      expect(await say(`iget "${IMAGE}"`)).toBe(kept)
      expect(await say(`iset "${IMAGE}" ${typed}`)).toBe(`STORED ${IMAGE_HASH}`)
      expect(await say(`iget '${IMAGE}'`)).toBe(kept)
    }
  })

  test('without an image, or metadata, or with nothing stored, it says so', async () => {
    await conversation(
      ['iset', 'error: too few words: iset <image> <metadata...>'],
      [`iset ${IMAGE}  `, 'error: too few words: iset <image> <metadata...>'],
      ['iset no.png x', 'error: image no.png is not there'],
      ['iset "no.png x', 'error: the quote that begins "no.png x has no end'],
      [
        `iset ${IMAGES_README} x`,
        `error: image ${IMAGES_README} can't be read: Input buffer contains unsupported image format`,
      ],
      [`iget ${IMAGE}`, `nothing is stored for this image (${IMAGE_HASH})`],
    )
  })

  const IMAGES_README = join(IMAGE, '..', 'README.md')
})

test('status, help', async () => {
  expect(await say('status')).toMatch(/^cluster c1: no leader: it is a test/)
  expect(await say('help')).toMatch(/^ {2}set <key> <value> +store a value/m)
  expect(await say('help set')).toContain('--expires <seconds>')
  for (const line of (await say('help')).split('\n')) expect(line.length).toBeLessThanOrEqual(100)
})

describe('completion', () => {
  test('commands', () => {
    expect(session.complete('')[0]).toEqual(expect.arrayContaining(['get ', 'help ', 'quit ']))
    expect(session.complete('re')).toEqual([['read ', 'replace '], 're'])
    expect(session.complete('  de')).toEqual([['decr ', 'delete '], 'de'])
    expect(session.complete('help to')).toEqual([['touch '], 'to'])
    expect(session.complete('zz')).toEqual([[], 'zz'])
    expect(session.complete('zz ')).toEqual([[], ''])
  })

  test('keys of this session, where a key is due', async () => {
    for (const line of ['write user:1 a', 'get user:2 users', 'set other user:9']) await say(line)
    expect(session.complete('read us')).toEqual([['user:1 ', 'user:2 ', 'users '], 'us'])
    expect(session.complete('get other user:')).toEqual([['user:1 ', 'user:2 '], 'user:'])
    expect(session.complete('read other user:')).toEqual([[], 'user:'])
    expect(session.complete('set ')[0]).toHaveLength(4)
    expect(session.complete('set k us')).toEqual([[], 'us'])
    expect(session.complete('set k v --f')).toEqual([['--flags '], '--f'])
  })

  test('no more than so many keys are remembered, the latest', async () => {
    for (let at = 0; at < 1_500; at++) await say(`get key-${at}`)
    await say('get key-7')
    const [hits] = session.complete('get ')
    expect(hits).toHaveLength(1_000)
    expect(hits).toEqual(expect.arrayContaining(['key-7 ', 'key-501 ']))
    expect(hits).not.toContain('key-500 ')
  })
})

describe('a script', () => {
  async function script(lines: string | Buffer, isJson = false) {
    const input = new PassThrough()
    const output = new PassThrough()
    const errors = new PassThrough()
    const said = Promise.all([text(output), text(errors)])
    input.end(lines)
    const status = await runScript(session, { input, output, errors }, isJson)
    output.end()
    errors.end()
    const [stdout, stderr] = await said
    return { status, stdout, stderr }
  }

  test('a reply a line, and 0 where all succeeded', async () => {
    expect(await script('# begins\n\nwrite k "a b"\r\nread k\n')).toEqual({
      status: EXIT.done,
      stdout: 'STORED\na b\n',
      stderr: '',
    })
  })

  test('the last line needs no end; quit ends it', async () => {
    expect((await script('write k v\nread k')).stdout).toBe('STORED\nv\n')
    expect(await script('read k\nquit\nread none\n')).toMatchObject({ status: 0, stdout: 'v\n' })
  })

  test.each(['quit', 'write k x'])('%s ends it while its writer lives', async (last) => {
    client.onWrite = () => {
      throw new StoreError('unreachable', 'nobody is there')
    }
    const input = new PassThrough()
    input.write(`${last}\nread k\n`)
    const output = new PassThrough()
    await runScript(session, { input, output, errors: new PassThrough() }, false)
    expect(String(output.read() ?? '')).not.toContain('no such key')
    expect(input.destroyed).toBe(true)
  })

  test('bytes that are not UTF-8 become no other key or value: the line is refused', async () => {
    const line = (key: number, value: number) =>
      Buffer.from([...Buffer.from('set k'), key, 32, value, 10])
    const wrong = 'the line is not UTF-8: a key is text, and in a value \\xHH is a byte'
    expect(
      await script(
        Buffer.concat([line(0xff, 0x76), line(0x31, 0xff), Buffer.from('set grüße 🙂\u2028x\n')]),
      ),
    ).toMatchObject({
      status: EXIT.usage,
      stdout: `error: line 1: ${wrong}\nerror: line 2: ${wrong}\nSTORED\n`,
    })
    expect([...client.items].map(([key, { value }]) => [key, String(value)])).toEqual([
      ['grüße', '🙂\u2028x'],
    ])
  })

  test('a byte order mark at the beginning is no part of the first line', async () => {
    expect(await script('\ufeffwrite k \ufeffv\nread k\n')).toMatchObject({
      status: EXIT.done,
      stdout: 'STORED\n\ufeffv\n',
    })
    expect((await script('\ufeff# a comment\n')).status).toBe(EXIT.done)
  })

  test('errors name their line, the others are run, the gravest counts', async () => {
    expect(await script('write k v\nwrite k\n\nread none\nread k\n')).toEqual({
      status: EXIT.usage,
      stdout:
        'STORED\nerror: line 2: too few words: write <key> <value> [--expires <seconds>] [--flags <number>]\nno such key: none\nv\n',
      stderr:
        'client: 2 commands failed, the first on line 2: too few words: write <key> <value> [--expires <seconds>] [--flags <number>]\n',
    })
    expect(await script('read none\n')).toEqual({
      status: EXIT.no,
      stdout: 'no such key: none\n',
      stderr: 'client: 1 command failed on line 1: no such key: none\n',
    })
  })

  test.each([
    [new StoreError('notStored', 'not stored: why'), EXIT.notDone],
    [new StoreError('unknown', 'outcome unknown: why'), EXIT.unknown],
    [new StoreError('timeout', 'in time', true), EXIT.notDone],
    [new StoreError('timeout', 'in time'), EXIT.unknown],
    [new StoreError('invalid', 'a key'), EXIT.usage],
    [new StoreError('tooLarge', 'too large'), EXIT.notDone],
  ])('%s: status %i, and it goes on', async (error, status) => {
    client.onWrite = (key) => {
      if (key === 'bad') throw error
    }
    const ended = await script('write bad x\nwrite good y\nread none\n')
    expect(ended.status).toBe(status)
    expect(ended.stdout).toBe(`error: line 1: ${error.message}\nSTORED\nno such key: none\n`)
  })

  test('where no server can be reached it stops', async () => {
    client.onWrite = () => {
      throw new StoreError('unreachable', 'nobody is there')
    }
    expect(await script('write k x\nread k\n')).toEqual({
      status: EXIT.unreachable,
      stdout: 'error: line 1: nobody is there\n',
      stderr: 'client: 1 command failed on line 1: nobody is there; what follows was not run\n',
    })
  })

  test('as JSON, an object a reply', async () => {
    const { stdout, stderr } = await script(
      'write k "\\xff"\nget k none\nfrobnicate\ncas k v w\nwrite k v\ncas k v w\ngets k\n',
      true,
    )
    expect(
      stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line)),
    ).toEqual([
      { line: 1, key: 'k', stored: true },
      { line: 2, key: 'k', found: true, base64: '/w==' },
      { line: 2, key: 'none', found: false },
      {
        line: 3,
        error: 'usage',
        definite: true,
        message: 'no such command: frobnicate; help lists them',
      },
      { line: 4, key: 'k', swapped: false, old: { base64: '/w==' } },
      { line: 5, key: 'k', stored: true },
      { line: 6, key: 'k', swapped: true, old: { value: 'v' } },
      { line: 7, key: 'k', found: true, casUnique: '3', flags: 0, value: 'w' },
    ])
    expect(stderr).toMatch(/^client: 3 commands failed, the first on line 2: /)
  })
})
