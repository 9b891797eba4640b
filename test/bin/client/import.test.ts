/** What an import stores, where it stops, and from where it goes on. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Imported, importFile } from '../../../bin/client/import.ts'
import { itemLine, parseItemLine } from '../../../bin/client/item-line.ts'
import { FileError } from '../../../bin/client/outcome.ts'
import { StoreError } from '../../../src/client/errors.ts'
import type { Io } from '../../../src/io/io.ts'
import { io, makeDirectory } from '../../e2e/cluster.ts'
import { FakeClient } from './fake-client.ts'

let client: FakeClient
let directory: string
let path: string
let notes: string[]

beforeEach(() => {
  client = new FakeClient()
  directory = makeDirectory()
  path = join(directory, 'items.jsonl')
  notes = []
})

afterEach(() => rmSync(directory, { recursive: true }))

interface Setting {
  readonly io?: Io
  readonly cluster?: string
  readonly signal?: AbortSignal
}

async function importIt(setting: Setting = {}): Promise<Imported> {
  let byteCount = 0
  let expectedBytes = 0
  const imported = await importFile({
    client,
    io,
    path,
    cluster: 'c1',
    signal: new AbortController().signal,
    onBegin: (from, totalBytes) => {
      notes.push(`behind line ${from.lines}`)
      expectedBytes = totalBytes - from.bytes
    },
    onBytes: (count) => {
      byteCount += count
    },
    ...setting,
  })
  if (imported.isWhole) expect(byteCount).toBe(expectedBytes)
  return imported
}

function writeItems(...items: object[]): void {
  writeFileSync(path, items.map((item) => `${JSON.stringify(item)}\n`).join(''))
}

function numbered(count: number): object[] {
  return Array.from({ length: count }, (_, at) => ({ key: `k${at + 1}`, value: `v${at + 1}` }))
}

const progress = () => JSON.parse(readFileSync(`${path}.progress`, 'utf8'))
const files = () => io.disk.list(directory)
const storedValue = (key: string) => client.items.get(key)?.value.toString()

describe('a line', () => {
  test('is the same item again, whatever its bytes', () => {
    fc.assert(
      fc.property(
        fc.string({ minLength: 1 }),
        fc.oneof(fc.string().map(Buffer.from), fc.uint8Array().map(Buffer.from)),
        fc.nat(2 ** 31),
        fc.integer({ min: 0, max: 4_102_444_800_000 }),
        (key, value, flags, expiresAtMs) => {
          const bytes = Buffer.from(key).toString('latin1')
          const line = itemLine({ key: bytes, value, flags, expiresAtMs })
          expect(line).not.toContain('\n')
          const text = Buffer.from(key).toString()
          expect(parseItemLine(line)).toEqual({ key: text, value, flags, expiresAtMs })
        },
      ),
    )
  })

  test.each([
    ['\xff', '/w=='],
    ['a\tb', 'YQli'],
    ['\x7f', 'fw=='],
  ])('of a key that is not text says so: %j', (key, keyBase64) => {
    const line = itemLine({ key, value: Buffer.from('v'), flags: 0, expiresAtMs: 0 })
    expect(line).toBe(JSON.stringify({ keyBase64, value: 'v' }))
    expect(() => parseItemLine(line)).toThrow('its key is not text')
  })

  test.each([
    ['{', 'it is not JSON'],
    ['[]', 'it is not an object'],
    ['null', 'it is not an object'],
    ['{"value":"v"}', 'it has no key'],
    ['{"key":"k"}', 'it needs either value or base64'],
    ['{"key":"k","value":"v","base64":"dg=="}', 'it needs either value or base64'],
    ['{"key":"k","value":5}', 'its value is not a string'],
    ['{"key":"k","base64":"%"}', 'its base64 is not base64'],
    ['{"key":"k","value":"v","flags":-1}', 'flags is a number from 0 to 4294967295'],
    ['{"key":"k","value":"v","expiresAt":"soon"}', 'expiresAt is a time like'],
    ['{"key":"k","value":"v","ttl":5}', 'no such field: ttl'],
  ])('%s: %s', (line, why) => {
    expect(() => parseItemLine(line)).toThrow(why)
  })
})

test('stores what the lines say, and leaves out what has expired', async () => {
  const soon = new Date(io.clock.wallMs() + 100_000).toISOString()
  writeItems(
    { key: 'a', value: 'ä' },
    { key: 'b', base64: '/w==', flags: 7, expiresAt: soon },
    { key: 'old', value: 'x', expiresAt: '2001-01-01T00:00:00Z' },
  )
  writeFileSync(path, `\r\n  \n{"key":"last","value":""}`, { flag: 'a' })
  expect(await importIt()).toMatchObject({ lines: 6, expired: 1, isWhole: true })
  expect([...client.items.keys()]).toEqual(['a', 'b', 'last'])
  expect(storedValue('a')).toBe('ä')
  expect(client.items.get('b')).toMatchObject({ value: Buffer.from([0xff]), flags: 7 })
  const { expiresInS = 0 } = client.items.get('b') ?? {}
  expect(expiresInS).toBeGreaterThan(60)
  expect(expiresInS).toBeLessThanOrEqual(100)
  expect(await files()).toEqual(['items.jsonl'])
})

test.each([200, 2_000])(
  'of %i keys many are set at once, each by one line after the other',
  async (keys) => {
    writeItems(
      ...Array.from({ length: 2_000 }, (_, at) => ({ key: `k${at % keys}`, value: `${at}` })),
    )
    const inFlight = new Set<string>()
    let most = 0
    client.onWrite = async (key) => {
      expect(inFlight).not.toContain(key)
      inFlight.add(key)
      most = Math.max(most, inFlight.size)
      await new Promise(setImmediate)
      inFlight.delete(key)
    }
    expect(await importIt()).toMatchObject({ lines: 2_000, isWhole: true })
    expect(most).toBeGreaterThan(100)
    expect(most).toBeLessThanOrEqual(256)
    for (let at = 0; at < keys; at++) expect(storedValue(`k${at}`)).toBe(`${2_000 - keys + at}`)
  },
)

test('interrupted, it waits for what is on its way, and the next goes on from there', async () => {
  writeItems(...numbered(1_000))
  const interrupt = new AbortController()
  client.onWrite = async (key) => {
    if (key === 'k300') interrupt.abort()
    await new Promise(setImmediate)
  }
  const { lines, isWhole } = await importIt({ signal: interrupt.signal })
  expect(isWhole).toBe(false)
  expect(lines).toBeGreaterThanOrEqual(300)
  expect(lines).toBeLessThan(1_000)
  expect(client.items.size).toBe(lines)
  expect(progress()).toMatchObject({ cluster: 'c1', lines })

  client.items.clear()
  expect(await importIt()).toMatchObject({ lines: 1_000, isWhole: true })
  expect(notes).toEqual(['behind line 0', `behind line ${lines}`])
  expect([...client.items.keys()][0]).toBe(`k${lines + 1}`)
  expect(client.items.size).toBe(1_000 - lines)
  expect(await files()).toEqual(['items.jsonl'])
})

test('a line that fails is named; no line behind a gap counts as stored', async () => {
  writeItems(...numbered(1_000))
  client.onWrite = (key) => {
    if (key === 'k500') throw new StoreError('tooLarge', 'too large')
  }
  await expect(importIt()).rejects.toMatchObject({
    code: 'tooLarge',
    message: `${path}: line 500: too large`,
  })
  expect(progress()).toMatchObject({ lines: 499 })
  client.onWrite = () => {}
  expect(await importIt()).toMatchObject({ lines: 1_000 })
  expect(client.items.size).toBe(1_000)
})

test('a line that can not be read is named, and all before it are stored', async () => {
  writeItems(...numbered(20))
  const whole = readFileSync(path, 'utf8')
  writeFileSync(path, whole.replace('"value":"v15"', '"value":15'))
  await expect(importIt()).rejects.toThrow(`${path}: line 15: its value is not a string`)
  expect(client.items.size).toBe(14)
  expect(progress()).toMatchObject({ lines: 14 })
  // The line may be mended: what counts as stored is unchanged.
  writeFileSync(path, whole)
  expect(await importIt()).toMatchObject({ lines: 20 })
  expect(notes.at(-1)).toBe('behind line 14')
})

/** Its pauses are over at once, and its clock says so. */
function withoutWaiting(): Io {
  let nowMs = 0
  return {
    ...io,
    clock: { ...io.clock, monotonicMs: () => nowMs },
    timers: {
      ...io.timers,
      after(delayMs, fn) {
        nowMs += delayMs
        setImmediate(fn)
        return { cancel() {} }
      },
    },
  }
}

