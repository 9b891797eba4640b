/**
 * What a server's group knew when it stopped: keystore file and log, as a state
 * machine and what the Raft core starts from.
 *
 * The keystore covers the log's beginning; what the log has behind it is applied up
 * to the newest index known to be committed. A snapshot that a leader sent and that
 * was complete before this server stopped takes the keystore's place.
 *
 * Damage costs nothing where the keystore covers all that stands behind it, too. Else
 * what is missing has to come from peers: the log says what it owes.
 */
import type { Disk, Io } from '../io/io.ts'
import type { Logger } from '../io/logger.ts'
import { readOnlyDisk } from './inspect/read-only-disk.ts'
import {
  KeystoreDamagedError,
  type KeystoreHeader,
  readKeystore,
} from './keystore/keystore-file.ts'
import { StateMachine } from './keystore/state-machine.ts'
import { groupDirectory } from './log/group-directory.ts'
import {
  LogDamagedError,
  LogStore,
  type LogStoreOptions,
  type LogSummary,
} from './log/log-store.ts'
import type { LogEntry } from './log/record.ts'
import type { RaftLogState } from './raft/raft-log.ts'
import { NO_ENTRY } from './raft/term-runs.ts'
import type { Config } from './raft/types.ts'

/** A snapshot that is complete and not yet in the keystore's place. */
export const SNAPSHOT = 'snapshot'
/** One that is on its way. */
export const SNAPSHOT_PART = 'snapshot.part'
export const KEYSTORE = 'keystore'

const REPLAY_BYTES = 4 * 1024 * 1024
const PROGRESS_MS = 1_000

export interface RestoreOptions {
  readonly io: Io
  readonly log: Logger
  readonly directory: string
  readonly group: number
  readonly clusterId: string
  readonly segmentBytes?: number
  /** Nothing is changed, and nothing can be appended to the log. */
  readonly readOnly?: boolean
}

export interface Restored {
  readonly machine: StateMachine
  readonly store: LogStore
  readonly summary: LogSummary
  readonly raftLog: RaftLogState<LogEntry>
  /** What the log has grown by since the keystore file was written. */
  readonly grownBytes: number
  readonly keystoreBytes: number
  /** The entry it is as of; 0 where there is none. */
  readonly keystoreIndex: number
}

export async function restore(options: RestoreOptions): Promise<Restored> {
  const { io, directory, group, clusterId, segmentBytes, readOnly = false } = options
  const at = groupDirectory(directory, group, clusterId)
  const progress = new Progress(options)
  if (!readOnly) await prepare(io.disk, at)
  const { machine, header, bytes: keystoreBytes, isNews } = await load(options, at, progress)
  const replay = new Replay(machine)
  let scannedBytes = 0
  const logOptions: LogStoreOptions = {
    disk: io.disk,
    timers: io.timers,
    directory: `${at}/log`,
    clusterId,
    group,
    covered: header ? { term: header.term, index: header.index } : NO_ENTRY,
    isCoverNews: isNews,
    readOnly,
    onScanned: (entry) => {
      replay.add(entry)
      scannedBytes += entry.bytes
      progress.say(() => `read ${mib(scannedBytes)} of the log, to entry ${entry.index}`)
    },
    // What is known to be committed as the log is read need not be read again.
    onCommitted: (index) => replay.applyTo(index),
    ...(segmentBytes ? { segmentBytes } : {}),
  }
  const { log: store, summary } = await LogStore.open(logOptions)
  const configs = configsOf(header, summary)
  report(options, summary)
  if (isNews && !readOnly) await adoptSnapshot(io.disk, at)
  if (machine.appliedIndex > summary.lastIndex) {
    throw new LogDamagedError(`${at}: the log does not go on from the keystore file`)
  }
  while (machine.appliedIndex < summary.commitIndex) {
    const first = machine.appliedIndex + 1
    const entries = await store.read(first, summary.commitIndex, REPLAY_BYTES)
    if (entries.length === 0) throw new Error(`entry ${first} is missing from the log`)
    for (const entry of entries) replay.add(entry)
    replay.applyTo(summary.commitIndex)
    progress.say(() => `applied entry ${machine.appliedIndex} of ${summary.commitIndex}`)
  }
  const commitIndex = machine.appliedIndex
  store.commitIndex = commitIndex
  const { base, owed, termRuns, lastIndex } = summary
  const tail = commitIndex < lastIndex ? await store.read(commitIndex + 1, lastIndex, Infinity) : []
  const inForce = configs.findLast(({ index }) => index <= commitIndex)
  const raftLog = {
    ...{ base, owed, termRuns, tail, lastIndex, commitIndex },
    lastTimeMs: Math.max(summary.lastTimeMs, header?.timeMs ?? 0),
    configs: configs.filter((config) => config === inForce || config.index > commitIndex),
  }
  const { grownBytes } = replay
  const keystoreIndex = header?.index ?? 0
  return { machine, store, summary, raftLog, grownBytes, keystoreBytes, keystoreIndex }
}

/** From now on the snapshot that was received is the keystore. */
export async function adoptSnapshot(disk: Disk, at: string): Promise<void> {
  await disk.rename(`${at}/${SNAPSHOT}`, `${at}/${KEYSTORE}`)
  await disk.syncDirectory(at)
}

