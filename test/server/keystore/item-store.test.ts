import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type Item,
  ItemStore,
  type ItemsView,
  itemBytes,
  SLICES,
  STALE,
  type StoredItem,
  WON,
} from '../../../src/server/keystore/item-store.ts'
import { hashOf } from '../../../src/server/keystore/key-hash.ts'
import { seededRandom } from '../../io/memory-disk.ts'

const MIB = 1024 * 1024
const LARGE = Buffer.alloc(65_537, 'v')

const NEW = { flags: 0, expiresAtMs: 0, casUnique: 1, marks: 0, isFetched: false, accessedS: 0 }

function item(value: string | Buffer, fields: Partial<StoredItem> = {}): StoredItem {
  return { ...NEW, ...fields, value: Buffer.from(value) }
}

function valueIn(store: ItemStore, key: string): string | undefined {
  return store.get(key)?.value.toString('latin1')
}

/** Key, length and beginning of the value, and the rest: enough to tell items of a test apart. */
function line(key: string, { flags, expiresAtMs, casUnique, marks, value }: Item): string {
  const start = value.toString('latin1', 0, 20)
  return `${key} ${flags} ${expiresAtMs} ${casUnique} ${marks} ${value.length} ${start}`
}

function contentsOf(items: Iterable<readonly [string, Item]>): string[] {
  return [...items].map(([key, each]) => line(key, each)).sort()
}

/** Sets so many keys: prefix0, prefix1, ... */
function fill(store: ItemStore, count: number, value: Buffer, prefix = 'k'): void {
  for (let at = 0; at < count; at++) store.set(`${prefix}${at}`, item(value))
}

/** The value, or with somewhat more behind it: not what stood in its place the time before. */
function lengthened(value: string | Buffer, at: number): Buffer {
  return Buffer.concat([Buffer.from(value), Buffer.alloc(16 * (at % 3))])
}

/** Of the same length, and all of one hash: at each place either of two pieces will do. */
function collidingKeys(pieceCount: number): string[] {
  let keys = ['']
  for (let piece = 0; piece < pieceCount; piece++) {
    const prefix = keys[0] ?? ''
    const seen = new Map<number, string>()
    for (let at = 0; ; at++) {
      const tried = at.toString(36).padStart(5, '.')
      const hash = hashOf(prefix + tried)
      const other = seen.get(hash)
      seen.set(hash, tried)
      if (other === undefined) continue
      keys = keys.flatMap((key) => [key + tried, key + other])
      break
    }
  }
  return keys
}

