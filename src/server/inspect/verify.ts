/**
 * Whether a server's files are whole and agree with each other.
 *
 * In: its directory, or a copy of it, also one made while the server ran. Out: a
 * line for each file, and findings. Every byte that a checksum covers is read.
 * Nothing is changed, and what one file can't tell any more stops no other's turn.
 *
 * What a crash leaves is no damage: a torn tail behind the last seal, copies of
 * the vote that differ, a temporary file. Behind the line of a copy of the vote
 * its block is blank; nobody reads that, so other bytes there are a note.
 */
import type { Disk } from '../../io/io.ts'
import { commandsIn, isCanonical } from '../../protocol/commands.ts'
import {
  KeystoreDamagedError,
  type KeystoreHeader,
  readKeystore,
} from '../keystore/keystore-file.ts'
import { readIdentityCopies } from '../log/identity.ts'
import type { LogEntry } from '../log/record.ts'
import { newestCopy, readVoteCopies } from '../log/vote-file.ts'
import { isUpToDate } from '../raft/term-runs.ts'
import type { HardState } from '../raft/types.ts'
import { KEYSTORE, SNAPSHOT, SNAPSHOT_PART } from '../restore.ts'
import { type DataDirectory, findData } from './data-directory.ts'
import type { Finding } from './finding.ts'
import { type Beginning, LogSurvey, type SegmentReport } from './log-survey.ts'

/** What a file holds, in words. */
export interface FileReport {
  readonly path: string
  readonly what: string
}

export interface Verdict {
  readonly damageCount: number
  /** The log's newest entry, and up to where it is known to be committed. */
  readonly lastIndex: number
  readonly commitIndex: number
}

/**
 * @param onLine Called for each file and for each finding, in order.
 * @throws Error where there is nothing of a server's in the directory.
 */
export async function verify(
  disk: Disk,
  directory: string,
  onLine: (line: FileReport | Finding) => void,
): Promise<Verdict> {
  const verifier = new Verifier(disk, await findData(disk, directory), onLine)
  return verifier.run()
}

class Verifier {
  readonly #disk: Disk
  readonly #data: DataDirectory
  readonly #onLine: (line: FileReport | Finding) => void
  #damageCount = 0

  constructor(disk: Disk, data: DataDirectory, onLine: (line: FileReport | Finding) => void) {
    this.#disk = disk
    this.#data = data
    this.#onLine = onLine
  }