/** The keystore's name must be as durable as the log is short, and halves are no use. */
async function prepare(disk: Disk, at: string): Promise<void> {
  await disk.makeDirectory(at)
  await disk.syncDirectory(at)
  for (const name of await disk.list(at)) {
    if (name === SNAPSHOT_PART || name.endsWith('.tmp')) await disk.remove(`${at}/${name}`)
  }
}

/** The newest whole file of items. */
async function load(options: RestoreOptions, at: string, progress: Progress) {
  const { disk } = options.io
  const keystore = await loadFile(options, `${at}/${KEYSTORE}`, progress)
  if (!(await disk.list(at)).includes(SNAPSHOT)) return { ...keystore, isNews: false }
  const snapshot = await loadFile(options, `${at}/${SNAPSHOT}`, progress)
  const isNews = (snapshot.header?.index ?? 0) > (keystore.header?.index ?? 0)
  if (isNews) return { ...snapshot, isNews }
  if (!options.readOnly) await disk.remove(`${at}/${SNAPSHOT}`)
  return { ...keystore, isNews }
}

interface Loaded {
  readonly machine: StateMachine
  readonly header: KeystoreHeader | null
  /** The file's size. */
  readonly bytes: number
}

async function loadFile(
  { io, log, clusterId }: RestoreOptions,
  path: string,
  progress: Progress,
): Promise<Loaded> {
  let readBytes = 0
  const disk = readOnlyDisk(io.disk, (bytes) => {
    readBytes += bytes
    progress.say(() => `read ${mib(readBytes)} of ${path}`)
  })
  try {
    return await loadKeystore(disk, path, clusterId)
  } catch (error) {
    if (!(error instanceof KeystoreDamagedError)) throw error
    log.warn({}, `${error.message}; its items are taken from the log or from another server`)
    return { machine: new StateMachine(), header: null, bytes: 0 }
  }
}

/**
 * The state machine that a file of items holds; an empty one where there is no such file.
 * @param clusterId null: any.
 * @throws KeystoreDamagedError
 */
export async function loadKeystore(
  disk: Pick<Disk, 'list' | 'open'>,
  path: string,
  clusterId: string | null,
): Promise<Loaded> {
  const machine = new StateMachine()
  const header = await readKeystore(disk, path, (key, item, { timeMs }) =>
    machine.restoreItem(key, item, Math.floor(timeMs / 1000)),
  )
  if (!header) return { machine, header, bytes: 0 }
  if (clusterId !== null && header.clusterId !== clusterId) {
    throw new Error(`${path} belongs to cluster ${header.clusterId}`)
  }
  machine.restore(header)
  const file = await disk.open(path, { create: false })
  const bytes = await file.size()
  await file.close()
  return { machine, header, bytes }
}

type Configs = readonly { readonly index: number; readonly config: Config }[]

function configsOf(header: KeystoreHeader | null, { configs, base }: LogSummary): Configs {
  if (!header) return configs
  const { index, config } = header
  // What the log still has from before the keystore is the same, at its own index.
  const known = configs.filter((each) => each.index > base.index)
  const before = known.findLast((each) => each.index <= index)
  return before ? known : [{ index, config }, ...known]
}

function report({ log }: RestoreOptions, { damage, owed, lastIndex }: LogSummary): void {
  const isOwing = owed.index > 0
  if (!damage && !isOwing) return
  const where = damage
    ? `${damage.path}: damaged at byte ${damage.offset}, entry ${damage.index}`
    : `the log was damaged before and ends at entry ${lastIndex}`
  const what = isOwing
    ? `what it had up to entry ${owed.index} of term ${owed.term} has to come from another server`
    : 'nothing that counts is missing'
  log.warn({}, `${where}; ${what}`)
}

/** Applies entries once they are known to be committed. */
class Replay {
  /** Of all that was applied. */
  grownBytes = 0
  readonly #machine: StateMachine
  /** Not known to be committed yet, in order. */
  #entries: LogEntry[] = []

  constructor(machine: StateMachine) {
    this.#machine = machine
  }

  add(entry: LogEntry): void {
    while ((this.#entries.at(-1)?.index ?? 0) >= entry.index) this.#entries.pop()
    this.#entries.push(entry)
  }

  applyTo(commitIndex: number): void {
    let count = 0
    for (const entry of this.#entries) {
      if (entry.index > commitIndex) break
      count++
      if (entry.index !== this.#machine.appliedIndex + 1) continue
      this.#machine.apply(entry)
      this.grownBytes += entry.bytes
    }
    this.#entries.splice(0, count)
  }
}

/** Says now and then how far a start has come that takes long. */
class Progress {
  readonly #options: RestoreOptions
  #saidMs: number

  constructor(options: RestoreOptions) {
    this.#options = options
    this.#saidMs = options.io.clock.monotonicMs()
  }

  say(what: () => string): void {
    const nowMs = this.#options.io.clock.monotonicMs()
    if (nowMs - this.#saidMs < PROGRESS_MS) return
    this.#saidMs = nowMs
    this.#options.log.info({}, `starting: ${what()}`)
  }
}

function mib(bytes: number): string {
  return `${Math.round(bytes / 1024 / 1024)} MiB`
}