describe('items', () => {
  test('what is set is there, all of it', () => {
    const store = new ItemStore()
    const most = { flags: 2 ** 32 - 1, expiresAtMs: 2 ** 53 - 1, casUnique: 2 ** 53 - 2 }
    const fields = { ...most, marks: STALE | WON, isFetched: true, accessedS: 2 ** 32 - 1 }
    store.set('k\xff', item('value', fields))
    expect(store.get('k\xff')).toEqual(item('value', fields))
    expect(store.look('k\xff')).toEqual(item('value', fields))
    expect(store.get('k')).toBeUndefined()
    expect(store.get('k\xfe')).toBeUndefined()
    expect(store.delete('k')).toBe(false)
    expect(store.delete('k\xff')).toBe(true)
    expect(store.get('k\xff')).toBeUndefined()
  })

  test.each([
    0,
    1,
    2 ** 31,
    2 ** 32 - 1,
    2 ** 32,
    2 ** 53 - 1,
    2n ** 53n,
    2n ** 53n + 1n,
    2n ** 64n - 1n,
  ])('CAS unique %s is exact', (casUnique) => {
    const store = new ItemStore()
    store.set('k', item('v', { casUnique }))
    store.set('large', item(LARGE, { casUnique }))
    expect(store.get('k')?.casUnique).toBe(casUnique)
    expect(store.look('large')?.casUnique).toBe(casUnique)
    expect([...store.view()].map(([, each]) => each.casUnique)).toEqual([casUnique, casUnique])
  })

  test('keys and values of any length that there is', () => {
    const store = new ItemStore()
    const lengths = [0, 1, 6, 7, 8, 9, 22, 23, 24, 100, 65_535, 65_536, 65_537, MIB, 5 * MIB]
    for (const length of lengths) {
      for (const keyLength of [1, 2, 15, 16, 17, 249, 250]) {
        store.set('k'.repeat(keyLength), item(Buffer.alloc(length, keyLength)))
      }
      for (const keyLength of [1, 2, 15, 16, 17, 249, 250]) {
        const value = store.get('k'.repeat(keyLength))?.value
        expect(value?.equals(Buffer.alloc(length, keyLength))).toBe(true)
      }
    }
    expect(store.count).toBe(7)
    expect(() => store.set('k'.repeat(256), item(''))).toThrow('a key of 256 bytes')
  })

  test('it copies what it is given, and gives copies', () => {
    const store = new ItemStore()
    const value = Buffer.from('one')
    store.set('k', { ...item(''), value })
    value.fill('x')
    const got = store.get('k')
    for (let at = 0; at < 100_000; at++) store.set('k', item(`later ${at}`))
    expect(got?.value.toString()).toBe('one')
  })

  test('a large value that comes back with another expiry is not copied, any other is', () => {
    const store = new ItemStore()
    const given = Buffer.alloc(100_000, 'x')
    store.set('large', item(given))
    const kept = store.look('large') as StoredItem
    expect(kept.value).not.toBe(given)
    store.set('large', { ...kept, expiresAtMs: 5 })
    expect(store.look('large')).toMatchObject({ expiresAtMs: 5 })
    expect(store.look('large')?.value).toBe(kept.value)
    expect(store.heldBytes).toBeLessThan(itemBytes(5, given.length))
  })

  test('a large value that was got stays as it is', () => {
    const store = new ItemStore()
    store.set('k', item(Buffer.alloc(MIB, 'a')))
    const got = store.get('k')
    for (const each of 'bcdef') store.set('k', item(Buffer.alloc(MIB, each)))
    expect(got?.value.equals(Buffer.alloc(MIB, 'a'))).toBe(true)
    expect(store.heldBytes).toBeLessThan(2 * MIB)
  })

  test('it counts items, those that expire, and bytes', () => {
    const store = new ItemStore()
    store.set('abc', item('1234', { expiresAtMs: 5 }))
    store.set('large', item(Buffer.alloc(100_000)))
    expect(store.bytes).toBe(itemBytes(3, 4) + itemBytes(5, 100_000))
    expect(store.count).toBe(2)
    expect(store.hasExpiring).toBe(true)
    store.set('abc', item('12345678901234567890'))
    expect(store.bytes).toBe(itemBytes(3, 20) + itemBytes(5, 100_000))
    expect(store.hasExpiring).toBe(false)
    store.delete('abc')
    store.delete('large')
    expect([store.bytes, store.count]).toEqual([0, 0])
    expect(itemBytes(16, 100)).toBeGreaterThan(116)
    expect(itemBytes(16, 100)).toBeLessThan(190)
  })

  test('one of the same size takes the place of the one before, all of it', () => {
    const store = new ItemStore()
    fill(store, 1_000, Buffer.alloc(100, 'a'))
    const { heldBytes, bytes } = store
    const fields = { flags: 7, casUnique: 2n ** 64n - 1n, marks: STALE, isFetched: true }
    // A record's size is counted in larger units.
    const value = Buffer.alloc(99, 'b')
    for (let round = 0; round < 5; round++) {
      for (let at = 0; at < 1_000; at++) {
        store.set(`k${at}`, item(value, { ...fields, expiresAtMs: 1 + round, accessedS: round }))
      }
      expect(store).toMatchObject({ heldBytes, bytes, count: 1_000, hasExpiring: true })
    }
    expect(store.look('k7')).toEqual(item(value, { ...fields, expiresAtMs: 5, accessedS: 4 }))
    for (let at = 0; at < 1_000; at++) store.set(`k${at}`, item(value))
    expect(store).toMatchObject({ heldBytes, bytes, count: 1_000, hasExpiring: false })
    expect(store.look('k7')).toEqual(item(value))
  })

  test('what is set again with the value that was looked at has that value', () => {
    const store = new ItemStore()
    for (const length of [10, 100, 1_000, 65_536]) {
      const value = Buffer.alloc(length, 'some value')
      store.set('k', item(value))
      store.set('k', { ...(store.look('k') as StoredItem), flags: 9 })
      expect(store.look('k')).toEqual(item(value, { flags: 9 }))
    }
  })

  test('an empty store, and a small one, is small', () => {
    const store = new ItemStore()
    expect(store.heldBytes).toBe(0)
    store.set('k', item('v'))
    for (let at = 0; at < 1000; at++) store.set(`k${at % 10}`, item('x'.repeat(100)))
    expect(store.heldBytes).toBeLessThan(100_000)
  })
})

