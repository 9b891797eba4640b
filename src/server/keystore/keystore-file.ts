/**
 * The keystore file: every item as of one log index, whole or absent.
 *
 *     keystore 1 <cluster id> <group> <index> <term> <log time, ms> <item count> <config json> <crc32>\n
 *     <key> <flags> <expires at, Unix ms, or 0> <cas unique> <bytes>\r\n<value>\r\n     for each item
 *     end <crc32 of everything before>\n
 */
import { basename, dirname } from 'node:path'
import { crc32 } from 'node:zlib'
import type { Disk } from '../../io/io.ts'
import { replaceFile } from '../../io/replace-file.ts'
import { checkedLine, crcHex, readCheckedLine } from '../../protocol/checked-line.ts'
import type { Config } from '../raft/types.ts'
import type { Item } from './item-store.ts'

const FORMAT = 1
const NAME = 'keystore'
const WRITE_CHUNK_BYTES = 256 * 1024
const READ_CHUNK_BYTES = 1024 * 1024
const LF = 10

export interface KeystoreHeader {
  readonly clusterId: string
  readonly group: number
  /** The last log entry contained. */
  readonly index: number
  readonly term: number
  /** Log time of that entry. */
  readonly timeMs: number
  /** The configuration in force at that entry. */
  readonly config: Config
}

export class KeystoreDamagedError extends Error {}

/** @returns the file's size in bytes. */
export async function writeKeystore(
  disk: Disk,
  directory: string,
  header: KeystoreHeader,
  items: readonly (readonly [key: string, item: Item])[],
): Promise<number> {
  return replaceFile(disk, directory, NAME, encode(header, items))
}

function* encode(
  header: KeystoreHeader,
  items: readonly (readonly [key: string, item: Item])[],
): Generator<Buffer> {
  const { clusterId, group, index, term, timeMs, config } = header
  const fields = [FORMAT, clusterId, group, index, term, timeMs, items.length]
  let pieces: Buffer[] = [
    Buffer.from(checkedLine(`keystore ${fields.join(' ')} ${JSON.stringify(config)}`)),
  ]
  let bytes = pieces[0]?.length ?? 0
  let crc = 0
  for (const [key, { flags, expiresAtMs, casUnique, value }] of items) {
    const line = `${key} ${flags} ${expiresAtMs} ${casUnique} ${value.length}\r\n`
    pieces.push(Buffer.from(line, 'latin1'), value, Buffer.from('\r\n'))
    bytes += line.length + value.length + 2
    if (bytes < WRITE_CHUNK_BYTES) continue
    const chunk = Buffer.concat(pieces)
    crc = crc32(chunk, crc)
    yield chunk
    pieces = []
    bytes = 0
  }
  const chunk = Buffer.concat(pieces)
  yield chunk
  yield Buffer.from(`end ${crcHex(crc32(chunk, crc))}\n`)
}

/**
 * Reads a keystore file, item by item.
 * @param onItem May have been called for a file that then turns out to be damaged.
 * @returns null where there is no such file.
 * @throws KeystoreDamagedError
 */
export async function readKeystore(
  disk: Pick<Disk, 'list' | 'open'>,
  path: string,
  onItem: (key: string, item: Item) => void,
): Promise<KeystoreHeader | null> {
  if (!(await disk.list(dirname(path))).includes(basename(path))) return null
  const file = await disk.open(path, { create: false })
  let crc = 0
  let offset = 0
  let rest = Buffer.alloc(0)

  /** `rest` with more of the file behind it. */
  const more = async (): Promise<boolean> => {
    const chunk = await file.read(offset, READ_CHUNK_BYTES)
    offset += chunk.length
    rest = rest.length === 0 ? (chunk as typeof rest) : Buffer.concat([rest, chunk])
    return chunk.length > 0
  }
  const damaged = (what: string) =>
    new KeystoreDamagedError(`${path}: ${what} before byte ${offset}`)
  const lineEnd = async (from: number): Promise<number> => {
    for (;;) {
      const end = rest.indexOf(LF, from)
      if (end !== -1) return end
      if (!(await more())) throw damaged('cut short')
    }
  }

  try {
    const headerEnd = (await lineEnd(0)) + 1
    const text = readCheckedLine(rest.toString('utf8', 0, headerEnd))
    const match = /^keystore (\d+) (\S+) (\d+) (\d+) (\d+) (\d+) (\d+) (.*)$/.exec(text ?? '')
    if (!match || Number(match[1]) !== FORMAT) throw damaged('first line damaged')
    const [, , clusterId = '', group, index, term, timeMs, itemCount, configJson = ''] = match
    let at = headerEnd
    const consume = () => {
      crc = crc32(rest.subarray(0, at), crc)
      rest = rest.subarray(at)
      at = 0
    }

    for (let left = Number(itemCount); left > 0; left--) {
      if (at > READ_CHUNK_BYTES) consume()
      const end = await lineEnd(at)
      const [key, flags, expiresAtMs, casUnique, bytes, extra] = rest
        .toString('latin1', at, end - 1)
        .split(' ')
      const length = Number(bytes)
      if (key === undefined || extra !== undefined || !Number.isSafeInteger(length)) {
        throw damaged('an item damaged')
      }
      const valueStart = end + 1
      while (rest.length < valueStart + length + 2) {
        if (!(await more())) throw damaged('cut short')
      }
      onItem(key, {
        flags: Number(flags),
        expiresAtMs: Number(expiresAtMs),
        casUnique: Number(casUnique),
        value: Buffer.from(rest.subarray(valueStart, valueStart + length)),
      })
      at = valueStart + length + 2
    }
    consume()
    const end = await lineEnd(0)
    if (rest.toString('latin1', 0, end) !== `end ${crcHex(crc)}`) throw damaged('checksum wrong')
    return {
      clusterId,
      group: Number(group),
      index: Number(index),
      term: Number(term),
      timeMs: Number(timeMs),
      config: JSON.parse(configJson) as Config,
    }
  } finally {
    await file.close()
  }
}
