/** `store status`: what the load balancer knows, as a table or as JSON. */
import { askBalancers, type Whom } from '../src/client/balancer-client.ts'
import type { Address, Io } from '../src/io/io.ts'
import type { ClusterStatus, MemberStatus } from '../src/protocol/status.ts'

export async function fetchStatus(
  io: Io,
  addresses: readonly Address[],
  whom: Whom = 'load balancer',
): Promise<ClusterStatus> {
  const read = ([line = '']: string[]) => JSON.parse(line) as ClusterStatus
  return askBalancers(io, addresses, 'status', read, whom)
}

export function describeStatus(status: ClusterStatus): string {
  const leader = status.members.find((member) => member.id === status.leader)
  const headline = leader
    ? `cluster ${status.cluster}: server ${leader.id} leads, ${leader.cip}:${leader.cport}`
    : `cluster ${status.cluster ?? '(none yet)'}: no leader: ${status.whyNoLeader}`
  const rows = status.members.map((member) => [
    member.id,
    `${member.cip}:${member.cport}`,
    `${member.sip}:${member.sport}`,
    describeRole(member),
    known(member.term),
    known(member.commitIndex),
    known(member.appliedIndex),
    member.lastHeardMsAgo === null ? '?' : `${(member.lastHeardMsAgo / 1000).toFixed(1)} s ago`,
    member.note ?? '',
  ])
  const titles = ['id', 'clients', 'peers', 'role', 'term', 'commit', 'applied', 'last heard', '']
  const membership = status.membership === null ? '' : `\nmembership: ${status.membership}\n`
  const reads = status.reads ? `reads: ${status.reads}\n` : ''
  return `${headline}\n\n${describeTable([titles, ...rows])}${membership}${reads}`
}

function known(value: number | null): string {
  return value === null ? '?' : String(value)
}

function describeRole(member: MemberStatus): string {
  if (member.alive === false) return 'dead'
  if (member.cluster === null) return 'new'
  return member.voter ? (member.role ?? 'voter') : 'learner'
}

export function describeTable(rows: readonly (readonly string[])[]): string {
  const widths: number[] = []
  for (const row of rows) {
    for (const [at, cell] of row.entries()) widths[at] = Math.max(widths[at] ?? 0, cell.length)
  }
  const lines = rows.map((row) => row.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join('  '))
  return lines.map((line) => `  ${line.trimEnd()}\n`).join('')
}