describe.each([
  ['small', Buffer.from('value')],
  ['large', LARGE],
])('the use of a %s item', (_, value) => {
  const used = (store: ItemStore) => {
    const { isFetched, accessedS } = store.look('k') as StoredItem
    return [isFetched, accessedS]
  }

  test('is noted by a get that says the time, and seen by those after it', () => {
    const store = new ItemStore()
    store.set('k', item(value, { marks: STALE | WON, accessedS: 100 }))
    expect(store.get('k', 107)).toMatchObject({ isFetched: false, accessedS: 100 })
    expect(store.get('k', 109)).toMatchObject({ isFetched: true, accessedS: 107 })
    expect(store.look('k')).toEqual(
      item(value, { marks: STALE | WON, isFetched: true, accessedS: 109 }),
    )
  })

  test('is not noted by peek, or by a get without the time', () => {
    const store = new ItemStore()
    store.set('k', item(value, { accessedS: 100 }))
    store.get('k')
    store.look('k')
    expect(used(store)).toEqual([false, 100])
  })

  test('is what it is set to', () => {
    const store = new ItemStore()
    store.set('k', item(value, { isFetched: true, accessedS: 100 }))
    expect(used(store)).toEqual([true, 100])
    store.set('k', item(value, { accessedS: 200 }))
    expect(used(store)).toEqual([false, 200])
  })

  test('is no part of a view, open before it or after', () => {
    const store = new ItemStore()
    store.set('k', item(value, { marks: WON, casUnique: 7 }))
    const before = store.view()
    store.get('k', 107)
    const wanted = { flags: 0, expiresAtMs: 0, casUnique: 7, marks: WON, value }
    expect([...before]).toEqual([['k', wanted]])
    expect([...store.view()]).toEqual([['k', wanted]])
    expect([...store]).toEqual([['k', wanted]])
  })

  test('goes with it when its record is moved', () => {
    const store = new ItemStore()
    store.set('k', item(value, { accessedS: 100 }))
    store.get('k', 107)
    for (let at = 0; at < 100_000; at++) store.set(`k${at % 100}`, item(lengthened('x', at)))
    expect(used(store)).toEqual([true, 107])
  })
})

