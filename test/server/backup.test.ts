/** A backup on its way to clients that are slow, go away, or are too many. */
import { expect, test } from 'vitest'
import type { Stream, StreamHandler } from '../../src/io/io.ts'
import { type Backup, Backups } from '../../src/server/backup.ts'
import { Connection } from '../../src/server/connection.ts'
import { FlushQueue } from '../../src/server/flush-queue.ts'
import type { Lane, Waiter } from '../../src/server/node.ts'
import { ManualTimers, settle } from '../io/manual-timers.ts'
import { MemoryDisk } from '../io/memory-disk.ts'
import { ReplicaStore } from './client.ts'

const PATH = 'data/keystore'
const BYTES = 1_000_000
const CONTENT = Buffer.alloc(BYTES, 'keystore 1 ')

/** A server's side of a connection whose client takes what it is told to. */
function connect(open: () => Promise<Backup>, timers = new ManualTimers()) {
  let handler: StreamHandler | null = null
  const stream = {
    sent: [] as Buffer[],
    waitingBytes: 0,
    isSlow: true,
    isDestroyed: false,
    isEnded: false,
  }
  const close = () => {
    stream.isDestroyed = true
    handler?.onClose(null)
  }
  const write = (chunk: Uint8Array | string) => {
    const bytes = Buffer.from(chunk as string, 'latin1')
    stream.sent.push(bytes)
    stream.waitingBytes += bytes.length
    return !stream.isSlow
  }
  const fake: Stream = {
    remote: { host: 'client', port: 1 },
    handle: (given) => {
      handler = given
    },
    write,
    writeAll: (chunks) => write(Buffer.concat(chunks)),
    get bufferedBytes() {
      return stream.isSlow ? stream.waitingBytes : 0
    },
    pause: () => {},
    resume: () => {},
    end: () => {
      stream.isEnded = true
    },
    destroy: close,
  }
  const store = Object.assign(new ReplicaStore(), {
    write: (_lane: Lane, _command: Buffer, waiter: Waiter) =>
      waiter.done({ kind: 'applied', reply: 'STORED', index: 1 }),
    answer: () => 'x 1\r\nend\r\n',
    barrier: (done: (failure: null) => void) => done(null),
    openBackup: open,
  })
  const clock = { monotonicMs: () => 0, wallMs: () => 0 }
  new Connection(fake, store, { timers, clock }, new FlushQueue(timers), () => {})
  const settled = async () => {
    for (let round = 0; round < 5; round++) {
      timers.fire()
      await settle()
    }
  }
  return {
    stream,
    timers,
    close,
    settled,
    receive: (text: string) => handler?.onData(Buffer.from(text)),
    half: () => handler?.onEnd(),
    /** The client takes all that was written. */
    async take() {
      stream.waitingBytes = 0
      handler?.onDrain?.()
      await settle()
    },
    text: () => Buffer.concat(stream.sent).toString('latin1'),
  }
}

/** A server with a keystore file, and what is read of it. */
async function server(failure: string | null = null) {
  const disk = new MemoryDisk()
  await disk.makeDirectory('data')
  disk.put(PATH, CONTENT)
  const seen = { readBytes: 0, openCount: 0 }
  const open = disk.open.bind(disk)
  disk.open = async (path, options) => {
    const file = await open(path, options)
    seen.openCount++
    return {
      read: async (offset, length) => {
        const bytes = await file.read(offset, length)
        seen.readBytes += bytes.length
        return bytes
      },
      size: () => file.size(),
      write: (chunks, offset) => file.write(chunks, offset),
      datasync: () => file.datasync(),
      close: () => {
        seen.openCount--
        return file.close()
      },
    }
  }
  const backups = new Backups({
    disk,
    barrier: (done) => done(failure),
    writeKeystore: async () => PATH,
  })
  return { disk, seen, backups, open: () => backups.open() }
}

const WHOLE = `BACKUP ${BYTES}\r\n${CONTENT.toString('latin1')}\r\nEND\r\n`

