/** `store remove`: asks the leader to let a server go, until it is gone or the time is over. */
import { setTimeout as delay } from 'node:timers/promises'
import { askBalancers, type Whom } from '../src/client/balancer-client.ts'
import type { Address, Io } from '../src/io/io.ts'
import { fetchStatus } from './status.ts'

const RETRY_MS = 300

/**
 * @param asked Load balancers or servers.
 * @throws Error with the reason why the server is still a member.
 */
export async function removeServer(
  io: Io,
  asked: readonly Address[],
  whom: Whom,
  id: string,
  timeoutMs: number,
): Promise<void> {
  const { members } = await fetchStatus(io, asked, whom)
  if (members.every((member) => member.id !== id)) {
    throw new Error(`no server ${id} is known: see store status for the ids`)
  }
  const deadlineMs = io.clock.monotonicMs() + timeoutMs
  let said = ''
  for (;;) {
    const why = await tryToRemove(io, asked, whom, id).catch((error: Error) => error.message)
    if (why === null) {
      process.stdout.write(`server ${id} is out of the cluster\n`)
      return
    }
    if (io.clock.monotonicMs() > deadlineMs) throw new Error(`${why} (given up)`)
    if (why !== said) process.stderr.write(`waiting: ${why}\n`)
    said = why
    await delay(RETRY_MS)
  }
}

/** @returns null once it is out, else what is waited for. */
async function tryToRemove(
  io: Io,
  asked: readonly Address[],
  whom: Whom,
  id: string,
): Promise<string | null> {
  const { leader, members, whyNoLeader } = await fetchStatus(io, asked, whom)
  const member = members.find((candidate) => candidate.id === leader)
  if (!member) return `no leader: ${whyNoLeader}`
  const address = { host: member.cip, port: member.cport }
  const read = ([line = '']: string[]) => {
    const [word, ...why] = line.split(' ')
    return word === 'removed' ? null : why.join(' ')
  }
  return askBalancers(io, [address], `remove-server ${id}`, read, 'server')
}
