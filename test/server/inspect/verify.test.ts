/** A server's files, whole, damaged at every bit, cut anywhere, or not of one piece. */
import { describe, expect, test } from 'vitest'
import type { Finding } from '../../../src/server/inspect/finding.ts'
import { describeFinding } from '../../../src/server/inspect/finding.ts'
import { readOnlyDisk } from '../../../src/server/inspect/read-only-disk.ts'
import { type FileReport, verify } from '../../../src/server/inspect/verify.ts'
import { VoteFile } from '../../../src/server/log/vote-file.ts'
import { MemoryDisk, seededRandom } from '../../io/memory-disk.ts'
import { appendTo, type Made, makeData } from './data.ts'

const DATA = 'data'
const GROUP = `${DATA}/groups/0`

async function madeDisk(made: Made = {}): Promise<MemoryDisk> {
  const disk = new MemoryDisk()
  await makeData(disk, DATA, made)
  return disk
}

async function verified(disk: MemoryDisk, directory = DATA) {
  const before = disk.mutationCount
  const files: FileReport[] = []
  const findings: Finding[] = []
  const verdict = await verify(readOnlyDisk(disk), directory, (line) => {
    if ('kind' in line) findings.push(line)
    else files.push(line)
  })
  expect(disk.mutationCount).toBe(before)
  const damage = findings.filter(({ kind }) => kind === 'damage')
  expect(verdict.damageCount).toBe(damage.length)
  return { files, findings, damage, verdict }
}

const damageOf = async (disk: MemoryDisk) => (await verified(disk)).damage.map(describeFinding)

async function segments(disk: MemoryDisk): Promise<string[]> {
  return (await disk.list(`${GROUP}/log`)).map((name) => `${GROUP}/log/${name}`)
}

async function lastSegment(disk: MemoryDisk): Promise<string> {
  return (await segments(disk)).at(-1) ?? ''
}

test('a flush that is pending is said', async () => {
  const keystore = { index: 4, term: 1, flushAtMs: 1_800_000_000_000 }
  const { files, findings } = await verified(await madeDisk({ keystore }))
  expect(findings).toEqual([])
  expect(files).toContainEqual({
    path: `${GROUP}/keystore`,
    what: '2 items, 8 bytes of values, as of entry 1/4, to be flushed at 1800000000000 (Unix ms)',
  })
})

test.each([
  ['set a 0 0 1\r\nx\r\ndelete a\r\nincr a 1\r\nset b 0 0 2\r\n\r\n\r\n', null],
  ['set a 0 0 1\r\nx\r\nfrob a\r\n', 'frob a'],
  ['set a 0 0 1\r\nx\r\nset a 0 0 9\r\nx\r\n', 'set a 0 0 9'],
  ['set a 0 0 1\r\nx\r\nset a 0 0 01\r\nx\r\n', 'set a 0 0 01'],
])('an entry of several commands is read to its end: %j', async (commands, bad) => {
  const disk = await madeDisk()
  await appendTo(disk, DATA, [9], commands)
  const damage = await damageOf(disk)
  if (bad === null) expect(damage).toEqual([])
  else expect(damage.join()).toContain(`does not know what it says: "${bad}`)
})

test('whole data is well, and each file is a line', async () => {
  const { files, findings, verdict } = await verified(await madeDisk())
  expect(findings).toEqual([])
  expect(
    files.map(({ path, what }) => `${path}: ${what.replace(/\d+ bytes$/, 'n bytes')}`),
  ).toEqual([
    `${DATA}/identity: server a of cluster c1`,
    `${GROUP}/keystore: 2 items, 8 bytes of values, as of entry 1/4`,
    `${GROUP}/log/000000000001.log: 6 entries (1 to 6), 6 seals, n bytes`,
    `${GROUP}/log/000000000002.log: no entries, 1 seal, n bytes`,
    `${GROUP}/log/000000000003.log: 3 entries (5 to 7), 3 seals, n bytes`,
    `${GROUP}/log/000000000004.log: entry 8, 2 seals, n bytes`,
    `${DATA}/vote: term 2, vote for a; 2 of 2 copies good`,
  ])
  expect(verdict).toEqual({ damageCount: 0, lastIndex: 8, commitIndex: 4 })
})

