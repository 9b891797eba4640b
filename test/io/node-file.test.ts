/** Files as Node has them: what is written durably, through a name that changes meanwhile. */
import fs from 'node:fs'
import os from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createNodeIo } from '../../src/io/node.ts'

let directory: string
const { disk } = createNodeIo()

beforeEach(() => {
  directory = fs.mkdtempSync(join(os.tmpdir(), 'raftcached-'))
})
afterEach(() => fs.rmSync(directory, { recursive: true, force: true }))

/** The flags of what this process has open of a file, in octal, as the system says. */
function openFlagsOf(path: string): number[] {
  return fs.readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      if (fs.readlinkSync(`/proc/self/fd/${fd}`) !== path) return []
      const flags = /^flags:\s*(\d+)/m.exec(fs.readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))
      return [Number.parseInt(flags?.[1] ?? '', 8)]
    } catch {
      return [] // the one that lists them
    }
  })
}

const bytes = (text: string) => Buffer.from(text)

test('what is written durably stands where it belongs, beside what others write', async () => {
  const path = join(directory, 'a')
  const file = await disk.open(path, { create: true })
  const durable = await disk.open(path, { create: false, isDurable: true })
  await file.write([bytes('0123456789')], 0)
  await durable.write([bytes('ab'), bytes('c')], 2)
  await disk.rename(path, `${path}.log`)
  await durable.write([bytes('xyz')], 9)
  expect(fs.readFileSync(`${path}.log`, 'latin1')).toBe('01abc5678xyz')
  expect([await file.size(), await durable.size()]).toEqual([12, 12])
  for (const one of [file, durable]) await one.close()
})

test.runIf(process.platform === 'linux')('each such write waits for the disk', async () => {
  const path = join(directory, 'a')
  const file = await disk.open(path, { create: true })
  const durable = await disk.open(path, { create: false, isDurable: true })
  const { O_DSYNC } = fs.constants
  expect(openFlagsOf(path).map((flags) => (flags & O_DSYNC) !== 0)).toEqual([false, true])
  for (const one of [file, durable]) await one.close()
  expect(openFlagsOf(path)).toEqual([])
})

test('more pieces than the system takes at once', async () => {
  const path = join(directory, 'a')
  const file = await disk.open(path, { create: true, isDurable: true })
  const pieces = Array.from({ length: 3_000 }, (_, at) => bytes(`${at} `))
  await file.write(pieces, 0)
  expect(fs.readFileSync(path).equals(Buffer.concat(pieces))).toBe(true)
  await file.close()
})

test('a file that is only read cannot be written', async () => {
  const path = join(directory, 'a')
  fs.writeFileSync(path, 'x')
  const file = await disk.open(path, { create: false, readOnly: true })
  await expect(file.write([bytes('y')], 0)).rejects.toThrow('EBADF')
  await file.close()
})
