/** `store verify`: a line for each file of a server's, and one for all that is off. */
import type { Io } from '../src/io/io.ts'
import { describeFinding } from '../src/server/inspect/finding.ts'
import { readOnlyDisk } from '../src/server/inspect/read-only-disk.ts'
import { verify } from '../src/server/inspect/verify.ts'
import { Progress, printing } from './output.ts'

/** @throws Error where something is damaged. */
export function verifyServer(io: Io, directory: string): Promise<void> {
  return printing(async (out) => {
    const progress = new Progress(io.clock)
    const disk = readOnlyDisk(io.disk, (byteCount) => {
      progress.add(byteCount)
      if (out.isEmpty) return
      progress.clear()
      return out.flush()
    })
    const { damageCount, lastIndex, commitIndex } = await verify(disk, directory, (line) =>
      out.line('kind' in line ? describeFinding(line) : `${line.path}: ${line.what}`),
    ).finally(() => progress.clear())
    if (damageCount > 0) {
      const things = damageCount === 1 ? 'one thing is' : `${damageCount} things are`
      throw new Error(`${directory}: ${things} damaged`)
    }
    out.line(`all is well: the log ends at entry ${lastIndex}, ${commitIndex} is known committed`)
  })
}
