/**
 * The bench from end to end, with measurements of a fraction of a second: that it runs, not
 * how fast anything is. Peers that are not installed here are left out, as the bench does.
 */
import { execFile, execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { RowResult } from '../../bench/results.ts'
import { findProgram } from '../../bench/systems/programs.ts'
import type { SubjectName } from '../../bench/systems/system.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const PROGRAMS: readonly (readonly [SubjectName, string])[] = [
  ['etcd', 'etcd'],
  ['redis', 'redis-server'],
  ['memcached', 'memcached'],
]
const installed = PROGRAMS.filter(([, program]) => findProgram(program)).map(([name]) => name)
const missing = PROGRAMS.filter(([name]) => !installed.includes(name)).map(([name]) => name)
if (missing.length > 0) console.log(`not installed, and left out: ${missing.join(', ')}`)

const run = promisify(execFile)
const directory = mkdtempSync(join(tmpdir(), 'raftcached-test-'))
/** Whatever the bench makes for itself is below here, and gone at its end. */
const temporary = mkdtempSync(join(directory, 'tmp-'))

beforeAll(() => {
  execFileSync(process.execPath, [join(ROOT, 'node_modules/.bin/tsc'), '-p', 'tsconfig.sim.json'], {
    cwd: ROOT,
  })
}, 120_000)

afterAll(() => rmSync(directory, { recursive: true, force: true }))

function bench(program: 'main' | 'profile' | 'client', ...args: string[]) {
  const path = join(ROOT, 'dist-test', 'bench', `${program}.js`)
  const env = { ...process.env, TMPDIR: temporary }
  return run(process.execPath, ['--enable-source-maps', path, ...args], { cwd: directory, env })
}

const SHORT = ['--rounds', '1', '--seconds', '0.7', '--warm-up', '0.2']

/** Rows that are tried, and who takes part. */
const EXPECTED: Readonly<Record<string, readonly SubjectName[]>> = {
  'read 50x16': ['raftcached', 'etcd', 'redis', 'memcached', 'bare'],
  ...(process.env.LONG
    ? {
        'mix 50 any': ['raftcached', 'leader', 'etcd'],
        'write 50 64KiB': ['raftcached', 'etcd', 'redis', 'bare'],
        'write 400 half': ['raftcached', 'bare'],
      }
    : { 'write 50x16 half': ['raftcached', 'bare'] }),
}

test('measures this store and whatever is installed, and leaves nothing behind', async () => {
  const args = [
    '--rows',
    `^(${Object.keys(EXPECTED).join('|')})$`,
    '--json',
    'figures.json',
    '--svg',
    'figures.svg',
  ]
  const { stdout } = await bench('main', ...SHORT, ...args)
  const text = readFileSync(join(directory, 'figures.json'), 'utf8')
  const results = (JSON.parse(text) as { rows: RowResult[] }).rows
  const isHere = (name: SubjectName) => !missing.includes(name)
  const named = results.map(({ row, subjects }) => [row.name, subjects.map((each) => each.subject)])
  expect(Object.fromEntries(named)).toEqual(
    Object.fromEntries(Object.entries(EXPECTED).map(([row, names]) => [row, names.filter(isHere)])),
  )
  for (const { row, subjects } of results) {
    for (const { subject, median } of subjects) {
      const what = `${row.name}, ${subject}`
      expect(median.rate, what).toBeGreaterThan(0)
      expect(median.p50Ms, what).toBeGreaterThan(0)
      expect(median.p999Ms, what).toBeGreaterThanOrEqual(median.p50Ms)
      expect(median.processes.every(({ residentBytes }) => residentBytes > 0)).toBe(true)
      const counts = subject !== 'redis' && row.kind !== 'read'
      if (counts) expect(median.syncsPerWrite, what).toBeGreaterThan(0)
    }
    expect(stdout).toContain(row.name)
  }
  expect(stdout).toMatch(/durable writes, 50 clients +x etcd/)
  expect(readFileSync(join(directory, 'figures.svg'), 'utf8')).toContain('</svg>')
  expect(readdirSync(temporary)).toEqual([])
}, 300_000)

test('profiles the leader and a follower', async () => {
  const { stdout } = await bench('profile', '--seconds', '0.3', '--warm-up', '0.2', '--out', 'out')
  expect(readdirSync(join(directory, 'out')).sort()).toEqual([
    ...['follower.cpuprofile', 'leader.cpuprofile'],
  ])
  expect(stdout).toMatch(/%\s+\d+ ms {2}/)
  expect(readdirSync(temporary)).toEqual([])
}, 120_000)

test('says what it does not know', async () => {
  await expect(bench('main', '--rows', 'nonsense')).rejects.toThrow('no row matches')
  await expect(bench('main', '--against', 'etcd,mysql')).rejects.toThrow('mysql is not')
  await expect(bench('profile', '--row', 'nonsense')).rejects.toThrow("no row 'nonsense'")
})

test.runIf(process.env.LONG)(
  'measures client libraries beside each other (LONG=1)',
  async () => {
    const args = ['--rounds', '1', '--seconds', '0.3', '--warm-up', '0.1']
    const { stdout } = await bench('client', ...args)
    const rows = stdout.split('\n').map((line) => line.trim().split(/ {2,}/))
    const sets = rows.findIndex(([work]) => work === 'set')
    expect(rows[sets]?.slice(1)).toEqual(['raftcached', expect.any(String), expect.any(String)])
    expect(rows[sets + 1]?.[0]).toBe('memcached, 10 connections')
    expect(stdout.match(/holds|NOT REACHED/g)).toHaveLength(6)
    expect(readdirSync(temporary)).toEqual([])
  },
  120_000,
)