  async run(): Promise<Verdict> {
    if (this.#data.isServer) await this.#checkIdentity()
    const keystore = await this.#checkGroupFile(KEYSTORE)
    const snapshot = await this.#checkGroupFile(SNAPSHOT)
    const log = await this.#checkLog(newer(keystore, snapshot))
    if (keystore) this.#compareKeystore(KEYSTORE, keystore, log)
    if (snapshot) this.#compareKeystore(SNAPSHOT, snapshot, log)
    // Read last: beside a running server it is never older than what was read before.
    const vote = this.#data.isServer ? await this.#checkVote() : null
    if (vote && vote.term < log.lastTerm) {
      const what = `its term ${vote.term} is older than the log's ${log.lastTerm}: it is of an earlier time than the log`
      this.#say({ kind: 'damage', path: this.#path('vote'), what })
    }
    await this.#noteLeftovers()
    const { lastIndex, commitIndex } = log
    return { damageCount: this.#damageCount, lastIndex, commitIndex }
  }

  async #checkIdentity(): Promise<void> {
    const path = this.#path('identity')
    const bytes = await this.#disk.readFile(path)
    if (bytes === null) return this.#say({ kind: 'damage', path, what: 'it is missing' })
    const { identity } = this.#data
    if (identity) {
      const { serverId, clusterId } = identity
      const membership = clusterId === null ? 'of no cluster yet' : `of cluster ${clusterId}`
      this.#onLine({ path, what: `server ${serverId} ${membership}` })
    }
    for (const copy of readIdentityCopies(bytes)) {
      if (copy.identity !== null) continue
      const what = `this copy does not verify; ${otherCopy(identity !== null)}`
      this.#say({ kind: 'damage', path, offset: copy.offset, what })
    }
  }

  async #checkVote(): Promise<HardState | null> {
    const path = this.#path('vote')
    const { identity } = this.#data
    if (!(await this.#disk.list(this.#data.path)).includes('vote')) {
      const isJoined = !identity || identity.clusterId !== null
      if (isJoined) this.#say({ kind: 'damage', path, what: 'it is missing' })
      return null
    }
    if (!identity) {
      const what = 'not checked: its checksums need the server id of the identity'
      this.#say({ kind: 'note', path, what })
      return null
    }
    const file = await this.#disk.open(path, { create: false })
    const copies = await readVoteCopies(file, identity.serverId).finally(() => file.close())
    const newest = copies[newestCopy(copies)]?.hardState ?? null
    const inWords = newest ? describeVote(newest) : 'unknown'
    const goodCount = copies.filter(({ hardState }) => hardState !== null).length
    this.#onLine({ path, what: `${inWords}; ${goodCount} of ${copies.length} copies good` })
    for (const { offset, hardState, isPadded } of copies) {
      if (!hardState) {
        const what = `this copy does not verify; ${otherCopy(newest !== null)}`
        this.#say({ kind: 'damage', path, offset, what })
        continue
      }
      if (!isPadded) {
        const what = 'behind the line of this copy its block is not blank; nobody reads that'
        this.#say({ kind: 'note', path, offset, what })
      }
      if (newest && describeVote(hardState) !== describeVote(newest)) {
        const what = `this copy says ${describeVote(hardState)}; a crash between the two leaves that`
        this.#say({ kind: 'note', path, offset, what })
      }
    }
    return newest
  }

  /** @returns null where there is none, or a damaged one. */
  async #checkGroupFile(name: string): Promise<KeystoreHeader | null> {
    const { groupDirectory } = this.#data
    if (groupDirectory === null) return null
    return checkItems(this.#disk, `${groupDirectory}/${name}`, (line) => this.#say(line))
  }

  /** @param covered What holds the beginning of it. */
  async #checkLog(covered: KeystoreHeader | null): Promise<LogSurvey> {
    const { identity, group, logDirectory } = this.#data
    const log = await LogSurvey.run({
      disk: this.#disk,
      directory: logDirectory,
      clusterId: identity?.clusterId ?? null,
      group,
      coveredIndex: covered?.index ?? 0,
      checkEntry,
      onSegment: (report, findings) => {
        this.#onLine({ path: report.path, what: describeSegment(report) })
        for (const finding of findings) this.#say(finding)
      },
    })
    await log.close()
    if (log.segmentCount === 0 && (identity?.clusterId || covered)) {
      this.#say({ kind: 'damage', path: logDirectory, what: 'there is no log' })
    }
    const { beginning, owed } = log
    if (beginning && beginning.base.index > (covered?.index ?? 0)) {
      const { path, base } = beginning
      const what = `${lackingBefore(beginning)}, and no keystore file covers that; what is missing comes from another server`
      this.#say({ kind: 'damage', path, offset: 0, index: base.index, what })
    }
    if (owed.index > 0 && !(covered && isUpToDate(covered, owed))) {
      const what = `damage cut this log short: up to entry ${owed.term}/${owed.index} it was durable once, and what is missing comes from another server`
      this.#say({ kind: 'damage', path: logDirectory, index: owed.index, what })
    }
    if (log.commitIndex > log.lastIndex && this.#damageCount === 0) {
      const what = `entry ${log.commitIndex} was committed, and the log ends at ${log.lastIndex}`
      this.#say({ kind: 'damage', path: logDirectory, what })
    }
    return log
  }

