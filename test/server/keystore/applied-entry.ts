import type { AppliedEntry } from '../../../src/server/keystore/state-machine.ts'
import type { Config } from '../../../src/server/raft/types.ts'

/** An entry for the state machine, its body among bytes that are none of its business. */
export function appliedEntry(
  index: number,
  timeMs: number,
  body: string | Buffer,
  config?: Config,
): AppliedEntry {
  const bytes = Buffer.from(body)
  const memory = Buffer.concat([
    Buffer.from('12\n'),
    bytes,
    Buffer.from('0\r\nset x 0 0 1\r\nx\r\n'),
  ])
  return { index, timeMs, memory, bodyStart: 3, end: 3 + bytes.length, config }
}
