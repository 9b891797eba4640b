/**
 * A disk that can only be read, and says how much.
 *
 * In: any disk. Out: one whose files are opened for reading alone and whose every
 * change is refused, so that what looks at a server's data can't harm it. Each
 * read waits for `onRead`: there a slow output holds back the next piece, also of
 * readers that hand out what they find without waiting, and progress is counted.
 * A failed read names its file, so that a bad disk can be told from a bad file.
 */
import type { Disk, DiskFile } from '../../io/io.ts'

export function readOnlyDisk(
  disk: Disk,
  onRead: (byteCount: number) => Promise<void> | void = () => {},
): Disk {
  const refuse = async (): Promise<never> => {
    throw new Error('this disk is for reading only')
  }
  return {
    list: (path) => disk.list(path).catch(nameIfForbidden(path)),
    readFile: (path) => disk.readFile(path).catch(nameIfForbidden(path)),
    async open(path, { create }) {
      if (create) return refuse()
      const options = { create: false, readOnly: true }
      const file = await disk.open(path, options).catch(nameIfForbidden(path))
      const reading: DiskFile = {
        async read(offset, length) {
          const bytes = await file.read(offset, length).catch((error: Error) => {
            const message = `${path}: can't be read at byte ${offset}: ${error.message}`
            throw Object.assign(new Error(message), { code: codeOf(error) })
          })
          await onRead(bytes.length)
          return bytes
        },
        size: () => file.size(),
        close: () => file.close(),
        write: refuse,
        datasync: refuse,
      }
      return reading
    },
    freeBytes: (path) => disk.freeBytes(path),
    sizeBytes: (path) => disk.sizeBytes(path),
    makeDirectory: refuse,
    rename: refuse,
    remove: refuse,
    syncDirectory: refuse,
    lock: refuse,
  }
}

function codeOf(error: Error): unknown {
  return 'code' in error ? error.code : undefined
}

function nameIfForbidden(path: string): (error: Error & { code?: string }) => never {
  return (error) => {
    if (error.code !== 'EACCES' && error.code !== 'EPERM') throw error
    throw new Error(`${path}: there is no permission to read it`)
  }
}