describe('against a Map', () => {
  const size = fc.oneof(
    { weight: 8, arbitrary: fc.nat(200) },
    { weight: 2, arbitrary: fc.nat(5_000) },
    { weight: 1, arbitrary: fc.constantFrom(65_536, 65_537, 200_000) },
  )
  const keys = fc.record({ first: fc.nat(6_000), count: fc.integer({ min: 1, max: 2_500 }) })
  const action = fc.oneof(
    fc.record({ kind: fc.constant('set' as const), keys, size, expires: fc.boolean() }),
    fc.record({ kind: fc.constant('set' as const), keys, size, expires: fc.boolean() }),
    fc.record({ kind: fc.constant('delete' as const), keys }),
    fc.record({ kind: fc.constant('sweep' as const), slice: fc.nat(SLICES - 1) }),
    fc.record({ kind: fc.constant('clear' as const) }),
    fc.record({ kind: fc.constant('view' as const) }),
    fc.record({ kind: fc.constant('close' as const) }),
  )

  test('anything, with views taken at any moment staying as they were', () => {
    const property = fc.property(fc.array(action, { maxLength: 25 }), (actions) => {
      const store = new ItemStore()
      const model = new Map<string, Item>()
      const views: { view: ItemsView; contents: string[] }[] = []
      let casUnique = 0

      for (const action of actions) {
        if (action.kind === 'set') {
          // Not too many that are large.
          const count = Math.min(action.keys.count, 1 + 2_000_000 / (action.size + 1))
          for (let at = 0; at < count; at++) {
            const key = `key ${action.keys.first + at}`
            const value = Buffer.alloc(action.size, `${++casUnique} `)
            const expiresAtMs = action.expires ? 1000 + (at % 3) : 0
            const marks = casUnique % 4
            const each = { ...NEW, flags: casUnique, expiresAtMs, casUnique, marks, value }
            store.set(key, each)
            model.set(key, each)
          }
        } else if (action.kind === 'delete') {
          for (let at = 0; at < action.keys.count; at++) {
            const key = `key ${action.keys.first + at}`
            if (store.delete(key) !== model.delete(key)) throw new Error(`delete ${key}`)
          }
        } else if (action.kind === 'sweep') {
          // Many of them, or little would be swept.
          for (let slice = action.slice; slice < SLICES; slice++) store.sweep(slice, 1001)
          for (const [key, { expiresAtMs }] of model) {
            const slice = Math.floor(hashOf(key) / (2 ** 32 / SLICES))
            if (slice < action.slice || expiresAtMs === 0 || expiresAtMs > 1001) continue
            model.delete(key)
          }
        } else if (action.kind === 'clear') {
          store.clear()
          model.clear()
        } else if (action.kind === 'view') {
          views.push({ view: store.view(), contents: contentsOf(model) })
        } else {
          const closed = views.shift()
          if (closed) expect(contentsOf(closed.view)).toEqual(closed.contents)
          closed?.view.close()
        }
        expect(store.count).toBe(model.size)
        const expiring = [...model.values()].some(({ expiresAtMs }) => expiresAtMs !== 0)
        expect(store.hasExpiring).toBe(expiring)
      }

      for (const { view, contents } of views) {
        expect(view.count).toBe(contents.length)
        expect(contentsOf(view)).toEqual(contents)
        view.close()
      }
      expect(contentsOf(store)).toEqual(contentsOf(model))
      let bytes = 0
      for (const [key, each] of model) {
        bytes += itemBytes(key.length, each.value.length)
        const got = store.get(key)
        if (!got || line(key, got) !== line(key, each) || !got.value.equals(each.value)) {
          throw new Error(`get ${key}`)
        }
      }
      expect(store.bytes).toBe(bytes)
    })
    fc.assert(property, { seed: 1, numRuns: 100 })
  })
})

describe('growing and shrinking', () => {
  test('many keys, deleted again in another order', () => {
    const store = new ItemStore()
    fill(store, 100_000, Buffer.alloc(10))
    expect(store.count).toBe(100_000)
    for (let at = 0; at < 100_000; at++) store.delete(`k${(at * 7919) % 100_000}`)
    expect([store.count, store.bytes, [...store]]).toEqual([0, 0, []])
    fill(store, 1000, Buffer.alloc(10))
    expect(store.count).toBe(1000)
  })

  test('keys of one hash, more than a page holds', () => {
    const keys = collidingKeys(10)
    expect(new Set(keys.map(hashOf)).size).toBe(1)
    expect(new Set(keys).size).toBe(1024)
    const store = new ItemStore()
    fill(store, 5000, Buffer.alloc(1))
    for (const [at, key] of keys.entries()) store.set(key, item(`${at}`))
    expect(store.count).toBe(6024)
    for (const [at, key] of keys.entries()) if (at % 3 === 0) store.delete(key)
    const wanted = keys.map((_, at) => (at % 3 === 0 ? undefined : `${at}`))
    expect(keys.map((key) => valueIn(store, key))).toEqual(wanted)
    for (const key of keys) store.delete(key)
    expect(store.count).toBe(5000)
  })
})

