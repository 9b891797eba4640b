/** A leader that is stopped and goes on when another one leads, asked for what that one stored. */
import { expect } from 'vitest'
import { eventually, type TestCluster } from './cluster.ts'
import { TextClient } from './text-client.ts'

export async function checkPausedLeader(cluster: TestCluster): Promise<void> {
  const leader = await cluster.leader()
  const follower = cluster.servers.find((server) => server !== leader)
  const before = await TextClient.connect(leader.cport)
  const elsewhere = await TextClient.connect(follower?.cport ?? 0)
  expect(await before?.set('k', 'old')).toBe('STORED')
  leader.process?.kill('SIGSTOP')
  await eventually(
    'a new leader takes the write',
    async () => (await elsewhere?.set('k', 'new')) === 'STORED',
  )
  const stale = before?.get(['k'])
  leader.process?.kill('SIGCONT')
  expect((await stale)?.get('k')).toBe('new')
  before?.close()
  elsewhere?.close()
}
