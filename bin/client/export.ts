/**
 * `client export`: all items of a cluster, as of one entry of its log, as lines of JSON.
 *
 * Two steps: a backup, from a server, and the lines, out of that. The backup stays beside the
 * file until the lines are whole, so that a command that is ended meanwhile, and given again,
 * goes on with the same items; ended before there was a whole backup, it begins anew.
 *
 * Left out is what had expired by then. What a pending flush will remove expires with it.
 */
import { basename, dirname } from 'node:path'
import type { Io } from '../../src/io/io.ts'
import { readOnlyDisk } from '../../src/server/inspect/read-only-disk.ts'
import type { Item } from '../../src/server/keystore/item-store.ts'
import {
  KeystoreDamagedError,
  type KeystoreHeader,
  readKeystore,
  readKeystoreHeader,
} from '../../src/server/keystore/keystore-file.ts'
import { takeBackup } from '../backup.ts'
import type { Cluster } from '../cluster.ts'
import { itemLine } from './item-line.ts'
import { cantWrite, FileError, UsageError } from './outcome.ts'

export interface ExportTask {
  readonly cluster: Cluster
  /** Of the cluster, where one is known. */
  readonly clusterId: string | null
  readonly path: string
  readonly isForced: boolean
  /** It goes on from a backup as of that entry. */
  readonly onResume: (backupPath: string, index: number) => void
}

export interface Exported {
  readonly items: number
  /** Of them, have keys that are not text, which `client import` can't store. */
  readonly odd: number
  /** The last log entry contained. */
  readonly index: number
}

export async function exportFile(task: ExportTask): Promise<Exported> {
  const { cluster, clusterId, path, isForced, onResume } = task
  const { disk } = cluster.io
  const names = await disk.list(dirname(path)).catch(cantWrite(path))
  if (names.includes(basename(path)) && !isForced) {
    throw new UsageError(`${path} is there already: add --force to replace it`)
  }
  const backupPath = `${path}.backup`
  const old = await readKeystoreHeader(disk, backupPath).catch(badBackup(backupPath))
  if (old && clusterId !== null && old.clusterId !== clusterId) {
    throw new FileError(`${backupPath} is of cluster ${old.clusterId}: remove it to begin anew`)
  }
  if (old) onResume(backupPath, old.index)
  else await takeBackup(cluster, backupPath)
  const exported = await writeLines(cluster.io, backupPath, path)
  await disk.remove(backupPath)
  return exported
}

async function writeLines(io: Io, backupPath: string, path: string): Promise<Exported> {
  const { disk } = io
  const part = `${path}.tmp`
  const file = await disk.open(part, { create: true }).catch(cantWrite(part))
  let items = 0
  let odd = 0
  let lines: string[] = []
  let offset = 0
  const flush = async () => {
    const text = Buffer.from(lines.join(''))
    lines = []
    await file.write([text], offset).catch(cantWrite(part))
    offset += text.length
  }
  const onItem = (key: string, item: Item, header: KeystoreHeader) => {
    const expiresAtMs = expiryOf(item, header)
    if (expiresAtMs !== 0 && expiresAtMs <= header.timeMs) return
    const line = itemLine({ key, value: item.value, flags: item.flags, expiresAtMs })
    items++
    if (line.startsWith('{"keyBase64"')) odd++
    lines.push(`${line}\n`)
  }
  try {
    // Each read waits until what came out of the one before is written.
    const reading = readKeystore(readOnlyDisk(disk, flush), backupPath, onItem)
    const header = await reading.catch(badBackup(backupPath))
    if (!header) throw new FileError(`${backupPath} is gone`)
    await flush()
    await file.datasync().catch(cantWrite(part))
    await disk.rename(part, path).catch(cantWrite(path))
    await disk.syncDirectory(dirname(path))
    return { items, odd, index: header.index }
  } catch (error) {
    await disk.remove(part).catch(() => {})
    throw error
  } finally {
    await file.close()
  }
}

/** @throws FileError where it is damaged or can't be read; else what it was given. */
function badBackup(path: string): (error: unknown) => never {
  return (error) => {
    if (error instanceof Error && 'code' in error) {
      throw new FileError(`${path} can't be read (${error.code})`)
    }
    if (!(error instanceof KeystoreDamagedError)) throw error
    throw new FileError(`${path}: ${error.message}: remove it to begin anew`)
  }
}

function expiryOf({ expiresAtMs }: Item, { flushAtMs }: KeystoreHeader): number {
  if (flushAtMs === 0) return expiresAtMs
  return expiresAtMs === 0 ? flushAtMs : Math.min(expiresAtMs, flushAtMs)
}
