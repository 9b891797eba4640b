/** A system of one process, which is asked in memcached's protocol and syncs nothing. */
import type { Endpoint } from '../load/job.ts'
import type { Programs } from './programs.ts'
import type { NamedProcess, System } from './system.ts'

export class SingleProcess implements System {
  readonly name: 'memcached' | 'bare'
  readonly protocol = 'memcached'
  readonly #programs: Programs
  readonly #endpoint: Endpoint

  constructor(name: 'memcached' | 'bare', programs: Programs, endpoint: Endpoint) {
    this.name = name
    this.#programs = programs
    this.#endpoint = endpoint
  }

  async leader(): Promise<Endpoint> {
    return this.#endpoint
  }

  everyone(): readonly Endpoint[] {
    return [this.#endpoint]
  }

  async processes(): Promise<readonly NamedProcess[]> {
    return [{ role: 'server', pid: this.#programs.pidOf(this.name) }]
  }

  async syncCount(): Promise<number | null> {
    return null
  }

  stop(): Promise<void> {
    return this.#programs.stop()
  }
}