test('a line that is not UTF-8 becomes no other item', async () => {
  writeItems(...numbered(3))
  writeFileSync(
    path,
    readFileSync(path).map((byte) => (byte === 0x32 ? 0xff : byte)),
  )
  await expect(importIt()).rejects.toThrow(`${path}: line 2: it is not UTF-8`)
  expect([...client.items.keys()]).toEqual(['k1'])
})

test('what may pass is tried again, for a bounded time', async () => {
  writeItems(...numbered(10))
  const waiting = withoutWaiting()
  let failures = 0
  client.onWrite = (key) => {
    if (key === 'k3' && failures++ < 5) throw new StoreError('unknown', 'outcome unknown')
  }
  expect(await importIt({ io: waiting })).toMatchObject({ lines: 10 })
  expect(failures).toBe(6)
  client.onWrite = (key) => {
    if (key === 'k3') throw new StoreError('unreachable', 'nobody')
  }
  await expect(importIt({ io: waiting })).rejects.toMatchObject({ code: 'unreachable' })
  expect(waiting.clock.monotonicMs()).toBeGreaterThan(30_000)
})

describe('a line that was sent again though the first may have happened', () => {
  test('keeps the same command from setting a later line of its key', async () => {
    writeItems(...numbered(3), { key: 'k2', value: 'later' }, { key: 'k5', value: 'v5' })
    let failures = 0
    client.onWrite = (key) => {
      if (key === 'k2' && failures++ < 1) throw new StoreError('unknown', 'outcome unknown')
    }
    await expect(importIt({ io: withoutWaiting() })).rejects.toMatchObject({
      code: 'unknown',
      definite: false,
      message: `${path}: line 4: not set: line 2 has the same key and was sent again without knowing what became of the first time, which may take effect yet: once no server hangs, as store status says, the same command goes on`,
    })
    expect(storedValue('k2')).toBe('v2')
    expect(progress()).toMatchObject({ lines: 3 })
    expect(await importIt()).toMatchObject({ lines: 5, isWhole: true })
    expect(storedValue('k2')).toBe('later')
  })

  test('fails as one that may have happened, whatever it failed with at last', async () => {
    writeItems(...numbered(3))
    let failures = 0
    client.onWrite = (key) => {
      if (key !== 'k2') return
      if (failures++ === 0) throw new StoreError('timeout', 'no answer')
      throw new StoreError('noRoom', 'no room')
    }
    await expect(importIt({ io: withoutWaiting() })).rejects.toMatchObject({
      code: 'unknown',
      definite: false,
      message: `${path}: line 2: no room; before that it may have happened`,
    })
  })

  test('does not count where it certainly had not', async () => {
    writeItems(...numbered(3), { key: 'k2', value: 'later' })
    let failures = 0
    client.onWrite = (key) => {
      if (key === 'k2' && failures++ < 1) throw new StoreError('timeout', 'not sent', true)
    }
    expect(await importIt({ io: withoutWaiting() })).toMatchObject({ lines: 4, isWhole: true })
    expect(storedValue('k2')).toBe('later')
  })
})

