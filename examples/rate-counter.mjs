/**
 * At most so many requests a minute from each caller, counted for all servers of a service.
 *
 *     node examples/rate-counter.mjs 127.0.0.1:5002
 *
 * Each window of time has a counter of its own, which expires when nobody asks for it any
 * more. `incr` is one step, so that no two requests get the same number, and exactly as many
 * pass as may. What can't be counted because the store can't be reached passes: a limit is
 * no reason to be down.
 */
import { connect, StoreError } from 'raftcached'

const WINDOW_S = 60

/**
 * @param {import('raftcached').Client} client
 * @param {string} caller
 * @param {number} limit requests a window
 * @returns {Promise<boolean>} whether this one may pass.
 */
async function mayPass(client, caller, limit, nowMs = Date.now()) {
  const window = Math.floor(nowMs / 1_000 / WINDOW_S)
  try {
    return (await count(client, `rate:${caller}:${window}`)) <= BigInt(limit)
  } catch (error) {
    if (error instanceof StoreError && error.code !== 'invalid') return true
    throw error
  }
}

/** Adds one. @returns the sum. */
async function count(client, key) {
  for (;;) {
    const sum = await client.incr(key)
    if (sum !== null) return sum
    // Somebody else may be faster: then it is there, and is incremented.
    if (await client.add(key, '1', { expiresInS: 2 * WINDOW_S })) return 1n
  }
}

const client = await connect(process.argv[2] ?? '127.0.0.1:5002')
const caller = `caller-${process.pid}`
const nowMs = Date.now()

const answers = await Promise.all(
  Array.from({ length: 50 }, () => mayPass(client, caller, 10, nowMs)),
)
console.log(`of 50 requests at once ${answers.filter(Boolean).length} pass`)
const later = await mayPass(client, caller, 10, nowMs + 1_000 * WINDOW_S)
console.log(`in the next window one passes: ${later}`)
await client.close()
