/**
 * A server joins a cluster that has much: what that costs those who write, and in
 * memory on both sides.
 *
 *     npm run bench:join -- --mib 1024
 *
 * Fills three servers (real processes, on loopback) with values of 1,000 bytes,
 * measures the rate of acknowledged writes of sixteen clients that overwrite 1,000
 * keys, then starts a fourth server with an empty directory and measures the rate
 * from its start until it is a voter. Resident memory is read from /proc.
 */
import net from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { type ServerProcess, TestCluster } from '../test/e2e/cluster.ts'
import { bytesUnder, fill, mib, rssOf, say, seconds } from './measure.ts'

const VALUE_BYTES = 1_000
const WRITER_COUNT = 16
const BEFORE_MS = 15_000

const { values } = parseArgs({ options: { mib: { type: 'string', default: '1024' } } })
const keyCount = Math.floor((Number(values.mib) * 1024 * 1024) / VALUE_BYTES)

async function measure(cluster: TestCluster): Promise<void> {
  const leader = await cluster.leader()
  const startMs = performance.now()
  await fill(leader, { keyCount, valueBytes: VALUE_BYTES })
  say(`filled with ${keyCount} keys in ${seconds(performance.now() - startMs)}`)
  await cluster.ready(60_000)
  const writers = Array.from({ length: WRITER_COUNT }, (_, at) => new Writer(leader, at))
  await delay(3_000)
  const before = await rateOver(writers, BEFORE_MS, [leader])
  say(`before: ${describe(before)}`)

  const joiner = await cluster.addServer()
  cluster.startServer(joiner)
  const joining = await rateUntil(writers, [leader, joiner], () => isVoter(cluster, joiner))
  say(`while it joins, ${seconds(joining.ms)}: ${describe(joining)}`)
  const after = await rateOver(writers, BEFORE_MS, [leader, joiner])
  say(`after: ${describe(after)}`)
  for (const writer of writers) writer.stop()

  const follower = cluster.servers.find((server) => server !== leader && server !== joiner)
  const share = joining.rate / before.rate
  say(`writes while it joins: ${(100 * share).toFixed(0)} % of before`)
  say(
    `leader's memory: ${mib(before.rssMax[0])} before at the most, ${mib(joining.rssMax[0])} while it joins`,
  )
  say(
    `joiner's memory: ${mib(joining.rssMax[1])} while it joins, ${mib(after.rssMax[1])} after; a follower that was there all the time: ${mib(follower ? rssOf(follower) : 0)}`,
  )
  say(`files of the leader: ${mib(bytesUnder(leader.directory))}`)
}

interface Rate {
  readonly ms: number
  /** Acknowledged writes a second. */
  readonly rate: number
  readonly longestGapMs: number
  /** Of each server that was watched. */
  readonly rssMax: readonly number[]
}

function rateOver(writers: readonly Writer[], ms: number, watched: readonly ServerProcess[]) {
  const endMs = performance.now() + ms
  return rateUntil(writers, watched, async () => performance.now() >= endMs)
}

async function rateUntil(
  writers: readonly Writer[],
  watched: readonly ServerProcess[],
  isOver: () => Promise<boolean>,
): Promise<Rate> {
  const startMs = performance.now()
  const countBefore = total(writers)
  for (const writer of writers) writer.longestGapMs = 0
  const rssMax = watched.map(() => 0)
  while (!(await isOver())) {
    for (const [at, server] of watched.entries()) {
      rssMax[at] = Math.max(rssMax[at] ?? 0, rssOf(server))
    }
    await delay(50)
  }
  const ms = performance.now() - startMs
  const rate = ((total(writers) - countBefore) * 1_000) / ms
  const longestGapMs = Math.max(...writers.map((writer) => writer.longestGapMs))
  return { ms, rate, longestGapMs, rssMax }
}

function total(writers: readonly Writer[]): number {
  return writers.reduce((sum, writer) => sum + writer.count, 0)
}

/** Overwrites its keys, one at a time. */
class Writer {
  count = 0
  longestGapMs = 0
  readonly #socket: net.Socket
  readonly #at: number
  #lastMs = performance.now()

  constructor({ cport }: ServerProcess, at: number) {
    this.#at = at
    this.#socket = net.connect({ port: cport, host: '127.0.0.1', noDelay: true })
    this.#socket.on('data', (chunk) => {
      if (!chunk.toString().startsWith('STORED')) throw new Error(`a write failed: ${chunk}`)
      const nowMs = performance.now()
      this.longestGapMs = Math.max(this.longestGapMs, nowMs - this.#lastMs)
      this.#lastMs = nowMs
      this.count++
      this.#write()
    })
    this.#write()
  }

  stop(): void {
    this.#socket.destroy()
  }

  #write(): void {
    const key = `writer-${this.#at}-${this.count % Math.ceil(1_000 / WRITER_COUNT)}`
    this.#socket.write(`set ${key} 0 0 ${VALUE_BYTES}\r\n${'w'.repeat(VALUE_BYTES)}\r\n`)
  }
}

async function isVoter(cluster: TestCluster, { cport }: ServerProcess): Promise<boolean> {
  const { members } = await cluster.status()
  return members.some((member) => member.cport === cport && member.voter)
}

function describe({ rate, longestGapMs }: Rate): string {
  return `${Math.round(rate)} writes/s, longest wait ${longestGapMs.toFixed(0)} ms`
}

const cluster = await TestCluster.start(3)
try {
  await measure(cluster)
} finally {
  await cluster.stop()
}