describe('a checkpoint is refused', () => {
  beforeEach(async () => {
    writeItems(...numbered(20))
    client.onWrite = (key) => {
      if (key === 'k11') throw new StoreError('noRoom', 'no room')
    }
    await expect(importIt()).rejects.toThrow('no room')
    client.onWrite = () => {}
  })

  test('for another cluster', async () => {
    await expect(importIt({ cluster: 'c2' })).rejects.toThrow('.progress is about cluster c1')
  })

  test('for a file whose lines before it changed, or are gone', async () => {
    const whole = readFileSync(path, 'utf8')
    writeFileSync(path, whole.replace('v3', 'v4'))
    await expect(importIt()).rejects.toThrow('has changed since')
    writeFileSync(path, whole.slice(0, 50))
    await expect(importIt()).rejects.toThrow('has changed since')
  })

  test('where it is damaged', async () => {
    writeFileSync(`${path}.progress`, '{"lines":')
    await expect(importIt()).rejects.toThrow('is damaged: remove it')
  })
})

test('a file that is not there', async () => {
  await expect(importIt()).rejects.toThrow(`${path} is not there`)
})

test('an expiry in more than a hundred years is one in a hundred', async () => {
  writeItems({ key: 'k', value: 'v', expiresAt: '+200000-01-01T00:00:00.000Z' })
  await importIt()
  expect(client.items.get('k')?.expiresInS).toBe(100 * 365 * 24 * 3_600)
})

test('a directory is refused as what it is, and nothing is written beside it', async () => {
  path = join(directory, 'folder')
  await io.disk.makeDirectory(path)
  await expect(importIt()).rejects.toThrow(FileError)
  expect(await files()).toEqual(['folder'])
})
