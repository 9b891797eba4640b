/** `store log` and `store keystore`: what a server's files hold, a line each. */
import type { Disk, Io } from '../src/io/io.ts'
import { commandsIn, parseCommand } from '../src/protocol/commands.ts'
import { findData, isFile } from '../src/server/inspect/data-directory.ts'
import { describeFinding } from '../src/server/inspect/finding.ts'
import { LogFollower } from '../src/server/inspect/log-follower.ts'
import { LogSurvey } from '../src/server/inspect/log-survey.ts'
import { printable } from '../src/server/inspect/printable.ts'
import { readOnlyDisk } from '../src/server/inspect/read-only-disk.ts'
import { type Item, STALE, WON } from '../src/server/keystore/item-store.ts'
import { readKeystore } from '../src/server/keystore/keystore-file.ts'
import type { LogEntry } from '../src/server/log/record.ts'
import { KEYSTORE, SNAPSHOT } from '../src/server/restore.ts'
import { type Output, Progress, printing } from './output.ts'

/** How keys and values are shown. */
export const ESCAPES = `Keys and values are printed as they are, so that each entry stays one line with these
exceptions: a backslash is \\\\, line ends and tabs are \\n, \\r and \\t, other control bytes
\\xHH; in values that are not UTF-8 so is every byte past ASCII. bash's printf %b undoes it.`

export interface LogFlags {
  readonly full?: boolean
  readonly follow?: boolean
}

/** Of a log that is followed so many lines are printed first. */
const NEWEST_LINES = 10
const FOLLOW_MS = 200

/** @throws Error where the log is damaged, once all that can be read is printed. */
export function printLog(io: Io, directory: string, flags: LogFlags): Promise<void> {
  return printing(async (out) => {
    const progress = new Progress(io.clock)
    let isPrinting = false
    const disk = readOnlyDisk(io.disk, (byteCount) => {
      if (isPrinting) return out.maybeFlush()
      progress.add(byteCount)
    })
    const { identity, group, logDirectory } = await findData(disk, directory)
    const clusterId = identity?.clusterId ?? null
    const log = await LogSurvey.run({ disk, directory: logDirectory, clusterId, group })
    try {
      progress.clear()
      if (log.segmentCount === 0) throw new Error(`${logDirectory}: no log is there`)
      isPrinting = true
      const newest: string[] = []
      await log.read((entry) => {
        for (const line of linesOf(entry, flags)) {
          if (!flags.follow) out.line(line)
          else if (newest.push(line) > NEWEST_LINES) newest.shift()
        }
      })
      for (const line of newest) out.line(line)
    } finally {
      await log.close()
    }
    const [damage] = log.findings.filter(({ kind }) => kind === 'damage')
    if (damage) throw new Error(`${describeFinding(damage)}; store verify tells more`)
    if (log.beginning) {
      const { index } = log.beginning.base
      process.stderr.write(
        `store log: entries up to ${index} are not in the log; store verify tells more\n`,
      )
    }
    if (flags.follow) await followLog(io, disk, logDirectory, log, out, flags)
  })
}

/** Prints what is written from now on, until nobody reads it any more. */
async function followLog(
  { timers }: Io,
  disk: Disk,
  logDirectory: string,
  { clusterId, position }: LogSurvey,
  out: Output,
  flags: LogFlags,
): Promise<void> {
  const say = (what: string) => process.stderr.write(`store log: ${what}\n`)
  const follower = new LogFollower(disk, logDirectory, clusterId ?? '', position, {
    onEntry(entry) {
      for (const line of linesOf(entry, flags)) out.line(line)
    },
    onReplaced: (index) => say(`entries from ${index} on are replaced by those of a later leader`),
    onMissing: (first, last) => say(`entries ${first} to ${last} are not in the log any more`),
  })
  try {
    for (;;) {
      await follower.poll()
      await out.flush()
      await new Promise<void>((resolve) => timers.after(FOLLOW_MS, resolve))
    }
  } finally {
    await follower.close()
  }
}

function linesOf(entry: LogEntry, { full }: LogFlags): string[] {
  // A configuration may have anything in it.
  const bodies = entry.config ? [entry.body] : commandsIn(entry.body)
  return bodies.flatMap((body) => (full ? fullLine(entry, body) : writeLine(entry, body)) ?? [])
}

/** null for commands that write no value. */
function writeLine({ index }: LogEntry, body: Buffer): string | null {
  if (!isStore(body)) return null
  const command = parseCommand(body)
  if (!('value' in command)) return null
  return `${index} ${printableKey(command.key)} ${printable(command.value)}`
}

function fullLine({ index, term, timeMs }: LogEntry, body: Buffer): string {
  const lineEnd = body.indexOf('\r\n')
  const line = printable(body.subarray(0, lineEnd))
  const value = isStore(body) ? ` ${printable(body.subarray(lineEnd + 2, -2))}` : ''
  return `${index} ${term} ${isoTime(timeMs)} ${line}${value}`
}

function isStore(body: Buffer): boolean {
  return /^(set|add|cas|replace|append|prepend) /.test(body.toString('latin1', 0, 8))
}

/**
 * @param named A server's directory, or one file of items, such as a backup.
 * @throws Error where there is no keystore file, or it is damaged: then what was printed may be wrong.
 */
export function printKeystore(io: Io, named: string, isFull: boolean): Promise<void> {
  return printing(async (out) => {
    const disk = readOnlyDisk(io.disk, () => out.maybeFlush())
    const onItem = (key: string, item: Item) => {
      const fields = isFull ? itemFields(item) : ''
      out.line(`${printableKey(key)} ${fields}${printable(item.value)}`)
    }
    if (await isFile(disk, named)) {
      await readKeystore(disk, named, onItem)
      return
    }
    const { path, groupDirectory } = await findData(disk, named)
    if (
      groupDirectory === null ||
      (await readKeystore(disk, `${groupDirectory}/${KEYSTORE}`, onItem)) === null
    ) {
      throw new Error(
        `${path} holds no keystore file; one is written when a server stops in order, and now and then: see store log for the writes`,
      )
    }
    if ((await disk.list(groupDirectory)).includes(SNAPSHOT)) {
      const what = 'it may be newer, and a start uses the newer one'
      process.stderr.write(`store keystore: ${groupDirectory}/${SNAPSHOT} is there too: ${what}\n`)
    }
  })
}

/** Marks, which few have, go with the CAS unique, so that as many words stand before each value. */
function itemFields({ flags, expiresAtMs, casUnique, marks }: Item): string {
  const stale = marks & STALE ? ',stale' : ''
  const won = marks & WON ? ',won' : ''
  const expiry = expiresAtMs === 0 ? '-' : isoTime(expiresAtMs)
  return `${flags} ${expiry} ${casUnique}${stale}${won} `
}

/** Keys are strings of bytes. */
function printableKey(key: string): string {
  return printable(Buffer.from(key, 'latin1'))
}

/** The number itself where no calendar goes that far. */
function isoTime(timeMs: number): string {
  const time = new Date(timeMs)
  return Number.isNaN(time.getTime()) ? String(timeMs) : time.toISOString()
}
