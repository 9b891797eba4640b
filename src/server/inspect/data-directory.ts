/**
 * What a directory is to one who looks at it: a server's data, one group's, or the
 * segments of a log alone. Reads names and the identity, and nothing else.
 */
import type { Disk } from '../../io/io.ts'
import { groupDirectory } from '../log/group-directory.ts'
import { decodeIdentity, type Identity } from '../log/identity.ts'
import { segmentSequence } from '../log/segment.ts'

const GROUP = 0

export interface DataDirectory {
  /** As it was named, without slashes at its end. */
  readonly path: string
  /** Whether it is a whole server's, with identity and vote. */
  readonly isServer: boolean
  /** null where it is missing, damaged, or not to be expected here. */
  readonly identity: Identity | null
  /** null where the path does not say. */
  readonly group: number | null
  readonly logDirectory: string
  /** Where the keystore file is; null where the log alone was named. */
  readonly groupDirectory: string | null
}

/** @throws Error where there is nothing of a server's. */
export async function findData(disk: Disk, named: string): Promise<DataDirectory> {
  const path = named.replace(/(?<=.)\/+$/, '')
  const names = await listNames(disk, path)
  if (names.some((name) => segmentSequence(name) !== null)) {
    const part = { isServer: false, identity: null, group: null }
    return { path, ...part, logDirectory: path, groupDirectory: null }
  }
  const log = await disk.list(`${path}/log`)
  if (names.includes('keystore') || log.some((name) => segmentSequence(name) !== null)) {
    const part = { isServer: false, identity: null, group: null }
    return { path, ...part, logDirectory: `${path}/log`, groupDirectory: path }
  }
  const bytes = await disk.readFile(`${path}/identity`)
  const identity = bytes && decodeIdentity(bytes)
  const isServer = bytes !== null || names.includes('vote') || names.includes('groups')
  if (!isServer) throw new Error(await nothingIn(disk, path, names))
  const group = await groupOf(disk, path, identity)
  return {
    ...{ path, isServer, identity, group: GROUP },
    ...{ logDirectory: `${group}/log`, groupDirectory: group },
  }
}

/** Whether this is one file, such as a backup, and no directory. */
export async function isFile(disk: Disk, path: string): Promise<boolean> {
  try {
    await disk.list(path)
    return false
  } catch (error) {
    if ((error as { code?: string }).code !== 'ENOTDIR') throw error
    return true
  }
}

async function listNames(disk: Disk, path: string): Promise<string[]> {
  if (await isFile(disk, path)) throw new Error(`${path} is a file: name the directory it is in`)
  return disk.list(path)
}

/** The group's directory that the identity names, else the only one there. */
async function groupOf(disk: Disk, path: string, identity: Identity | null): Promise<string> {
  if (identity) return groupDirectory(path, GROUP, identity.clusterId ?? '')
  const names = await disk.list(`${path}/groups`)
  if (names.length > 1) {
    const list = names.map((name) => `${path}/groups/${name}`).join(' or ')
    throw new Error(`${path}/identity does not say which is in use: name ${list} itself`)
  }
  return `${path}/groups/${names[0] ?? GROUP}`
}

/** Who names the directory of a whole `store up` means one of those in it. */
async function nothingIn(disk: Disk, path: string, names: readonly string[]): Promise<string> {
  const why = `${path} ${names.length === 0 ? 'is empty or missing' : "is no server's data"}`
  for (const name of names) {
    const isData = await disk.readFile(`${path}/${name}/identity`).catch(() => null)
    if (isData) return `${why}: name a server's directory, such as ${path}/${name}`
  }
  return `${why}: name a server's directory, such as ./data/srv-7001`
}