test('parts of it can be named, and a recovered cluster has its own', async () => {
  const disk = await madeDisk({ clusterId: 'c1.2-a' })
  const group = `${DATA}/groups/0.2-a`
  for (const [directory, count] of [
    [DATA, 7],
    [`${DATA}//`, 7],
    [group, 5],
    [`${group}/log`, 4],
  ] as const) {
    const { files, findings } = await verified(disk, directory)
    expect(findings).toEqual([])
    expect(files).toHaveLength(count)
  }
  await expect(verified(disk, 'elsewhere')).rejects.toThrow('elsewhere is empty or missing')
})

describe('every bit that is flipped is found', () => {
  /** Flips each bit of some bytes in turn. */
  async function* flips(disk: MemoryDisk, path: string, from: number, to: number) {
    for (let offset = from; offset < to; offset++) {
      for (let bit = 0; bit < 8; bit++) {
        disk.flipBit(path, offset, bit)
        yield { offset, found: await verified(disk) }
        disk.flipBit(path, offset, bit)
      }
    }
  }

  test('in the identity', async () => {
    const disk = await madeDisk()
    const path = `${DATA}/identity`
    const { length } = disk.bytes(path)
    for await (const { offset, found } of flips(disk, path, 0, length)) {
      const at = offset < length / 2 ? 0 : length / 2
      expect(found.damage.map(describeFinding)).toEqual([
        `${path}: DAMAGED at byte ${at}: this copy does not verify; the other copy counts`,
      ])
      expect(found.verdict.lastIndex).toBe(8)
    }
  })

  test('in the vote; in the padding behind a copy it is a note', async () => {
    const disk = await madeDisk()
    const path = `${DATA}/vote`
    const lineBytes = disk.bytes(path).indexOf('\n') + 1
    for (const offset of [0, 4096]) {
      for await (const { found } of flips(disk, path, offset, offset + lineBytes)) {
        expect(found.damage).toMatchObject([{ path, offset }])
      }
      for (const at of [lineBytes, 2_000, 4_095]) {
        for await (const { found } of flips(disk, path, offset + at, offset + at + 1)) {
          expect(found.findings).toMatchObject([{ kind: 'note', path, offset }])
        }
      }
    }
  })

  test('in the keystore', async () => {
    const disk = await madeDisk()
    const path = `${GROUP}/keystore`
    for await (const { found } of flips(disk, path, 0, disk.bytes(path).length)) {
      expect(found.damage).toMatchObject([{ path }])
    }
  })

  test('in the log; in the last seal of a segment, which nothing vouches for, it is a note', async () => {
    const disk = await madeDisk()
    for (const [at, path] of (await segments(disk)).entries()) {
      const bytes = disk.bytes(path)
      const lastSeal = bytes.lastIndexOf('seal ')
      const counting = countingBytes(at, bytes)
      for await (const { offset, found } of flips(disk, path, 0, bytes.length)) {
        if (offset < Math.min(counting, lastSeal)) expect(found.damage).toMatchObject([{ path }])
        else expect(found.findings).toMatchObject([{ kind: 'note', path }])
      }
    }
  })
})

/** What stands behind that, or in the second segment, the third one has taken the place of. */
function countingBytes(at: number, bytes: Buffer): number {
  if (at === 0) return bytes.indexOf('seal 4 ')
  return at === 1 ? 0 : bytes.length
}

test('damage is named by byte and entry', async () => {
  const disk = await madeDisk()
  const [, , path = ''] = await segments(disk)
  const at = disk.bytes(path).indexOf('6 2 ')
  disk.flipBit(path, at + 40)
  expect(await damageOf(disk)).toEqual([
    `${path}: DAMAGED at byte ${at}, entry 6: no whole record stands here, and a seal further on says there was one; what it held comes from another server`,
  ])
})

