/**
 * The test programs, as commands: memcached's own tests, in perl, and memccapable.
 *
 * memcached's tests expect to run where it was built. They get a directory whose
 * memcached-debug does nothing, so that they skip what only a memcached has, and
 * are sent to a server that runs already by T_MEMD_USE_DAEMON.
 */
import { chmodSync, existsSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parseMemccapable } from './memccapable.ts'
import type { Address } from './servers.ts'
import type { TestFile } from './suite.ts'
import { parseTap, type TestResult } from './tap.ts'

export interface Program extends TestFile {
  readonly command: (at: Address) => readonly string[]
  readonly env: (at: Address) => Readonly<Record<string, string>>
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
    env: ({ host, port }) => ({ T_MEMD_USE_DAEMON: `${host}:${port}` }),
    parse: parseTap,
  }
}

export function writeBuildDirectory(directory: string): void {
  const path = join(directory, 'memcached-debug')
  writeFileSync(path, '#!/bin/sh\nexit 0\n')
  chmodSync(path, 0o755)
}

/** Where RealTime.pm is. This module may itself be built, somewhere below the project. */
function moduleDirectory(): string {
  for (let directory = import.meta.dirname; ; directory = dirname(directory)) {
    const found = join(directory, 'test', 'memcached-suite')
    if (existsSync(join(found, 'RealTime.pm'))) return found
    if (directory === dirname(directory)) throw new Error('RealTime.pm is not there')
  }
}