test('a slow client gets it piece by piece, and no piece is read before its turn', async () => {
  const { seen, open } = await server()
  const client = connect(open)
  client.receive('backup\r\n')
  await settle()
  expect(client.text()).toBe(`BACKUP ${BYTES}\r\n`)
  let takenCount = 0
  while (client.stream.waitingBytes > 0) {
    expect(client.stream.waitingBytes).toBeLessThanOrEqual(256 * 1024)
    expect(seen.readBytes).toBeLessThanOrEqual(takenCount * 256 * 1024)
    await client.take()
    takenCount++
  }
  expect(client.text()).toBe(WHOLE)
  expect(takenCount).toBeGreaterThan(4)
  expect(seen.openCount).toBe(0)
})

test('requests around it keep their order, and a client that ended its half gets all', async () => {
  const client = connect((await server()).open)
  client.stream.isSlow = false
  client.receive('get a\r\nbackup\r\nset k 0 0 1\r\nv\r\nget-servers\r\n')
  client.half()
  await client.settled()
  expect(client.text()).toBe(`END\r\n${WHOLE}STORED\r\nx 1\r\nend\r\n`)
  expect(client.stream.isEnded).toBe(true)
})

test('a client that goes away in the middle leaves nothing open', async () => {
  const { seen, open } = await server()
  const client = connect(open)
  client.receive('backup\r\n')
  await settle()
  await client.take()
  expect(seen.openCount).toBe(1)
  client.close()
  await settle()
  expect(seen.openCount).toBe(0)
  expect(seen.readBytes).toBeLessThan(BYTES)
})

test('a client that takes nothing any more is cut off', async () => {
  const { seen, open } = await server()
  const client = connect(open)
  client.receive('backup\r\n')
  await settle()
  client.timers.fire()
  await settle()
  expect(client.stream.isDestroyed).toBe(true)
  expect(seen.openCount).toBe(0)
})

/** The client takes what is there each so often, until it has all or is cut off. */
async function takeEvery(client: ReturnType<typeof connect>, ms: number): Promise<void> {
  client.receive('backup\r\n')
  await settle()
  while (client.stream.waitingBytes > 0) {
    client.timers.advance(ms)
    await settle()
    if (client.stream.isDestroyed) return
    await client.take()
  }
}

test('a client that takes each piece in time, but all of it too slowly, is cut off', async () => {
  const { seen, open } = await server()
  const slow = connect(open)
  await takeEvery(slow, 29_000)
  expect(slow.stream.isDestroyed).toBe(true)
  expect(seen.openCount).toBe(0)
  const steady = connect(open)
  await takeEvery(steady, 5_000)
  expect(steady.text()).toBe(WHOLE)
  steady.timers.advance(3_600_000)
  expect(steady.stream.isDestroyed).toBe(false)
})

test('no more than two at a time', async () => {
  const { open } = await server()
  const clients = [connect(open), connect(open), connect(open)]
  for (const client of clients) client.receive('backup\r\n')
  await settle()
  const [first, , third] = clients
  expect(third?.text()).toBe('SERVER_ERROR no backup: busy: 2 backups are under way\r\n')
  first?.close()
  await settle()
  const fourth = connect(open)
  fourth.receive('backup\r\n')
  await settle()
  expect(fourth.text()).toBe(`BACKUP ${BYTES}\r\n`)
})

test('why there is none is one line, and the connection goes on', async () => {
  const { open, disk, backups } = await server('no leader confirmed the read within 1 ms')
  const client = connect(open)
  client.stream.isSlow = false
  client.receive('backup\r\nget-servers\r\n')
  await client.settled()
  expect(client.text()).toBe(
    'SERVER_ERROR no backup: no leader confirmed the read within 1 ms\r\nx 1\r\nend\r\n',
  )
  await disk.remove(PATH)
  for (let round = 0; round < 3; round++) await expect(backups.open()).rejects.toThrow('no leader')
})

test('a file that can not be read on ends the connection before the end', async () => {
  const { open } = await server()
  const client = connect(async () => ({ ...(await open()), bytes: BYTES + 1 }))
  client.stream.isSlow = false
  client.receive('backup\r\n')
  await client.settled()
  expect(client.stream.isDestroyed).toBe(true)
  expect(client.text()).not.toContain('END')
})
