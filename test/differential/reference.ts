/**
 * The memcached to compare with: one that is running, or a program to be started.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import net from 'node:net'
import { eventually, freePorts, kill } from '../e2e/cluster.ts'
import type { Endpoint } from './conversation.ts'

/**
 * Nothing may be evicted, and no client turned away. No other thread may hold an item:
 * then incr makes a new one of it, which is not padded and has no marks.
 */
const FLAGS = ['-m', '2048', '-c', '4096', '-t', '1', '-U', '0', '-l', '127.0.0.1']
const QUIET = ['-o', 'no_lru_maintainer,no_lru_crawler']

export interface Reference {
  readonly endpoint: Endpoint
  readonly version: string
  readonly stop: () => Promise<void>
}

/** @param where a path, or HOST:PORT of one that was started with flags like these */
export async function startReference(
  where: string,
  flags: readonly string[] = [],
): Promise<Reference> {
  const [, host, port] = /^([^/]+):(\d+)$/.exec(where) ?? []
  if (host !== undefined) {
    const endpoint = { host, port: Number(port), isMemcached: true }
    return { endpoint, version: await askVersion(endpoint), stop: async () => {} }
  }
  const freePort = await freePorts(1)
  const user = process.getuid?.() === 0 ? ['-u', 'nobody'] : []
  const child: ChildProcess = spawn(
    where,
    [...FLAGS, ...QUIET, ...flags, ...user, '-p', String(freePort)],
    {
      stdio: 'ignore',
    },
  )
  let failure: Error | null = null
  child.once('error', (error) => {
    failure = error
  })
  const endpoint = { host: '127.0.0.1', port: freePort, isMemcached: true }
  const version = await eventually('memcached answers', () => {
    if (failure) return failure.message
    return askVersion(endpoint)
  })
  if (failure) throw failure
  return { endpoint, version, stop: () => kill(child) }
}

/** The memcached that is installed, if one is. */
export function findMemcached(): string | null {
  try {
    return execFileSync('sh', ['-c', 'command -v memcached'], { encoding: 'utf8' }).trim()
  } catch {
    return null
  }
}

function askVersion({ host, port }: Endpoint): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host, port }, () => socket.end('version\r\n'))
    let text = ''
    socket.setEncoding('latin1')
    socket.on('data', (chunk) => {
      text += chunk
    })
    socket.once('error', reject)
    socket.once('close', () => {
      const [, version] = /^VERSION (\S+)\r\n$/.exec(text) ?? []
      if (version === undefined) reject(new Error(`${host}:${port} is no memcached: ${text}`))
      else resolve(version)
    })
  })
}
