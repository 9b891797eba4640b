/**
 * A lock that several programs share, with an expiry and a fencing token.
 *
 *     node examples/lock.mjs 127.0.0.1:5002
 *
 * Who adds the item holds the lock, until he deletes it or it expires: so a program that died
 * holds it no longer than that. But one that merely slept does not know that it expired. No
 * lock can help there; what it protects can: each holder has a token larger than those of all
 * holders before him, and whatever has seen a larger one refuses him. The token is the item's
 * CAS unique, which grows with every change of the item.
 *
 * Source: Kleppmann, "How to do distributed locking" (2016).
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { connect, StoreError } from 'raftcached'

const PAUSE_MS = 20

/**
 * Waits for the lock.
 * @param {import('raftcached').Client} client
 * @param {string} name
 * @param {number} expiresInS whole seconds, and up to one more
 * @returns its fencing token, and `release`, which says whether it was still held.
 */
async function acquire(client, name, expiresInS) {
  const key = `lock:${name}`
  for (;;) {
    // A name for this attempt alone: one whose outcome is unknown may still succeed, late,
    // and must not be taken for the next.
    const holder = randomUUID()
    await client.add(key, holder, { expiresInS }).catch(throwDefinite)
    const item = await client.gets(key)
    if (String(item?.value) === holder) {
      const isMine = (/** @type {Buffer | null} */ value) => String(value) === holder
      const release = async () => {
        let wasHeld = false
        await client.update(key, (value) => {
          wasHeld = isMine(value)
          return wasHeld ? null : undefined
        })
        return wasHeld
      }
      return { token: item.casUnique, release }
    }
    await delay(PAUSE_MS * (0.5 + Math.random()))
  }
}

/** What may have happened is looked at next; what went wrong for sure is the caller's. */
function throwDefinite(error) {
  if (!(error instanceof StoreError) || error.definite) throw error
}

/** What the lock protects, such as a file server. It knows nothing of locks, only of tokens. */
class Ledger {
  balance = 0
  #token = 0n

  write(balance, token) {
    if (token < this.#token) return false
    this.#token = token
    this.balance = balance
    return true
  }
}

const client = await connect(process.argv[2] ?? '127.0.0.1:5002')
const ledger = new Ledger()
const name = `ledger-${randomUUID()}`

// Many at once, and none loses what another has added.
async function deposit() {
  const lock = await acquire(client, name, 30)
  const balance = ledger.balance
  await delay(1)
  ledger.write(balance + 1, lock.token)
  await lock.release()
}
await Promise.all(Array.from({ length: 20 }, deposit))
console.log(`20 deposits, balance ${ledger.balance}`)

// One sleeps past its expiry, holding the lock as it thinks.
const sleeper = await acquire(client, name, 1)
const next = await acquire(client, name, 30)
console.log(`the next one writes: ${ledger.write(100, next.token)}`)
console.log(`the sleeper writes: ${ledger.write(0, sleeper.token)}`)
console.log(`the sleeper still held it: ${await sleeper.release()}`)
console.log(`the next one still held it: ${await next.release()}`)
await client.close()
