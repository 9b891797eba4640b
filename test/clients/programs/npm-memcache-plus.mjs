/**
 * The npm package memcache-plus. Whatever the server, values with line ends, empty ones and
 * bytes above 127 are beyond it. It has no touch and no noreply.
 */
import assert from 'node:assert/strict'
import MemcachePlus from 'memcache-plus'
import { address, done, failover, prefix, untilGone } from './failover.mjs'

const client = new MemcachePlus({ hosts: [address], netTimeout: 10_000, onNetError: () => {} })
const key = (name) => prefix + name

const values = {
  string: 'a value with spaces',
  unicode: 'Grüße, 世界 🌍',
  number: 42.5,
  object: { nested: [1, 'two', null] },
  binary: Buffer.from(Array.from({ length: 95 }, (_, at) => 32 + at)),
  large: 'x'.repeat(900_000),
}
for (const [name, value] of Object.entries(values)) {
  await client.set(key(name), value)
  assert.deepEqual(await client.get(key(name)), value)
}
await client.set(key('compressed'), values.large, { compressed: true })
assert.equal(await client.get(key('compressed'), { compressed: true }), values.large)
assert.equal(await client.get(key('missing')), null)
assert.deepEqual(await client.getMulti([key('string'), key('missing'), key('number')]), {
  [key('string')]: values.string,
  [key('missing')]: null,
  [key('number')]: values.number,
})

await client.add(key('a'), 'middle')
await assert.rejects(client.add(key('a'), 'x'), /already exists/)
await client.replace(key('a'), 'MIDDLE')
await assert.rejects(client.replace(key('missing'), 'x'), /does not exist/)
await client.append(key('a'), ' end')
await client.prepend(key('a'), 'begin ')
assert.equal(await client.get(key('a')), 'begin MIDDLE end')
await assert.rejects(client.append(key('missing'), 'x'), /does not exist/)

const [, cas] = await client.gets(key('a'))
assert.equal(await client.cas(key('a'), 'swapped', cas), true)
assert.equal(await client.cas(key('a'), 'too late', cas), false)
assert.equal(await client.get(key('a')), 'swapped')

await client.set(key('count'), 10)
assert.equal(await client.incr(key('count'), 5), 15)
assert.equal(await client.decr(key('count'), 20), 0)
await assert.rejects(client.incr(key('a'), 1), /cannot increment or decrement non-numeric value/)

assert.equal(await client.delete(key('a')), true)
assert.equal(await client.delete(key('a')), false)

await client.set(key('short'), 'x', 1)
await untilGone(async () => (await client.get(key('short'))) ?? undefined)

await assert.rejects(client.set(key('huge'), 'x'.repeat(1_100_000)), /Value too large/)
assert.throws(() => client.get(key('k'.repeat(251))), /less than 250 bytes/)
assert.throws(() => client.get(key('with space')), /whitespace/)

assert.match(await client.version(), /^\d+\.\d+\.\d+$/)
assert.ok(Array.isArray(await client.items()))

await failover({
  set: (name, value) => client.set(name, value),
  increment: (name) => client.incr(name, 1),
  read: (names) => client.getMulti(names),
})

assert.equal(await client.flush(), true)
assert.equal(await client.get(key('string')), null)
await client.set(key('string'), 'again')
assert.equal(await client.get(key('string')), 'again')
done()
