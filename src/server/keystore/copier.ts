/**
 * Copies bytes that stand anywhere to anywhere else.
 *
 * In the rate of writes most of what is copied is short, and the next piece of it stands in the
 * same memory. A call that copies costs more there than the bytes: so four of them at a time are
 * read and written, which a view of each memory does wherever they stand.
 */

/** More than this a call copies faster. */
const LOOP_BYTES_MAX = 256
/** Less than this is not worth a view of other memory than the last. */
const VIEW_BYTES_MIN = 64

export class Copier {
  #from: Buffer = Buffer.alloc(0)
  #view = viewOf(this.#from)

  /** @param view Of all of `to`. */
  copy(from: Buffer, start: number, end: number, to: Buffer, view: DataView, at: number): void {
    const length = end - start
    if (length > LOOP_BYTES_MAX) {
      from.copy(to, at, start, end)
      return
    }
    if (from !== this.#from && length >= VIEW_BYTES_MIN) {
      this.#from = from
      this.#view = viewOf(from)
    }
    if (from === this.#from) copyBytes(from, this.#view, start, end, to, view, at)
    else for (let done = 0; done < length; done++) to[at + done] = from[start + done] as number
  }
}

/** Where both views, of all of `from` and `to`, are at hand. */
export function copyBytes(
  from: Buffer,
  source: DataView,
  start: number,
  end: number,
  to: Buffer,
  view: DataView,
  at: number,
): void {
  const length = end - start
  if (length > LOOP_BYTES_MAX) {
    from.copy(to, at, start, end)
    return
  }
  const whole = length & ~3
  for (let done = 0; done < whole; done += 4) {
    view.setUint32(at + done, source.getUint32(start + done, true), true)
  }
  for (let done = whole; done < length; done++) to[at + done] = from[start + done] as number
}

export function viewOf({ buffer, byteOffset, length }: Buffer): DataView {
  return new DataView(buffer, byteOffset, length)
}
