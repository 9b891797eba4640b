/**
 * What the disk costs: how long a start takes, how much room the files take, what
 * writing the keystore file costs those who write.
 *
 *     npm run bench:disk -- --keys 1000000 --rounds 10
 *
 * Three servers (real processes, on loopback) are filled with values of 100 bytes;
 * then one of them, and then all of them, are killed with -9 and started again, and
 * the time is taken from the start of the process to the first answer to a get of the
 * last key written. Then every key is overwritten again and again (`--rounds`), while
 * the size of the files is watched, and the starts are timed once more.
 */
import net from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { type ServerProcess, TestCluster } from '../test/e2e/cluster.ts'
import { bytesUnder, fill, mib, rssOf, say, seconds, valueFor } from './measure.ts'

const VALUE_BYTES = 100
/** Of each start this many are timed. */
const START_COUNT = 3

const { values } = parseArgs({
  options: {
    keys: { type: 'string', default: '1000000' },
    rounds: { type: 'string', default: '10' },
  },
})
const keyCount = Number(values.keys)
const roundCount = Number(values.rounds)

async function measure(cluster: TestCluster): Promise<void> {
  const before = performance.now()
  await fill(await cluster.leader(), { keyCount, valueBytes: VALUE_BYTES })
  say(`${keyCount} keys in ${seconds(performance.now() - before)}`)
  await cluster.ready(60_000)
  sayFiles(cluster)
  await timeStarts(cluster)

  let most = 0
  let mostKeystore = 0
  const watch = () => {
    for (const { directory } of cluster.servers) {
      most = Math.max(most, bytesUnder(directory))
      mostKeystore = Math.max(mostKeystore, bytesUnder(directory, 'keystore'))
    }
  }
  const timer = setInterval(watch, 250)
  const startMs = performance.now()
  for (let round = 0; round < roundCount; round++) {
    await fill(await cluster.leader(), { keyCount, valueBytes: VALUE_BYTES })
  }
  clearInterval(timer)
  const rate = (1_000 * roundCount * keyCount) / (performance.now() - startMs)
  say(`overwritten ${roundCount} times, ${Math.round(rate)} writes/s`)
  say(
    `files of a server at the most ${mib(most)}; its keystore file ${mib(mostKeystore)}: ${((most - 2 * 64 * 2 ** 20) / mostKeystore).toFixed(2)} times that and two segments`,
  )
  await cluster.ready(60_000)
  sayFiles(cluster)
  await timeStarts(cluster)
}

function sayFiles({ servers: [server] }: TestCluster): void {
  if (!server) return
  const log = bytesUnder(server.directory, '.log')
  const keystore = bytesUnder(server.directory, 'keystore')
  say(`log ${mib(log)}, keystore file ${mib(keystore)}, resident ${mib(rssOf(server))}`)
}

async function timeStarts(cluster: TestCluster): Promise<void> {
  const alone: number[] = []
  const together: number[] = []
  for (let at = 0; at < START_COUNT; at++) {
    const leader = await cluster.leader()
    const follower = cluster.servers.find((server) => server !== leader)
    if (!follower) return
    await cluster.killServer(follower)
    alone.push(await timeStart(cluster, [follower]))
    await cluster.ready(60_000)
    await Promise.all(cluster.servers.map((server) => cluster.killServer(server)))
    together.push(await timeStart(cluster, cluster.servers))
    await cluster.ready(60_000)
  }
  say(`one server killed, served again after ${alone.map(seconds).join(', ')}`)
  say(`all three killed, all served again after ${together.map(seconds).join(', ')}`)
}

/** Until each of them has answered. */
async function timeStart(cluster: TestCluster, servers: readonly ServerProcess[]): Promise<number> {
  const startMs = performance.now()
  for (const server of servers) cluster.startServer(server)
  await Promise.all(servers.map(answers))
  return performance.now() - startMs
}

async function answers(server: ServerProcess): Promise<void> {
  const n = keyCount - 1
  const expected = `VALUE key-${n} 0 ${VALUE_BYTES}\r\n${valueFor(n, VALUE_BYTES)}\r\nEND\r\n`
  for (;;) {
    const reply = await ask(server, `get key-${n}\r\n`)
    if (reply === expected) return
    if (reply.startsWith('END')) throw new Error('the last key is lost')
    await delay(10)
  }
}

/** What one connection answers; empty where nobody listens yet. */
function ask({ cport }: ServerProcess, request: string): Promise<string> {
  return new Promise((resolve) => {
    let text = ''
    const socket = net.connect({ port: cport, host: '127.0.0.1' }, () => socket.write(request))
    socket.on('data', (chunk) => {
      text += chunk
      if (/(END|ERROR.*)\r\n$/.test(text)) socket.end()
    })
    socket.on('error', () => {})
    socket.on('close', () => resolve(text))
  })
}

const cluster = await TestCluster.start(3)
try {
  await measure(cluster)
} finally {
  await cluster.stop()
}
