/**
 * What README.md shows of use is done as it stands, with the ports of a cluster that is there.
 * A line of a program that ends in `console.log(…) // text` prints that text.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { commandPath, TestCluster } from '../e2e/cluster.ts'
import { runNode, Script } from './script.ts'

const README = readFileSync(join(import.meta.dirname, '..', '..', 'README.md'), 'utf8')

/** What they begin with is what they do. */
const COMMANDS = sections('Use', 'From a program')
  .flatMap((text) => text.match(/^ {4}\S.*$/gm) ?? [])
  .map((line) => line.trim())
const PROGRAMS = [...README.matchAll(/^```(?:js|ts)\n([^]*?)^```$/gm)].map(([, code = '']) => code)

function sections(...titles: string[]): string[] {
  return titles.map((title) => README.split(`\n## ${title}\n`)[1]?.split('\n## ')[0] ?? '')
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

test('README shows commands and programs', () => {
  expect(COMMANDS.length).toBeGreaterThanOrEqual(7)
  expect(PROGRAMS.length).toBeGreaterThanOrEqual(3)
})

describe('programs', () => {
  test.each(PROGRAMS.map((code) => [code.trim().split('\n')[2] ?? '', code]))('%s', async (_, code) => {
    const expected = [...code.matchAll(/console\.log\(.*\) \/\/ (.*)$/gm)].map(([, text]) => `${text}\n`)
    expect(expected).not.toEqual([])
    const script = runNode(['--input-type=module', '--eval', withPorts(code)])
    expect(await script.end()).toBe(expected.join(''))
  })
})

