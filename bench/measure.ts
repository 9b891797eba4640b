/** What the benchmarks share: filling a store, reading sizes, saying what was seen. */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import net from 'node:net'
import { eventually, type ServerProcess } from '../test/e2e/cluster.ts'

const PIPELINE = 500

export interface Filling {
  readonly keyCount: number
  readonly valueBytes: number
  /** Called now and then. */
  readonly onProgress?: () => void
}

/** Pipelined sets of `key-0` to `key-<n - 1>` on one connection. Each value begins with its key's number. */
export async function fill({ cport }: ServerProcess, filling: Filling): Promise<void> {
  const { keyCount, valueBytes, onProgress } = filling
  const socket = net.connect({ port: cport, host: '127.0.0.1' })
  let owed = 0
  let wake = (): void => {}
  socket.on('data', (chunk) => {
    if (chunk.includes('ERROR')) throw new Error(`filling failed: ${chunk}`)
    for (const byte of chunk) if (byte === 10) owed--
    if (owed < PIPELINE / 2) wake()
  })
  for (let at = 0; at < keyCount; at += PIPELINE) {
    const end = Math.min(at + PIPELINE, keyCount)
    let text = ''
    for (let n = at; n < end; n++) {
      text += `set key-${n} 0 0 ${valueBytes}\r\n${valueFor(n, valueBytes)}\r\n`
    }
    owed += end - at
    socket.write(text)
    while (owed >= PIPELINE / 2) await new Promise<void>((resolve) => (wake = resolve))
    onProgress?.()
  }
  await eventually('all is filled', () => owed === 0)
  socket.destroy()
}

export function valueFor(n: number, valueBytes: number): string {
  return String(n).padStart(10, '0').padEnd(valueBytes, 'v')
}

/** Resident memory of a server, from /proc. */
export function rssOf({ process }: ServerProcess): number {
  const text = readFileSync(`/proc/${process?.pid}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+)/.exec(text)?.[1] ?? 0) * 1024
}

/** Sizes of the files in a directory, whose path ends so. */
export function bytesUnder(directory: string, end = ''): number {
  let bytes = 0
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !entry.name.endsWith(end)) continue
    try {
      bytes += statSync(`${entry.parentPath}/${entry.name}`).size
    } catch {
      // removed meanwhile
    }
  }
  return bytes
}

export function mib(bytes = 0): string {
  return `${Math.round(bytes / 1024 / 1024)} MiB`
}

export function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`
}

export function say(line: string): void {
  process.stdout.write(`${line}\n`)
}
