/**
 * The keystore file: every item as of one log index, whole or absent.
 *
 *     keystore 2 <cluster id> <group> <index> <term> <log time, ms> <flush at, ms, or 0> <item count> <config json> <crc32>\n
 *     <key> <flags> <expires at, Unix ms, or 0> <cas unique> <marks> <bytes>\r\n<value>\r\n     for each item
 *     end <crc32 of everything before>\n
 *
 * A key with a blank or a line end, as meta commands allow them, is written in base64; then
 * its marks are 128 more.
 *
 * Format 1 has neither the flush nor marks. It is read, and can be written for servers that
 * know nothing else, where there is nothing that it has no room for.
 */
import { basename, dirname } from 'node:path'
import { crc32 } from 'node:zlib'
import { type Disk, type DiskFile, isUnreadable } from '../../io/io.ts'
import { replaceFile } from '../../io/replace-file.ts'
import { type CasUnique, parseCas } from '../../protocol/cas-unique.ts'
import { checkedLine, crcHex, readCheckedLine } from '../../protocol/checked-line.ts'
import { KEY_BYTES_MAX, keyWord, needsBase64 } from '../../protocol/commands.ts'
import { configProtocol } from '../raft/config.ts'
import type { Config } from '../raft/types.ts'
import { type Item, MARKS_MAX } from './arena.ts'

const NAME = 'keystore'
/** Next to the marks of an item. */
const CODED_KEY = 128
/** The protocol of peers with which format 2 came. */
const FORMAT_2_PROTOCOL = 3
/** What is encoded, or read and parsed, before others have their turn; one item may be more. */
const PIECE_BYTES = 128 * 1024
/** Five numbers, the blanks and line ends: what an item takes besides key and value, at the most. */
const FRAMING_BYTES = 80
/** A key and the numbers behind it. */
const LINE_BYTES_MAX = KEY_BYTES_MAX + FRAMING_BYTES
const LF = 10
const CR = 13
const BLANK = 32
const ZERO = 48

export interface KeystoreHeader {
  readonly format: 1 | 2
  readonly clusterId: string
  readonly group: number
  /** The last log entry contained. */
  readonly index: number
  readonly term: number
  /** Log time of that entry. */
  readonly timeMs: number
  /** Log time at which all that was stored before it vanishes; 0 where no flush is pending. */
  readonly flushAtMs: number
  /** The configuration in force at that entry. */
  readonly config: Config
}

export class KeystoreDamagedError extends Error {}

/** As many items as `count` says, which stay as they are while they are written. */
export interface Items extends Iterable<readonly [key: string, item: Item]> {
  readonly count: number
}

/** What every member of a cluster with this configuration can read. */
export function formatFor(config: Config): 1 | 2 {
  return configProtocol(config) < FORMAT_2_PROTOCOL ? 1 : 2
}

/** Takes an item of a file, whose header is that. */
export type OnItem = (key: string, item: Item, header: KeystoreHeader) => void

/**
 * @returns the file's size in bytes.
 * @throws Error where the format has no room for something; what was there before stays.
 */
export async function writeKeystore(
  disk: Disk,
  directory: string,
  header: KeystoreHeader,
  items: Items,
): Promise<number> {
  return replaceFile(disk, directory, NAME, encode(header, items))
}

function* encode(header: KeystoreHeader, items: Items): Generator<Buffer> {
  const { format, clusterId, group, index, term, timeMs, flushAtMs, config } = header
  if (format === 1 && flushAtMs !== 0) throw noRoomFor('a pending flush')
  const flush = format === 1 ? [] : [flushAtMs]
  const fields = [format, clusterId, group, index, term, timeMs, ...flush, items.count]
  const first = Buffer.from(checkedLine(`keystore ${fields.join(' ')} ${JSON.stringify(config)}`))
  yield first
  let crc = crc32(first)
  let piece = Buffer.allocUnsafe(PIECE_BYTES)
  let length = 0
  for (const [itemKey, { flags, expiresAtMs, casUnique, marks, value }] of items) {
    const isCoded = needsBase64(itemKey)
    const key = isCoded ? keyWord(itemKey)[0] : itemKey
    const bytesMax = key.length + value.length + FRAMING_BYTES
    if (length + bytesMax > piece.length) {
      const full = piece.subarray(0, length)
      crc = crc32(full, crc)
      yield full
      if (bytesMax > piece.length) piece = Buffer.allocUnsafe(bytesMax)
      length = 0
    }
    length += piece.write(key, length, 'latin1')
    length = writeNumber(piece, length, flags)
    length = writeNumber(piece, length, expiresAtMs)
    if (typeof casUnique === 'number') length = writeNumber(piece, length, casUnique)
    else if (format === 1) throw noRoomFor('a CAS unique past 2^53')
    else length += piece.write(` ${casUnique}`, length, 'latin1')
    if (format === 2) length = writeNumber(piece, length, isCoded ? marks + CODED_KEY : marks)
    else if (marks !== 0 || isCoded) throw noRoomFor('marks')
    length = writeNumber(piece, length, value.length)
    piece[length++] = CR
    piece[length++] = LF
    piece.set(value, length)
    length += value.length
    piece[length++] = CR
    piece[length++] = LF
  }
  const last = piece.subarray(0, length)
  yield last
  yield Buffer.from(`end ${crcHex(crc32(last, crc))}\n`)
}

