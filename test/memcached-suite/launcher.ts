/**
 * Stands for memcached where a test starts its servers itself: a cluster of three
 * of ours, with the flags that say the same. On the port that the test wants (-p)
 * it passes everything on to the leader, or to a follower (TESTED_ROLE), and ends
 * when that server has ended, or when it is told to.
 */
import net from 'node:net'
import { OwnCluster } from './servers.ts'

/** Ours for memcached's. */
const FLAGS: Readonly<Record<string, string>> = { '-A': '--enable-shutdown' }

const args = process.argv.slice(2)
const port = Number(args[args.indexOf('-p') + 1])
const role = process.env.TESTED_ROLE === 'follower' ? 'follower' : 'leader'
const cluster = new OwnCluster()
let ending: Promise<void> | null = null

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, end)
try {
  const flags = args.flatMap((flag) => FLAGS[flag] ?? [])
  const address = await cluster.prepare(role, { flags })
  cluster.tested?.process?.once('exit', end)
  net.createServer((client) => relay(client, net.connect(address))).listen(port, '127.0.0.1')
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`)
  await end()
}

function relay(client: net.Socket, server: net.Socket): void {
  for (const [from, to] of [
    [client, server],
    [server, client],
  ] as const) {
    from.pipe(to)
    from.on('error', () => to.destroy())
  }
}

/** Its servers end as well, which is no reason to begin again. */
async function end(): Promise<void> {
  ending ??= cluster.stop()
  await ending
  process.exit()
}
