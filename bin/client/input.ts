/** Standard input: of a value -, and of a script. */
import { fstatSync } from 'node:fs'
import type { Readable } from 'node:stream'
import { StoreError } from '../../src/client/errors.ts'
import { ITEM_SIZE_BOUNDS } from '../../src/protocol/bounds.ts'
import { FileError } from './outcome.ts'

export function openInput(): Readable {
  assertNoDirectory(process.stdin.fd)
  return process.stdin
}

/** Node takes one for an empty stream. @throws FileError */
export function assertNoDirectory(fd: number): void {
  if (fstatSync(fd).isDirectory()) throw new FileError("standard input can't be read (EISDIR)")
}

/** All of it; what no cluster would take is not waited for. @throws StoreError `tooLarge` */
export async function readValue(input: Readable): Promise<Buffer> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of input) {
    bytes += chunk.length
    if (bytes > ITEM_SIZE_BOUNDS.max) {
      const most = `no cluster takes more than ${ITEM_SIZE_BOUNDS.max} bytes`
      throw new StoreError('tooLarge', `the value from standard input is too long: ${most}`)
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
