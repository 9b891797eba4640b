/**
 * Where a group's files are: `groups/<group>`, and after a recovery that raised
 * the cluster's epoch `groups/<group>.<epoch>`, beside what was there before.
 */
import { epochOf } from '../../protocol/cluster-id.ts'

export function groupDirectory(directory: string, group: number, clusterId: string): string {
  const epoch = epochOf(clusterId)
  return `${directory}/groups/${group}${epoch === 0 ? '' : `.${epoch}`}`
}
