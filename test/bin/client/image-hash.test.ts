import { readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { averageHash, hashImage } from '../../../bin/client/image-hash.ts'
import { FileError } from '../../../bin/client/outcome.ts'
import { io, makeDirectory } from '../../e2e/cluster.ts'

const IMAGES = join(import.meta.dirname, '..', '..', 'testdata', 'images')
const hashes: Record<string, string> = JSON.parse(readFileSync(join(IMAGES, 'hashes.json'), 'utf8'))
const directory = makeDirectory()
afterAll(() => rm(directory, { recursive: true }))

test.each(Object.entries(hashes))('%s has the hash that Pillow gives it', async (name, hash) => {
  expect(await hashImage(io.disk, join(IMAGES, name))).toBe(hash)
})

test('a bit a pixel, row by row, 1 above the mean', () => {
  const pixels = new Uint8Array(64)
  pixels[0] = 255
  pixels[9] = 255
  pixels[63] = 255
  expect(averageHash({ width: 8, height: 8, pixels })).toBe('8040000000000001')
  // None of them is above the mean where all are alike.
  expect(averageHash({ width: 3, height: 50, pixels: new Uint8Array(150).fill(9) })).toBe(
    '0000000000000000',
  )
})

describe('what is no image is refused in one line', () => {
  const refused = async (path: string): Promise<string> => {
    const error = await hashImage(io.disk, path).catch((error) => error)
    expect(error).toBeInstanceOf(FileError)
    expect(error.message).not.toContain('\n')
    return error.message
  }

  test('missing', async () => {
    expect(await refused('no.png')).toBe('image no.png is not there')
  })

  test('a directory', async () => {
    expect(await refused(directory)).toBe(`image ${directory} can't be read (EISDIR)`)
  })

  test('cut short', async () => {
    for (const name of ['photo.jpg', 'photo.png', 'photo.gif', 'photo.webp']) {
      const path = join(directory, name)
      writeFileSync(path, readFileSync(join(IMAGES, name)))
      truncateSync(path, 1_000)
      expect(await refused(path)).toMatch(/^image .* can't be read: \S/)
    }
  })

  test('text, and a format that is not among the four', async () => {
    const path = join(directory, 'x.svg')
    writeFileSync(path, 'hello')
    expect(await refused(path)).toMatch(/unsupported image format/)
    writeFileSync(path, '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>')
    expect(await refused(path)).toMatch(/it is svg: only jpeg, png, gif, webp$/)
  })
})
