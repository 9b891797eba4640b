/**
 * What clients ask: operations drawn for a key. Values are unique, so that whoever
 * reads one knows who wrote it; what is appended has a mark of its own too. Keys that
 * begin with n hold numbers.
 */
import { EXPLICIT_MIN, type MetaSet, type Operation } from './model.ts'

/** What a run's clients ask for: only what memcached has had from the start, or all there is. */
export type Mix = 'plain' | 'all'

/** Of all there is, this much is plain: nothing finds more bugs. */
const PLAIN_RATIO = 0.5
/** R: longer than any expiry that is ever set. */
const RECACHE_SECONDS = 60
/** So that a sum tells how often each was added. */
const DELTAS = [1, 10, 100, 1_000] as const
const KEYS_MAX = 3
/** Little: each takes all keys at once. */
const FLUSH_RATIO = 0.02
const FLAGS_MAX = 2 ** 32

export class Workload {
  readonly #random: () => number
  readonly #name: string
  readonly #mix: Mix
  readonly #isReader: boolean
  #valueCount = 0
  /** Cas uniques seen, by key: the newest, and the one before it. */
  readonly #uniques = new Map<string, readonly [string, string]>()

  /** @param isReader only reads, of which some may change something: a touch, a win. */
  constructor(random: () => number, name: string, mix: Mix, isReader: boolean) {
    this.#random = random
    this.#name = name
    this.#mix = mix
    this.#isReader = isReader
  }

  saw(key: string, unique: string): void {
    const [newest = '1'] = this.#uniques.get(key) ?? []
    if (unique !== newest) this.#uniques.set(key, [unique, newest])
  }