function noRoomFor(what: string): Error {
  return new Error(`format 1 of the keystore file has no room for ${what}`)
}

/**
 * Writes a blank and the number. As a string each would pass through the engine's cache of
 * such, out of which the collector gets much to do.
 * @returns where it ends.
 */
function writeNumber(piece: Buffer, start: number, number: number): number {
  piece[start] = BLANK
  let end = start + 2
  for (let rest = number; rest >= 10; rest = Math.floor(rest / 10)) end++
  let rest = number
  for (let at = end - 1; at > start; at--) {
    const tenth = Math.floor(rest / 10)
    piece[at] = ZERO + (rest - 10 * tenth)
    rest = tenth
  }
  return end
}

/**
 * Reads the first line of the keystore file at `path`.
 * @returns null where there is no such file.
 * @throws KeystoreDamagedError
 */
export async function readKeystoreHeader(
  disk: Pick<Disk, 'list' | 'open'>,
  path: string,
): Promise<KeystoreHeader | null> {
  return withReader(disk, path, async (reader) => (await reader.readHeader()).header)
}

/**
 * Reads the keystore file at `path`, item by item.
 * @param onItem May have been called for a file that then turns out to be damaged. The value is a
 *   view of a piece of the file: who keeps it, keeps that.
 * @returns null where there is no such file.
 * @throws KeystoreDamagedError
 */
export async function readKeystore(
  disk: Pick<Disk, 'list' | 'open'>,
  path: string,
  onItem: OnItem,
): Promise<KeystoreHeader | null> {
  return withReader(disk, path, async (reader) => {
    const { header, count } = await reader.readHeader()
    await reader.readItems(header, count, onItem)
    return header
  })
}

async function withReader<T>(
  disk: Pick<Disk, 'list' | 'open'>,
  path: string,
  use: (reader: Reader) => Promise<T>,
): Promise<T | null> {
  if (!(await disk.list(dirname(path))).includes(basename(path))) return null
  const file = await disk.open(path, { create: false })
  try {
    return await use(new Reader(file, path, await file.size()))
  } catch (error) {
    if (!isUnreadable(error)) throw error
    throw new KeystoreDamagedError(`${path}: can't be read (${error})`)
  } finally {
    await file.close()
  }
}

class Reader {
  readonly #file: DiskFile
  readonly #path: string
  readonly #size: number
  /** Up to where the file was read. */
  #offset = 0
  /** What was read of it, and from where on it is still to be parsed. */
  #piece: Buffer = Buffer.alloc(0)
  #at = 0
  /** What `#piece` must have from `#at` on for the next step. */
  #wanted = 0
  /** Within an item. */
  #cursor = 0
  /** Of all that was parsed and has left `#piece`. */
  #crc = 0

  constructor(file: DiskFile, path: string, size: number) {
    this.#file = file
    this.#path = path
    this.#size = size
  }