test('a file that is cut is never a crash of the command', async () => {
  const whole = await madeDisk()
  const uncovered = await madeDisk({ keystore: null })
  const last = await lastSegment(whole)
  const header = whole.bytes(last).indexOf('\n') + 1
  const logs = await segments(whole)
  for (const path of whole.files().filter((file) => !file.endsWith('vote'))) {
    // What a keystore file covers may be missing from the log.
    const disk = path.endsWith('.log') ? uncovered : whole
    const bytes = disk.bytes(path)
    const isNewest = path === last
    const lastLine = bytes.lastIndexOf('\n', bytes.length - 2) + 1
    const counting = path.endsWith('.log')
      ? Math.min(lastLine, countingBytes(logs.indexOf(path), bytes))
      : bytes.length
    for (let length = 0; length < bytes.length - 1; length++) {
      disk.put(path, bytes.subarray(0, length))
      const { damage, findings, verdict } = await verified(disk)
      // What a crash or a copy leaves: the newest segment without its newest bytes, any without its last seal.
      const isLeft = (isNewest && length >= header) || length >= counting
      expect([path, length, damage.length > 0]).toEqual([path, length, !isLeft])
      if (isLeft) expect(findings.length > 0 || verdict.lastIndex > 6).toBe(true)
    }
    disk.put(path, bytes)
  }
  whole.put(`${DATA}/vote`, whole.bytes(`${DATA}/vote`).subarray(0, 5_000))
  expect((await verified(whole)).findings).toMatchObject([{ kind: 'note', offset: 4096 }])
  whole.put(`${DATA}/vote`, whole.bytes(`${DATA}/vote`).subarray(0, 4_100))
  expect(await damageOf(whole)).toEqual([
    `${DATA}/vote: DAMAGED at byte 4096: this copy does not verify; the other copy counts`,
  ])
})

test('bytes that are anything anywhere are damage or a note, and nothing worse', async () => {
  const disk = await madeDisk()
  const random = seededRandom(3)
  const below = (count: number) => Math.floor(random() * count)
  for (let round = 0; round < 1_000; round++) {
    const files = disk.files().filter((path) => !path.endsWith('.tmp'))
    const path = files[below(files.length)] ?? ''
    const whole = disk.bytes(path)
    const offset = below(whole.length)
    const broken = Buffer.from(whole)
    const shape = below(3)
    const piece = broken.subarray(offset, offset + below(200) + 1)
    if (shape === 0) piece.fill(0)
    else if (shape === 1) for (const at of piece.keys()) piece[at] = below(256)
    else piece.set(whole.subarray(below(whole.length)).subarray(0, piece.length))
    disk.put(path, broken)
    if (!broken.equals(whole)) expect((await verified(disk)).findings).not.toEqual([])
    disk.put(path, whole)
  }
})

describe('files that do not go together', () => {
  const CASES: readonly (readonly [why: string, made: Made, expected: RegExp])[] = [
    [
      'a vote of before the log',
      { vote: { term: 1, vote: '' } },
      /vote: DAMAGED: its term 1 is older than the log's 2/,
    ],
    [
      'a keystore ahead of the log',
      { keystore: { index: 9, term: 2 } },
      /keystore: DAMAGED at entry 9: it is ahead of the log, which ends at entry 8/,
    ],
    [
      'a keystore of another log',
      { keystore: { index: 6, term: 1 } },
      /keystore: DAMAGED at entry 6: its last entry is 1\/6, the log's is 2\/6/,
    ],
    [
      'a keystore of another cluster',
      { keystore: { index: 4, term: 1, clusterId: 'c2' } },
      /keystore: DAMAGED: it belongs to cluster c2, group 0, not to cluster c1/,
    ],
  ]
  test.each(CASES)('%s', async (_why, made, expected) => {
    const damage = await damageOf(await madeDisk(made))
    expect(damage).toHaveLength(1)
    expect(damage[0]).toMatch(expected)
  })

  test('a log that begins where the keystore ends, or earlier, is well; later is not', async () => {
    for (const [index, damage] of [
      [8, []],
      [7, []],
      [
        6,
        [
          'entries 1 to 7 are missing before it, and no keystore file covers that; what is missing comes from another server',
        ],
      ],
    ] as const) {
      const disk = await madeDisk({ keystore: { index, term: 2 } })
      for (const path of (await segments(disk)).slice(0, 3)) await disk.remove(path)
      expect((await verified(disk)).damage.map(({ what }) => what)).toEqual(damage)
    }
  })

  test('things that are missing', async () => {
    for (const name of ['identity', 'vote']) {
      const disk = await madeDisk()
      await disk.remove(`${DATA}/${name}`)
      expect(await damageOf(disk)).toEqual([`${DATA}/${name}: DAMAGED: it is missing`])
    }
    const disk = await madeDisk()
    for (const path of await segments(disk)) await disk.remove(path)
    expect(await damageOf(disk)).toEqual([`${GROUP}/log: DAMAGED: there is no log`])
    expect(await damageOf(await madeDisk({ keystore: null }))).toEqual([])
  })

  test('an identity of another server', async () => {
    const disk = await madeDisk()
    const other = new MemoryDisk()
    await other.makeDirectory(DATA)
    await VoteFile.create(other, DATA, 'b')
    disk.put(`${DATA}/vote`, other.bytes(`${DATA}/vote`))
    expect(await damageOf(disk)).toHaveLength(2)
  })
})