  draw(key: string): Operation {
    if (this.#mix === 'plain' || this.#random() < PLAIN_RATIO) return this.#plain(key)
    if (this.#isReader) return this.#anyRead()
    if (this.#random() < 0.3) return this.#anyRead()
    if (this.#random() < FLUSH_RATIO)
      return { kind: 'flush_all', delay: this.#pick([0, 0, 1, 2, 3]) }
    return isNumber(key) ? this.#count(key) : this.#write(key)
  }

  /** A cas of what was seen last. */
  compare(key: string): Operation {
    return { kind: 'cas', ...this.#fresh(key), unique: this.#newest(key) }
  }

  /** The keys for it: one, or several where it takes them. */
  keysFor(operation: Operation, key: string, pickKey: () => string): string[] {
    const keys = new Set([key])
    const takesMany = /^(get|gets|gat|gats)$/.test(operation.kind)
    while (takesMany && this.#mix === 'all' && keys.size < KEYS_MAX && this.#random() < 0.2) {
      keys.add(pickKey())
    }
    return [...keys]
  }

  #plain(key: string): Operation {
    const dice = this.#random() * (this.#isReader ? 0.45 : 1)
    if (dice < 0.3) return { kind: 'get' }
    if (dice < 0.45) return { kind: 'gets' }
    if (dice < 0.66) return { kind: 'set', ...this.#fresh(key) }
    if (dice < 0.72) return { kind: 'set', ...this.#fresh(key), exptime: this.#seconds() }
    if (dice < 0.8) return { kind: 'add', ...this.#fresh(key) }
    if (dice < 0.92) return this.compare(key)
    return { kind: 'delete' }
  }

  #anyRead(): Operation {
    const dice = this.#random()
    const exptime = this.#random() < 0.4 ? 0 : this.#seconds()
    if (dice < 0.35) return { kind: 'mg' }
    if (dice < 0.5) return { kind: 'gats', exptime }
    if (dice < 0.6) return { kind: 'gat', exptime: this.#random() < 0.1 ? -1 : exptime }
    if (dice < 0.7) return { kind: 'mg', exptime }
    if (dice < 0.85 || this.#isReader) return { kind: 'mg', recache: RECACHE_SECONDS }
    return { kind: 'gets' }
  }

  #write(key: string): Operation {
    const dice = this.#random()
    if (dice < 0.14) return { kind: 'append', ...this.#fresh(key) }
    if (dice < 0.22) return { kind: 'prepend', ...this.#fresh(key) }
    if (dice < 0.28) return { kind: 'replace', ...this.#fresh(key), flags: this.#flags() }
    if (dice < 0.36) return this.#touch()
    if (dice < 0.5) return this.#vivify()
    if (dice < 0.58) return { kind: 'md', isStale: true, ...this.#maybe('exptime') }
    if (dice < 0.62) return { kind: 'md', isStale: true, compare: this.#newest(key) }
    if (dice < 0.66) return { kind: 'md', compare: this.#newest(key), ...this.#maybe('explicit') }
    if (dice < 0.7) return { kind: 'md', isEmptied: true, isStale: this.#random() < 0.5 }
    if (dice < 0.76) return this.#renew(key)
    return this.#metaSet(key)
  }

  #vivify(): Operation {
    return {
      kind: 'mg',
      vivify: this.#seconds(),
      ...(this.#random() < 0.3 && { recache: RECACHE_SECONDS }),
      ...this.#maybe('explicit'),
    }
  }

  /** As one that won does, or one that comes too late. */
  #renew(key: string): Operation {
    const [newest, older] = this.#uniques.get(key) ?? ['1', '1']
    const compare = this.#random() < 0.5 ? newest : older
    return { kind: 'ms', mode: 'S', ...this.#fresh(key), compare, isStale: true }
  }

  #metaSet(key: string): MetaSet {
    const mode = this.#pick(['S', 'S', 'E', 'R', 'A', 'A', 'P'] as const)
    const isJoin = mode === 'A' || mode === 'P'
    return {
      kind: 'ms',
      mode,
      ...this.#fresh(key),
      ...(this.#random() < 0.5 && { flags: this.#flags() }),
      ...(isJoin && this.#random() < 0.4 && { vivify: this.#seconds() }),
      ...(!isJoin && this.#maybe('exptime')),
      ...(mode !== 'E' && this.#random() < 0.3 && { compare: this.#newest(key) }),
      ...this.#maybe('explicit'),
    }
  }

  #count(key: string): Operation {
    const dice = this.#random()
    const delta = this.#pick(DELTAS)
    if (dice < 0.35) return { kind: 'incr', delta }
    if (dice < 0.5) return { kind: 'decr', delta }
    if (dice < 0.6) return this.#touch()
    const vivify = this.#random() < 0.5
    return {
      kind: 'ma',
      mode: this.#random() < 0.6 ? 'I' : 'D',
      delta,
      ...(vivify && { vivify: this.#seconds(), initial: Number(this.#fresh(key).value) }),
      ...(!vivify && this.#maybe('exptime')),
      ...(this.#random() < 0.2 && { compare: this.#newest(key) }),
      ...this.#maybe('explicit'),
    }
  }

  #touch(): Operation {
    return { kind: 'touch', exptime: this.#pick([0, 0, this.#seconds(), this.#seconds(), -1]) }
  }

  #maybe(what: 'exptime' | 'explicit'): { exptime?: number; explicit?: string } {
    if (what === 'exptime') return this.#random() < 0.3 ? { exptime: this.#seconds() } : {}
    return this.#random() < 0.15 ? { explicit: this.#explicit() } : {}
  }

  /** Some are more than a double holds. */
  #explicit(): string {
    const small = String(EXPLICIT_MIN + Math.floor(this.#random() * EXPLICIT_MIN))
    return this.#random() < 0.5 ? small : `9${small.padEnd(18, '1')}`
  }

  #fresh(key: string): { value: string } {
    const count = ++this.#valueCount
    if (isNumber(key)) return { value: String(1e9 + Math.floor(this.#random() * 8e9)) }
    return { value: `${this.#name}.${count};` }
  }

  #newest(key: string): string {
    return this.#uniques.get(key)?.[0] ?? '1'
  }

  #seconds(): number {
    return this.#pick([1, 2, 3])
  }

  #flags(): number {
    return Math.floor(this.#random() * FLAGS_MAX)
  }

  #pick<T>(values: readonly T[]): T {
    return values[Math.floor(this.#random() * values.length)] as T
  }
}

function isNumber(key: string): boolean {
  return key.startsWith('n')
}
