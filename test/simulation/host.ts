/**
 * A simulated machine with one process on it: a clock of its own, a disk, and a
 * life that can end at any moment. What a process had asked for before it died
 * never reaches the next one.
 */
import type { Disk, Io } from '../../src/io/io.ts'
import { type CrashPolicy, MemoryDisk, type Mutation } from '../io/memory-disk.ts'
import type { SimNetwork } from './network.ts'
import type { World } from './world.ts'

/** Some day in 2027. */
const WALL_START_MS = 1_800_000_000_000

export class Host {
  readonly name: string
  readonly world: World
  disk: MemoryDisk
  /** Counts the lives of its process. */
  epoch = 0
  isUp = false
  /** The machine itself is down: nobody tells its peers. */
  isSilent = false
  wallOffsetMs = 0
  /** Something was thrown that nobody caught: a real process ends by that. */
  onCrash: (error: Error) => void = (error) => {
    throw error
  }
  syncDelayMs: readonly [number, number] = [0.2, 3]
  readonly #network: SimNetwork
  /** Its oscillator, by which both clocks run: so fast since `#ranAtMs`, when it had run `#ranMs`. */
  #clockRate = 1
  #ranMs = 0
  #ranAtMs = 0
  /** What the monotonic clock of this life began with, less what it has stood still. */
  #monotonicOffsetMs = 0
  /** Where the oscillator was when the machine was suspended. */
  #suspendedAtMs: number | null = null
  #isPaused = false
  /** What a stopped process will find when it goes on. */
  #backlog: (() => void)[] = []

  constructor(world: World, network: SimNetwork, name: string) {
    this.world = world
    this.name = name
    this.#network = network
    network.addHost(this)
    this.disk = new MemoryDisk({
      random: world.random,
      latency: (mutation) => this.#diskLatency(mutation),
    })
  }

  /** A new process starts. @returns what it may use for as long as it lives. */
  boot(): Io {
    this.epoch++
    this.isUp = true
    this.isSilent = false
    this.#monotonicOffsetMs = this.world.between(0, 1e6)
    const { epoch, world } = this
    const disk = this.#watched(this.disk)
    return {
      clock: {
        monotonicMs: () => this.monotonicMs,
        wallMs: () => this.wallMs,
      },
      random: {
        float: () => world.random(),
        hex: (byteCount) =>
          Array.from({ length: byteCount }, () =>
            world.integer(0, 255).toString(16).padStart(2, '0'),
          ).join(''),
      },
      timers: {
        after: (delayMs, fn) => {
          let isCancelled = false
          world.after(delayMs / this.#clockRate, () => {
            if (!isCancelled) this.run(epoch, () => !isCancelled && fn())
          })
          return {
            cancel: () => {
              isCancelled = true
            },
          }
        },
        soon: (fn) => world.soon(() => this.run(epoch, fn)),
      },
      disk,
      network: this.#network.endpoint(this),
      process: { pid: 1, cpuMs: () => ({ user: 0, system: 0 }) },
    }
  }

  get #oscillatorMs(): number {
    return this.#ranMs + (this.world.nowMs - this.#ranAtMs) * this.#clockRate
  }

  get monotonicMs(): number {
    return (this.#suspendedAtMs ?? this.#oscillatorMs) + this.#monotonicOffsetMs
  }

  get wallMs(): number {
    return Math.floor(WALL_START_MS + this.#oscillatorMs + this.wallOffsetMs)
  }

  /** From now on its clocks run so fast; they never go back for that. */
  setClockRate(rate: number): void {
    this.#ranMs = this.#oscillatorMs
    this.#ranAtMs = this.world.nowMs
    this.#clockRate = rate
  }

  /** Runs something for the process of that life: now, when it goes on, or never. */
  run(epoch: number, fn: () => void): void {
    if (epoch !== this.epoch || !this.isUp) return
    if (this.#isPaused) {
      this.#backlog.push(() => this.run(epoch, fn))
      return
    }
    try {
      fn()
    } catch (error) {
      this.onCrash(error instanceof Error ? error : new Error(String(error)))
    }
  }

  /** The process ends. What it had written stays readable. */
  kill(): void {
    this.#die(false)
    this.disk = this.disk.kill()
  }

  /** The machine ends: what was not synced meets its fate. */
  losePower(policy: CrashPolicy): void {
    this.#die(true)
    this.disk = this.disk.crash(policy)
  }

  pause(): void {
    this.#isPaused = true
  }

  /** Of the whole machine: its monotonic clock stands still, as Linux' does, and its wall clock goes on. */
  suspend(): void {
    this.pause()
    this.#suspendedAtMs ??= this.#oscillatorMs
  }

  resume(): void {
    this.#isPaused = false
    if (this.#suspendedAtMs !== null) {
      this.#monotonicOffsetMs -= this.#oscillatorMs - this.#suspendedAtMs
      this.#suspendedAtMs = null
    }
    const backlog = this.#backlog
    this.#backlog = []
    for (const run of backlog) this.world.after(0, run)
  }

  get isPaused(): boolean {
    return this.#isPaused
  }

  #die(isSilent: boolean): void {
    this.epoch++
    this.isUp = false
    this.isSilent = isSilent
    this.#isPaused = false
    this.#suspendedAtMs = null
    this.#backlog = []
    this.#network.hostDied(this, isSilent)
  }

  #diskLatency({ kind, path, bytes }: Mutation): Promise<void> {
    const { epoch, world } = this
    const text = bytes && JSON.stringify(bytes.toString('latin1', 0, 200))
    world.trace(this.name, () => `${kind} ${path} ${text ?? ''}`)
    const [min, max] =
      kind === 'datasync' || kind === 'syncDirectory' ? this.syncDelayMs : [0.02, 0.2]
    return new Promise((resolve) => {
      const finish = () =>
        this.run(epoch, () => {
          world.hasPromises = true
          resolve()
        })
      world.after(world.between(min, max), finish)
    })
  }

  /** The disk, noting that promises are about. */
  #watched(disk: MemoryDisk): Disk {
    const { world } = this
    return new Proxy(disk, {
      get(target, name) {
        const value = Reflect.get(target, name, target)
        if (typeof value !== 'function') return value
        return (...args: unknown[]) => {
          world.hasPromises = true
          const result = value.apply(target, args)
          return name === 'open' ? result.then(watchFile) : result
        }
      },
    })
    function watchFile(file: object): object {
      return new Proxy(file, {
        get(target, name) {
          const value = Reflect.get(target, name, target)
          if (typeof value !== 'function') return value
          return (...args: unknown[]) => {
            world.hasPromises = true
            return value.apply(target, args)
          }
        },
      })
    }
  }
}
