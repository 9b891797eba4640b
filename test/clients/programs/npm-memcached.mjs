/** The npm package memcached. It has callbacks, and no noreply of its own. */
import assert from 'node:assert/strict'
import { promisify } from 'node:util'
import Memcached from 'memcached'
import { address, done, failover, prefix, untilGone } from './failover.mjs'

const client = new Memcached(address, {
  // By default it gives a server up for five hours after five errors.
  ...{ failures: 1_000_000, retry: 100, retries: 1, minTimeout: 100 },
})

function ask(method, ...args) {
  return promisify(client[method]).call(client, ...args)
}
const key = (name) => prefix + name

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
  assert.equal(await ask('set', key(name), value, 0), true)
  assert.deepEqual(await ask('get', key(name)), value)
}
assert.equal(await ask('get', key('missing')), undefined)
assert.deepEqual(await ask('getMulti', [key('string'), key('missing'), key('number')]), {
  [key('string')]: values.string,
  [key('number')]: values.number,
})
// More than its pool has connections.
const many = Array.from({ length: 200 }, (_, at) => key(`many${at}`))
await Promise.all(many.map((name) => ask('set', name, name, 0)))
assert.deepEqual(await Promise.all(many.map((name) => ask('get', name))), many)

assert.equal(await ask('add', key('a'), 'middle', 0), true)
await assert.rejects(ask('add', key('a'), 'x', 0), { notStored: true })
assert.equal(await ask('replace', key('a'), 'MIDDLE', 0), true)
await assert.rejects(ask('replace', key('missing'), 'x', 0), { notStored: true })
assert.equal(await ask('append', key('a'), ' end'), true)
assert.equal(await ask('prepend', key('a'), 'begin '), true)
assert.equal(await ask('get', key('a')), 'begin MIDDLE end')
await assert.rejects(ask('append', key('missing'), 'x'), { notStored: true })

const { cas } = await ask('gets', key('a'))
assert.equal(await ask('cas', key('a'), 'swapped', cas, 0), true)
assert.equal(await ask('cas', key('a'), 'too late', cas, 0), false)
assert.equal(await ask('get', key('a')), 'swapped')

await ask('set', key('count'), 10, 0)
assert.equal(await ask('incr', key('count'), 5), 15)
assert.equal(await ask('decr', key('count'), 20), 0)
assert.equal(await ask('incr', key('missing'), 1), false)
await assert.rejects(ask('incr', key('a'), 1), /cannot increment or decrement non-numeric value/)

assert.equal(await ask('del', key('a')), true)
assert.equal(await ask('del', key('a')), false)

await ask('set', key('short'), 'x', 1)
await ask('set', key('touched'), 'x', 0)
assert.equal(await ask('touch', key('touched'), 1), true)
assert.equal(await ask('touch', key('missing'), 1), false)
await untilGone(() => ask('get', key('short')))
await untilGone(() => ask('get', key('touched')))

await assert.rejects(ask('set', key('huge'), 'x'.repeat(1_100_000), 0), /greater than 1048576/)
await assert.rejects(ask('get', key('with space')), /whitespace/)
// It takes a key that is too long, and sends its hash.
assert.equal(await ask('set', key('k'.repeat(251)), 'long', 0), true)
assert.equal(await ask('get', key('k'.repeat(251))), 'long')

const [{ version }] = await ask('version')
const [stats] = await ask('stats')
assert.equal(stats.version, version)
assert.ok(stats.curr_items > 0)

/** What is not done is false. A connection that is lost takes its requests' callbacks along. */
async function must(result) {
  const late = new Promise((_, reject) => setTimeout(reject, 3_000, new Error('no answer')))
  assert.notEqual(await Promise.race([result, late]), false)
}
await failover({
  set: (name, value) => must(ask('set', name, value, 0)),
  increment: (name) => must(ask('incr', name, 1)),
  read: (names) => ask('getMulti', names),
})

assert.deepEqual(await ask('flush'), [true])
assert.equal(await ask('get', key('string')), undefined)
assert.equal(await ask('set', key('string'), 'again', 0), true)
assert.equal(await ask('get', key('string')), 'again')
done()
