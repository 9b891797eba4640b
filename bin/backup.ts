/** `store backup`: all items of a live cluster, as of one entry of its log, into a file. */
import { basename, dirname } from 'node:path'
import { fetchBackup } from '../src/client/backup-client.ts'
import { LoginError } from '../src/client/login.ts'
import type { Address, Disk, Io } from '../src/io/io.ts'
import type { ClusterStatus } from '../src/protocol/status.ts'
import { type KeystoreHeader, readKeystore } from '../src/server/keystore/keystore-file.ts'
import { cantWrite, FileError } from './client/outcome.ts'
import type { Cluster } from './cluster.ts'
import { Progress } from './output.ts'
import { fetchStatus } from './status.ts'

/**
 * @param cluster Where it names no server, a load balancer knows some.
 * @param isForced Whether a file that is there may be replaced.
 */
export async function backUp(cluster: Cluster, path: string, isForced: boolean): Promise<void> {
  const { disk } = cluster.io
  const names = await disk.list(dirname(path)).catch(cantWrite(path))
  const isThere = names.includes(basename(path))
  if (isThere && !isForced) throw new Error(`${path} is there already: add --force to replace it`)
  const { from, header, itemCount, bytes } = await takeBackup(cluster, path)
  const asOf = `as of entry ${header.index}, ${itemCount} item${itemCount === 1 ? '' : 's'}`
  process.stdout.write(`server ${from.host}:${from.port}, ${asOf}, ${bytes} bytes\n`)
}

export interface Backup {
  readonly from: Address
  readonly bytes: number
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
    const backup = await takeFromAny(serversIo, servers, part, status?.cluster ?? null)
    await io.disk.rename(part, path).catch(cantWrite(path))
    await io.disk.syncDirectory(directory).catch(cantWrite(path))
    return backup
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

/**
 * Goes on where one sends nothing, or nothing that is whole.
 * @param clusterId null: any.
 * @throws FileError; Error with what each said, LoginError where one let nobody in.
 */
async function takeFromAny(
  io: Io,
  servers: readonly Address[],
  path: string,
  clusterId: string | null,
): Promise<Backup> {
  const failures: Error[] = []
  for (const from of servers) {
    try {
      const bytes = await fetchInto(io, from, path)
      return { from, bytes, ...(await check(io.disk, path, from, clusterId)) }
    } catch (error) {
      // A disk that fails does so whoever sends.
      if (!(error instanceof Error) || error instanceof FileError || 'code' in error) throw error
      failures.push(error)
    }
  }
  throw joined(failures)
}

/** What a login would mend stays what it is: who asks has an exit status for it. */
function joined(failures: readonly Error[]): Error {
  const words = failures.map(({ message }) => message).join('; ')
  const refusal = failures.find((failure) => failure instanceof LoginError)
  return refusal ? new LoginError(words, refusal.isFinal) : new Error(words)
}

/** @returns how many bytes came. */
async function fetchInto(io: Io, from: Address, path: string): Promise<number> {
  const file = await io.disk.open(path, { create: true }).catch(cantWrite(path))
  const progress = new Progress(io.clock)
  let offset = 0
  try {
    await fetchBackup(io, from, {
      begin: (bytes) => progress.begin(bytes),
      async write(piece) {
        await file.write([piece], offset).catch(cantWrite(path))
        offset += piece.length
        progress.add(piece.length)
      },
    })
    await file.datasync().catch(cantWrite(path))
    return offset
  } finally {
    progress.clear()
    await file.close()
  }
}

/** Reads all of it. @throws Error where it is damaged, or of another cluster. */
async function check(
  disk: Disk,
  path: string,
  { host, port }: Address,
  clusterId: string | null,
): Promise<{ header: KeystoreHeader; itemCount: number }> {
  const what = `server ${host}:${port}: what came is`
  let itemCount = 0
  const header = await readKeystore(disk, path, () => itemCount++).catch((error: Error) => {
    if ('code' in error) throw error
    throw new Error(`${what} damaged: ${error.message}`)
  })
  if (!header) throw new Error(`${path} is gone`)
  // Another server may have come to an address that was named.
  if (clusterId !== null && header.clusterId !== clusterId) {
    throw new Error(`${what} of cluster ${header.clusterId}, not of ${clusterId}`)
  }
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