  /** They are of one cluster, and the keystore's last entry is the log's. */
  #compareKeystore(name: string, header: KeystoreHeader, log: LogSurvey): void {
    const { clusterId, group, index, term } = header
    const path = `${this.#data.groupDirectory}/${name}`
    const expected = this.#data.identity?.clusterId ?? log.clusterId
    const expectedGroup = this.#data.group ?? log.group
    if (
      (expected !== null && clusterId !== expected) ||
      (expectedGroup !== null && group !== expectedGroup)
    ) {
      const what = `it belongs to cluster ${clusterId}, group ${group}, not to cluster ${expected}, group ${expectedGroup}`
      this.#say({ kind: 'damage', path, what })
      return
    }
    if (name === SNAPSHOT) return this.#noteSnapshot(path)
    const termInLog = log.termAt(index)
    const isWhole = log.segmentCount > 0 && log.findings.every(({ kind }) => kind !== 'damage')
    if (isWhole && index > log.lastIndex) {
      const what = `it is ahead of the log, which ends at entry ${log.lastIndex}`
      this.#say({ kind: 'damage', path, index, what })
    } else if (termInLog !== null && termInLog !== term) {
      const what = `its last entry is ${term}/${index}, the log's is ${termInLog}/${index}`
      this.#say({ kind: 'damage', path, index, what })
    }
  }

  /** A leader sent it, and it may be of another term than the log, or ahead of it. */
  #noteSnapshot(path: string): void {
    const what =
      "all of it came from a leader; where it is newer than the keystore file, a start puts it in that one's place"
    this.#say({ kind: 'note', path, what })
  }

  async #noteLeftovers(): Promise<void> {
    const { path, groupDirectory, logDirectory, isServer } = this.#data
    const directories = [...(isServer ? [path] : []), groupDirectory, logDirectory]
    for (const directory of directories) {
      if (directory === null) continue
      for (const name of await this.#disk.list(directory)) {
        if (!name.endsWith('.tmp') && name !== SNAPSHOT_PART) continue
        const what = 'half-written when a server ended or the copy was made; it counts for nothing'
        this.#say({ kind: 'note', path: `${directory}/${name}`, what })
      }
    }
  }

  #path(name: string): string {
    return `${this.#data.path}/${name}`
  }

  #say(line: FileReport | Finding): void {
    if ('kind' in line && line.kind === 'damage') this.#damageCount++
    this.#onLine(line)
  }
}

/**
 * One file of items by itself: a keystore file, a snapshot, or a backup.
 * @returns null where there is none, or a damaged one, which `onLine` hears of.
 */
export async function checkItems(
  disk: Disk,
  path: string,
  onLine: (line: FileReport | Finding) => void,
): Promise<KeystoreHeader | null> {
  let itemCount = 0
  let valueBytes = 0
  try {
    const header = await readKeystore(disk, path, (_key, { value }) => {
      itemCount++
      valueBytes += value.length
    })
    if (!header) return null
    const { index, term, flushAtMs } = header
    const held = `${count(itemCount, 'item')}, ${valueBytes} bytes of values`
    const flush = flushAtMs === 0 ? '' : `, to be flushed at ${flushAtMs} (Unix ms)`
    onLine({ path, what: `${held}, as of entry ${term}/${index}${flush}` })
    return header
  } catch (error) {
    if (!(error instanceof KeystoreDamagedError || error instanceof SyntaxError)) throw error
    const what = error.message.startsWith(`${path}: `)
      ? error.message.slice(path.length + 2)
      : error.message
    onLine({ kind: 'damage', path, what })
    return null
  }
}

function newer(a: KeystoreHeader | null, b: KeystoreHeader | null): KeystoreHeader | null {
  return a && a.index >= (b?.index ?? 0) ? a : b
}

function otherCopy(isGood: boolean): string {
  return isGood ? 'the other copy counts' : 'and the other copy does not either'
}

function lackingBefore({ base, before }: Beginning): string {
  if (base.index > before.index) {
    return `entries ${before.index + 1} to ${base.index} are missing before it`
  }
  return `it begins behind entry ${base.term}/${base.index}, which is not the one that stands before it`
}

function checkEntry({ body, config }: LogEntry): string | null {
  if (config || isPlainOwn(body)) return null
  const unknown = commandsIn(body).find((command) => !isCanonical(command))
  if (!unknown) return null
  const text = unknown.toString('latin1', 0, 20)
  return `this version does not know what it says: ${JSON.stringify(text)}`
}

function isPlainOwn(body: Buffer): boolean {
  const text = body.toString('latin1', 0, 20)
  return text === 'noop\r\n' || text === 'time\r\n'
}

function describeVote({ term, vote }: HardState): string {
  return `term ${term}, ${vote === '' ? 'no vote' : `vote for ${vote}`}`
}

function describeSegment(report: SegmentReport): string {
  const { bytes, entryCount, sealCount, lowestIndex, highestIndex } = report
  const seals = count(sealCount, 'seal')
  if (entryCount === 0) return `no entries, ${seals}, ${bytes} bytes`
  if (entryCount === 1) return `entry ${lowestIndex}, ${seals}, ${bytes} bytes`
  return `${entryCount} entries (${lowestIndex} to ${highestIndex}), ${seals}, ${bytes} bytes`
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}
