/**
 * What README.md shows of use is done as it stands, with the ports of a cluster that is there.
 * A line of a program that ends in `console.log(…) // text` prints that text.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestCluster } from '../e2e/cluster.ts'
import { runNode, Script } from './script.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const README = readFileSync(join(ROOT, 'README.md'), 'utf8')
const hasNc = spawnSync('nc', ['-h']).error === undefined

const FENCED = /^```(?:js|ts)\n([\s\S]*?)^```$/gm
const PROGRAMS = [...README.matchAll(FENCED)].map(([, code = '']) => code)
/** Indented, up to what is said of them two spaces later. */
const COMMANDS = [
  ...sectionOf('Use')
    .replaceAll(FENCED, '')
    .matchAll(/^ {4}(\S+(?: \S+)*)/gm),
].map(([, text = '']) => text)

function sectionOf(title: string): string {
  return README.split(`\n## ${title}\n`)[1]?.split('\n## ')[0] ?? ''
}

let cluster: TestCluster

beforeAll(async () => {
  cluster = await TestCluster.start()
})

afterAll(() => cluster.stop())

function withPorts(text: string): string {
  const server = String(cluster.servers[0]?.cport)
  return text.replaceAll('7001', server).replaceAll('5002', String(cluster.lbcport))
}

test('there are commands and programs', () => {
  expect(COMMANDS.length).toBeGreaterThanOrEqual(4)
  expect(PROGRAMS.length).toBeGreaterThanOrEqual(3)
})

test('examples are named, and those named are there', () => {
  const named = [...README.matchAll(/^ {4}node examples\/(\S+)/gm)].map(([, name]) => name)
  expect(named.sort()).toEqual(readdirSync(join(ROOT, 'examples')).sort())
})

describe('programs print what they say', () => {
  test.each(PROGRAMS.map((code, at) => [at + 1, code]))('program %d', async (_, code) => {
    const said = [...code.matchAll(/console\.log\(.*\) \/\/ (.*)$/gm)].map(
      ([, text]) => `${text}\n`,
    )
    expect(said).not.toEqual([])
    const script = runNode(['--input-type=module', '--eval', withPorts(code)])
    expect(await script.end()).toBe(said.join(''))
  })
})

describe('commands work', () => {
  // The commands of this checkout, in place of those that npx would look for.
  const npx = `npx() { name=$1; shift; "$NODE" "dist/bin/$name.js" "$@" --lbport "$LBPORT"; }`

  for (const command of COMMANDS) {
    test.skipIf(command.includes('| nc ') && !hasNc)(command, async () => {
      const env = { ...process.env, NODE: process.execPath, LBPORT: String(cluster.lbcport) }
      const script = new Script('sh', ['-c', `${npx}\n${withPorts(command)}`], env)
      const output = await script.end()
      expect(output).not.toBe('')
      if (/\bget\b/.test(command)) expect(output).toContain('hello')
    })
  }
})
