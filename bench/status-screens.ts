/**
 * The screens of docs/STATUS.md, taken from real clusters: real processes, on loopback.
 *
 *     npm run docs:status              all of them
 *     npm run docs:status -- three     this one
 *
 * Below each line `<!-- screen: NAME -->` of that page it puts what `store status` prints
 * in that situation, and waits for the situation rather than for a time.
 */
import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { parseArgs, promisify } from 'node:util'
import { commandPath, eventually, TestCluster } from '../test/e2e/cluster.ts'
import { TextClient } from '../test/e2e/text-client.ts'
import { fill, say } from './measure.ts'

const PAGE = 'docs/STATUS.md'
const CLIENTS_PER_SERVER = 8
/** So much that a server needs seconds to get it. */
const JOIN_KEYS = 150_000
const VALUE_BYTES = 1_000

const run = promisify(execFile)

/** @returns the first screen that has what is waited for. */
function screenOf(cluster: TestCluster, shows: RegExp): Promise<string> {
  const args = [commandPath('store'), 'status', '--lbport', String(cluster.lbcport)]
  return eventually(
    `a screen with ${shows}`,
    async () => {
      const { stdout } = await run(process.execPath, args)
      return shows.test(stdout) && stdout
    },
    60_000,
  )
}

/** Runs `use` while clients of all servers read, and now and then write. */
async function underLoad<T>(cluster: TestCluster, use: () => Promise<T>): Promise<T> {
  let isOver = false
  const ask = async (port: number, name: string) => {
    const client = await TextClient.connect(port)
    for (let at = 0; client && !isOver; at++) {
      const key = `${name}:${at % 1_000}`
      if (at % 5 === 0) await client.set(key, 'v'.repeat(200))
      else await client.get([key])
    }
    client?.close()
  }
  const asking = cluster.servers.flatMap(({ cport }) =>
    Array.from({ length: CLIENTS_PER_SERVER }, (_, at) => ask(cport, `user:${cport}:${at}`)),
  )
  try {
    return await use()
  } finally {
    isOver = true
    await Promise.all(asking)
  }
}

const SCREENS: Readonly<Record<string, () => Promise<string>>> = {
  async one() {
    const cluster = await TestCluster.prepare(1)
    return using(cluster, () => {
      cluster.startBalancer()
      for (const server of cluster.servers) cluster.startServer(server)
      return screenOf(cluster, / new /)
    })
  },
  async three() {
    const cluster = await TestCluster.start(3)
    // Whoever has just been started takes a while to be as fast as that.
    return using(cluster, () => underLoad(cluster, () => screenOf(cluster, /\n {2}all +\d\d,/)))
  },
  async seven() {
    const cluster = await TestCluster.prepare(7)
    return using(cluster, () => {
      cluster.startBalancer()
      for (const server of cluster.servers) cluster.startServer(server)
      return screenOf(cluster, /membership: 5 voters are enough, 2 more stand by/)
    })
  },
  async dead() {
    const cluster = await TestCluster.start(3)
    return using(cluster, async () => {
      const leader = await cluster.leader()
      const victim = cluster.servers.find((server) => server !== leader)
      if (victim) await cluster.killServer(victim)
      return screenOf(cluster, /does not answer: silent/)
    })
  },
  async joining() {
    const cluster = await TestCluster.start(3)
    return using(cluster, async () => {
      await fill(await cluster.leader(), { keyCount: JOIN_KEYS, valueBytes: VALUE_BYTES })
      await cluster.ready()
      cluster.startServer(await cluster.addServer())
      return screenOf(cluster, /catching up/)
    })
  },
}

async function using(cluster: TestCluster, take: () => Promise<string>): Promise<string> {
  try {
    return await take()
  } finally {
    await cluster.stop()
  }
}

const { positionals } = parseArgs({ allowPositionals: true })
let page = readFileSync(PAGE, 'utf8')
for (const name of positionals.length > 0 ? positionals : Object.keys(SCREENS)) {
  const take = SCREENS[name]
  if (!take) throw new Error(`screens are ${Object.keys(SCREENS).join(', ')}`)
  say(name)
  const mark = `<!-- screen: ${name} -->\n`
  const [before, after] = page.split(mark)
  if (before === undefined || after === undefined) throw new Error(`${PAGE} has no ${mark}`)
  const rest = after.replace(/^\n```text\n[\s\S]*?\n```\n/, '')
  page = `${before}${mark}\n\`\`\`text\n${await take()}\`\`\`\n${rest}`
  writeFileSync(PAGE, page)
}
