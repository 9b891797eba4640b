/** `store verify`: a line for each file of a server's, and one for all that is off. */
import type { Disk, Io } from '../src/io/io.ts'
import { isFile } from '../src/server/inspect/data-directory.ts'
import { describeFinding, type Finding } from '../src/server/inspect/finding.ts'
import { readOnlyDisk } from '../src/server/inspect/read-only-disk.ts'
import { checkItems, type FileReport, verify } from '../src/server/inspect/verify.ts'
import { Progress, printing } from './output.ts'

/**
 * @param path Of a server's directory, or of one file of items, such as a backup.
 * @throws Error where something is damaged.
 */
export function verifyPath(io: Io, path: string): Promise<void> {
  return printing(async (out) => {
    const progress = new Progress(io.clock)
    const disk = readOnlyDisk(io.disk, (byteCount) => {
      progress.add(byteCount)
      if (out.isEmpty) return
      progress.clear()
      return out.flush()
    })
    const onLine = (line: FileReport | Finding) =>
      out.line('kind' in line ? describeFinding(line) : `${line.path}: ${line.what}`)
    const check = (await isFile(disk, path)) ? verifyItems : verifyServer
    await check(disk, path, onLine)
      .then((well) => out.line(`all is well${well}`))
      .finally(() => progress.clear())
  })
}

type OnLine = (line: FileReport | Finding) => void

async function verifyItems(disk: Disk, path: string, onLine: OnLine): Promise<string> {
  if (!(await checkItems(disk, path, onLine))) throw new Error(`${path} is damaged`)
  return ''
}

async function verifyServer(disk: Disk, directory: string, onLine: OnLine): Promise<string> {
  const { damageCount, lastIndex, commitIndex } = await verify(disk, directory, onLine)
  if (damageCount > 0) {
    const things = damageCount === 1 ? 'one thing is' : `${damageCount} things are`
    throw new Error(`${directory}: ${things} damaged`)
  }
  return `: the log ends at entry ${lastIndex}, ${commitIndex} is known committed`
}
