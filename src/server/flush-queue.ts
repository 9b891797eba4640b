/**
 * The connections of a server that have replies to write, and the memory in which
 * these are put together.
 *
 * Replies that become known together leave together: whoever has made some known
 * calls `run`, and what nobody cares for is written soon. Each connection does one
 * write for all it has.
 */
import type { Timers } from '../io/io.ts'
import { ReplyBuffer } from './reply-buffer.ts'

export class FlushQueue {
  /** Of the connection that takes requests: what it answers at once. */
  readonly replies = new ReplyBuffer()
  /** Of whoever puts together one reply, or one write. */
  readonly scratch = new ReplyBuffer()
  readonly #timers: Timers
  #due: { flush(): void }[] = []
  #isRunDue = false

  constructor(timers: Timers) {
    this.#timers = timers
  }

  add(connection: { flush(): void }): void {
    this.#due.push(connection)
    if (this.#isRunDue) return
    this.#isRunDue = true
    this.#timers.soon(() => {
      this.#isRunDue = false
      this.run()
    })
  }

  run(): void {
    if (this.#due.length === 0) return
    const due = this.#due
    this.#due = []
    for (const connection of due) connection.flush()
  }
}
