/**
 * The client library: what programs import. api.ts has the calls, errors.ts how they fail,
 * caller.ts what is done so that they do not.
 */
import { createNodeIo } from '../io/node.ts'
import type {
  CallOptions,
  Client,
  Cluster,
  ConnectOptions,
  Item,
  ReadOptions,
  Value,
  WriteOptions,
} from './api.ts'
import { Caller } from './caller.ts'
import { Directory } from './directory.ts'
import { StoreError } from './errors.ts'
import { withLogin } from './login.ts'
import {
  arithmeticRequest,
  deleteIfRequest,
  deleteRequest,
  flushRequest,
  getManyRequest,
  getRequest,
  type Request,
  type StoreVerb,
  statsRequest,
  storeRequest,
  touchRequest,
} from './requests.ts'
import { Updater } from './updater.ts'
import { parseCluster } from './where.ts'

export type {
  Address,
  CallOptions,
  Client,
  Cluster,
  ConnectOptions,
  Item,
  Login,
  ReadOptions,
  Value,
  Where,
  WriteOptions,
} from './api.ts'
export { UPDATE_ATTEMPTS_MAX } from './api.ts'
export { ERROR_CODES, type ErrorCode, StoreError } from './errors.ts'

const TIMEOUT_MS = 5_000
const TIMEOUT_MS_MAX = 24 * 3_600 * 1_000

/**
 * Finds the servers; connections to them are opened when they are needed.
 *
 * @param cluster Load balancers, or `{ servers: [...] }`; `host:port` each.
 * @throws StoreError where none of them can name a server: `unreachable`, `login`, `invalid`.
 */
export async function connect(cluster: Cluster, options: ConnectOptions = {}): Promise<Client> {
  const { balancers, servers } = parseCluster(cluster)
  const timeoutMs = checkedTimeout('connect', options.timeoutMs, TIMEOUT_MS)
  const io = options.io ?? createNodeIo()
  const serversIo = withLogin(io, options.login ?? null)
  const caller = new Caller(io, serversIo, new Directory(io, serversIo, balancers, servers))
  try {
    await caller.start()
  } catch (error) {
    await caller.close()
    throw error
  }
  return new CallerClient(caller, new Updater(io), timeoutMs, () => io.clock.wallMs())
}

/** `connect`, for those who come from a manager and storage nodes. */
export const init = connect

class CallerClient implements Client {
  readonly #caller: Caller
  readonly #updater: Updater
  readonly #timeoutMs: number
  readonly #wallMs: () => number
  #closing: Promise<void> | null = null

  constructor(caller: Caller, updater: Updater, timeoutMs: number, wallMs: () => number) {
    this.#caller = caller
    this.#updater = updater
    this.#timeoutMs = timeoutMs
    this.#wallMs = wallMs
  }

  get(key: string, options?: ReadOptions): Promise<Buffer | null>
  get(keys: readonly string[], options?: ReadOptions): Promise<Map<string, Buffer>>
  get(key: string | readonly string[], options?: ReadOptions) {
    return this.#get<Buffer>('get', key, options)
  }

  gets(key: string, options?: ReadOptions): Promise<Item | null>
  gets(keys: readonly string[], options?: ReadOptions): Promise<Map<string, Item>>
  gets(key: string | readonly string[], options?: ReadOptions) {
    return this.#get<Item>('gets', key, options)
  }

