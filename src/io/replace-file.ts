import type { Disk } from './io.ts'

/**
 * Puts a whole file in place: complete or absent, never half. Written under a
 * temporary name, synced, renamed, and the name synced.
 *
 * @param chunks The contents, in pieces; each is written before the next is asked for.
 * @returns the file's size in bytes.
 */
export async function replaceFile(
  disk: Disk,
  directory: string,
  name: string,
  chunks: Iterable<Buffer>,
): Promise<number> {
  const path = `${directory}/${name}`
  const file = await disk.open(`${path}.tmp`, { create: true })
  let offset = 0
  try {
    for (const chunk of chunks) {
      await file.write([chunk], offset)
      offset += chunk.length
    }
    await file.datasync()
  } finally {
    await file.close()
  }
  await disk.rename(`${path}.tmp`, path)
  await disk.syncDirectory(directory)
  return offset
}
