/**
 * Servers that come, die, leave and move, and load balancers that do: nobody
 * does anything but start and stop processes, and nothing that was acknowledged
 * is lost. Real processes.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterEach, expect, test } from 'vitest'
import { fetchStatus } from '../../bin/status.ts'
import {
  commandPath,
  eventually,
  freePorts,
  io,
  kill,
  type ServerProcess,
  TestCluster,
} from './cluster.ts'
import { Load } from './load.ts'

const run = promisify(execFile)
const EVICT_AFTER_MS = 5_000

let cluster: TestCluster
const children: ChildProcess[] = []

afterEach(async (context) => {
  if (context.task.result?.state === 'fail') {
    console.error(cluster.log.slice(-8_000), await cluster.status().catch(String))
  }
  await Promise.all(children.splice(0).map((child) => kill(child)))
  await cluster.stop()
})

async function voters(): Promise<string[]> {
  const { members } = await cluster.status()
  return members.filter(({ voter }) => voter).map(({ cport }) => `${cport}`)
}

async function idOf({ cport }: ServerProcess): Promise<string> {
  const { members } = await cluster.status()
  return members.find((member) => member.cport === cport)?.id ?? ''
}

async function note(server: ServerProcess): Promise<string> {
  const { members } = await cluster.status()
  return members.find((member) => member.cport === server.cport)?.note ?? ''
}

test('five servers down to two, one at a time under load, and all back', {
  timeout: 120_000,
}, async () => {
  cluster = await TestCluster.start(5, '--evict-after', String(EVICT_AFTER_MS))
  const load = new Load(cluster)
  const history: string[] = []
  const say = async (what: string) => history.push(`${what}: ${(await voters()).join(' ')}`)
  await say('at first')
  const killed: ServerProcess[] = []
  const gaps: number[] = []
  for (const left of [4, 3, 2]) {
    // Leader and followers in turn.
    const leader = await cluster.leader()
    const victim =
      left === 3 ? leader : cluster.servers.find((one) => one !== leader && !killed.includes(one))
    if (!victim) throw new Error('nobody left to kill')
    load.takeLongestGapMs()
    killed.push(victim)
    await cluster.killServer(victim)
    if (left > 2) {
      await eventually('its eviction', async () => (await voters()).length === left, 30_000)
    } else {
      // Three voters are the floor: the dead one is kept, and says why.
      await eventually(
        'the reason',
        async () => /kept: removing it/.test(await note(victim)),
        30_000,
      )
    }
    gaps.push(Math.round(load.takeLongestGapMs()))
    await say(`${victim.cport} killed`)
  }
  await delay(500)
  gaps.push(Math.round(load.takeLongestGapMs()))
  for (const server of killed) cluster.startServer(server)
  await cluster.ready(60_000)
  await say('all back')
  gaps.push(Math.round(load.takeLongestGapMs()))
  await load.stop()
  console.log(`${history.join('\n')}\nlongest gaps in ms: ${gaps.join(' ')}`)
  expect([...load.refused]).toEqual([])
  expect(Math.max(...gaps)).toBeLessThan(3_000)
  for (const server of cluster.servers) await load.check(server)
})

test('store remove takes a server out, the leader too, and refuses to go below the floor', {
  timeout: 60_000,
}, async () => {
  cluster = await TestCluster.start(4)
  const load = new Load(cluster)
  const leader = await cluster.leader()
  const id = await idOf(leader)
  const remove = (...args: string[]) =>
    run(process.execPath, [commandPath('store'), 'remove', ...args])
  const { stdout } = await remove(id, '--lb', `127.0.0.1:${cluster.lbcport}`)
  expect(stdout).toBe(`server ${id} is out of the cluster\n`)
  await eventually('its end', () => leader.process?.exitCode === 0)
  expect(await voters()).toHaveLength(3)

  const [other] = cluster.servers.filter((server) => server !== leader)
  if (!other) throw new Error('no other server')
  const refused = remove(
    ...[await idOf(other), '--server', `127.0.0.1:${other.cport}`, '--timeout', '1000'],
  )
  await expect(refused).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining('kept: removing it would leave 2 voters'),
  })

  await load.stop()
  expect([...load.refused]).toEqual([])

  // Started again, it joins again.
  cluster.startServer(leader)
  await cluster.ready()
  for (const server of cluster.servers) await load.check(server)
})

test('a rolling restart under load: nothing is refused', { timeout: 60_000 }, async () => {
  cluster = await TestCluster.start(3)
  const load = new Load(cluster)
  for (const server of cluster.servers) {
    await cluster.killServer(server, 'SIGTERM')
    cluster.startServer(server)
    await cluster.ready()
  }
  await load.stop()
  expect([...load.refused]).toEqual([])
  for (const server of cluster.servers) await load.check(server)
})

test('a server at a new address is the same server', { timeout: 60_000 }, async () => {
  cluster = await TestCluster.start(3)
  const [server] = cluster.servers
  if (!server) throw new Error('no server')
  const id = await idOf(server)
  const load = new Load(cluster)
  await delay(300)
  await load.stop()
  await cluster.killServer(server)
  const port = await freePorts(2)
  cluster.startServer(server, '--cport', `${port}`, '--sport', `${port + 1}`)
  const moved = await eventually('its new address', async () => {
    const { members } = await fetchStatus(io, [{ host: '127.0.0.1', port }], 'server')
    const known = members.filter(({ voter }) => voter)
    return known.length === 3 && known.find((member) => member.cport === port)
  })
  expect(moved).toMatchObject({ id, sport: port + 1 })
  await load.check({ ...server, cport: port })
})

test('two load balancers, either of them dead: clients find the leader, a new one is elected', {
  timeout: 60_000,
}, async () => {
  const port = await freePorts(2)
  const second = ['--cport', `${port}`, '--sport', `${port + 1}`]
  cluster = await TestCluster.start(3)
  await cluster.killAll()
  const lists = [cluster.lbsport, port + 1].map((at) => `127.0.0.1:${at}`).join(',')
  const data = ['--data', join(cluster.directory, 'lb2')]
  const startSecond = () => {
    const child = spawn(process.execPath, [commandPath('store'), 'addlb', ...second, ...data], {
      stdio: 'ignore',
    })
    children.push(child)
    return child
  }
  let other = startSecond()
  cluster.startBalancer()
  for (const server of cluster.servers) cluster.startServer(server, '--lb', lists)
  await cluster.ready()
  const clients = [cluster.lbcport, port].map((at) => `127.0.0.1:${at}`).join(',')
  const client = (...args: string[]) =>
    run(process.execPath, [commandPath('client'), ...args, '--lb', clients])

  await cluster.killBalancer()
  await cluster.killServer(await leaderOf(port))
  await eventually('a write through the second', async () => {
    return (await client('set', 'k', 'second').catch(() => null))?.stdout === 'STORED\n'
  })
  await kill(other)
  cluster.startBalancer()
  await eventually('a read through the first', async () => {
    return (await client('get', 'k').catch(() => null))?.stdout === 'k second\n'
  })
  other = startSecond()
  await eventually('the second knows the cluster again', async () => {
    const { leader } = await fetchStatus(io, [{ host: '127.0.0.1', port }])
    return leader !== null
  })

  async function leaderOf(balancerPort: number): Promise<ServerProcess> {
    return eventually('a leader', async () => {
      const { leader, members } = await fetchStatus(io, [{ host: '127.0.0.1', port: balancerPort }])
      const member = members.find(({ id }) => id === leader)
      return cluster.servers.find(({ cport }) => cport === member?.cport)
    })
  }
})

test('with two of three servers lost a survivor goes on alone when forced, and they end when they come back', {
  timeout: 60_000,
}, async () => {
  cluster = await TestCluster.start(3)
  const load = new Load(cluster)
  await delay(500)
  await load.stop()
  const [survivor, ...lost] = cluster.servers
  if (!survivor) throw new Error('three servers expected')
  await eventually('everything on the survivor', () => load.check(survivor).then(() => true))
  await Promise.all(cluster.servers.map((server) => cluster.killServer(server)))

  const recover = (...args: string[]) =>
    run(process.execPath, [
      ...[commandPath('store'), 'recover', '--data', survivor.directory],
      ...args,
    ])
  await expect(recover()).rejects.toMatchObject({
    stdout: expect.stringContaining('are lost'),
    stderr: expect.stringContaining('nothing was changed'),
  })
  expect((await recover('--force')).stdout).toContain('Done.')

  cluster.startServer(survivor)
  const joined = await cluster.addServer()
  cluster.startServer(joined)
  await eventually('two voters', async () => (await voters()).length === 2)
  await load.check(survivor)
  const again = new Load(cluster, 2)
  await eventually('writes', () => again.stored.size > 10)
  await again.stop()
  await again.check(joined)
  // The other two were only thought lost. They are a quorum of what the cluster was.
  for (const server of lost) cluster.startServer(server)
  const endings = () => cluster.log.match(/stopping: cluster \w+ was recovered without it/g) ?? []
  await eventually('the end of both', () => endings().length === 2)
  expect(await Promise.all(lost.map(note))).toEqual(['no member', 'no member'])
})