  async readHeader(): Promise<{ header: KeystoreHeader; count: number }> {
    const text = readCheckedLine((await this.#readLine()).toString('utf8'))
    const match = /^keystore ([12]) (\S+) (\d[\d ]*) (\{.*)$/.exec(text ?? '')
    if (!match) throw this.#damaged('first line damaged')
    const format = match[1] === '1' ? 1 : 2
    const [, , clusterId = '', fields = '', configJson = ''] = match
    const numbers = fields.split(' ').map(Number)
    if (format === 1) numbers.splice(4, 0, 0)
    if (numbers.length !== 6) throw this.#damaged('first line damaged')
    const [group = 0, index = 0, term = 0, timeMs = 0, flushAtMs = 0, count = 0] = numbers
    const config = JSON.parse(configJson) as Config
    const header = { format, clusterId, group, index, term, timeMs, flushAtMs, config } as const
    return { header, count }
  }

  async readItems(header: KeystoreHeader, count: number, onItem: OnItem): Promise<void> {
    for (let left = count; left > 0; ) {
      if (this.#takeItem(header, onItem)) left--
      else await this.#readMore()
    }
    this.#crc = crc32(this.#piece.subarray(0, this.#at), this.#crc)
    const end = `end ${crcHex(this.#crc)}\n`
    if ((await this.#readLine()).toString('latin1') !== end) throw this.#damaged('checksum wrong')
    this.#assertEnd()
  }

  /** It is written whole, and nothing is ever added: what stands there came from elsewhere. */
  #assertEnd(): void {
    const end = this.#offset - this.#piece.length + this.#at
    const more = this.#size - end
    if (more <= 0) return
    const bytes = more === 1 ? '1 byte' : `${more} bytes`
    throw new KeystoreDamagedError(`${this.#path}: ${bytes} behind its end at byte ${end}`)
  }

  /** @returns false where `#piece` ends before the next item does. */
  #takeItem(header: KeystoreHeader, onItem: OnItem): boolean {
    const piece = this.#piece
    const start = this.#at
    let keyEnd = start
    while (keyEnd < piece.length && piece[keyEnd] !== BLANK) keyEnd++
    this.#cursor = keyEnd + 1
    const flags = this.#number(BLANK)
    const expiresAtMs = this.#number(BLANK)
    const casUnique = this.#casUnique()
    const fileMarks = header.format === 1 ? 0 : this.#number(BLANK)
    const isCoded = fileMarks >= CODED_KEY
    const marks = isCoded ? fileMarks - CODED_KEY : fileMarks
    const valueBytes = this.#number(CR)
    const valueStart = this.#cursor + 1 // past the LF
    if (valueStart > piece.length) {
      if (piece.length - start > LINE_BYTES_MAX) throw this.#damaged('an item damaged')
      this.#wanted = LINE_BYTES_MAX
      return false
    }
    const keyLength = keyEnd - start
    const end = valueStart + valueBytes + 2
    const isWithinFile = this.#offset - piece.length + end <= this.#size
    const isKey = keyLength > 0 && keyLength <= KEY_BYTES_MAX
    if (!isKey || marks > MARKS_MAX || !isWithinFile) {
      throw this.#damaged('an item damaged')
    }
    if (end > piece.length) {
      this.#wanted = end - start
      return false
    }
    const value = piece.subarray(valueStart, valueStart + valueBytes)
    const word = piece.toString('latin1', start, keyEnd)
    const key = isCoded ? Buffer.from(word, 'base64').toString('latin1') : word
    if (isCoded && (!needsBase64(key) || keyWord(key)[0] !== word)) {
      throw this.#damaged('an item damaged')
    }
    onItem(key, { flags, expiresAtMs, casUnique, marks, value }, header)
    this.#at = end
    return true
  }

  /** Like a number up to a blank, but exact. */
  #casUnique(): CasUnique {
    const start = this.#cursor
    const number = this.#number(BLANK)
    if (number <= Number.MAX_SAFE_INTEGER || this.#cursor > this.#piece.length) return number
    const casUnique = parseCas(this.#piece.toString('latin1', start, this.#cursor - 1))
    if (casUnique === null) throw this.#damaged('an item damaged')
    return casUnique
  }

  /** The digits from `#cursor` up to `end`; where `#piece` ends first, the cursor is past it. */
  #number(end: number): number {
    const piece = this.#piece
    let number = 0
    let at = this.#cursor
    for (; at < piece.length; at++) {
      const digit = (piece[at] as number) - ZERO
      if (digit >= 0 && digit <= 9) number = 10 * number + digit
      else if (piece[at] === end) break
      else throw this.#damaged('an item damaged')
    }
    this.#cursor = at + 1
    return number
  }

  /**
   * The next line, with its end. None is longer than a piece: one that seems to be has lost its end,
   * and each piece more would cost all the ones before it once more.
   */
  async #readLine(): Promise<Buffer> {
    for (;;) {
      const end = this.#piece.indexOf(LF, this.#at) + 1
      if (end > 0) {
        const line = this.#piece.subarray(this.#at, end)
        this.#at = end
        return line
      }
      const length = this.#piece.length - this.#at
      if (length > PIECE_BYTES) throw this.#damaged('a line without an end')
      this.#wanted = length + 1
      await this.#readMore()
    }
  }

  /** Reads on; what is parsed already is let go. */
  async #readMore(): Promise<void> {
    this.#crc = crc32(this.#piece.subarray(0, this.#at), this.#crc)
    const rest = this.#piece.subarray(this.#at)
    const length = Math.max(PIECE_BYTES, this.#wanted - rest.length)
    const read = await this.#file.read(this.#offset, length)
    if (read.length === 0) throw this.#damaged('cut short')
    this.#offset += read.length
    this.#piece = rest.length === 0 ? read : Buffer.concat([rest, read])
    this.#at = 0
  }

  #damaged(what: string): KeystoreDamagedError {
    return new KeystoreDamagedError(`${this.#path}: ${what} before byte ${this.#offset}`)
  }
}
