/** Each program of examples/, as it stands, at a real cluster. */
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { TestCluster } from '../e2e/cluster.ts'
import { runNode, type Script } from './script.ts'

let cluster: TestCluster
const scripts: Script[] = []

beforeAll(async () => {
  cluster = await TestCluster.start()
})

afterEach(async () => {
  await Promise.all(scripts.splice(0).map((script) => script.stop()))
})

afterAll(() => cluster.stop())

function start(name: string, ...args: string[]): Script {
  const script = runNode([`examples/${name}.mjs`, `127.0.0.1:${cluster.lbcport}`, ...args])
  scripts.push(script)
  return script
}

test('lock: one at a time, and who slept past its expiry is refused', async () => {
  expect(await start('lock').end()).toBe(
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
  expect(await start('rate-counter').end()).toBe(
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
    const script = start('session-store', '--port', '0')
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
