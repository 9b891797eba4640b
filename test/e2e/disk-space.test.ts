/**
 * Real processes whose disks run full: each server's directory is a small file
 * system of its own, which something else fills. Needs root, to mount them.
 */
import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { eventually, makeDirectory, type ServerProcess, TestCluster } from './cluster.ts'
import { TextClient } from './text-client.ts'

const MIB = 2 ** 20
const DISK_BYTES = 64 * MIB
const RESERVE_BYTES = 16 * MIB
const OUT = 'SERVER_ERROR out of disk space'

const mounts: string[] = []

function mount(directory: string): void {
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'tmpfs', directory], {
    stdio: 'ignore',
  })
  mounts.push(directory)
}

function unmountAll(): void {
  for (const directory of mounts.splice(0)) execFileSync('umount', [directory])
}

function canMount(): boolean {
  const directory = makeDirectory()
  try {
    mount(directory)
    unmountAll()
    return true
  } catch {
    return false
  } finally {
    rmSync(directory, { recursive: true })
  }
}

const isAble = process.platform === 'linux' && canMount()
if (!isAble) console.log('skipped: full disks; they need root, to mount small ones')

let cluster: TestCluster
/** What was acknowledged. */
const stored = new Map<string, string>()

beforeAll(async () => {
  if (!isAble) return
  cluster = await TestCluster.start(3, '--disk-reserve', `${RESERVE_BYTES}`)
  for (const server of cluster.servers) {
    await cluster.killServer(server, 'SIGTERM')
    const aside = `${server.directory}.aside`
    cpSync(server.directory, aside, { recursive: true })
    mount(server.directory)
    cpSync(aside, server.directory, { recursive: true })
    cluster.startServer(server)
    await cluster.ready()
  }
}, 60_000)

afterAll(async () => {
  await cluster?.killAll()
  unmountAll()
  await cluster?.stop()
}, 60_000)

const ballastOf = (server: ServerProcess) => join(server.directory, 'elsewhere')
let ballastCount = 0

/** Something else takes all but so much of its disk. */
function fill(server: ServerProcess, leftBytes: number): void {
  const directory = ballastOf(server)
  mkdirSync(directory, { recursive: true })
  const { bavail, bsize } = statfsSync(server.directory)
  const bytes = Math.max(0, bavail * bsize - leftBytes)
  try {
    writeFileSync(join(directory, `${ballastCount++}`), Buffer.alloc(bytes))
  } catch (error) {
    // The server has written something meanwhile: then it is full to the last byte as well.
    if (leftBytes > 0 || (error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
  }
}

function free(server: ServerProcess): void {
  rmSync(ballastOf(server), { recursive: true, force: true })
}

afterEach(() => {
  for (const server of cluster?.servers ?? []) free(server)
})

async function connect(server: ServerProcess): Promise<TextClient> {
  const client = await TextClient.connect(server.cport)
  if (!client) throw new Error(`nobody listens on ${server.cport}`)
  return client
}

let written = 0

/** Writes once, by way of this server. */
async function write(server: ServerProcess, rest = ''): Promise<string> {
  const client = await connect(server)
  const key = `k${written++}`
  const value = `v-${key}${rest}`
  const reply = await client.set(key, value)
  if (reply === 'STORED') stored.set(key, value)
  client.close()
  return reply
}

/** Everything that was acknowledged is read, on every one of these, and none has died. */
async function expectAllThere(servers: readonly ServerProcess[] = cluster.servers): Promise<void> {
  for (const server of servers) {
    const client = await connect(server)
    const found = await client.get([...stored.keys()])
    expect([...stored].filter(([key, value]) => found.get(key) !== value)).toEqual([])
    client.close()
    expect(server.process?.exitCode).toBeNull()
  }
}

const noteOf = async (server: ServerProcess) =>
  (await cluster.status()).members.find(({ cport }) => cport === server.cport)?.note ?? ''

const writesEverywhere = () =>
  eventually('writes everywhere', async () => {
    for (const server of cluster.servers) if ((await write(server)) !== 'STORED') return false
    return true
  })

test.skipIf(!isAble)(
  'a leader whose disk is nearly full hands over',
  { timeout: 60_000 },
  async () => {
    await writesEverywhere()
    const leader = await cluster.leader()
    fill(leader, RESERVE_BYTES / 4)
    await eventually('another leader', async () => (await cluster.leader()) !== leader)
    await writesEverywhere()
    await expectAllThere(cluster.servers.filter((server) => server !== leader))
    expect(leader.process?.exitCode).toBeNull()
    await eventually('a note', async () =>
      /^out of disk space: \d+ \w+ free, /.test(await noteOf(leader)),
    )

    // A follower now, it falls behind, says so, and catches up once there is room.
    const value = 'x'.repeat(RESERVE_BYTES / 64)
    const client = await connect(leader)
    await eventually('a refused read', async () => {
      await write(leader, value)
      const failure = await client.get([...stored.keys()]).then(() => '', String)
      return failure.includes('behind and out of disk space')
    })
    client.close()
    free(leader)
    await eventually('no note', async () => (await noteOf(leader)) === '')
    await cluster.ready()
    await expectAllThere()
  },
)

test.skipIf(!isAble)(
  'all disks full: writes are refused, reads go on, until there is room',
  {
    timeout: 60_000,
  },
  async () => {
    await writesEverywhere()
    for (const server of cluster.servers) fill(server, RESERVE_BYTES / 2)
    for (const server of cluster.servers) {
      await eventually('a refusal', async () => (await write(server)) === OUT)
    }
    // Now to the last byte.
    for (const server of cluster.servers) fill(server, 0)
    for (let round = 0; round < 15; round++) {
      for (const server of cluster.servers) expect(await write(server)).toBe(OUT)
      await expectAllThere()
      await delay(200)
    }
    for (const server of cluster.servers) free(server)
    await writesEverywhere()
    await expectAllThere()
  },
)

test.skipIf(!isAble)('written full by clients', { timeout: 60_000 }, async () => {
  const server = cluster.servers[0]
  if (!server) throw new Error('unreachable')
  for (const each of cluster.servers) fill(each, 2 * RESERVE_BYTES)
  const client = await connect(server)
  const value = 'x'.repeat(100_000)
  await eventually('a refusal', async () => {
    const key = `large${written++}`
    const reply = await client.set(key, value)
    if (reply === 'STORED') stored.set(key, value)
    else expect(reply).toBe(OUT)
    return reply === OUT
  })
  client.close()
  for (const each of cluster.servers) {
    const { bavail, bsize } = statfsSync(each.directory)
    expect(bavail * bsize).toBeGreaterThan(RESERVE_BYTES / 2)
    free(each)
  }
  await writesEverywhere()
  await expectAllThere()
})
