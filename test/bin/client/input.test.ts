import { closeSync, openSync, rmSync } from 'node:fs'
import { PassThrough } from 'node:stream'
import { expect, test } from 'vitest'
import { assertNoDirectory, readValue } from '../../../bin/client/input.ts'
import { FileError } from '../../../bin/client/outcome.ts'
import { ITEM_SIZE_BOUNDS } from '../../../src/protocol/bounds.ts'
import { makeDirectory } from '../../e2e/cluster.ts'

test('a directory is no empty value', () => {
  const directory = makeDirectory()
  const fd = openSync(directory, 'r')
  expect(() => assertNoDirectory(fd)).toThrow(FileError)
  closeSync(fd)
  rmSync(directory, { recursive: true })
})

test('a value is all there is', async () => {
  const input = new PassThrough()
  const value = readValue(input)
  input.write('a\n')
  input.end(Buffer.from([0xff]))
  expect(await value).toEqual(Buffer.from([0x61, 0x0a, 0xff]))
})

test('what no cluster takes is not read to its end', async () => {
  const input = new PassThrough()
  const value = readValue(input)
  const piece = Buffer.alloc(ITEM_SIZE_BOUNDS.max / 16)
  for (let count = 0; count < 16; count++) input.write(piece)
  input.write('x')
  await expect(value).rejects.toMatchObject({
    code: 'tooLarge',
    message: `the value from standard input is too long: no cluster takes more than ${ITEM_SIZE_BOUNDS.max} bytes`,
  })
  expect(input.destroyed).toBe(true)
})
