/**
 * The program that uses a library: forked by bench/client.ts, one job as a message in, one
 * result as a message out. A closed loop: each call that ends makes room for the next.
 */
import { setTimeout as delay } from 'node:timers/promises'
import {
  type Done,
  LIBRARIES,
  type Library,
  type LibraryJob,
  type LibraryResult,
} from './library.ts'

class Load {
  readonly #library: Library
  readonly #job: LibraryJob
  readonly #keys: readonly string[]
  readonly #value: string
  count = 0
  isOver = false
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

  start(): void {
    for (let k = 0; k < this.#job.inFlight; k++) {
      this.#inFlight++
      this.#next()
    }
  }

  /** Waits for the calls that are under way. @throws what any call failed with. */
  async end(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#finish = resolve
      this.isOver = true
    })
    if (this.#error) throw this.#error
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
    this.count++
    if (!this.isOver && !this.#error) return this.#next()
    if (--this.#inFlight === 0) this.#finish()
  }
}

async function run(job: LibraryJob): Promise<LibraryResult> {
  const connect = LIBRARIES[job.library]
  if (!connect) throw new Error(`no library ${job.library}`)
  const library = await connect(job.servers)
  const load = new Load(library, job)
  await load.fill()
  load.start()
  await delay(job.warmUpMs)
  const [startMs, before, countBefore] = [performance.now(), process.cpuUsage(), load.count]
  await delay(job.measureMs)
  const { user, system } = process.cpuUsage(before)
  const count = load.count - countBefore
  const rate = (1_000 * count) / (performance.now() - startMs)
  await load.end()
  await library.close()
  return { rate, cpuUs: (user + system) / count, error: null }
}

process.once('message', async (job: LibraryJob) => {
  const result = await run(job).catch(
    (error): LibraryResult => ({ rate: 0, cpuUs: 0, error: String(error) }),
  )
  process.send?.(result, () => process.exit())
})