  #get<T>(
    verb: 'get' | 'gets',
    key: string | readonly string[],
    options: ReadOptions | undefined,
  ): Promise<(T | null) & Map<string, T>> {
    if (Array.isArray(key) && key.length === 0) return Promise.resolve(new Map() as never)
    return this.#call(verb, options, () => {
      const isLocal = isLocalRead(verb, options)
      return Array.isArray(key)
        ? getManyRequest(verb, key, isLocal)
        : getRequest(verb, key as string, isLocal)
    })
  }

  set(key: string, value: Value, options?: WriteOptions): Promise<void> {
    return this.#store('set', key, value, options)
  }

  add(key: string, value: Value, options?: WriteOptions): Promise<boolean> {
    return this.#store('add', key, value, options)
  }

  replace(key: string, value: Value, options?: WriteOptions): Promise<boolean> {
    return this.#store('replace', key, value, options)
  }

  append(key: string, value: Value, options?: CallOptions): Promise<boolean> {
    return this.#store('append', key, value, options)
  }

  prepend(key: string, value: Value, options?: CallOptions): Promise<boolean> {
    return this.#store('prepend', key, value, options)
  }

  cas(
    key: string,
    value: Value,
    casUnique: bigint,
    options?: WriteOptions,
  ): Promise<'stored' | 'exists' | 'notFound'> {
    return this.#store('cas', key, value, options, casUnique)
  }

  #store<T>(
    verb: StoreVerb,
    key: string,
    value: Value,
    options: WriteOptions | undefined,
    casUnique?: bigint,
  ): Promise<T> {
    return this.#call(verb, options, () =>
      storeRequest(verb, key, value, options, this.#wallMs, casUnique),
    )
  }

  delete(key: string, options?: CallOptions): Promise<boolean> {
    return this.#call('delete', options, () => deleteRequest(key))
  }

  incr(key: string, by: number | bigint = 1, options?: CallOptions): Promise<bigint | null> {
    return this.#call('incr', options, () => arithmeticRequest('incr', key, by))
  }

  decr(key: string, by: number | bigint = 1, options?: CallOptions): Promise<bigint | null> {
    return this.#call('decr', options, () => arithmeticRequest('decr', key, by))
  }

  touch(key: string, expiresInS: number, options?: CallOptions): Promise<boolean> {
    return this.#call('touch', options, () => touchRequest(key, expiresInS, this.#wallMs))
  }

  flushAll(options?: CallOptions & { readonly delayS?: number }): Promise<void> {
    return this.#call('flushAll', options, () => flushRequest(options?.delayS ?? 0, this.#wallMs))
  }

  stats(about = '', options?: CallOptions): Promise<Map<string, string>> {
    return this.#call('stats', options, () => statsRequest(about))
  }

  async update(
    key: string,
    change: (value: Buffer | null) => Value | null | undefined,
    options: WriteOptions = {},
  ): Promise<Buffer | null> {
    if (this.#closing) throw closedError('update')
    const timeoutMs = checkedTimeout('update', options.timeoutMs, this.#timeoutMs)
    const { signal } = options
    return this.#updater.update(key, change, timeoutMs, signal, {
      gets: (leftMs) => this.#caller.call(getRequest('gets', key, false), leftMs, signal),
      add: (value, leftMs) =>
        this.#caller.call(storeRequest('add', key, value, options, this.#wallMs), leftMs, signal),
      cas: (value, casUnique, leftMs) => {
        const request = storeRequest('cas', key, value, options, this.#wallMs, casUnique)
        return this.#caller.call(request, leftMs, signal)
      },
      deleteIf: (casUnique, leftMs) =>
        this.#caller.call(deleteIfRequest(key, casUnique), leftMs, signal),
    })
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    await this.#updater.idle()
    await this.#caller.idle()
    await this.#caller.close()
  }

  put(key: string, value: Value, options?: WriteOptions): Promise<void> {
    return this.set(key, value, options)
  }

  finalize(): Promise<void> {
    return this.close()
  }

  /** @param createRequest May throw a StoreError. */
  #call<T>(
    verb: string,
    options: CallOptions | undefined,
    createRequest: () => Request,
  ): Promise<T> {
    try {
      if (this.#closing) throw closedError(verb)
      const timeoutMs = checkedTimeout(verb, options?.timeoutMs, this.#timeoutMs)
      return this.#caller.call<T>(createRequest(), timeoutMs, options?.signal)
    } catch (error) {
      return Promise.reject(error)
    }
  }
}

function closedError(verb: string): StoreError {
  return new StoreError('closed', `${verb}: this client was closed: connect again`)
}

function isLocalRead(verb: string, options: ReadOptions | undefined): boolean {
  const read = options?.read ?? 'linearizable'
  if (read === 'linearizable') return false
  if (read === 'local') return true
  throw new StoreError('invalid', `${verb}: a read is linearizable or local: ${String(read)}`)
}

function checkedTimeout(verb: string, given: number | undefined, otherwise: number): number {
  if (given === undefined) return otherwise
  if (typeof given === 'number' && given > 0 && given <= TIMEOUT_MS_MAX) return given
  const rule = `timeoutMs is a number above 0, at most ${TIMEOUT_MS_MAX}`
  throw new StoreError('invalid', `${verb}: ${rule}: ${String(given)}`)
}
