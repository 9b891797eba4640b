/** `store status` of a real cluster: its screen, its JSON, its watch. */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { Overview } from '../../bin/overview.ts'
import { commandPath, eventually, kill, TestCluster } from './cluster.ts'
import { TextClient } from './text-client.ts'

const store = commandPath('store')
const ENTER = '\x1b[?1049h\x1b[?25l\x1b[?7l'
const HOME = '\x1b[H'
const LEAVE = '\x1b[?1049l'
const RESTORE = '\x1b[?7h\x1b[?25h'

/** Whatever a terminal, a user or a machine that runs tests wants. */
const environment = Object.fromEntries(
  Object.entries(process.env).filter(
    ([name]) => !/^(RAFTCACHED_.*|CI|NO_COLOR|FORCE_COLOR|NODE_DISABLE_COLORS)$/.test(name),
  ),
)
const run = (command: string, args: readonly string[], more: NodeJS.ProcessEnv = {}) =>
  promisify(execFile)(command, args, { env: { ...environment, ...more } })

let cluster: TestCluster
const started: ChildProcess[] = []

beforeAll(async () => {
  cluster = await TestCluster.start(3)
}, 60_000)

afterEach(async () => {
  for (const child of started.splice(0)) await kill(child)
})

afterAll(() => cluster?.stop())

const atBalancer = () => ['--lbport', String(cluster.lbcport)]

async function status(...flags: string[]): Promise<string> {
  const { stdout } = await run(process.execPath, [store, 'status', ...atBalancer(), ...flags])
  return stdout
}

async function overview(...flags: string[]): Promise<Overview> {
  return JSON.parse(await status('--json', ...flags)) as Overview
}

test('shows every member, what it holds and what is left', async () => {
  const client = await TextClient.connect(cluster.servers[0]?.cport ?? 0)
  expect(await client?.set('k', 'value')).toBe('STORED')
  client?.close()
  const screen = await eventually('the item on all servers', async () => {
    const text = await status()
    return (text.match(/^ {2}[0-9a-f]{8} +1 +\d+B .*\d[GMT] /gm) ?? []).length === 3 && text
  })
  for (const { cport } of cluster.servers) {
    expect(screen).toMatch(
      new RegExp(`^ {2}[0-9a-f]{8} +(leader|follower) +127.0.0.1:${cport} `, 'm'),
    )
  }
  expect(screen).toMatch(
    /^cluster [0-9a-f]+: server [0-9a-f]{8} leads, 127.0.0.1:\d+, term \d+\n\n/,
  )
  expect(screen).toMatch(/^load balancer: 127.0.0.1:\d+$/m)
  for (const line of screen.split('\n')) expect(line.length).toBeLessThanOrEqual(80)
  expect(screen).not.toContain('\x1b')
})

test('counts what clients of each server ask for', async () => {
  const client = await TextClient.connect(cluster.servers[1]?.cport ?? 0)
  let isOver = false
  const asking = (async () => {
    while (!isOver) await client?.get(['k'])
  })()
  try {
    await eventually('reads at that server and no other', async () => {
      const { members, readsPerSecond } = await overview()
      const rates = cluster.servers.map(
        ({ cport }) => members.find((member) => member.cport === cport)?.readsPerSecond,
      )
      return rates[0] === 0 && (rates[1] ?? 0) > 0 && rates[2] === 0 && readsPerSecond === rates[1]
    })
  } finally {
    isOver = true
    await asking
    client?.close()
  }
})

describe('--json', () => {
  /** The names in the first column of the tables below a heading of docs/STATUS.md. */
  function documented(heading: string): string[] {
    const docs = readFileSync(join(import.meta.dirname, '../../docs/STATUS.md'), 'utf8')
    const section = docs.split(/^#+ /m).find((part) => part.startsWith(`${heading}\n`)) ?? ''
    return [...section.matchAll(/^\| `(\w+)` \|/gm)].map((match) => match[1] ?? '')
  }

  test('has the fields that are documented, from a load balancer and from a server', async () => {
    const { cport = 0 } = cluster.servers[2] ?? {}
    const atServer = ['--server', `127.0.0.1:${cport}`]
    for (const flags of [[], atServer]) {
      // A member that is slow to tell leaves a gap.
      const told = await eventually('how far each member is behind', async () => {
        const one = await overview(...flags)
        return one.members.every(({ lag }) => lag !== null) && one
      })
      expect(Object.keys(told).sort()).toEqual(documented('The whole').sort())
      expect(told.members).toHaveLength(3)
      for (const member of told.members) {
        expect(Object.keys(member).sort()).toEqual(documented('A member').sort())
      }
    }
  })

  test('names what is wrong', async () => {
    const free = cluster.lbcport + 1 // UDP: nobody listens there on TCP
    const { problems, balancers } = await overview(
      ...['--lb', `127.0.0.1:${cluster.lbcport},127.0.0.1:${free}`],
    )
    const [problem] = problems
    expect(problems.filter(({ kind }) => kind === 'balancer')).toEqual([
      {
        kind: 'balancer',
        server: null,
        text: expect.stringContaining(`127.0.0.1:${free} can't be`),
      },
    ])
    expect(Object.keys(problem ?? {}).sort()).toEqual(documented('A problem').sort())
    expect(Object.keys(balancers[0] ?? {}).sort()).toEqual(documented('A load balancer').sort())
    expect(balancers.map(({ failure }) => failure === null)).toEqual([true, false])
  })
})

test('the environment says where the cluster is, and what is typed wins', async () => {
  const ask = (port: number, ...flags: string[]) =>
    run(process.execPath, [store, 'status', ...flags], { RAFTCACHED_LBPORT: String(port) })
  expect((await ask(cluster.lbcport)).stdout).toContain(' leads, ')
  expect((await ask(1, ...atBalancer())).stdout).toContain(' leads, ')
  await expect(ask(70_000)).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringMatching(
      /^error: option '--lbport <port>' value '70000' from env 'RAFTCACHED_LBPORT' is invalid\. .*\n/,
    ),
  })
})

