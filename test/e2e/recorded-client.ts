/**
 * A client of the library whose calls are kept as a history of operations on single keys, to
 * be checked against the sequential model (test/simulation/model.ts).
 *
 * In: operations of the model. Out: entries of a history. A call that failed definitely is
 * not among them: if it happened all the same, what others read has no explanation. One that
 * may have happened stays open, and takes effect at any later moment or never.
 */
import type { Client, Item } from '../../src/client/api.ts'
import { type ErrorCode, StoreError } from '../../src/client/errors.ts'
import {
  byKey,
  findViolation,
  type HistoryEntry,
  UndecidedError,
} from '../simulation/linearizability.ts'
import type { Operation, Reply } from '../simulation/model.ts'
import { describe, describeReply } from '../simulation/operation.ts'
import { unpadded } from '../simulation/replies.ts'

export class ClientHistory {
  readonly entries = new Set<HistoryEntry>()
  /** Failed calls, by code. */
  readonly failures = new Map<ErrorCode, number>()

  /** @returns of each key whose history no single copy of the data can explain, that history. */
  check(): { violations: string[]; decidedCount: number; undecidedCount: number } {
    const violations: string[] = []
    let [decidedCount, undecidedCount] = [0, 0]
    for (const [key, history] of byKey([...this.entries])) {
      try {
        const unplaced = findViolation(history)
        decidedCount++
        if (!unplaced) continue
        const lines = history.map((entry) => (unplaced.includes(entry) ? '> ' : '  ') + line(entry))
        violations.push(`${key}:\n${lines.join('\n')}`)
      } catch (error) {
        if (!(error instanceof UndecidedError)) throw error
        undecidedCount++
      }
    }
    return { violations, decidedCount, undecidedCount }
  }

  countFailure(error: unknown): StoreError {
    if (!(error instanceof StoreError)) throw error
    this.failures.set(error.code, (this.failures.get(error.code) ?? 0) + 1)
    return error
  }

  describeFailures(): string {
    return [...this.failures].map(([code, count]) => `${count} ${code}`).join(', ') || 'none'
  }
}

function line(entry: HistoryEntry): string {
  const times = [entry.startMs, entry.endMs].map((ms) => ms.toFixed(3).padStart(12)).join(' ')
  return `${times} ${entry.client} ${describe(entry)} -> ${describeReply(entry.reply)}`
}

export class RecordedClient {
  readonly #client: Client
  readonly #history: ClientHistory
  readonly #name: string

  constructor(client: Client, history: ClientHistory, name: string) {
    this.#client = client
    this.#history = history
    this.#name = name
  }

  /** @returns null where it failed. */
  async do(key: string, operation: Operation): Promise<Reply | null> {
    const entry = this.#begin(key, operation)
    const reply = await call(this.#client, key, operation).catch((error) =>
      this.#failed(entry, error),
    )
    if (reply) this.#end(entry, reply)
    return reply
  }

  /** One call for all of them; each key of its own is read at some moment of it. */
  async getMany(keys: readonly string[]): Promise<void> {
    const entries = keys.map((key) => this.#begin(key, { kind: 'get' }))
    try {
      const values = await this.#client.get(keys)
      for (const entry of entries) this.#end(entry, read(values.get(entry.key) ?? null))
    } catch (error) {
      this.#history.countFailure(error)
      for (const entry of entries) this.#history.entries.delete(entry)
    }
  }

  #begin(key: string, operation: Operation): HistoryEntry {
    const entry = {
      ...{ key, operation, client: this.#name, reply: undefined },
      ...{ startMs: performance.now(), endMs: Number.POSITIVE_INFINITY },
    }
    this.#history.entries.add(entry)
    return entry
  }

  #end(entry: HistoryEntry, reply: Reply): void {
    entry.endMs = performance.now()
    entry.reply = reply
  }

  #failed(entry: HistoryEntry, error: unknown): Reply | null {
    const { code, definite } = this.#history.countFailure(error)
    // It read what was there.
    if (code === 'notNumber') return { status: 'CLIENT_ERROR' }
    if (definite) this.#history.entries.delete(entry)
    return null
  }
}

/** What the model calls the result. */
async function call(client: Client, key: string, operation: Operation): Promise<Reply> {
  switch (operation.kind) {
    case 'get':
      return read(await client.get(key))
    case 'gets':
      return readItem(await client.gets(key))
    case 'set':
      await client.set(key, operation.value)
      return { status: 'STORED' }
    case 'add':
    case 'replace':
    case 'append':
    case 'prepend': {
      const isStored = await client[operation.kind](key, operation.value)
      return { status: isStored ? 'STORED' : 'NOT_STORED' }
    }
    case 'cas': {
      const outcome = await client.cas(key, operation.value, BigInt(operation.unique))
      return { status: { stored: 'STORED', exists: 'EXISTS', notFound: 'NOT_FOUND' }[outcome] }
    }
    case 'delete':
      return { status: (await client.delete(key)) ? 'DELETED' : 'NOT_FOUND' }
    case 'incr':
    case 'decr': {
      const sum = await client[operation.kind](key, operation.delta)
      return { status: sum === null ? 'NOT_FOUND' : String(sum) }
    }
    default:
      throw new Error(`no test calls ${operation.kind}`)
  }
}

function read(value: Buffer | null): Reply {
  return value === null ? { status: 'END' } : { status: 'VALUE', value: unpadded(String(value)) }
}

function readItem(item: Item | null): Reply {
  if (item === null) return { status: 'END' }
  const { value, flags, casUnique } = item
  return { status: 'VALUE', value: unpadded(String(value)), flags, unique: String(casUnique) }
}
