/**
 * What memcached's commands do to one item: the sequential model that histories
 * are checked against.
 *
 * In: a state, an operation, and the reply it got, or none where that is unknown.
 * Out: the state after it, or undefined where it can't have answered so. Pure.
 *
 * Time is no part of it: an item that has an expiry, and any item while a delayed
 * flush_all is pending, may vanish at any moment (`vanish`). Cas uniques are not
 * chosen by the model: a version's is '' until a reply tells it. Those that the log
 * gives grow from version to version; those that a client chose (E) are known at once.
 */

interface Storing {
  readonly value: string
  /** Seconds; 0 or none: for good; negative: gone at once. */
  readonly exptime?: number
  readonly flags?: number
}

interface Comparing {
  /** C: only where the item has this cas unique. */
  readonly compare?: string
  /** E: the cas unique that the new version gets. */
  readonly explicit?: string
}

export type Operation =
  | { readonly kind: 'get' | 'gets' | 'delete' }
  | ({ readonly kind: 'set' | 'add' | 'replace' | 'append' | 'prepend' } & Storing)
  | ({ readonly kind: 'cas'; readonly unique: string } & Storing)
  | { readonly kind: 'incr' | 'decr'; readonly delta: number }
  | { readonly kind: 'touch' | 'gat' | 'gats'; readonly exptime: number }
  /** Seconds; 0: now. An operation on every key. */
  | { readonly kind: 'flush_all'; readonly delay: number }
  | MetaGet
  | MetaSet
  | MetaDelete
  | MetaArithmetic

/** Asks for value, flags, cas unique and time to live. */
interface MetaGet {
  readonly kind: 'mg'
  /** T */
  readonly exptime?: number
  /** N */
  readonly vivify?: number
  /** R: more than any expiry that is ever set, so that whatever expires is due. */
  readonly recache?: number
  /** E, for the item that N creates. */
  readonly explicit?: string
}

export interface MetaSet extends Storing, Comparing {
  readonly kind: 'ms'
  /** Set, add (E), replace, append, prepend. */
  readonly mode: 'S' | 'E' | 'R' | 'A' | 'P'
  /** I: with a compare below the item's, stored as stale. */
  readonly isStale?: boolean
  /** N, for append and prepend. */
  readonly vivify?: number
}

interface MetaDelete extends Comparing {
  readonly kind: 'md'
  /** I: marked stale instead. */
  readonly isStale?: boolean
  /** x: the value goes, the item stays. */
  readonly isEmptied?: boolean
  /** T, with I. */
  readonly exptime?: number
}

interface MetaArithmetic extends Comparing {
  readonly kind: 'ma'
  readonly mode: 'I' | 'D'
  readonly delta: number
  readonly vivify?: number
  readonly initial?: number
  readonly exptime?: number
}

/** A reply about one key: what is undefined was not told; of a hit the value always is. */
export interface Reply {
  /** Its first word; VALUE and END for a hit and a miss. */
  readonly status: string
  readonly value?: string
  readonly flags?: number
  readonly unique?: string
  readonly isMortal?: boolean
  /** Of Z, X and W, in that order. */
  readonly marks?: string
}

export interface Item {
  readonly value: string
  /** '' until a reply has told. */
  readonly unique: string
  readonly flags: number
  readonly isMortal: boolean
  readonly isStale: boolean
  /** Somebody was told that it is his to renew it. */
  readonly isWon: boolean
}

export interface State {
  readonly item: Item | null
  readonly isFlushPending: boolean
  /** The newest cas unique that is known and that the log gave. */
  readonly newest: number
}

export const EMPTY: State = { item: null, isFlushPending: false, newest: 0 }

/** No log is so long: a cas unique from here on was chosen by a client. */
export const EXPLICIT_MIN = 1_000_000_000_000

/** @returns undefined where nothing can vanish. */
export function vanish(state: State): State | undefined {
  const { item, isFlushPending, newest } = state
  if (!item || !(item.isMortal || isFlushPending)) return undefined
  // Where it can have expired, the flush is still to come: that allows more.
  return { item: null, isFlushPending: item.isMortal && isFlushPending, newest }
}

/** @param reply none: unknown, but it happened. */
export function step(
  state: State,
  operation: Operation,
  reply: Reply | undefined,
): State | undefined {
  const { status, after, shown, marks = '' } = run(state, operation)
  if (!reply) return after
  if (reply.status !== status) return undefined
  if (!shown) return after
  if (reply.value !== undefined && reply.value !== shown.value) return undefined
  if (reply.flags !== undefined && reply.flags !== shown.flags) return undefined
  if (reply.isMortal !== undefined && reply.isMortal !== shown.isMortal) return undefined
  if (reply.marks !== undefined && reply.marks !== marks) return undefined
  const { unique } = reply
  if (unique === undefined || unique === shown.unique) return after
  if (shown.unique !== '' || isExplicit(unique) || Number(unique) <= after.newest) return undefined
  const item = after.item === shown ? { ...shown, unique } : after.item
  return { ...after, item, newest: Number(unique) }
}

