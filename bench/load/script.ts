/**
 * The requests that a run sends, made before it: one buffer with all of them, one behind
 * the other in an order drawn from a seed, so that several in a row are one piece of it
 * and nothing is made or copied while load is on. Each connection starts somewhere else
 * in it and goes round.
 */
import type { Job } from './job.ts'

/** A script is as long as fits into this, within bounds. */
const SCRIPT_BYTES = 32 * 1024 * 1024
const LENGTH_MIN = 256
const LENGTH_MAX = 32_768
const WRITES_OF_TEN = 1

export interface Script {
  readonly length: number
  /** Request `at` is bytes[offsets[at]] up to bytes[offsets[at + 1]]. */
  readonly bytes: Buffer
  readonly offsets: Uint32Array
  /** 1 for a write, 0 for a read. */
  readonly writes: Uint8Array
}

export interface RequestFormat {
  read(key: string): Buffer
  write(key: string, value: Buffer): Buffer
}

/** All keys have the same length, and so have all replies to reads. */
export function keyOf(n: number): string {
  return `key-${String(n).padStart(8, '0')}`
}

export function valueFor(n: number, valueBytes: number): Buffer {
  return Buffer.alloc(valueBytes, `${String(n).padStart(8, '0')}-value-`, 'latin1')
}

export function createScript(job: Job, format: RequestFormat): Script {
  const { keyCount, valueBytes, kind, isFill } = job
  const wanted = Math.floor(SCRIPT_BYTES / (kind === 'read' ? 32 : valueBytes + 64))
  const length = isFill ? keyCount : Math.max(LENGTH_MIN, Math.min(LENGTH_MAX, wanted))
  const dice = createDice(job.seed)
  const writes = new Uint8Array(length)
  const offsets = new Uint32Array(length + 1)
  const requests: Buffer[] = []
  for (let at = 0; at < length; at++) {
    const n = isFill ? at : dice(keyCount)
    const isWrite = kind === 'write' || (kind === 'mix' && dice(10) < WRITES_OF_TEN)
    writes[at] = isWrite ? 1 : 0
    const key = keyOf(n)
    const request = isWrite ? format.write(key, valueFor(n, valueBytes)) : format.read(key)
    requests.push(request)
    offsets[at + 1] = (offsets[at] ?? 0) + request.length
  }
  return { length, bytes: Buffer.concat(requests), offsets, writes }
}

/** Lehmer's generator (Park and Miller, 48271): the same numbers every time. */
export function createDice(seed: number): (below: number) => number {
  let state = (seed % 2_147_483_646) + 1
  return (below) => {
    state = (state * 48_271) % 2_147_483_647
    return state % below
  }
}