test('colours: none in a pipe, unless FORCE_COLOR wants them', async () => {
  const args = [store, 'status', ...atBalancer()]
  const { stdout } = await run(process.execPath, args, { FORCE_COLOR: '1' })
  expect(stdout).toContain('\x1b[32mleader\x1b[39m')
})

interface Watch {
  readonly child: ChildProcess
  readonly output: () => string
  readonly ended: Promise<number | null>
}

function watching(child: ChildProcess): Watch {
  started.push(child)
  let output = ''
  child.stdout?.on('data', (chunk) => {
    output += chunk
  })
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
  return { child, output: () => output, ended }
}

function count(text: string, part: string): number {
  return text.split(part).length - 1
}

describe('--watch into a pipe', () => {
  test('writes screens one after the other until a signal ends it', async () => {
    const args = [store, 'status', '--watch', ...atBalancer()]
    const { child, output, ended } = watching(spawn(process.execPath, args, { env: environment }))
    await eventually('three screens', () => count(output(), ' leads, ') >= 3)
    child.kill('SIGINT')
    expect(await ended).toBe(0)
    expect(output()).not.toContain('\x1b')
    expect(output()).toMatch(/\n\ncluster /)
  })

  test('with --json writes a line each time, and ends when nobody reads on', async () => {
    const args = [store, 'status', '--watch', '--json', ...atBalancer()]
    const { child, output, ended } = watching(spawn(process.execPath, args, { env: environment }))
    await eventually('two lines', () => count(output(), '\n') >= 2)
    for (const line of output().split('\n').slice(0, 2)) {
      expect((JSON.parse(line) as Overview).members).toHaveLength(3)
    }
    child.stdout?.destroy()
    expect(await ended).toBe(0)
  })

  test('ends at once where there is no cluster', async () => {
    await expect(
      run(process.execPath, [store, 'status', '--watch', '--lbport', '1']),
    ).rejects.toMatchObject({ code: 1, stderr: expect.stringMatching(/^store status: .*\n$/) })
  })
})

function hasScript(): boolean {
  try {
    return execFileSync('script', ['--version'], { encoding: 'utf8' }).includes('util-linux')
  } catch {
    return false
  }
}

describe.runIf(hasScript())('--watch on a terminal', () => {
  function onTerminal(more: NodeJS.ProcessEnv): Watch {
    const words = [process.execPath, store, 'status', '--watch', ...atBalancer()]
    const command = `exec ${words.map((word) => `'${word}'`).join(' ')}`
    const env = { ...environment, TERM: 'xterm', ...more }
    return watching(spawn('script', ['-qfec', command, '/dev/null'], { env }))
  }

  test('draws in place, survives a missing load balancer, and leaves the terminal as it was', async () => {
    const { child, output, ended } = onTerminal({})
    await eventually('two screens', () => count(output(), HOME) >= 2)
    await cluster.killBalancer()
    await eventually('the reason', () => output().includes("can't be reached"))
    const drawn = output().length
    cluster.startBalancer()
    await eventually('the leader again', () => output().slice(drawn).includes(' leads, '))
    child.stdin?.write('\x03')
    expect(await ended).toBe(0)
    const [before = '', after = ''] = output().split(LEAVE)
    expect(before.startsWith(`${ENTER}${HOME}`)).toBe(true)
    expect(before).toContain('\x1b[32mleader\x1b[39m')
    expect(after.startsWith(`${RESTORE}\x1b[1mcluster `)).toBe(true)
    expect(after.trimEnd()).toMatch(/ leads, [\s\S]*\nload balancer: 127.0.0.1:\d+$/)
  }, 40_000)

  test('without colours where NO_COLOR wants none', async () => {
    const { child, output, ended } = onTerminal({ NO_COLOR: '1' })
    await eventually('a screen', () => output().includes(' leads, '))
    child.stdin?.write('\x03')
    expect(await ended).toBe(0)
    for (const style of ['\x1b[1m', '\x1b[2m', '\x1b[32m']) expect(output()).not.toContain(style)
  })
})

test('a dead member is the first thing it says', { timeout: 40_000 }, async () => {
  const leader = await cluster.leader()
  const victim = cluster.servers.find((server) => server !== leader)
  if (!victim) throw new Error('no follower')
  await cluster.killServer(victim)
  const screen = await eventually('the problem', async () => {
    const text = await status()
    return text.includes(' does not answer: ') && text
  })
  const [, problem = ''] = screen.split('\n\n')
  expect(problem.replace(/\s+/g, ' ')).toMatch(
    new RegExp(`^! server [0-9a-f]{8}, 127.0.0.1:${victim.cport}, does not answer: `),
  )
  expect(screen).toMatch(new RegExp(`^ {2}[0-9a-f]{8} +dead +127.0.0.1:${victim.cport} `, 'm'))
  expect((await overview()).problems[0]?.kind).toBe('silent')
})
