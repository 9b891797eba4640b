/**
 * The average hash of an image: what looks alike has the same one, or nearly.
 *
 * In: a file in jpeg, png, gif or webp. Out: 16 hex digits, a bit for each pixel of the image
 * made grey and 8 x 8, row by row: 1 where it is above the mean.
 *
 * The same bits as Pillow and ImageHash give, as far as the two decoders agree: hashes of one
 * store are made by many programs. So the pixels are resized here, in Pillow's fixed point,
 * and transparency does not count. Image libraries differ in how they make images small.
 *
 * Source: Pillow's src/libImaging/Resample.c and Convert.c (ITU-R 601-2 luma); imagehash's
 * average_hash.
 */
import type { Disk } from '../../src/io/io.ts'
import { FileError } from './outcome.ts'

const FORMATS = ['jpeg', 'png', 'gif', 'webp']
/** Three bytes each while it is hashed. */
const PIXELS_MAX = 100_000_000
const SIDE = 8
/** Of the filter, in pixels of the larger image. */
const LANCZOS_LOBES = 3
/** Weights are whole numbers of 2^-22. */
const WEIGHT_ONE = 2 ** 22

/** One byte a pixel, row by row. */
interface GreyImage {
  readonly width: number
  readonly height: number
  readonly pixels: Uint8Array
}

/** @throws FileError in one line where it is not there, or can't be read as an image. */
export async function hashImage(disk: Disk, path: string): Promise<string> {
  return averageHash(await readGrey(disk, path))
}

export function averageHash(image: GreyImage): string {
  const { pixels } = transposed(narrowed(transposed(narrowed(image))))
  const mean = pixels.reduce((sum, pixel) => sum + pixel, 0) / pixels.length
  let hash = 0n
  for (const pixel of pixels) hash = 2n * hash + (pixel > mean ? 1n : 0n)
  return hash.toString(16).padStart((SIDE * SIDE) / 4, '0')
}

async function readGrey(disk: Disk, path: string): Promise<GreyImage> {
  const file = await disk.readFile(path).catch((error) => {
    throw new FileError(`image ${path} can't be read (${error.code})`)
  })
  if (!file) throw new FileError(`image ${path} is not there`)
  const { default: sharp } = await import('sharp').catch(() => {
    throw new FileError('images need the package sharp, which is not installed: npm install sharp')
  })
  try {
    const image = sharp(file, { limitInputPixels: PIXELS_MAX, ignoreIcc: true })
    const { format } = await image.metadata()
    if (!FORMATS.includes(format)) throw new Error(`it is ${format}: only ${FORMATS.join(', ')}`)
    const { data, info } = await image
      .removeAlpha()
      .toColourspace('srgb')
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true })
    const { width, height, channels } = info
    const pixels = new Uint8Array(width * height)
    for (let at = 0; at < pixels.length; at++) {
      const from = at * channels
      const red = data[from] ?? 0
      pixels[at] = channels < 3 ? red : luma(red, data[from + 1] ?? 0, data[from + 2] ?? 0)
    }
    return { width, height, pixels }
  } catch (error) {
    const why = error instanceof Error ? error.message.split('\n')[0] : String(error)
    throw new FileError(`image ${path} can't be read: ${why}`)
  }
}

function luma(red: number, green: number, blue: number): number {
  return (red * 19_595 + green * 38_470 + blue * 7_471 + 0x8000) >> 16
}

/** The same image `SIDE` pixels wide. */
function narrowed({ width, height, pixels }: GreyImage): GreyImage {
  const result = new Uint8Array(SIDE * height)
  for (let x = 0; x < SIDE; x++) {
    const { start, weights } = weightsOf(x, width)
    for (let y = 0; y < height; y++) {
      let sum = WEIGHT_ONE / 2
      const from = y * width + start
      for (let at = 0; at < weights.length; at++) {
        sum += (weights[at] ?? 0) * (pixels[from + at] ?? 0)
      }
      result[y * SIDE + x] = Math.min(255, Math.max(0, Math.floor(sum / WEIGHT_ONE)))
    }
  }
  return { width: SIDE, height, pixels: result }
}

function transposed({ width, height, pixels }: GreyImage): GreyImage {
  const result = new Uint8Array(pixels.length)
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) result[x * height + y] = pixels[y * width + x] ?? 0
  }
  return { width: height, height: width, pixels: result }
}

/** Which pixels of a row of `length` make pixel `x` of `SIDE`, and by how much each. */
function weightsOf(x: number, length: number): { start: number; weights: number[] } {
  const scale = length / SIDE
  const stretch = Math.max(scale, 1) // an enlarged image has no pixels to gather
  const center = (x + 0.5) * scale
  const reach = LANCZOS_LOBES * stretch
  const start = Math.max(0, Math.trunc(center - reach + 0.5))
  const end = Math.min(length, Math.trunc(center + reach + 0.5))
  const raw = Array.from({ length: end - start }, (_, at) =>
    lanczos((start + at - center + 0.5) / stretch),
  )
  const sum = raw.reduce((total, weight) => total + weight, 0)
  return { start, weights: raw.map((weight) => roundAway((weight / sum) * WEIGHT_ONE)) }
}

function lanczos(x: number): number {
  return Math.abs(x) < LANCZOS_LOBES ? sinc(x) * sinc(x / LANCZOS_LOBES) : 0
}

function sinc(x: number): number {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x)
}

/** Halves away from 0. */
function roundAway(x: number): number {
  return Math.trunc(x < 0 ? x - 0.5 : x + 0.5)
}