describe('memory', () => {
  const VALUE = Buffer.alloc(100)

  test('of items written again and again is bounded', () => {
    const store = new ItemStore()
    const random = seededRandom(1)
    fill(store, 50_000, VALUE)
    for (let at = 0; at < 500_000; at++) {
      store.set(`k${Math.floor(random() * 50_000)}`, item(lengthened(VALUE, at)))
      if (at % 1000 === 0) expect(store.heldBytes).toBeLessThan(1.5 * store.bytes + 12 * MIB)
    }
    expect(store.count).toBe(50_000)
    for (let at = 0; at < 50_000; at++) {
      expect(store.get(`k${at}`)?.value.subarray(0, 100).equals(VALUE)).toBe(true)
    }
  })

  test.each([0, 40, 1000, 60_000, 300_000])(
    'values of %d bytes, written again at random',
    (length) => {
      const store = new ItemStore()
      const random = seededRandom(2)
      const count = Math.ceil((20 * MIB) / (length + 200))
      const value = Buffer.alloc(length)
      fill(store, count, value)
      for (let at = 0; at < 3 * count; at++) {
        store.set(`k${Math.floor(random() * count)}`, item(lengthened(value, at)))
        if (at % 100 === 0) expect(store.heldBytes).toBeLessThan(1.6 * store.bytes + 16 * MIB)
      }
      expect(store.count).toBe(count)
    },
  )

  test('of deleted items is used again, or given back with the changes that follow', () => {
    const store = new ItemStore()
    fill(store, 300_000, VALUE)
    const full = store.heldBytes
    for (let at = 0; at < 300_000; at++) if (at % 10 !== 0) store.delete(`k${at}`)
    for (let at = 0; at < 100_000; at++) store.set('k0', item(VALUE))
    expect(store.heldBytes).toBeLessThan(full / 2)
    expect(store.count).toBe(30_000)
    fill(store, 300_000, VALUE)
    expect(store.heldBytes).toBeLessThan(1.5 * full)
  })

  test('that a view needs is used again once it is closed', () => {
    const store = new ItemStore()
    fill(store, 100_000, VALUE)
    const views = [store.view(), store.view()]
    for (let round = 0; round < 4; round++) fill(store, 100_000, VALUE)
    const whileOpen = store.heldBytes
    views[0]?.close()
    views[0]?.close()
    for (let round = 0; round < 2; round++) fill(store, 100_000, VALUE)
    expect(store.heldBytes).toBeGreaterThan(whileOpen)
    expect([...(views[1] as ItemsView)].length).toBe(100_000)
    views[1]?.close()
    const atClose = store.heldBytes
    for (let round = 0; round < 2; round++) fill(store, 100_000, VALUE)
    expect(store.heldBytes).toBeLessThan(atClose)
  })
})

describe('views', () => {
  test('a closed one is not read any more', () => {
    const store = new ItemStore()
    fill(store, 10, Buffer.alloc(10))
    const view = store.view()
    const begun = view[Symbol.iterator]()
    begun.next()
    view.close()
    expect(() => begun.next()).toThrow('this view of the items is closed')
    expect(() => [...view]).toThrow('this view of the items is closed')
    expect(() => [...store.view()]).not.toThrow()
  })

  test('is read piece by piece while everything in it changes', () => {
    const store = new ItemStore()
    for (let at = 0; at < 20_000; at++) store.set(`k${at}`, item(`value ${at}`))
    const wanted = contentsOf(store)
    const view = store.view()
    const got: string[] = []
    for (const [key, each] of view) {
      got.push(line(key, each))
      const at = Number(key.slice(1))
      store.delete(`k${(at * 31) % 20_000}`)
      for (let more = 0; more < 10; more++) store.set(`k${(at + more) % 30_000}`, item('changed'))
    }
    expect(got.sort()).toEqual(wanted)
  })
})

