/**
 * Each program of examples/, as it stands, and what README.md shows of use, with the ports of
 * a real cluster. Where a line of README's programs is `console.log(…) // text`, it prints that.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { TestCluster } from '../e2e/cluster.ts'
import { Script } from './script.ts'

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
const scripts: Script[] = []

beforeAll(async () => {
  cluster = await TestCluster.start()
})

afterEach(async () => {
  await Promise.all(scripts.splice(0).map((script) => script.stop()))
})

afterAll(() => cluster.stop())

/** Ended with the test. */
function start(command: string, args: readonly string[], env = process.env): Script {
  const script = new Script(command, args, env)
  scripts.push(script)
  return script
}

function startExample(name: string, ...args: string[]): Script {
  const path = `examples/${name}.mjs`
  return start(process.execPath, [path, `127.0.0.1:${cluster.lbcport}`, ...args])
}

function withPorts(text: string): string {
  const server = String(cluster.servers[0]?.cport)
  return text.replaceAll('7001', server).replaceAll('5002', String(cluster.lbcport))
}

describe('examples', () => {
  test('lock: one at a time, and who slept past its expiry is refused', async () => {
    expect(await startExample('lock').end()).toBe(
      [
        '20 deposits, balance 20',
        'the next one writes: true',
        'the sleeper writes: false',
        'the sleeper still held it: false',
        'the next one still held it: true',
        '',
      ].join('\n'),
    )
  })

  test('rate counter: exactly as many pass as may', async () => {
    expect(await startExample('rate-counter').end()).toBe(
      'of 50 requests at once 10 pass\nin the next window one passes: true\n',
    )
  })

  test('session store: a session outlives the web server, and a logout', async () => {
    let cookie = ''
    const ask = async (url: string, path = '', method = 'GET') => {
      const response = await fetch(url + path, { method, headers: { cookie } })
      cookie = response.headers.get('set-cookie')?.split(';')[0] ?? cookie
      return response.text()
    }
    const serve = async () => {
      const script = startExample('session-store', '--port', '0')
      const [, url = ''] = await script.hear(/^(http:\S+)\n/)
      return { script, url }
    }
    const first = await serve()
    expect(await ask(first.url)).toBe('visits: 1\n')
    expect(await ask(first.url)).toBe('visits: 2\n')
    await first.script.stop('SIGTERM')
    expect(await first.script.end()).toBe(`${first.url}\n`)

    const second = await serve()
    expect(await ask(second.url)).toBe('visits: 3\n')
    const stale = cookie
    expect(await ask(second.url, 'logout', 'POST')).toBe('bye\n')
    cookie = stale
    expect(await ask(second.url)).toBe('visits: 1\n')
  })
})

describe('README', () => {
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
      const script = start(process.execPath, ['--input-type=module', '--eval', withPorts(code)])
      expect(await script.end()).toBe(said.join(''))
    })
  })

  describe('commands work', () => {
    // The commands of this checkout, in place of those that npx would look for.
    const npx = `npx() { name=$1; shift; exec "$NODE" "dist/bin/$name.js" "$@" --lbport "$LBPORT"; }`

    for (const command of COMMANDS) {
      test.skipIf(command.includes('| nc ') && !hasNc)(command, async () => {
        const env = { ...process.env, NODE: process.execPath, LBPORT: String(cluster.lbcport) }
        const script = start('sh', ['-c', `${npx}\n${withPorts(command)}`], env)
        if (command.endsWith(' --watch')) return void (await script.hear(/leads/))
        const output = await script.end()
        // The prompt, which nobody says anything to here.
        if (command === 'npx client') return expect(output).toBe('')
        expect(output).not.toBe('')
        if (/\bget\b/.test(command)) expect(output).toContain('hello')
      })
    }
  })
})
