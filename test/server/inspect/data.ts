/** A small server's data: identity, vote, keystore, and a log of three segments. */
import type { Disk, Timers } from '../../../src/io/io.ts'
import { type Item, STALE, WON } from '../../../src/server/keystore/item-store.ts'
import { type Items, writeKeystore } from '../../../src/server/keystore/keystore-file.ts'
import { groupDirectory } from '../../../src/server/log/group-directory.ts'
import { saveIdentity } from '../../../src/server/log/identity.ts'
import { LogStore } from '../../../src/server/log/log-store.ts'
import { RecordWriter } from '../../../src/server/log/record.ts'
import { VoteFile } from '../../../src/server/log/vote-file.ts'
import type { Config, Payload } from '../../../src/server/raft/types.ts'

export const START_MS = Date.UTC(2026, 0, 2, 3, 4, 5)

const noTimers: Timers = { after: () => ({ cancel: () => {} }), soon: queueMicrotask }

export const CONFIG: Config = {
  members: [{ id: 'a', cip: 'h', cport: 7001, sip: 'h', sport: 6001, voter: true }],
  floor: 2,
  protocol: 3,
}

function set(key: string, text: string, verb = 'set', cas = ''): Payload {
  const head = `${verb} ${key} 5 0 ${Buffer.byteLength(text)}${cas}\r\n`
  return { kind: 'command', command: Buffer.from(`${head}${text}\r\n`) }
}

function commandOf(text: string): Payload {
  return { kind: 'command', command: Buffer.from(text) }
}

/** By the opening of the log. The second time entries 5 and 6 replace others, in a term of their own. */
const WRITTEN: readonly (readonly [term: number, index: number, payload: Payload])[][] = [
  [
    [1, 1, { kind: 'config', config: CONFIG }],
    [1, 2, { kind: 'noop' }],
    [1, 3, set('greeting', 'hello')],
    [1, 4, set('other', 'seal 1 1 1 00000000\r\n', 'add')],
    [1, 5, set('lost', 'replaced')],
    [1, 6, set('lost', 'too')],
  ],
  [
    [2, 5, set('greeting', 'C:\\ ü \0', 'cas', ' 3')],
    [2, 6, commandOf('delete other\r\n')],
    [2, 7, { kind: 'time' }],
  ],
  [[2, 8, set('last', 'x')]],
]

export const ITEMS: readonly (readonly [string, Item])[] = [
  ['greeting', { flags: 5, expiresAtMs: 0, casUnique: 3, marks: 0, value: Buffer.from('hello') }],
  [
    'soon',
    {
      flags: 0,
      expiresAtMs: START_MS,
      casUnique: 4,
      marks: STALE | WON,
      value: Buffer.from('a\nb'),
    },
  ],
]

const itemsOf = (items: typeof ITEMS): Items => ({
  count: items.length,
  [Symbol.iterator]: () => items[Symbol.iterator](),
})

export interface Made {
  readonly keystore?: {
    readonly index: number
    readonly term: number
    readonly clusterId?: string
    readonly flushAtMs?: number
  } | null
  readonly vote?: { readonly term: number; readonly vote: string }
  readonly clusterId?: string
  /** false: the log ends with entry 7. */
  readonly lastOpening?: boolean
  /** The log begins anew behind this entry. */
  readonly beginsBehind?: readonly [term: number, index: number]
}

/** Makes it in `directory`; server a's. */
export async function makeData(disk: Disk, directory: string, made: Made = {}): Promise<void> {
  const clusterId = made.clusterId ?? 'c1'
  const group = groupDirectory(directory, 0, clusterId)
  await disk.makeDirectory(`${group}/log`)
  await saveIdentity(disk, directory, { serverId: 'a', clusterId })
  await VoteFile.create(disk, directory, 'a')
  const { file } = await VoteFile.open(disk, directory, 'a')
  await file.write(made.vote ?? { term: 2, vote: 'a' })
  await file.close()
  const openings = made.lastOpening === false ? WRITTEN.slice(0, -1) : WRITTEN
  for (const entries of openings) await writeLog(disk, `${group}/log`, clusterId, entries)
  if (made.beginsBehind) {
    const [term, index] = made.beginsBehind
    const { log } = await open(disk, `${group}/log`, clusterId)
    await log.reset({ term, index })
    await log.close()
  }
  const { keystore = { index: 4, term: 1 } } = made
  if (!keystore) return
  const fields = { format: 2, flushAtMs: 0, timeMs: START_MS, config: CONFIG } as const
  const header = { clusterId, group: 0, ...fields, ...keystore }
  await writeKeystore(disk, group, header, itemsOf(ITEMS))
}

/** Opens the log of server a once more, and writes these entries, of term 2. */
export async function appendTo(
  disk: Disk,
  directory: string,
  indexes: readonly number[],
  command: string | null = null,
): Promise<void> {
  const payload = command === null ? set('again', 'x') : commandOf(command)
  const entries = indexes.map((index) => [2, index, payload] as const)
  await writeLog(disk, `${groupDirectory(directory, 0, 'c1')}/log`, 'c1', entries)
}

const open = (disk: Disk, directory: string, clusterId: string) =>
  LogStore.open({ disk, timers: noTimers, directory, clusterId, group: 0 })

/** One opening of the log, each entry written and sealed for itself. */
async function writeLog(
  disk: Disk,
  directory: string,
  clusterId: string,
  entries: readonly (readonly [term: number, index: number, payload: Payload])[],
): Promise<void> {
  const { log } = await open(disk, directory, clusterId)
  const writer = new RecordWriter(clusterId)
  for (const [term, index, payload] of entries) {
    const stable = new Promise<void>((resolve) => (log.onStable = () => resolve()))
    log.append([writer.createEntry({ term, index }, START_MS + index, payload)])
    await stable
    log.commitIndex = Math.max(log.commitIndex, Math.min(index, 4))
  }
  await log.close()
}