describe('clearing', () => {
  test('leaves nothing, and a store like any other', () => {
    const store = new ItemStore()
    fill(store, 20_000, Buffer.alloc(100))
    store.set('large', item(LARGE, { expiresAtMs: 5 }))
    for (let round = 0; round < 2; round++) {
      store.clear()
      expect([store.count, store.bytes, store.hasExpiring]).toEqual([0, 0, false])
      expect([...store]).toEqual([])
      expect([...store.view()]).toEqual([])
      expect([store.get('k1'), store.get('large')]).toEqual([undefined, undefined])
      expect(store.delete('k1')).toBe(false)
      for (let slice = 0; slice < SLICES; slice++) store.sweep(slice, 1000)
    }
    store.set('k1', item('again'))
    expect(contentsOf(store)).toEqual([line('k1', item('again'))])
  })

  test('views of before it stay, and those of after it are of what came after', () => {
    const random = seededRandom(3)
    const store = new ItemStore()
    const views: { view: ItemsView; contents: string[] }[] = []
    for (let round = 0; round < 12; round++) {
      const count = Math.ceil(random() * 40_000)
      const first = Math.floor(random() * 40_000)
      for (let at = first; at < first + count; at++) {
        store.set(`k${at}`, item(`${round} ${at}`.padEnd(300)))
      }
      store.set('large', item(Buffer.alloc(100_000, `${round} `)))
      if (random() < 0.6) views.push({ view: store.view(), contents: contentsOf(store) })
      if (random() < 0.8) store.clear()
      if (random() < 0.4) {
        const closed = views.shift()
        if (closed) expect(contentsOf(closed.view)).toEqual(closed.contents)
        closed?.view.close()
      }
    }
    expect(views.length).toBeGreaterThan(2)
    for (const { view, contents } of views) expect(contentsOf(view)).toEqual(contents)
  })

  test('while records are being moved', () => {
    const store = new ItemStore()
    const random = seededRandom(4)
    const change = (count: number) => {
      for (let at = 0; at < count; at++) {
        const value = Buffer.alloc(Math.floor(random() * 300))
        store.set(`k${Math.floor(random() * 3000)}`, item(value))
      }
    }
    for (let round = 0; round < 10; round++) {
      change(6000 + 300 * round)
      store.clear()
      change(30_000)
      // A segment that is begun is as large as all before it.
      expect(store.heldBytes).toBeLessThan(2 * store.bytes + MIB)
    }
  })

  test('memory is used again', () => {
    const store = new ItemStore()
    fill(store, 100_000, Buffer.alloc(100))
    const full = store.heldBytes
    for (let round = 0; round < 3; round++) {
      store.clear()
      fill(store, 100_000, Buffer.alloc(100))
      expect(store.heldBytes).toBeLessThan(1.3 * full)
    }
  })

  test('memory is given back with the changes that follow', () => {
    const store = new ItemStore()
    fill(store, 200_000, Buffer.alloc(100))
    const full = store.heldBytes
    store.clear()
    for (let at = 0; at < 40_000; at++) store.set(`k${at % 10}`, item('x'))
    expect(store.heldBytes).toBeLessThan(full / 2)
  })

  test('large values go as others come, not all at once', () => {
    const store = new ItemStore()
    fill(store, 200, LARGE)
    const full = store.heldBytes
    store.clear()
    expect(store.heldBytes).toBe(full)
    for (let at = 0; at < 100; at++) {
      const before = store.heldBytes
      store.set(`k${at}`, item(LARGE))
      expect(before - store.heldBytes).toBeLessThan(1.1 * LARGE.length)
      expect(store.heldBytes).toBeLessThan(full + 1.1 * LARGE.length)
    }
    store.clear()
    fill(store, 150_000, Buffer.alloc(100))
    expect(store.heldBytes).toBeLessThan(1.5 * store.bytes)
  })

  test('large values go once no view holds them', () => {
    const store = new ItemStore()
    fill(store, 20, LARGE)
    const view = store.view()
    store.clear()
    for (let at = 0; at < 40; at++) store.set('k', item(LARGE))
    expect(store.heldBytes).toBeGreaterThan(20 * LARGE.length)
    expect([...view].length).toBe(20)
    view.close()
    for (let at = 0; at < 40; at++) store.set('k', item(LARGE))
    expect(store.heldBytes).toBeLessThan(2 * LARGE.length)
  })
})

describe('sweeping', () => {
  test('takes what has expired from one part of the hashes, and all once round', () => {
    const store = new ItemStore()
    for (let at = 0; at < 20_000; at++) {
      store.set(`k${at}`, item('x', { expiresAtMs: [0, 1000, 2000][at % 3] ?? 0 }))
    }
    const left = new Set([...store].map(([key]) => key))
    for (let slice = 0; slice < SLICES; slice++) {
      store.sweep(slice, 1999)
      for (const key of [...left]) {
        const isInSlice = Math.floor(hashOf(key) / (2 ** 32 / SLICES)) === slice
        if (isInSlice && Number(key.slice(1)) % 3 === 1) left.delete(key)
      }
      if (slice % 16 === 0) expect(new Set([...store].map(([key]) => key))).toEqual(left)
    }
    expect(store.count).toBe(13_333)
    expect(store.hasExpiring).toBe(true)
    for (let slice = 0; slice < SLICES; slice++) store.sweep(slice, 2000)
    expect(store.count).toBe(6667)
    expect(store.hasExpiring).toBe(false)
  })
})
