/** A system whose processes keep the roles and ports that they were started with. */
import type { Endpoint, Protocol } from '../load/job.ts'
import type { Programs } from './programs.ts'
import { traceSyncs } from './strace.ts'
import type { NamedProcess, System, SystemName } from './system.ts'

export interface FixedParts {
  readonly name: SystemName
  readonly protocol: Protocol
  readonly programs: Programs
  /** Where requests go; the leader's first. */
  readonly endpoints: readonly [Endpoint, ...Endpoint[]]
  /** Of each program, by its name. */
  readonly roles: Readonly<Record<string, string>>
}

/** One that syncs nothing. */
export class FixedSystem implements System {
  readonly name: SystemName
  readonly protocol: Protocol
  readonly #parts: FixedParts

  constructor(parts: FixedParts) {
    this.name = parts.name
    this.protocol = parts.protocol
    this.#parts = parts
  }

  async leader(): Promise<Endpoint> {
    return this.#parts.endpoints[0]
  }

  everyone(): readonly Endpoint[] {
    return this.#parts.endpoints
  }

  async processes(): Promise<readonly NamedProcess[]> {
    const { programs, roles } = this.#parts
    return Object.entries(roles).map(([name, role]) => ({ role, pid: programs.pidOf(name) }))
  }

  async syncCount(): Promise<number | null> {
    return null
  }

  stop(): Promise<void> {
    return this.#parts.programs.stop()
  }
}

/** One that syncs, and does not count how often. */
export class SyncingSystem extends FixedSystem {
  async traceSyncs(): Promise<() => Promise<number | null>> {
    return traceSyncs((await this.processes()).map(({ pid }) => pid))
  }
}
