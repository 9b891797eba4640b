/**
 * Imports point one way: bin -> lb | server | client -> protocol, io; raft
 * imports only itself; and only src/io reaches the outside. What decides can
 * then run under a simulator, and a reader knows where to look.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize, relative } from 'node:path'
import { expect, test } from 'vitest'

const ROOT = join(import.meta.dirname, '..', '..')

/** Folder -> folders and packages its files may import besides their own folder. */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  'src/server/raft': [],
  'src/protocol': ['node:zlib'],
  'src/io': [
    'node:crypto',
    'node:dgram',
    'node:dns',
    'node:fs',
    'node:fs/promises',
    'node:net',
    'node:os',
    'node:path',
    'node:perf_hooks',
    'node:util',
    'fs-native-extensions',
  ],
  'src/lb': ['src/protocol', 'src/io', 'split2'],
  'src/server': ['src/protocol', 'src/io', 'node:path', 'node:zlib'],
  'src/client': ['src/protocol', 'src/io'],
  bin: [
    'src/lb',
    'src/server',
    'src/client',
    'src/protocol',
    'src/io',
    'node:child_process',
    'node:path',
    'node:stream',
    'node:timers/promises',
    'node:url',
    'node:util',
    'commander',
    'pino',
    'pino-pretty',
  ],
  'bin/client': [
    'bin',
    'src/server',
    'src/client',
    'src/protocol',
    'src/io',
    'node:fs',
    'node:os',
    'node:path',
    'node:readline',
    'node:stream',
    'node:zlib',
  ],
}

/** Only an entry point may choose the real implementation of `Io`. */
const MAY_IMPORT_REAL_IO = ['bin/client.ts', 'bin/store.ts', 'src/client/client.ts']

/** Globals that reach clocks, dice and timers past `Io`; `io.process` is not one. */
const FORBIDDEN_GLOBALS =
  /(?<![.\w])(Date\.now|new Date|performance\.now|Math\.random|setTimeout|setInterval|setImmediate|process\.)/

function sourceFiles(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && !name.endsWith('.d.ts'))
    .map((name) => join(folder, name))
}

const files = [...sourceFiles('src'), ...sourceFiles('bin')]

/** The most specific folder of the table that a file is in. */
function folderOf(file: string): string {
  const folders = Object.keys(ALLOWED).filter((folder) => file.startsWith(`${folder}/`))
  return folders.sort((a, b) => b.length - a.length)[0] ?? 'nowhere'
}

function importsOf(file: string): string[] {
  const text = readFileSync(join(ROOT, file), 'utf8')
  const imports = [...text.matchAll(/(?:from|import)\s+'([^']+)'/g)].map((match) => match[1] ?? '')
  return imports.map((name) =>
    name.startsWith('.') ? relative(ROOT, normalize(join(ROOT, dirname(file), name))) : name,
  )
}

test('every file imports only what its folder may', () => {
  const wrong = files.flatMap((file) => {
    const folder = folderOf(file)
    const allowed = ALLOWED[folder] ?? []
    const isGood = (name: string) =>
      name.startsWith(`${folder}/`) ||
      (folder === 'src/server' && name.startsWith('src/server/')) ||
      allowed.some((other) => name === other || name.startsWith(`${other}/`))
    return importsOf(file)
      .filter((name) => !isGood(name))
      .map((name) => `${file} imports ${name}`)
  })
  expect(wrong).toEqual([])
})

test('only src/io reaches clock, dice, timers and process', () => {
  const inner = files.filter((file) => file.startsWith('src/') && !file.startsWith('src/io/'))
  const wrong = inner.filter((file) => {
    const code = readFileSync(join(ROOT, file), 'utf8').replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, '')
    return FORBIDDEN_GLOBALS.test(code)
  })
  expect(wrong).toEqual([])
})

test('only entry points choose the real Io', () => {
  const users = files.filter((file) => importsOf(file).includes('src/io/node.ts'))
  expect(users.sort()).toEqual([...MAY_IMPORT_REAL_IO].sort())
})

test('the rules see what they should', () => {
  expect(folderOf('src/server/raft/raft.ts')).toBe('src/server/raft')
  expect(importsOf('src/server/node.ts')).toContain('src/server/raft/raft.ts')
  expect(FORBIDDEN_GLOBALS.test('const now = Date.now()')).toBe(true)
  expect(FORBIDDEN_GLOBALS.test('if (process.pid) return')).toBe(true)
  expect(FORBIDDEN_GLOBALS.test('io.process.pid')).toBe(false)
})
