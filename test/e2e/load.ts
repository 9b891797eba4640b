/**
 * Writers that keep a cluster busy and remember what they were told: every
 * write has a key of its own, so each answer can be held against the data.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'vitest'
import type { ServerProcess, TestCluster } from './cluster.ts'
import { TextClient } from './text-client.ts'

const READ_KEYS = 200

export class Load {
  readonly stored = new Map<string, string>()
  readonly refused = new Map<string, string>()
  /** Connection lost or outcome unknown. */
  readonly unknown = new Map<string, string>()
  readonly #cluster: TestCluster
  readonly #writers: Promise<void>[]
  #isStopping = false
  #latestStartMs = 0
  #acknowledgedMs = performance.now()
  #longestGapMs = 0

  constructor(cluster: TestCluster, writerCount = 8) {
    this.#cluster = cluster
    this.#writers = Array.from({ length: writerCount }, (_, at) => this.#write(at))
  }

  /** Start of the latest write that was acknowledged. */
  get latestStartMs(): number {
    return this.#latestStartMs
  }

  /** The longest time without an acknowledged write since the last call. */
  takeLongestGapMs(): number {
    const gapMs = Math.max(this.#longestGapMs, performance.now() - this.#acknowledgedMs)
    this.#longestGapMs = 0
    this.#acknowledgedMs = performance.now()
    return gapMs
  }

  async stop(): Promise<void> {
    this.#isStopping = true
    await Promise.all(this.#writers)
  }

  async #write(writer: number): Promise<void> {
    const { servers } = this.#cluster
    for (let at = writer, n = 0; !this.#isStopping; at++) {
      const server = servers[at % servers.length]
      const client = server && (await TextClient.connect(server.cport))
      if (!client) {
        await delay(5)
        continue
      }
      // A few writes to each server in turn, so that leader and followers all take some.
      for (let count = 0; count < 50 && !client.isClosed && !this.#isStopping; count++) {
        await this.#writeOne(client, `key-${writer}-${n++}`)
      }
      client.close()
    }
  }

  async #writeOne(client: TextClient, key: string): Promise<void> {
    const startMs = performance.now()
    const value = `value of ${key}`
    const reply = await client.set(key, value)
    if (reply === 'STORED') {
      this.stored.set(key, value)
      this.#latestStartMs = Math.max(this.#latestStartMs, startMs)
      const nowMs = performance.now()
      this.#longestGapMs = Math.max(this.#longestGapMs, nowMs - this.#acknowledgedMs)
      this.#acknowledgedMs = nowMs
    } else if (reply.startsWith('SERVER_ERROR not stored')) this.refused.set(key, reply)
    else this.unknown.set(key, reply)
  }

  /** Every acknowledged write can be read on this server, and no refused one. */
  async check(server: ServerProcess): Promise<void> {
    const client = await TextClient.connect(server.cport)
    if (!client) throw new Error(`nobody listens on ${server.cport}`)
    const read = async (keys: string[]) => {
      const found = new Map<string, string>()
      for (let at = 0; at < keys.length; at += READ_KEYS) {
        for (const [key, value] of await client.get(keys.slice(at, at + READ_KEYS))) {
          found.set(key, value)
        }
      }
      return found
    }
    const stored = await read([...this.stored.keys()])
    const lost = [...this.stored].filter(([key, value]) => stored.get(key) !== value)
    expect(lost, `acknowledged and not on ${server.cport}`).toEqual([])
    const refused = await read([...this.refused.keys()])
    expect([...refused.keys()], `refused and yet on ${server.cport}`).toEqual([])
    client.close()
  }
}