const REFUSALS = /^(END|EN|NOT_STORED|NS|EXISTS|EX|NOT_FOUND|NF|CLIENT_ERROR)$/

/** Whether an operation that answered so changes nothing, in whatever state. */
export function isOnlyRead({ kind, exptime }: { kind: string; exptime?: number }, reply: Reply) {
  if (REFUSALS.test(reply.status) || kind === 'get' || kind === 'gets') return true
  return kind === 'mg' && exptime === undefined && reply.marks?.includes('W') === false
}

/** Whether it changes nothing of an item but its number and its cas unique. */
export function isOnlySum(operation: Operation): boolean {
  if (operation.kind === 'ma') {
    return operation.exptime === undefined && operation.explicit === undefined
  }
  return operation.kind === 'incr' || operation.kind === 'decr'
}

export function isSame(a: State, b: State): boolean {
  if (a === b) return true
  if (a.isFlushPending !== b.isFlushPending || a.newest !== b.newest) return false
  if (a.item === b.item) return true
  if (!a.item || !b.item) return false
  return (
    a.item.value === b.item.value &&
    a.item.unique === b.item.unique &&
    a.item.flags === b.item.flags &&
    a.item.isMortal === b.item.isMortal &&
    a.item.isStale === b.item.isStale &&
    a.item.isWon === b.item.isWon
  )
}

export function isNumeric(value: string): boolean {
  return /^\d{1,20}$/.test(value)
}

interface Result {
  readonly status: string
  readonly after: State
  /** The item that a reply may tell of. */
  readonly shown?: Item
  readonly marks?: string
}

function run(state: State, operation: Operation): Result {
  const { item } = state
  switch (operation.kind) {
    case 'get':
    case 'gets':
      return item ? { status: 'VALUE', after: state, shown: item } : { status: 'END', after: state }
    case 'gat':
    case 'gats': {
      if (!item) return { status: 'END', after: state }
      const after = touched(item, operation.exptime)
      return { status: 'VALUE', after: { ...state, item: after }, shown: after ?? item }
    }
    case 'touch':
      if (!item) return { status: 'NOT_FOUND', after: state }
      return { status: 'TOUCHED', after: { ...state, item: touched(item, operation.exptime) } }
    case 'set':
      return classic(store(state, { ...operation, kind: 'ms', mode: 'S' }))
    case 'add':
      return classic(store(state, { ...operation, kind: 'ms', mode: 'E' }))
    case 'replace':
      return classic(store(state, { ...operation, kind: 'ms', mode: 'R' }))
    case 'append':
      return classic(store(state, { ...operation, kind: 'ms', mode: 'A' }))
    case 'prepend':
      return classic(store(state, { ...operation, kind: 'ms', mode: 'P' }))
    case 'cas':
      return classic(
        store(state, { ...operation, kind: 'ms', mode: 'S', compare: operation.unique }),
      )
    case 'ms':
      return store(state, operation)
    case 'mg':
      return metaGet(state, operation)
    case 'delete':
      if (!item) return { status: 'NOT_FOUND', after: state }
      return { status: 'DELETED', after: { ...state, item: null } }
    case 'md':
      return metaDelete(state, operation)
    case 'incr':
    case 'decr': {
      if (!item) return { status: 'NOT_FOUND', after: state }
      const value = sum(item, operation.kind === 'incr', operation.delta)
      if (value === null) return { status: 'CLIENT_ERROR', after: state }
      return { status: value, after: { ...state, item: { ...item, value, unique: '' } } }
    }
    case 'ma':
      return arithmetic(state, operation)
    case 'flush_all':
      // A later one takes the place of one that is pending.
      if (operation.delay > 0) return { status: 'OK', after: { ...state, isFlushPending: true } }
      return { status: 'OK', after: { ...state, item: null, isFlushPending: false } }
  }
}

const CLASSIC: Readonly<Record<string, string>> = {
  HD: 'STORED',
  NS: 'NOT_STORED',
  EX: 'EXISTS',
  NF: 'NOT_FOUND',
}

function classic(result: Result): Result {
  return { ...result, status: CLASSIC[result.status] ?? result.status }
}