describe('a log that was damaged, and went on', () => {
  /** Damages the entry 6 that counts, and lets a server open the log. */
  async function reopened(entries: readonly number[]): Promise<MemoryDisk> {
    const disk = await madeDisk({ lastOpening: false })
    const [, , path = ''] = await segments(disk)
    disk.flipBit(path, disk.bytes(path).indexOf('6 2 ') + 40)
    await appendTo(disk, DATA, entries)
    return disk
  }

  test('owes what is not reached again yet', async () => {
    const { findings, verdict } = await verified(await reopened([]))
    expect(findings.map(describeFinding)).toEqual([
      expect.stringMatching(
        /3\.log: note at byte \d+, entry 6: .*; a later segment takes its place$/,
      ),
      `${GROUP}/log: DAMAGED at entry 7: damage cut this log short: up to entry 2/7 it was durable once, and what is missing comes from another server`,
    ])
    expect(verdict.lastIndex).toBe(5)
  })

  test('is well once all of it is there again', async () => {
    const { findings, verdict } = await verified(await reopened([6, 7]))
    expect(findings).toMatchObject([{ kind: 'note', index: 6 }])
    expect(verdict).toMatchObject({ damageCount: 0, lastIndex: 7 })
  })
})

describe('snapshots', () => {
  test('a whole one covers the log, a part of one counts for nothing', async () => {
    const disk = await madeDisk()
    const other = await madeDisk({ keystore: { index: 7, term: 2 } })
    disk.put(`${GROUP}/snapshot`, other.bytes(`${GROUP}/keystore`))
    disk.put(`${GROUP}/snapshot.part`, Buffer.from('keyst'))
    for (const path of (await segments(disk)).slice(0, 3)) await disk.remove(path)
    const { files, findings, verdict } = await verified(disk)
    expect(files).toContainEqual({
      path: `${GROUP}/snapshot`,
      what: '2 items, 8 bytes of values, as of entry 2/7',
    })
    expect(findings.map(({ kind, path }) => [kind, path])).toEqual([
      ['note', `${GROUP}/snapshot`],
      ['note', `${GROUP}/snapshot.part`],
    ])
    expect(verdict.damageCount).toBe(0)
  })

  test('a damaged one is named', async () => {
    const disk = await madeDisk()
    disk.put(`${GROUP}/snapshot`, Buffer.from('keystore'))
    expect((await verified(disk)).damage).toMatchObject([{ path: `${GROUP}/snapshot` }])
  })

  test('a log that begins behind one counts, whatever stands before', async () => {
    const disk = await madeDisk({
      keystore: { index: 20, term: 3 },
      beginsBehind: [3, 20],
      vote: { term: 3, vote: '' },
    })
    const { findings, verdict } = await verified(disk)
    expect(findings).toEqual([])
    expect(verdict.lastIndex).toBe(20)
    await disk.remove(`${GROUP}/keystore`)
    expect((await verified(disk)).damage.map(({ what }) => what)).toEqual([
      'entries 9 to 20 are missing before it, and no keystore file covers that; what is missing comes from another server',
    ])
  })
})

describe('what a crash leaves is a note', () => {
  test('copies of the vote that differ', async () => {
    const disk = await madeDisk()
    const newer = await madeDisk({ vote: { term: 3, vote: '' } })
    const path = `${DATA}/vote`
    const first = newer.bytes(path).subarray(0, 4096)
    disk.put(path, Buffer.concat([first, disk.bytes(path).subarray(4096)]))
    const { files, findings } = await verified(disk)
    expect(files.at(-1)?.what).toBe('term 3, no vote; 2 of 2 copies good')
    expect(findings.map(describeFinding)).toEqual([
      `${path}: note at byte 4096: this copy says term 2, vote for a; a crash between the two leaves that`,
    ])
  })

  test('temporary files', async () => {
    const disk = await madeDisk()
    const paths = [
      `${DATA}/identity.tmp`,
      `${GROUP}/keystore.tmp`,
      `${GROUP}/log/000000000003.log.tmp`,
    ]
    for (const path of paths) disk.put(path, Buffer.from('keyst'))
    const { findings, verdict } = await verified(disk)
    expect(findings.map(({ kind, path }) => [kind, path])).toEqual(
      paths.map((path) => ['note', path]),
    )
    expect(verdict.damageCount).toBe(0)
  })
})
