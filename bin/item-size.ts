/** `store item-size`: how long a value may be in this cluster, and to change it. */
import { askLeader, changeThroughLeader } from './ask-leader.ts'
import type { Cluster } from './cluster.ts'

export async function printItemSize(cluster: Cluster): Promise<void> {
  print(await askLeader(cluster, 'stats settings', itemSizeIn))
}

/** @throws Error with the reason why it is not so. */
export async function changeItemSize(
  cluster: Cluster,
  bytes: number,
  timeoutMs: number,
): Promise<void> {
  await changeThroughLeader(cluster, `item-size-max ${bytes}`, timeoutMs)
  print(bytes)
}

function print(bytes: number): void {
  process.stdout.write(`values may have up to ${bytes} bytes\n`)
}

function itemSizeIn(lines: string[]): number {
  const prefix = 'STAT item_size_max '
  const line = lines.find((candidate) => candidate.startsWith(prefix))
  if (!line) throw new Error('the leader does not tell its item_size_max: is it older than this?')
  return Number(line.slice(prefix.length))
}
