/**
 * Cluster ids: `<hex digits>` and, after a recovery without a quorum, the same
 * with an epoch and the survivor that was recovered, `<hex digits>.<epoch>-<server>`.
 * A higher epoch takes the place of a lower one; members of a lower one are not
 * members any more. Two survivors make two clusters, which never speak.
 */
const RECOVERED = /\.(\d+)-[0-9a-z]+$/

/** 0 for a cluster that was never recovered. */
function epochOf(clusterId: string): number {
  return Number(RECOVERED.exec(clusterId)?.[1] ?? 0)
}

export function nextEpoch(clusterId: string, survivor: string): string {
  return `${baseOf(clusterId)}.${epochOf(clusterId) + 1}-${survivor}`
}

/** Whether `clusterId` is what became of `other`. */
export function isSuccessor(clusterId: string, other: string): boolean {
  return baseOf(clusterId) === baseOf(other) && epochOf(clusterId) > epochOf(other)
}

/** What tells it from the cluster that it was at first; empty for that. */
export function recoveryOf(clusterId: string): string {
  return clusterId.slice(baseOf(clusterId).length)
}

function baseOf(clusterId: string): string {
  return clusterId.replace(RECOVERED, '')
}
