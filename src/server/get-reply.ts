/**
 * The reply to a get of any number of keys, as it grows: short values as text, long ones as
 * pieces of their own, and none that is more than a client is answered.
 */
import type { Item } from './keystore/arena.ts'
import type { FoundItem } from './keystore/item-store.ts'
import type { Piece, ReplyBuffer } from './reply-buffer.ts'

/** Values up to this length are copied: that is cheaper than a piece, and written at once. */
const SHORT_BYTES_MAX = 2 * 1024
/** One get answers no more than this. */
export const GET_REPLY_BYTES_MAX = 64 * 1024 * 1024
export const END_REPLY = 'END\r\n'
export const TOO_MUCH_REPLY = 'SERVER_ERROR out of memory writing get response\r\n'

export function isShort({ valueBytes }: FoundItem): boolean {
  return valueBytes <= SHORT_BYTES_MAX
}

export class Values {
  readonly #buffer: ReplyBuffer
  readonly #withCas: boolean
  readonly #pieces: Piece[] = []
  #bytes = 0

  /** @param buffer Empty, and used by nobody else until the reply is taken. */
  constructor(buffer: ReplyBuffer, withCas: boolean) {
    this.#buffer = buffer
    this.#withCas = withCas
  }

  /** A short one, whose value may change after the call. */
  addShort(key: string, found: FoundItem): void {
    const buffer = this.#buffer
    if (!buffer.hasRoomForItem(found)) this.#pieces.push(buffer.takeText())
    const before = buffer.length
    buffer.addItem(key, found, this.#withCas)
    this.#bytes += buffer.length - before
  }

  add(key: string, { flags, casUnique }: Pick<Item, 'flags' | 'casUnique'>, value: Buffer): void {
    const cas = this.#withCas ? ` ${casUnique}` : ''
    const line = `VALUE ${key} ${flags} ${value.length}${cas}\r\n`
    this.#bytes += line.length + value.length
    if (this.isTooMuch) return
    this.#pieces.push(this.#buffer.takeText() + line, value)
    this.#buffer.addText('\r\n')
  }

  get isTooMuch(): boolean {
    return this.#bytes > GET_REPLY_BYTES_MAX
  }

  /** Takes it: it can't be added to any more. */
  take(): string | readonly Piece[] {
    const text = this.#buffer.takeText()
    if (this.isTooMuch) return TOO_MUCH_REPLY
    const end = text + END_REPLY
    if (this.#pieces.length === 0) return end
    this.#pieces.push(end)
    return this.#pieces
  }
}
