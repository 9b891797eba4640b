/** `store remove`: asks the leader to let a server go, until it is gone or the time is over. */
import { changeThroughLeader } from './ask-leader.ts'
import type { Cluster } from './cluster.ts'
import { fetchStatus } from './status.ts'

/** @throws Error with the reason why the server is still a member. */
export async function removeServer(cluster: Cluster, id: string, timeoutMs: number): Promise<void> {
  const { members } = await fetchStatus(cluster.io, cluster.asked, cluster.whom)
  if (members.every((member) => member.id !== id)) {
    throw new Error(`no server ${id} is known: see store status for the ids`)
  }
  await changeThroughLeader(cluster, `remove-server ${id}`, timeoutMs)
  process.stdout.write(`server ${id} is out of the cluster\n`)
}
