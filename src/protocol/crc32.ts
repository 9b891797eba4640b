/**
 * CRC-32 (the one of zlib, Ethernet and PNG) of a range of bytes: with tables, eight bytes a
 * step ("slicing by 8", Kounavis and Berry, 2005), where there are few, because a call into
 * zlib and the view it wants take as long as 300 bytes do here; else zlib's.
 */
import { crc32 } from 'node:zlib'

const POLYNOMIAL = 0xedb88320
/** Up to here the tables are faster. */
const TABLE_BYTES_MAX = 320

/** What a byte does to the sum when `zeros` others follow it. */
function tableBehind(zeros: number): Int32Array {
  const table = new Int32Array(256)
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte
    for (let bit = 8 * (1 + zeros); bit > 0; bit--) {
      crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1
    }
    table[byte] = crc
  }
  return table
}

const T0 = tableBehind(0)
const T1 = tableBehind(1)
const T2 = tableBehind(2)
const T3 = tableBehind(3)
const T4 = tableBehind(4)
const T5 = tableBehind(5)
const T6 = tableBehind(6)
const T7 = tableBehind(7)

/**
 * @param before The sum of what stands before these bytes, or a seed.
 * @returns 32 unsigned bits.
 */
export function crc32Of(bytes: Buffer, start: number, end: number, before = 0): number {
  return end - start > TABLE_BYTES_MAX
    ? crc32(bytes.subarray(start, end), before)
    : byTables(bytes, start, end, before)
}

function byTables(bytes: Uint8Array, start: number, end: number, before: number): number {
  let crc = ~before
  let at = start
  for (; at + 8 <= end; at += 8) {
    crc ^=
      (bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24)
    crc =
      (T7[crc & 255] as number) ^
      (T6[(crc >>> 8) & 255] as number) ^
      (T5[(crc >>> 16) & 255] as number) ^
      (T4[crc >>> 24] as number) ^
      (T3[bytes[at + 4] as number] as number) ^
      (T2[bytes[at + 5] as number] as number) ^
      (T1[bytes[at + 6] as number] as number) ^
      (T0[bytes[at + 7] as number] as number)
  }
  for (; at < end; at++) crc = (T0[(crc ^ (bytes[at] as number)) & 255] as number) ^ (crc >>> 8)
  return ~crc >>> 0
}