function store(state: State, operation: MetaSet): Result {
  const { item } = state
  const { mode, value, compare, explicit = '', exptime = 0, vivify } = operation
  const fresh: Item = {
    value,
    unique: explicit,
    flags: operation.flags ?? 0,
    isMortal: exptime > 0,
    isStale: false,
    isWon: false,
  }
  const refused = (status: string): Result => ({ status, after: state })
  const stored = (shown: Item, isGone = exptime < 0): Result => ({
    status: 'HD',
    after: { ...state, item: isGone ? null : shown },
    shown,
  })
  switch (mode) {
    case 'E':
      return item ? refused('NS') : stored(fresh)
    case 'A':
    case 'P': {
      if (!item) {
        return vivify === undefined
          ? refused('NS')
          : stored({ ...fresh, isMortal: vivify > 0 }, vivify < 0)
      }
      if (compare !== undefined && compare !== item.unique) return refused('EX')
      const joined = mode === 'A' ? item.value + value : value + item.value
      const { flags, isMortal } = item
      return stored({ ...fresh, value: joined, flags, isMortal }, false)
    }
    default: {
      if (compare === undefined) return item || mode === 'S' ? stored(fresh) : refused('NS')
      if (!item) return refused('NF')
      if (compare === item.unique) return stored(fresh)
      if (!operation.isStale || !isBelow(compare, item)) return refused('EX')
      const { isMortal, isWon } = item
      return stored({ ...fresh, isMortal, isStale: true, isWon }, false)
    }
  }
}

function metaGet(state: State, operation: MetaGet): Result {
  const { exptime, vivify, recache, explicit = '' } = operation
  if (!state.item) {
    if (vivify === undefined) return { status: 'EN', after: state }
    const isMortal = vivify > 0
    const shown = { value: '', unique: explicit, flags: 0, isMortal, isStale: false, isWon: true }
    return { status: 'VA', after: { ...state, item: shown }, shown, marks: 'W' }
  }
  const { isStale, isWon } = state.item
  const isMortal = exptime === undefined ? state.item.isMortal : exptime > 0
  const wins = !isWon && (isStale || (recache !== undefined && isMortal))
  const marks = `${isWon ? 'Z' : ''}${isStale ? 'X' : ''}${wins ? 'W' : ''}`
  const shown = { ...state.item, isMortal, isWon: isWon || wins }
  return { status: 'VA', after: { ...state, item: shown }, shown, marks }
}

function metaDelete(state: State, operation: MetaDelete): Result {
  const { compare, explicit = '', exptime, isEmptied, isStale } = operation
  if (!state.item) return { status: 'NF', after: state }
  if (compare !== undefined && compare !== state.item.unique) return { status: 'EX', after: state }
  if (!isEmptied && !isStale) return { status: 'HD', after: { ...state, item: null } }
  let item: Item = state.item
  if (isEmptied) {
    // Unlike all other changes it leaves the cas unique.
    const unique = explicit === '' ? item.unique : explicit
    item = { value: '', unique, flags: 0, isMortal: false, isStale: false, isWon: false }
  }
  if (isStale) {
    const isMortal = exptime === undefined ? item.isMortal : exptime > 0
    item = { ...item, unique: explicit, isMortal, isStale: true, isWon: false }
  }
  return { status: 'HD', after: { ...state, item } }
}

function arithmetic(state: State, operation: MetaArithmetic): Result {
  const { mode, delta, vivify, initial, exptime, compare, explicit = '' } = operation
  let item: Item
  if (!state.item) {
    if (vivify === undefined) return { status: 'NF', after: state }
    item = {
      value: String(initial ?? 0),
      unique: explicit,
      flags: 0,
      isMortal: vivify > 0,
      isStale: false,
      isWon: false,
    }
  } else {
    if (compare !== undefined && compare !== state.item.unique)
      return { status: 'EX', after: state }
    const value = sum(state.item, mode === 'I', delta)
    if (value === null) return { status: 'CLIENT_ERROR', after: state }
    const isMortal = exptime === undefined ? state.item.isMortal : exptime > 0
    item = { ...state.item, value, unique: explicit, isMortal }
  }
  return { status: 'VA', after: { ...state, item }, shown: item }
}

/** Wraps at 64 bits, and stops at 0. */
function sum({ value }: Item, isIncr: boolean, delta: number): string | null {
  if (!isNumeric(value)) return null
  const number = BigInt(value)
  const by = BigInt(delta)
  if (isIncr) return String(BigInt.asUintN(64, number + by))
  return String(by > number ? 0n : number - by)
}

function touched(item: Item, exptime: number): Item | null {
  return exptime < 0 ? null : { ...item, isMortal: exptime > 0 }
}

function isExplicit(unique: string): boolean {
  return Number(unique) >= EXPLICIT_MIN
}

/** What nobody has read yet is newer than all that was read, of those that the log gave. */
function isBelow(compare: string, { unique }: Item): boolean {
  return unique === '' ? !isExplicit(compare) : BigInt(compare) < BigInt(unique)
}
