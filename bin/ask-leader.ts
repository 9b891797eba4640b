/** Asks the leader of a cluster for something, or for a change until it is made. */
import { setTimeout as delay } from 'node:timers/promises'
import { askBalancers } from '../src/client/balancer-client.ts'
import { LoginError } from '../src/client/login.ts'
import type { Cluster } from './cluster.ts'
import { fetchStatus } from './status.ts'

const RETRY_MS = 300
/** What is done sooner is not worth a line. */
const SILENT_MS = 1_000
/** What an answer begins with once the change is there to stay. */
const DONE = ['done', 'removed']

/**
 * @param request A line; its answer, `done <what>` or `waiting <why>`.
 * @throws Error with the reason why it is not done, when the time is over.
 */
export async function changeThroughLeader(
  cluster: Cluster,
  request: string,
  timeoutMs: number,
): Promise<void> {
  const { clock } = cluster.io
  const startMs = clock.monotonicMs()
  let said = ''
  for (;;) {
    const why = await askLeader(cluster, request, whyNotDone).catch((error: Error) => {
      if (error instanceof LoginError) throw error // asking again would change nothing
      return error.message
    })
    if (why === null) return
    const passedMs = clock.monotonicMs() - startMs
    if (passedMs > timeoutMs) throw new Error(`${why} (given up)`)
    if (passedMs > SILENT_MS && why !== said) {
      process.stderr.write(`waiting: ${why}\n`)
      said = why
    }
    await delay(RETRY_MS)
  }
}

function whyNotDone([line = '']: string[]): string | null {
  const [word = '', ...why] = line.split(' ')
  return DONE.includes(word) ? null : why.join(' ')
}

export async function askLeader<T>(
  cluster: Cluster,
  request: string,
  read: (lines: string[]) => T,
): Promise<T> {
  const { leader, members, whyNoLeader } = await fetchStatus(
    cluster.io,
    cluster.asked,
    cluster.whom,
  )
  const member = members.find(({ id }) => id === leader)
  if (!member) throw new Error(`no leader: ${whyNoLeader}`)
  const address = { host: member.cip, port: member.cport }
  return askBalancers(cluster.servers, [address], request, read, 'server')
}
