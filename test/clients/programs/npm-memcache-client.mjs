/**
 * The npm package memcache-client. What is not done is an error with memcached's word.
 * Its parser needs tslib and does not say so; our package.json does.
 */
import assert from 'node:assert/strict'
import zlib from 'node:zlib'
import { MemcacheClient } from 'memcache-client'
import { address, done, failover, prefix, untilGone } from './failover.mjs'

const client = new MemcacheClient({
  server: address,
  cmdTimeout: 10_000,
  compressor: {
    compressSync: ({ input }) => zlib.deflateSync(input),
    decompressSync: ({ input }) => zlib.inflateSync(input),
  },
})
const ever = { lifetime: 0 }
const key = (name) => prefix + name
const get = async (name) => (await client.get(key(name)))?.value

const values = {
  string: 'a value with \r\n in it',
  unicode: 'Grüße, 世界 🌍',
  number: 42.5,
  object: { nested: [1, 'two', null] },
  binary: Buffer.from(Array.from({ length: 256 }, (_, at) => at)),
  empty: '',
  large: 'x'.repeat(900_000),
}
for (const [name, value] of Object.entries(values)) {
  assert.deepEqual(await client.set(key(name), value, ever), ['STORED'])
  assert.deepEqual(await get(name), value)
}
await client.set(key('compressed'), values.large, { ...ever, compress: true })
assert.equal(await get('compressed'), values.large)
assert.equal(await get('missing'), undefined)
const found = await client.get([key('string'), key('missing'), key('number')])
assert.deepEqual(Object.keys(found), [key('string'), key('number')])

assert.deepEqual(await client.add(key('a'), 'middle', ever), ['STORED'])
await assert.rejects(client.add(key('a'), 'x', ever), { message: 'NOT_STORED' })
assert.deepEqual(await client.replace(key('a'), 'MIDDLE', ever), ['STORED'])
await assert.rejects(client.replace(key('missing'), 'x', ever), { message: 'NOT_STORED' })
assert.deepEqual(await client.append(key('a'), ' end'), ['STORED'])
assert.deepEqual(await client.prepend(key('a'), 'begin '), ['STORED'])
assert.equal(await get('a'), 'begin MIDDLE end')
await assert.rejects(client.append(key('missing'), 'x'), { message: 'NOT_STORED' })

const { casUniq } = await client.gets(key('a'))
assert.deepEqual(await client.cas(key('a'), 'swapped', { ...ever, casUniq }), ['STORED'])
await assert.rejects(client.cas(key('a'), 'too late', { ...ever, casUniq }), { message: 'EXISTS' })
await assert.rejects(client.cas(key('missing'), 'x', { ...ever, casUniq }), {
  message: 'NOT_FOUND',
})
assert.equal(await get('a'), 'swapped')

await client.set(key('count'), 10, ever)
assert.equal(await client.incr(key('count'), 5), '15')
assert.equal(await client.decr(key('count'), 20), '0')
await assert.rejects(client.incr(key('missing'), 1), { message: 'NOT_FOUND' })
await assert.rejects(client.incr(key('a'), 1), /^Error: CLIENT_ERROR cannot increment/)

assert.equal(await client.set(key('quiet'), 10, { ...ever, noreply: true }), undefined)
assert.equal(await client.incr(key('quiet'), 1, { noreply: true }), undefined)
assert.equal(await get('quiet'), 11)

assert.deepEqual(await client.delete(key('a')), ['DELETED'])
await assert.rejects(client.delete(key('a')), { message: 'NOT_FOUND' })

await client.set(key('short'), 'x', { lifetime: 1 })
await client.set(key('touched'), 'x', ever)
assert.deepEqual(await client.touch(key('touched'), 1), ['TOUCHED'])
await assert.rejects(client.touch(key('missing'), 1), { message: 'NOT_FOUND' })
await untilGone(() => get('short'))
await untilGone(() => get('touched'))

await assert.rejects(client.set(key('huge'), 'x'.repeat(1_100_000), ever), {
  message: 'SERVER_ERROR object too large for cache',
})
await assert.rejects(client.get(key('k'.repeat(251))), /^Error: CLIENT_ERROR/)

const [version] = await client.version().then((tokens) => tokens.slice(1))
const { STAT } = await client.cmd('stats')
assert.deepEqual(
  STAT.find(([name]) => name === 'version'),
  ['version', version],
)

await failover({
  set: (name, value) => client.set(name, value, ever),
  increment: (name) => client.incr(name, 1),
  read: async (names) => {
    const results = Object.entries(await client.get(names))
    return Object.fromEntries(results.map(([name, { value }]) => [name, value]))
  },
})

assert.deepEqual(await client.cmd('flush_all'), ['OK'])
assert.equal(await get('string'), undefined)
await client.set(key('string'), 'again', ever)
assert.equal(await get('string'), 'again')
done()
