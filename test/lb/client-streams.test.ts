/** What a load balancer does for a client that asks much and takes little. */
import { expect, test } from 'vitest'
import type { Io, Stream, StreamHandler } from '../../src/io/io.ts'
import { Balancer } from '../../src/lb/lb.ts'
import { ManualTimers } from '../io/manual-timers.ts'
import { MemoryDisk } from '../io/memory-disk.ts'

const QUESTIONS = 5_000

test('who does not take the answers gets no more of them, and all once it does', async () => {
  let accept: (stream: Stream) => void = () => {}
  const io: Io = {
    clock: { monotonicMs: () => 0, wallMs: () => 0 },
    random: { float: () => 0, hex: () => 'f00d' },
    timers: new ManualTimers(),
    disk: new MemoryDisk(),
    network: {
      bindDatagrams: async () => ({ send: () => {}, close: async () => {} }),
      listen: async (_, onStream) => {
        accept = onStream
        return { close: async () => {} }
      },
      connect: () => Promise.reject() as never,
    },
    process: null as never,
  }
  const log = { info() {}, warn() {}, error() {} } as never
  const address = { host: 'lb', port: 1 }
  const balancer = await Balancer.start({
    ...{ io, log, client: address, server: address, directory: '/lb' },
    onFailure: () => {},
  })

  let handler: StreamHandler | null = null
  let bufferedBytes = 0
  let isPaused = false
  let answers = 0
  const stream: Stream = {
    remote: address,
    handle: (given) => {
      handler = given
    },
    write: (chunk) => {
      bufferedBytes += chunk.length
      answers += `${chunk}`.split('\nend\r\n').length - 1
      return false
    },
    writeAll: () => false,
    get bufferedBytes() {
      return bufferedBytes
    },
    pause: () => {
      isPaused = true
    },
    resume: () => {
      isPaused = false
    },
    end: () => {},
    destroy: () => {},
  }
  accept(stream)
  const { onData, onDrain } = handler as unknown as StreamHandler
  onData(Buffer.from('get-servers\n'.repeat(QUESTIONS)))
  await new Promise(setImmediate)
  expect(isPaused).toBe(true)
  expect(bufferedBytes).toBeLessThan(80 * 1024)
  expect(answers).toBeLessThan(QUESTIONS)
  while (isPaused) {
    bufferedBytes = 0
    onDrain?.()
    await new Promise(setImmediate)
  }
  expect(answers).toBe(QUESTIONS)
  await balancer.stop()
})
