/**
 * Simulated time: one queue of events for the whole world, and one source of dice.
 *
 * An event runs to its end before the next one starts, and all promises that it
 * settled have run too. Equal seeds give equal runs: nothing here or in what
 * runs here reads a real clock or real dice.
 */
import { seededRandom } from '../io/memory-disk.ts'

interface Event {
  readonly timeMs: number
  readonly order: number
  readonly run: () => void
}

export class World {
  readonly random: () => number
  nowMs = 0
  /** Set by whatever settles promises or calls code that does: they run before the next event. */
  hasPromises = false
  /** Called with a line of text for each thing that happens, when somebody wants to read them. */
  onTrace: ((line: string) => void) | null = null
  /** Called after each event. */
  onEvent: () => void = () => {}
  eventCount = 0
  readonly #heap: Event[] = []
  /** What runs at this very moment, in order. */
  #soon: (() => void)[] = []
  #order = 0

  constructor(seed: number) {
    this.random = seededRandom(seed)
  }

  trace(who: string, what: () => string): void {
    this.onTrace?.(`${this.nowMs.toFixed(3).padStart(10)} ${who.padEnd(4)} ${what()}`)
  }

  after(delayMs: number, run: () => void): void {
    const event = { timeMs: this.nowMs + Math.max(0, delayMs), order: this.#order++, run }
    this.#heap.push(event)
    this.#siftUp(this.#heap.length - 1)
  }

  /** Runs something at this moment, behind what is under way. */
  soon(run: () => void): void {
    this.#soon.push(run)
  }

  /** Runs events up to `untilMs`, or until `isDone` says so. */
  async runUntil(untilMs: number, isDone: () => boolean = () => false): Promise<void> {
    while (!isDone()) {
      if (this.#soon.length > 0) {
        const runs = this.#soon
        this.#soon = []
        for (const run of runs) {
          const settling = this.#run(run)
          if (settling) await settling
        }
        continue
      }
      const first = this.#heap[0]
      if (!first || first.timeMs > untilMs) {
        this.nowMs = untilMs
        return
      }
      this.#pop()
      this.nowMs = first.timeMs
      const settling = this.#run(first.run)
      if (settling) await settling
    }
  }

  /** @returns a promise only where promises have to settle: most events need none. */
  #run(run: () => void): Promise<void> | null {
    this.eventCount++
    run()
    if (!this.hasPromises) {
      this.onEvent()
      return null
    }
    this.hasPromises = false
    // A tick that a microtask asks for runs once all microtasks have; cheaper than a turn of the loop.
    return new Promise<void>((resolve) => {
      queueMicrotask(() => process.nextTick(resolve))
    }).then(() => this.onEvent())
  }

  // ---------------------------------------------------------------- dice

  chance(ratio: number): boolean {
    return this.random() < ratio
  }

  between(low: number, high: number): number {
    return low + this.random() * (high - low)
  }

  integer(low: number, high: number): number {
    return low + Math.floor(this.random() * (high - low + 1))
  }

  pick<T>(list: readonly T[]): T {
    const found = list[Math.floor(this.random() * list.length)]
    if (found === undefined) throw new Error('nothing to pick from')
    return found
  }

  shuffle<T>(list: readonly T[]): T[] {
    const keyed = list.map((item) => ({ item, key: this.random() }))
    return keyed.sort((a, b) => a.key - b.key).map(({ item }) => item)
  }

  // ---------------------------------------------------------------- heap

  #before(a: Event, b: Event): boolean {
    return a.timeMs < b.timeMs || (a.timeMs === b.timeMs && a.order < b.order)
  }

  #siftUp(at: number): void {
    const heap = this.#heap
    const event = heap[at] as Event
    let child = at
    while (child > 0) {
      const parent = (child - 1) >> 1
      const above = heap[parent] as Event
      if (!this.#before(event, above)) break
      heap[child] = above
      child = parent
    }
    heap[child] = event
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop() as Event
    if (heap.length === 0) return
    let parent = 0
    for (;;) {
      let child = 2 * parent + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && this.#before(heap[child + 1] as Event, heap[child] as Event)) {
        child++
      }
      if (!this.#before(heap[child] as Event, last)) break
      heap[parent] = heap[child] as Event
      parent = child
    }
    heap[parent] = last
  }
}
