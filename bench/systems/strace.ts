/** Counts syncs of processes that do not count them, where strace is installed and allowed. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { eventually } from '../../test/e2e/cluster.ts'
import { findProgram } from './programs.ts'

/** @returns what ends the watching and gives the number of calls; null where it can't be had. */
export async function traceSyncs(pids: readonly number[]): Promise<() => Promise<number | null>> {
  const path = findProgram('strace')
  if (path === null) return async () => null
  const args = [
    '-f',
    '-c',
    '-e',
    'trace=fdatasync,fsync',
    ...pids.flatMap((pid) => ['-p', `${pid}`]),
  ]
  const child = spawn(path, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let text = ''
  child.stderr.on('data', (chunk) => {
    text += chunk
  })
  const ended = once(child, 'exit')
  const isAttached = () => pids.every((pid) => text.includes(`Process ${pid} attached`))
  await eventually('strace', () => isAttached() || child.exitCode !== null)
  return async () => {
    if (child.exitCode === null) child.kill('SIGINT')
    await ended
    return isAttached() ? countCalls(text) : null
  }
}

/** Of the table that strace ends with: share, seconds, microseconds a call, calls, errors, name. */
function countCalls(text: string): number {
  const calls = text.matchAll(/^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s.*\bf(?:data)?sync$/gm)
  return [...calls].reduce((sum, [, count]) => sum + Number(count), 0)
}
