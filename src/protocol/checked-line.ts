/**
 * A line of text that knows when it was damaged: `<text> <crc32, 8 hex digits>\n`.
 * The seed ties it to its owner (a cluster, a server), so that a line copied
 * from elsewhere does not verify.
 */
import { crc32 } from 'node:zlib'

export function crcHex(crc: number): string {
  return crc.toString(16).padStart(8, '0')
}

export function seedOf(owner: string): number {
  return crc32(owner)
}

export function checkedLine(text: string, seed = 0): string {
  return `${text} ${crcHex(crc32(text, seed))}\n`
}

/** @returns the text of one checked line (with or without its line end), or null. */
export function readCheckedLine(line: string, seed = 0): string | null {
  const match = /^(.*) ([0-9a-f]{8})\n?$/s.exec(line)
  const text = match?.[1]
  if (text === undefined || crcHex(crc32(text, seed)) !== match?.[2]) return null
  return text
}
