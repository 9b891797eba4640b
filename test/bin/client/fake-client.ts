/** A store in memory, behind the client's interface; what fails, fails as told. */
import type {
  CallOptions,
  Client,
  Item,
  ReadOptions,
  Value,
  WriteOptions,
} from '../../../src/client/api.ts'

interface Kept extends Item {
  readonly expiresInS: number
}

export class FakeClient implements Client {
  readonly items = new Map<string, Kept>()
  /** The options of each read. */
  readonly reads: ReadOptions[] = []
  /** Called before each write. @throws what the write fails with. */
  onWrite: (key: string, options: CallOptions) => Promise<void> | void = () => {}
  #unique = 0n

  get(key: string, options?: ReadOptions): Promise<Buffer | null>
  get(keys: readonly string[], options?: ReadOptions): Promise<Map<string, Buffer>>
  async get(
    asked: string | readonly string[],
    options: ReadOptions = {},
  ): Promise<Buffer | null | Map<string, Buffer>> {
    this.reads.push(options)
    if (typeof asked === 'string') return this.items.get(asked)?.value ?? null
    const found = await this.gets(asked)
    return new Map([...found].map(([key, { value }]) => [key, value]))
  }

  gets(key: string): Promise<Item | null>
  gets(keys: readonly string[]): Promise<Map<string, Item>>
  async gets(asked: string | readonly string[]): Promise<Item | null | Map<string, Item>> {
    if (typeof asked === 'string') return this.items.get(asked) ?? null
    const keys = asked.filter((key) => this.items.has(key))
    return new Map(keys.map((key) => [key, this.items.get(key) as Item]))
  }

  async set(key: string, value: Value, options: WriteOptions = {}): Promise<void> {
    await this.onWrite(key, options)
    const { flags = 0, expiresInS = 0 } = options
    const bytes = Buffer.from(value as string)
    this.items.set(key, { value: bytes, flags, expiresInS, casUnique: ++this.#unique })
  }

  async add(key: string, value: Value, options?: WriteOptions): Promise<boolean> {
    return !this.items.has(key) && this.set(key, value, options).then(() => true)
  }

  async replace(key: string, value: Value, options?: WriteOptions): Promise<boolean> {
    return this.items.has(key) && this.set(key, value, options).then(() => true)
  }

  append(key: string, value: Value): Promise<boolean> {
    return this.#change(key, (old) => Buffer.concat([old, Buffer.from(value as string)]))
  }

  prepend(key: string, value: Value): Promise<boolean> {
    return this.#change(key, (old) => Buffer.concat([Buffer.from(value as string), old]))
  }

  async cas(key: string, value: Value, casUnique: bigint, options?: WriteOptions) {
    const item = this.items.get(key)
    if (!item) return 'notFound' as const
    if (item.casUnique !== casUnique) return 'exists' as const
    await this.set(key, value, options)
    return 'stored' as const
  }

  async delete(key: string): Promise<boolean> {
    return this.items.delete(key)
  }

  incr(key: string, by: number | bigint = 1): Promise<bigint | null> {
    return this.#count(key, BigInt(by))
  }

  decr(key: string, by: number | bigint = 1): Promise<bigint | null> {
    return this.#count(key, -BigInt(by))
  }

  async touch(key: string, expiresInS: number): Promise<boolean> {
    const item = this.items.get(key)
    if (item) this.items.set(key, { ...item, expiresInS })
    return item !== undefined
  }

  async update(
    key: string,
    change: (value: Buffer | null) => Value | null | undefined,
    options?: WriteOptions,
  ): Promise<Buffer | null> {
    const wanted = change(await this.get(key))
    if (wanted === null) await this.delete(key)
    else if (wanted !== undefined) await this.set(key, wanted, options)
    return this.get(key)
  }

  async flushAll(): Promise<void> {
    this.items.clear()
  }

  async stats(about?: string): Promise<Map<string, string>> {
    return new Map([
      ['about', about ?? 'all'],
      ['curr_items', String(this.items.size)],
    ])
  }

  async close(): Promise<void> {}

  put(key: string, value: Value, options?: WriteOptions): Promise<void> {
    return this.set(key, value, options)
  }

  finalize(): Promise<void> {
    return this.close()
  }

  async #change(key: string, change: (old: Buffer) => Buffer): Promise<boolean> {
    const item = this.items.get(key)
    if (item) await this.set(key, change(item.value))
    return item !== undefined
  }

  async #count(key: string, by: bigint): Promise<bigint | null> {
    const item = this.items.get(key)
    if (!item) return null
    const sum = BigInt(String(item.value)) + by
    await this.set(key, String(sum < 0n ? 0n : sum))
    return sum < 0n ? 0n : sum
  }
}
