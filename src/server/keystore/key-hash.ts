/**
 * The hash of a key: 32 bits, the same everywhere and for ever, because what is
 * swept when depends on it and replicas must agree. FNV-1a, and the finalizer of
 * MurmurHash3 so that every bit of it can be used.
 *
 * Keys that share a hash can be made. They cost who looks for one of them a walk
 * past the others, and nobody else anything.
 */

const FNV_OFFSET = 0x811c9dc5
const FNV_PRIME = 0x01000193

/** @param key Each character a byte. */
export function hashOf(key: string): number {
  let hash = FNV_OFFSET
  const { length } = key
  for (let at = 0; at < length; at++) hash = Math.imul(hash ^ key.charCodeAt(at), FNV_PRIME)
  return finalize(hash)
}

/** The same of the key in `bytes` from `start` to `end`. */
export function hashOfBytes(bytes: Buffer, start: number, end: number): number {
  let hash = FNV_OFFSET
  for (let at = start; at < end; at++) hash = Math.imul(hash ^ (bytes[at] as number), FNV_PRIME)
  return finalize(hash)
}

function finalize(hash: number): number {
  let mixed = hash
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return (mixed ^ (mixed >>> 16)) >>> 0
}
