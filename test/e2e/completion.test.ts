/** `store completion`: what the shells themselves make of its scripts. */
import { execFile, execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { commandPath } from './cluster.ts'

const run = promisify(execFile)

let directory: string
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'raftcached-test-'))
  writeFileSync(join(directory, 'users'), '')
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

async function script(shell: string): Promise<string> {
  const { stdout } = await run(process.execPath, [commandPath('store'), 'completion', shell])
  const path = join(directory, `script.${shell}`)
  writeFileSync(path, stdout)
  return path
}

function isInstalled(shell: string): boolean {
  try {
    execFileSync(shell, ['-c', 'exit'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

describe('bash', () => {
  let path: string
  beforeAll(async () => {
    path = await script('bash')
  })

  /** What bash would offer behind these words, split as it splits them; the last is begun. */
  async function offered(...words: string[]): Promise<string[]> {
    const driver = `
      source "$1"; shift
      COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
      entry=$(complete -p "$1"); entry=\${entry#*-F }
      \${entry%% *}
      printf '%s\\n' "\${COMPREPLY[@]}"`
    const args = ['--norc', '--noprofile', '-c', driver, 'bash', path, ...words]
    const { stdout, stderr } = await run('bash', args, { cwd: directory })
    expect(stderr).toBe('')
    return stdout.split('\n').filter((line) => line !== '')
  }

  test('commands', async () => {
    expect(await offered('store', '')).toEqual(
      expect.arrayContaining(['up', 'addlb', 'addsrv', 'status', 'completion', 'help']),
    )
    expect(await offered('store', 're')).toEqual(['remove', 'recover', 'restore'])
    expect(await offered('client', '')).toEqual(expect.arrayContaining(['get', 'set']))
    expect(await offered('client', 'ge')).toContain('get')
    expect(await offered('store', 'help', 'ver')).toEqual(['verify'])
  })

  test('flags of the command', async () => {
    expect(await offered('store', 'status', '--j')).toEqual(['--json'])
    expect(await offered('store', 'status', '--lbport', '6002', '--w')).toEqual(['--watch'])
    expect(await offered('store', 'addlb', '--w')).toEqual([])
    expect(await offered('client', 'get', '--lbp')).toEqual(['--lbport'])
    expect(await offered('client', 'get', 'k', '--auth')).toEqual(['--auth-file'])
  })

  test('choices, of a flag and of an argument', async () => {
    const policies = ['leader', 'round-robin', 'least-requests']
    expect(await offered('store', 'addlb', '--discover', '')).toEqual(policies)
    expect(await offered('store', 'addlb', '--discover', '=', 'r')).toEqual(['round-robin'])
    expect(await offered('store', 'addlb', '--discover', '=')).toEqual(policies)
    expect(await offered('store', 'config', '')).toEqual(['item-size', 'reads'])
    expect(await offered('store', 'config', '--lb', 'h', ':', '1', 'r')).toEqual(['reads'])
    expect(await offered('store', 'config', 'reads', 'r')).toEqual([])
    expect(await offered('store', 'completion', 'f')).toEqual(['fish'])
  })

  test('nothing where nothing can be known; a value is no command', async () => {
    expect(await offered('store', 'status', '--lbport', '')).toEqual([])
    expect(await offered('store', 'status', '--lbport', '-')).toEqual([])
    expect(await offered('client', 'set', 's')).toEqual([])
    expect(await offered('store', 'addlb', '--cip', 'up', '--dis')).toEqual(['--discover'])
  })
})

test.runIf(isInstalled('zsh'))('zsh takes its script', async () => {
  const path = await script('zsh')
  await run('zsh', ['-n', path])
  // Sourced as users do, it defines what completes both.
  const { stdout } = await run('zsh', [
    ...['-f', '-c', 'autoload -U compinit; compinit -D; source "$0"; print $_comps[store]'],
    path,
  ])
  expect(stdout).toBe('_store_complete\n')
})

test.runIf(isInstalled('fish'))('fish completes by its script', async () => {
  const path = await script('fish')
  await run('fish', ['-n', path])
  const offered = async (line: string) => {
    const driver = `source ${path}; complete -C '${line}'`
    const { stdout } = await run('fish', ['--no-config', '-c', driver])
    return stdout.split('\n').map((one) => one.split('\t')[0])
  }
  expect(await offered('store re')).toEqual(['recover', 'remove', 'restore', ''])
  expect(await offered('store addlb --discover r')).toContain('round-robin')
  expect(await offered('store status --wa')).toEqual(['--watch', ''])
  expect(await offered('client ge')).toContain('get')
})
