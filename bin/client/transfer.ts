/** `client import` and `client export`, and what they tell the person who waits. */
import type { Io } from '../../src/io/io.ts'
import type { Cluster } from '../cluster.ts'
import { Progress } from '../output.ts'
import type { Checkpoint } from './checkpoint.ts'
import type { Context } from './commands.ts'
import { exportFile } from './export.ts'
import { importFile } from './import.ts'
import { EXIT } from './outcome.ts'

const note = (text: string) => process.stderr.write(`client: ${text}\n`)

/** @returns the exit status. */
export async function runImport(
  io: Io,
  { client, status, timeoutMs }: Context,
  path: string,
  isJson: boolean,
): Promise<number> {
  const { cluster } = await status()
  const controller = new AbortController()
  // Once is in order; twice, at once.
  const interrupt = () => controller.abort()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, interrupt)
  const progress = new Progress(io.clock)
  const imported = await importFile({
    ...{ client, io, path, cluster, timeoutMs, signal: controller.signal },
    onBegin: (from: Checkpoint, totalBytes) => {
      if (from.lines > 0) note(`goes on behind line ${from.lines}, as ${path}.progress says`)
      progress.begin(totalBytes - from.bytes)
    },
    onBytes: (byteCount) => progress.add(byteCount),
  }).finally(() => progress.clear())
  const { lines, expired, isWhole } = imported
  if (isJson) process.stdout.write(`${JSON.stringify({ lines, expired, isWhole })}\n`)
  if (!isWhole) {
    note(`interrupted: ${count(lines, 'line')} of ${path} stored; the same command goes on`)
    return EXIT.interrupted
  }
  const rest = expired > 0 ? `, ${expired} of them expired and left out` : ''
  if (!isJson) process.stdout.write(`imported ${count(lines, 'line')}${rest}\n`)
  return EXIT.done
}

/** @returns the exit status. */
export async function runExport(
  cluster: Cluster,
  { status }: Context,
  path: string,
  flags: { readonly json?: boolean; readonly force?: boolean },
): Promise<number> {
  const exported = await exportFile({
    ...{ cluster, path, isForced: flags.force === true, clusterId: (await status()).cluster },
    onResume: (backupPath, index) =>
      note(`goes on with ${backupPath}, as of entry ${index}; remove it to begin anew`),
  })
  const { items, odd, index } = exported
  if (odd > 0) note(`${count(odd, 'key')} not text: client import can't store them`)
  const line = `exported ${count(items, 'item')}, as of entry ${index}`
  process.stdout.write(`${flags.json ? JSON.stringify(exported) : line}\n`)
  return EXIT.done
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`
}
