/**
 * npm run bench:keystore -- [--items 5000000] [--file-items 1000000]
 *
 * What the items in memory cost: bytes a key, entries applied and gets a second,
 * and the longest the event loop stood still while they were filled, written
 * again, deleted, expired, viewed, written to a file, loaded and cleared. Entries are
 * applied 1,000 a turn of the loop, whose own work counts as standing still.
 */
import { openSync, readSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PerformanceObserver } from 'node:perf_hooks'
import { Command } from 'commander'
import { createNodeIo } from '../src/io/node.ts'
import { readKeystore, writeKeystore } from '../src/server/keystore/keystore-file.ts'
import { StateMachine } from '../src/server/keystore/state-machine.ts'

const BATCH = 1_000
const VALUE = Buffer.alloc(100, 'v')
/** So much shorter or longer that a record is not written over in its place. */
const LENGTHS = [VALUE.subarray(0, 84), VALUE, Buffer.alloc(116, 'v')]
const LARGE = Buffer.alloc(1_000_000, 'v')
const LARGE_COUNT = 2_000
const MIB = 1024 * 1024

const flags = new Command('bench:keystore')
  .option('--items <count>', 'items in memory', Number, 5_000_000)
  .option('--file-items <count>', 'items in the file', Number, 1_000_000)
  .parse()
  .opts<{ items: number; fileItems: number }>()

let timeMs = 1_700_000_000_000
let longestPauseMs = 0

new PerformanceObserver((list) => {
  for (const { duration } of list.getEntries()) longestPauseMs = Math.max(longestPauseMs, duration)
}).observe({ entryTypes: ['gc'] })

const keyBytes = Buffer.from('key-000000000000')

/** 16 bytes. Not by way of a number's string: the engine keeps many of those for a while. */
function keyOf(at: number): string {
  let rest = at
  for (let place = keyBytes.length - 1; place >= 4; place--) {
    keyBytes[place] = 48 + (rest % 10)
    rest = Math.floor(rest / 10)
  }
  return keyBytes.toString('latin1')
}

/** 16,807 to the power of `at`, as it were: numbers that jump about, the same every time. */
function createDice(seed = 1): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state * 48_271) % 2_147_483_647
    return state % below
  }
}

const schedstat = openSchedstat()
const schedstatBytes = Buffer.alloc(100)

/** Linux counts what each thread has had of a processor, at every tick of its clock. */
function openSchedstat(): number | null {
  try {
    return openSync(`/proc/self/task/${process.pid}/schedstat`, 'r')
  } catch {
    return null
  }
}

