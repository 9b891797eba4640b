/**
 * The test programs, as commands: memcached's own tests, in perl, and memccapable.
 *
 * memcached's tests expect to run where it was built, and are sent to a server that
 * runs already by T_MEMD_USE_DAEMON. They get a directory whose memcached-debug has no
 * help, so that they skip what a memcached may have or not, and is launcher.ts else.
 */
import { existsSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parseMemccapable } from './memccapable.ts'
import type { Address, Role } from './servers.ts'
import type { TestFile } from './suite.ts'
import { parseTap, type TestResult } from './tap.ts'

export interface Program extends TestFile {
  readonly command: (at: Address) => readonly string[]
  readonly env: (role: Role, at: Address) => Readonly<Record<string, string>>
  readonly seconds: number
  readonly parse: (lines: readonly string[]) => TestResult
}

const SECONDS = 30

export const memccapable: Program = {
  name: 'memccapable',
  seconds: SECONDS,
  command: ({ host, port }) => ['memccapable', '-h', host, '-p', String(port), '-a', '-v'],
  env: () => ({}),
  parse: parseMemccapable,
}

export function perlTest(file: TestFile, testDirectory: string): Program {
  const path = join(testDirectory, `${file.name}.t`)
  const includes = [join(testDirectory, 'lib'), moduleDirectory()].map((name) => `-I${name}`)
  return {
    seconds: SECONDS,
    ...file,
    flags: (file.flags ?? []).map((flag) => flag.replace('{t}', testDirectory)),
    command: () => ['perl', ...includes, '-MRealTime', path],
    env: (role, { host, port }): Record<string, string> =>
      file.startsServers ? { TESTED_ROLE: role } : { T_MEMD_USE_DAEMON: `${host}:${port}` },
    parse: parseTap,
  }
}

export function writeBuildDirectory(directory: string): void {
  const launcher = `'${process.execPath}' '${join(import.meta.dirname, 'launcher.js')}'`
  const commands = {
    'memcached-debug': `[ "$1" = -h ] || exec ${launcher} "$@"`,
    // Its first argument is a time limit.
    timedrun: 'shift\nexec "$@"',
  }
  for (const [name, script] of Object.entries(commands)) {
    writeFileSync(join(directory, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
  }
}

/** Where RealTime.pm is. This module may itself be built, somewhere below the project. */
function moduleDirectory(): string {
  for (let directory = import.meta.dirname; ; directory = dirname(directory)) {
    const found = join(directory, 'test', 'memcached-suite')
    if (existsSync(join(found, 'RealTime.pm'))) return found
    if (directory === dirname(directory)) throw new Error('RealTime.pm is not there')
  }
}
