/** `store backup`: all items of a live cluster, as of one entry of its log, into a file. */
import { basename, dirname } from 'node:path'
import { fetchBackup } from '../src/client/backup-client.ts'
import type { Address, Disk, Io } from '../src/io/io.ts'
import type { ClusterStatus } from '../src/protocol/status.ts'
import { type KeystoreHeader, readKeystore } from '../src/server/keystore/keystore-file.ts'
import type { Cluster } from './cluster.ts'
import { Progress } from './output.ts'
import { fetchStatus } from './status.ts'

/**
 * @param cluster Where it names no server, a load balancer knows some.
 * @param isForced Whether a file that is there may be replaced.
 */
export async function backUp(cluster: Cluster, path: string, isForced: boolean): Promise<void> {
  const { disk } = cluster.io
  const isThere = (await disk.list(dirname(path))).includes(basename(path))
  if (isThere && !isForced) throw new Error(`${path} is there already: add --force to replace it`)
  const { from, header, itemCount, bytes } = await takeBackup(cluster, path)
  const asOf = `as of entry ${header.index}, ${itemCount} item${itemCount === 1 ? '' : 's'}`
  process.stdout.write(`server ${from.host}:${from.port}, ${asOf}, ${bytes} bytes\n`)
}

export interface Backup extends Fetched {
  readonly header: KeystoreHeader
  readonly itemCount: number
}

/** Replaces what is at `path`, once all is there and checked. */
export async function takeBackup(
  { io, asked, whom, servers: serversIo }: Cluster,
  path: string,
): Promise<Backup> {
  const directory = dirname(path)
  const status = whom === 'server' ? null : await fetchStatus(io, asked)
  const servers = status ? serversOf(status) : asked
  const part = `${path}.tmp`
  const removal = removeAtSignal(io.disk, part)
  try {
    const fetched = await fetchFromAny(serversIo, servers, part)
    const checked = await check(io.disk, part, path)
    if (status) assertOf(status, fetched.from, checked.header)
    await io.disk.rename(part, path)
    await io.disk.syncDirectory(directory)
    return { ...fetched, ...checked }
  } catch (error) {
    await io.disk.remove(part).catch(() => {})
    throw error
  } finally {
    removal.cancel()
  }
}

/** Followers first: the leader has enough to do. */
function serversOf({ cluster, leader, members, whyNoLeader }: ClusterStatus): Address[] {
  // A load balancer names servers of other clusters too that were started with it by mistake.
  const able = members.filter(
    (each) => each.alive !== false && each.cluster !== null && each.cluster === cluster,
  )
  if (able.length === 0) throw new Error(`no server is known: ${whyNoLeader ?? 'none answers'}`)
  const rank = ({ id, voter }: ClusterStatus['members'][number]) =>
    id === leader ? 1 : voter ? 0 : 2
  return able
    .sort((a, b) => rank(a) - rank(b))
    .map(({ cip, cport }) => ({ host: cip, port: cport }))
}

/** Another server may have come to an address that was named. @throws Error */
function assertOf({ cluster }: ClusterStatus, { host, port }: Address, header: KeystoreHeader) {
  const { clusterId } = header
  if (clusterId === cluster) return
  throw new Error(`server ${host}:${port}: what came is of cluster ${clusterId}, not of ${cluster}`)
}

interface Fetched {
  readonly from: Address
  readonly bytes: number
}

/** @throws Error with what each of them said. */
async function fetchFromAny(io: Io, servers: readonly Address[], path: string): Promise<Fetched> {
  const failures: string[] = []
  for (const from of servers) {
    const file = await io.disk.open(path, { create: true })
    const progress = new Progress(io.clock)
    let offset = 0
    try {
      const failure = await fetchBackup(io, from, {
        begin: (bytes) => progress.begin(bytes),
        async write(piece) {
          await file.write([piece], offset)
          offset += piece.length
          progress.add(piece.length)
        },
      }).then(
        () => null,
        (error: Error) => error,
      )
      // A disk that fails does so whoever sends.
      if (failure && 'code' in failure) throw failure
      if (!failure) {
        await file.datasync()
        return { from, bytes: offset }
      }
      failures.push(failure.message)
    } finally {
      progress.clear()
      await file.close()
    }
  }
  throw new Error(failures.join('; '))
}

/** Reads all of it. @throws Error where it is damaged. */
async function check(
  disk: Disk,
  part: string,
  path: string,
): Promise<{ header: KeystoreHeader; itemCount: number }> {
  let itemCount = 0
  const header = await readKeystore(disk, part, () => itemCount++).catch((error: Error) => {
    throw new Error(`what came is damaged, and ${path} was not written: ${error.message}`)
  })
  if (!header) throw new Error(`${part} is gone`)
  return { header, itemCount }
}

/** As shells have it. */
const SIGNAL_EXIT = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const

/** A command that is interrupted leaves nothing half. */
function removeAtSignal(disk: Disk, path: string): { cancel(): void } {
  const end = (signal: keyof typeof SIGNAL_EXIT) => {
    const exit = () => process.exit(SIGNAL_EXIT[signal])
    disk.remove(path).then(exit, exit)
  }
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  for (const signal of signals) process.once(signal, end)
  return {
    cancel() {
      for (const signal of signals) process.off(signal, end)
    },
  }
}
