/**
 * Reads under a lease, with real processes: what clients heard while leaders were killed and
 * stopped is what one copy of the data could have answered.
 */
import { execFile } from 'node:child_process'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Clients } from '../torture/clients.ts'
import { History } from '../torture/history.ts'
import { commandPath, eventually, TestCluster } from './cluster.ts'
import { checkPausedLeader } from './paused-leader.ts'
import { TextClient } from './text-client.ts'

const run = promisify(execFile)
/** A server gives up a request after 2 s; what is unknown until then happens now or never. */
const SETTLE_MS = 2_500

let cluster: TestCluster

beforeEach(async () => {
  cluster = await TestCluster.start(3)
  await cluster.setReads('lease')
}, 60_000)

afterEach(() => cluster?.stop())

const store = async (...args: string[]) =>
  (await run(process.execPath, [commandPath('store'), ...args, '--lbport', `${cluster.lbcport}`]))
    .stdout

test('leaders killed and stopped under load: what is read is linearizable', {
  timeout: 120_000,
}, async () => {
  const history = new History()
  history.start()
  const clients = new Clients(cluster.servers, history)
  for (let round = 0; round < 6; round++) {
    await delay(500)
    const leader = await cluster.leader()
    if (round % 2 === 0) {
      await cluster.killServer(leader)
      await delay(1_200)
      cluster.startServer(leader)
    } else {
      // Longer than others wait, and then it believes for a moment that it leads.
      leader.process?.kill('SIGSTOP')
      await delay(1_500)
      leader.process?.kill('SIGCONT')
    }
    await cluster.ready()
  }
  await clients.stop()
  await delay(SETTLE_MS)
  const { violations, keyCount } = history.check()
  for (const { history: entries } of violations) {
    console.error(entries.map((entry) => history.line(entry)).join('\n'))
  }
  expect(violations).toEqual([])
  expect(history.surprises).toEqual([])
  expect(keyCount).toBeGreaterThan(5)
  const gets = history.outcomes.get('get')
  expect((gets?.get('VALUE') ?? 0) + (gets?.get('END') ?? 0)).toBeGreaterThan(50)
})

test('a paused leader serves nothing stale when it wakes', { timeout: 60_000 }, () => {
  return checkPausedLeader(cluster)
})

test('store config and store status say the mode, and store config changes it', {
  timeout: 60_000,
}, async () => {
  const lease = 'reads: lease, the leader answers alone for as long as nobody else can be elected\n'
  const quorum = 'reads: quorum, a majority confirms that the leader leads\n'
  expect(await store('config')).toBe(`item-size: values may have up to 1048576 bytes\n${lease}`)
  await eventually('the load balancer knows', async () =>
    (await store('status')).includes('\nreads: lease\n'),
  )
  const leader = await cluster.leader()
  const atServer = await store('status', '--server', `127.0.0.1:${leader.cport}`)
  expect(atServer).toContain('\nreads: lease\n')

  expect(await store('config', 'reads', 'quorum')).toBe(quorum)
  expect(await store('config', 'reads')).toBe(quorum)
  expect(await store('config', 'reads', 'lease')).toBe(lease)
  const client = await TextClient.connect(leader.cport)
  expect(await client?.request('read-mode none\r\n')).toBe(
    'SERVER_ERROR the read mode is one of quorum, lease',
  )
  client?.close()

  await expect(store('config', 'reads', 'local')).rejects.toMatchObject({
    code: 1,
    stderr: 'store config: reads are one of quorum, lease\n',
  })
  await expect(store('config', 'write', 'lease')).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining('Allowed choices are item-size, reads'),
  })
})
