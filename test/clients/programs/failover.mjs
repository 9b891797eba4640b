/**
 * The part of a program in which leaders die, for the libraries from npm: see ../program.ts
 * for the conversation with the test.
 *
 * The functions given use one library object, the same before and after. `set` and `increment`
 * resolve when the library says that the write is done, and throw otherwise; what they threw
 * may still have happened. `read` gives an object with the values of keys that were found.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'

/** So many in a row, once all is well again, and the library counts as recovered. */
const RECOVERED = 20
const RECOVERY_MS = 30_000
/** A pause after each turn, so that a dozen programs do not spend the machine. */
const PAUSE_MS = 10
const KEYS_A_READ = 50

/** Where the server is, and what all keys of this program begin with. */
export const [address, prefix] = process.argv.slice(2)

const input = createInterface({ input: process.stdin })

/** A promise of the test's next line. */
async function heard(line) {
  const [got] = await once(input, 'line')
  assert.equal(got, line)
}

/** Tries until it finds nothing: expiry takes its second, and log time may lag one more. */
export async function untilGone(read) {
  for (let tries = 0; (await read()) !== undefined; tries++) {
    assert.ok(tries < 300, 'an item with an expiry of a second is still there')
    await delay(50)
  }
}

export async function failover({ set, increment, read }) {
  const counter = `${prefix}counter`
  const stored = []
  let [failedSets, increments, failedIncrements, inARow] = [0, 0, 0, 0]
  let settledMs = 0
  await set(counter, 0)
  const settled = heard('settled').then(() => {
    settledMs = Date.now()
    inARow = 0
  })
  for (let n = 0; settledMs === 0 || inARow < RECOVERED; n++) {
    const failures = failedSets + failedIncrements
    await set(`${prefix}n${n}`, `value ${n}`).then(
      () => stored.push(n),
      () => failedSets++,
    )
    await increment(counter).then(
      () => increments++,
      () => failedIncrements++,
    )
    inARow = failures === failedSets + failedIncrements ? inARow + 1 : 0
    if (n === RECOVERED) console.log('writing')
    if (settledMs > 0) {
      assert.ok(Date.now() - settledMs < RECOVERY_MS, 'the library did not recover')
    }
    await delay(PAUSE_MS)
  }
  await settled

  for (let from = 0; from < stored.length; from += KEYS_A_READ) {
    const part = stored.slice(from, from + KEYS_A_READ)
    const found = await read(part.map((n) => `${prefix}n${n}`))
    for (const n of part) assert.equal(found[`${prefix}n${n}`], `value ${n}`)
  }
  const count = Number((await read([counter]))[counter])
  assert.ok(increments <= count && count <= increments + failedIncrements, `counter ${count}`)
  console.log(`kept ${stored.length + increments}, ${failedSets + failedIncrements} failed`)
  await heard('flush')
}

/** The scenario is over: nothing that the library still holds open keeps the process. */
export function done() {
  console.log('done')
  process.exit(0)
}
