/**
 * The program that uses a library: forked by bench/client.ts. Its job comes as the first
 * message, and it says when it is ready; each message after that has it measure once. A closed
 * loop: each call that ends makes room for the next.
 */
import { setTimeout as delay } from 'node:timers/promises'
import {
  type Done,
  LIBRARIES,
  type Library,
  type LibraryJob,
  type LibraryMessage,
  type LibraryResult,
} from './library.ts'

class Load {
  readonly #library: Library
  readonly #job: LibraryJob
  readonly #keys: readonly string[]
  readonly #value: string
  #count = 0
  #isOver = false
  #error: unknown = null
  /** Calls made so far: they take the keys in turn. */
  #begun = 0
  #inFlight = 0
  #finish = (): void => {}

  constructor(library: Library, job: LibraryJob) {
    this.#library = library
    this.#job = job
    this.#keys = Array.from({ length: job.keyCount }, (_, at) => `key-${at}`)
    this.#value = 'v'.repeat(job.valueBytes)
  }

  async fill(): Promise<void> {
    const set = (key: string) =>
      new Promise<void>((resolve, reject) => {
        this.#library.set(key, this.#value, (error) => (error ? reject(error) : resolve()))
      })
    await Promise.all(this.#keys.map(set))
  }

  /** @throws what any call failed with. */
  async runFor(ms: number): Promise<LibraryResult> {
    const [startMs, before, countBefore] = [performance.now(), process.cpuUsage(), this.#count]
    this.#isOver = false
    for (let k = 0; k < this.#job.inFlight; k++) {
      this.#inFlight++
      this.#next()
    }
    await delay(ms)
    const { user, system } = process.cpuUsage(before)
    const count = this.#count - countBefore
    const rate = (1_000 * count) / (performance.now() - startMs)
    // Those under way end while nobody measures.
    await new Promise<void>((resolve) => {
      this.#finish = resolve
      this.#isOver = true
      if (this.#inFlight === 0) resolve()
    })
    if (this.#error) throw this.#error
    return { rate, cpuUs: (user + system) / count }
  }

  #next(): void {
    const at = this.#begun++
    const key = this.#keys[at % this.#keys.length] as string
    // All keys get both: in every round the one that was a set is a get.
    const isSet = (at + Math.floor(at / this.#keys.length)) % 2 === 0
    if (this.#job.work === 'get' || (this.#job.work !== 'set' && !isSet)) {
      this.#library.get(key, this.#done)
    } else {
      this.#library.set(key, this.#value, this.#done)
    }
  }

  readonly #done: Done = (error) => {
    this.#error ??= error
    this.#count++
    if (!this.#isOver && !this.#error) return this.#next()
    if (--this.#inFlight === 0) this.#finish()
  }
}

async function prepare(job: LibraryJob): Promise<() => Promise<LibraryResult>> {
  const connect = LIBRARIES[job.library]
  if (!connect) throw new Error(`no library ${job.library}`)
  const load = new Load(await connect(job.servers), job)
  await load.fill()
  await load.runFor(job.warmUpMs)
  return () => load.runFor(job.measureMs)
}

process.once('message', async (job: LibraryJob) => {
  const say = (message: LibraryMessage) => void process.send?.(message)
  const fail = (error: unknown) => say({ type: 'failed', why: String(error) })
  try {
    const measure = await prepare(job)
    process.on('message', () => {
      measure().then((result) => say({ type: 'result', result }), fail)
    })
    say({ type: 'ready' })
  } catch (error) {
    fail(error)
  }
})
process.once('disconnect', () => process.exit())