/** Of the main thread; where that is not known, of all threads. */
function cpuMs(): number {
  if (schedstat !== null) {
    const length = readSync(schedstat, schedstatBytes, 0, schedstatBytes.length, 0)
    return Number.parseInt(schedstatBytes.toString('latin1', 0, length), 10) / 1e6
  }
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

/**
 * Numbers of a phase: how long all of it took and a turn of the loop at the most. Where other
 * processes want the processors too, only the time that this one had them in a turn says something.
 */
async function measure(name: string, phase: () => Promise<number>): Promise<void> {
  let turnMs = 0
  let busyMs = 0
  let lastCpuMs = cpuMs()
  let lastMs = performance.now()
  let isOver = false
  const turn = () => {
    const nowMs = performance.now()
    const nowCpuMs = cpuMs()
    turnMs = Math.max(turnMs, nowMs - lastMs)
    busyMs = Math.max(busyMs, nowCpuMs - lastCpuMs)
    lastMs = nowMs
    lastCpuMs = nowCpuMs
    if (!isOver) setImmediate(turn)
  }
  longestPauseMs = 0
  setImmediate(turn)
  const startMs = performance.now()
  const count = await phase()
  const seconds = (performance.now() - startMs) / 1000
  await nextTurn()
  isOver = true
  await nextTurn() // and with it what the observer has to say
  const rate = `${Math.round(count / seconds).toLocaleString('en')}/s`
  const cells = [name.padEnd(46), `${seconds.toFixed(2)} s`.padStart(8), rate.padStart(13)]
  for (const ms of [turnMs, busyMs, longestPauseMs]) cells.push(`${ms.toFixed(1)} ms`.padStart(9))
  process.stdout.write(`${cells.join('  ')}\n`)
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/** One buffer for all: the state machine copies what it keeps. */
const command = Buffer.alloc(200)

function setCommand(key: string, exptime: number, value = VALUE): Buffer {
  let length = command.write(`set ${key} 0 ${exptime} ${value.length}\r\n`, 'latin1')
  command.set(value, length)
  length += value.length
  length += command.write('\r\n', length, 'latin1')
  return command.subarray(0, length)
}

function apply(machine: StateMachine, body: Buffer): void {
  const index = machine.appliedIndex + 1
  machine.apply({ index, timeMs, memory: body, bodyStart: 0, end: body.length })
}

/** Applies so many entries, 1,000 a turn. */
async function applyAll(
  machine: StateMachine,
  count: number,
  commandOf: (at: number) => Buffer,
): Promise<number> {
  for (let at = 0; at < count; ) {
    for (const end = Math.min(count, at + BATCH); at < end; at++) {
      apply(machine, commandOf(at))
    }
    await nextTurn()
  }
  return count
}

/** What this process has in memory, after everything that is garbage is gone. */
function memory(): number {
  globalThis.gc?.()
  return process.memoryUsage().rss
}

const { items, fileItems } = flags
const io = createNodeIo()
const directory = await mkdtemp(join(tmpdir(), 'keystore-'))
try {
  let machine = new StateMachine()
  await applyAll(machine, 20_000, (at) => setCommand(keyOf(at), 0)) // compiled and warm
  machine = new StateMachine()
  const header = {
    format: 2,
    clusterId: 'bench',
    group: 0,
    index: 1,
    term: 1,
    timeMs,
    flushAtMs: 0,
    config: { members: [], floor: 2 },
  } as const
  const dice = createDice()
  const before = memory()
  process.stdout.write(
    `${'what'.padEnd(46)}      took           rate  long turn   its cpu   long gc\n`,
  )

  await measure(`fill with ${items} of 16 + 100 bytes`, () =>
    applyAll(machine, items, (at) => setCommand(keyOf(at), 0)),
  )
  const filled = memory()
  await measure('get, random, 1,000 a turn', async () => {
    let found = 0
    for (let at = 0; at < 2_000_000; at += BATCH) {
      for (let each = 0; each < BATCH; each++) if (machine.get(keyOf(dice(items)))) found++
      await nextTurn()
    }
    return found
  })
  const overwriteCount = items
  const overwrite = (count: number, exptime = 0) =>
    applyAll(machine, count, () => setCommand(keyOf(dice(items)), exptime))
  await measure('write again, random, in place', () => overwrite(overwriteCount))
  await measure('of another length: the cleaner works', () =>
    applyAll(machine, overwriteCount, () => setCommand(keyOf(dice(items)), 0, LENGTHS[dice(3)])),
  )
  const overwritten = memory()
  let view = machine.items.view()
  view.close()
  await measure('take a view', async () => {
    view = machine.items.view()
    return 1
  })
  await measure('write again, every page copied', () => overwrite(200_000))
  view.close()
  await measure('write a keystore file, and items again', async () => {
    let isWritten = false
    const path = join(directory, 'all')
    await io.disk.makeDirectory(path)
    view = machine.items.view()
    const writing = writeKeystore(io.disk, path, header, view).then(() => {
      isWritten = true
    })
    let count = 0
    while (!isWritten) count += await overwrite(BATCH)
    await writing
    view.close()
    return count
  })
  await measure('let half expire: written with an exptime', () => overwrite(items / 2, 1))
  const expiringCount = machine.items.count
  await measure('sweep them, one entry a second of log time', async () => {
    while (machine.hasExpiring) {
      timeMs += 1000
      apply(machine, Buffer.from('time\r\n'))
      await nextTurn()
    }
    return expiringCount - machine.items.count
  })
  const left = machine.items.count
  await measure('delete the rest', () =>
    applyAll(machine, items, (at) => Buffer.from(`delete ${keyOf(at)}\r\n`)),
  )
  const emptied = memory()

  machine = new StateMachine()
  await applyAll(machine, fileItems, (at) => setCommand(keyOf(at), 0))
  let bytes = 0
  await measure(`write a keystore file of ${fileItems}`, async () => {
    view = machine.items.view()
    bytes = await writeKeystore(io.disk, directory, header, view)
    view.close()
    return fileItems
  })
  let loaded = new StateMachine()
  await measure(`load it (${(bytes / MIB).toFixed(0)} MiB)`, async () => {
    await readKeystore(io.disk, `${directory}/keystore`, (key, item) =>
      loaded.restoreItem(key, item),
    )
    return loaded.items.count
  })
  if (loaded.items.bytes !== machine.items.bytes) throw new Error('not what was written')
  loaded = new StateMachine()
  await measure('clear it, and fill again', async () => {
    machine.items.clear()
    await nextTurn()
    return applyAll(machine, fileItems, (at) => setCommand(keyOf(at), 0))
  })
  machine = new StateMachine()
  for (let at = 0; at < LARGE_COUNT; at++) {
    const fields = { flags: 0, expiresAtMs: 0, casUnique: 1, marks: 0 }
    machine.items.set(keyOf(at), { ...fields, value: LARGE, isFetched: false, accessedS: 0 })
    await nextTurn()
  }
  await measure(`clear ${LARGE_COUNT} of 1 MB, and fill with small ones`, async () => {
    machine.items.clear()
    await nextTurn()
    return applyAll(machine, fileItems, (at) => setCommand(keyOf(at), 0))
  })

  const perKey = (now: number, count = items) => ((now - before) / count).toFixed(0)
  process.stdout.write(
    [
      '',
      `bytes a key, as the process has grown: filled ${perKey(filled)}, written again ${perKey(overwritten)}`,
      `after ${items - left} were swept and the rest deleted, ${((emptied - before) / MIB).toFixed(0)} MiB more than at the start`,
      globalThis.gc ? '' : 'garbage included: for exact figures run node with --expose-gc',
      '',
    ].join('\n'),
  )
} finally {
  await rm(directory, { recursive: true })
}
