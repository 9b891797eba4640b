/**
 * Cluster ids: `<hex digits>` and, after a recovery without a quorum, the same
 * with an epoch, `<hex digits>.<epoch>`. A higher epoch takes the place of a
 * lower one; members of a lower one are not members any more.
 */

/** 0 for a cluster that was never recovered. */
export function epochOf(clusterId: string): number {
  return Number(/\.(\d+)$/.exec(clusterId)?.[1] ?? 0)
}

export function nextEpoch(clusterId: string): string {
  return `${baseOf(clusterId)}.${epochOf(clusterId) + 1}`
}

/** Whether `clusterId` is what became of `other`. */
export function isSuccessor(clusterId: string, other: string): boolean {
  return baseOf(clusterId) === baseOf(other) && epochOf(clusterId) > epochOf(other)
}

function baseOf(clusterId: string): string {
  return clusterId.replace(/\.\d+$/, '')
}
