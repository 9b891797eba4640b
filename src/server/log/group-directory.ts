/**
 * Where a group's files are: `groups/<group>`, and after a recovery that raised
 * the cluster's epoch `groups/<group>.<epoch>-<server>`, beside what was there before.
 */
import { recoveryOf } from '../../protocol/cluster-id.ts'

export function groupDirectory(directory: string, group: number, clusterId: string): string {
  return `${directory}/groups/${group}${recoveryOf(clusterId)}`
}
