/**
 * One copy of one item, with a real clock and real cas uniques: operations in, each
 * with the reply that memcached would give. Written apart from the model that
 * histories are checked against, so that the two hold each other.
 */
import type { MetaSet, Operation, Reply } from './model.ts'

interface Held {
  value: string
  flags: number
  cas: bigint
  /** Seconds of `nowS`; 0: never. */
  expiresS: number
  stale: boolean
  tokenSent: boolean
}

export class OneCopy {
  nowS = 1
  /** Taken already: no item has the first. */
  #index = 1
  #held: Held | null = null
  #flushAtS = 0

  /** Performs it; each takes an index of the log, whether it changes something or not. */
  apply(operation: Operation): Reply {
    this.#index++
    this.#letGo()
    const held = this.#held
    switch (operation.kind) {
      case 'get':
        return held ? { status: 'VALUE', value: held.value, flags: held.flags } : { status: 'END' }
      case 'gets':
        return held ? this.#values(held) : { status: 'END' }
      case 'gat':
      case 'gats': {
        if (!held) return { status: 'END' }
        held.expiresS = this.#expiry(operation.exptime)
        return this.#values(held)
      }
      case 'touch':
        if (!held) return { status: 'NOT_FOUND' }
        held.expiresS = this.#expiry(operation.exptime)
        return { status: 'TOUCHED' }
      case 'set':
        this.#write(operation)
        return { status: 'STORED' }
      case 'add':
        if (held) return { status: 'NOT_STORED' }
        this.#write(operation)
        return { status: 'STORED' }
      case 'replace':
        if (!held) return { status: 'NOT_STORED' }
        this.#write(operation)
        return { status: 'STORED' }
      case 'append':
      case 'prepend':
        if (!held) return { status: 'NOT_STORED' }
        this.#join(held, operation.value, operation.kind === 'append')
        return { status: 'STORED' }
      case 'cas':
        if (!held) return { status: 'NOT_FOUND' }
        if (held.cas !== BigInt(operation.unique)) return { status: 'EXISTS' }
        this.#write(operation)
        return { status: 'STORED' }
      case 'delete':
        this.#held = null
        return { status: held ? 'DELETED' : 'NOT_FOUND' }
      case 'incr':
      case 'decr': {
        if (!held) return { status: 'NOT_FOUND' }
        if (!/^\d+$/.test(held.value)) return { status: 'CLIENT_ERROR' }
        this.#count(held, operation.kind === 'incr' ? operation.delta : -operation.delta)
        return { status: held.value }
      }
      case 'flush_all':
        if (operation.delay === 0) this.#held = null
        this.#flushAtS = operation.delay === 0 ? 0 : this.nowS + operation.delay
        return { status: 'OK' }
      case 'ms':
        return this.#metaSet(operation, held)
      case 'mg': {
        if (!held && operation.vivify === undefined) return { status: 'EN' }
        const item = held ?? this.#write({ value: '', exptime: operation.vivify ?? 0 })
        if (!held && operation.explicit) item.cas = BigInt(operation.explicit)
        if (operation.exptime !== undefined) item.expiresS = this.#expiry(operation.exptime)
        const leftS = item.expiresS - this.nowS
        const isDue =
          operation.recache !== undefined && item.expiresS > 0 && leftS < operation.recache
        let marks = ''
        if (item.tokenSent) marks += 'Z'
        if (item.stale) marks += 'X'
        if (!item.tokenSent && (!held || isDue || item.stale)) {
          marks += 'W'
          item.tokenSent = true
        }
        return { ...this.#values(item), status: 'VA', marks, isMortal: item.expiresS > 0 }
      }
      case 'md': {
        if (!held) return { status: 'NF' }
        if (operation.compare && BigInt(operation.compare) !== held.cas) return { status: 'EX' }
        if (!operation.isEmptied && !operation.isStale) this.#held = null
        if (operation.isEmptied) {
          Object.assign(held, { value: '', flags: 0, expiresS: 0, stale: false, tokenSent: false })
        }
        if (operation.isStale) {
          Object.assign(held, { stale: true, tokenSent: false })
          if (operation.exptime !== undefined) held.expiresS = this.#expiry(operation.exptime)
        }
        if (operation.isStale) held.cas = BigInt(this.#index)
        if (operation.explicit) held.cas = BigInt(operation.explicit)
        return { status: 'HD' }
      }
      case 'ma': {
        let item = held
        if (item) {
          if (operation.compare && BigInt(operation.compare) !== item.cas) return { status: 'EX' }
          if (!/^\d+$/.test(item.value)) return { status: 'CLIENT_ERROR' }
          this.#count(item, operation.mode === 'I' ? operation.delta : -operation.delta)
          if (operation.exptime !== undefined) item.expiresS = this.#expiry(operation.exptime)
        } else {
          if (operation.vivify === undefined) return { status: 'NF' }
          item = this.#write({ value: `${operation.initial ?? 0}`, exptime: operation.vivify })
        }
        if (operation.explicit) item.cas = BigInt(operation.explicit)
        const { value, cas, expiresS } = item
        return { status: 'VA', value, unique: `${cas}`, isMortal: expiresS > 0 }
      }
    }
  }

  #metaSet(operation: MetaSet, held: Held | null): Reply {
    const { mode, value, compare, vivify } = operation
    let item: Held
    if (mode === 'A' || mode === 'P') {
      if (held && compare && BigInt(compare) !== held.cas) return { status: 'EX' }
      if (!held && vivify === undefined) return { status: 'NS' }
      if (held) this.#join(held, value, mode === 'A')
      item = held ?? this.#write({ ...operation, exptime: vivify ?? 0 })
    } else if (mode === 'E' || compare === undefined) {
      if (mode === 'E' ? held : mode === 'R' && !held) return { status: 'NS' }
      item = this.#write(operation)
    } else {
      if (!held) return { status: 'NF' }
      const isLower = BigInt(compare) < held.cas
      if (BigInt(compare) !== held.cas && !(operation.isStale && isLower)) return { status: 'EX' }
      item = this.#write(operation)
      if (isLower) {
        const { expiresS, tokenSent } = held
        Object.assign(item, { expiresS, tokenSent, stale: true })
        this.#held = item
      }
    }
    if (operation.explicit) item.cas = BigInt(operation.explicit)
    return { status: 'HD', unique: `${item.cas}` }
  }

  #letGo(): void {
    if (this.#flushAtS > 0 && this.nowS >= this.#flushAtS) {
      this.#flushAtS = 0
      this.#held = null
    }
    const expiresS = this.#held?.expiresS ?? 0
    if (expiresS !== 0 && this.nowS >= expiresS) this.#held = null
  }

  #write({ value, exptime = 0, flags = 0 }: { value: string; exptime?: number; flags?: number }) {
    const held: Held = {
      value,
      flags,
      cas: BigInt(this.#index),
      expiresS: this.#expiry(exptime),
      stale: false,
      tokenSent: false,
    }
    this.#held = held
    return held
  }

  #join(held: Held, value: string, isBehind: boolean): void {
    held.value = isBehind ? held.value + value : value + held.value
    Object.assign(held, { cas: BigInt(this.#index), stale: false, tokenSent: false })
  }

  #count(held: Held, by: number): void {
    const sum = (BigInt(held.value) + BigInt(by)) % 2n ** 64n
    held.value = String(sum < 0n ? 0n : sum)
    held.cas = BigInt(this.#index)
  }

  #expiry(exptime: number): number {
    return exptime === 0 ? 0 : Math.max(1, this.nowS + exptime)
  }

  #values({ value, flags, cas }: Held): Reply {
    return { status: 'VALUE', value, flags, unique: `${cas}` }
  }
}
