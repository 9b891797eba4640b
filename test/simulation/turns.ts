/**
 * Moments at which a crash hurts most: a term or a role that has just changed, a
 * tail that was cut off, a configuration or a vote that is about to reach the
 * disk or has just left. Random moments hardly ever hit them.
 */
import type { ServerProcess } from './cluster.ts'

export type Turn = 'term' | 'role' | 'truncation' | 'config' | 'vote'

interface Seen {
  term: number
  role: string
  lastIndex: number
  lastTerm: number
  configIndex: number
}

export class Turns {
  readonly #servers: readonly ServerProcess[]
  readonly #onTurn: (server: ServerProcess, turn: Turn) => void
  readonly #seen = new WeakMap<object, Seen>()

  constructor(
    servers: readonly ServerProcess[],
    onTurn: (server: ServerProcess, turn: Turn) => void,
  ) {
    this.#servers = servers
    this.#onTurn = onTurn
  }

  /** After each event. */
  check(): void {
    for (const server of this.#servers) {
      const { node } = server
      if (!node) continue
      const { raft } = node
      const { log, term, role } = raft
      const { lastIndex } = log
      const seen = this.#seen.get(node)
      if (!seen) {
        const configIndex = log.config?.index ?? 0
        this.#seen.set(node, { term, role, lastIndex, lastTerm: log.last.term, configIndex })
        continue
      }
      if (seen.term !== term) {
        seen.term = term
        this.#onTurn(server, 'term')
      }
      if (seen.role !== role) {
        seen.role = role
        this.#onTurn(server, 'role')
      }
      if (seen.lastIndex === lastIndex) continue
      const isCut = lastIndex < seen.lastIndex || log.termAt(seen.lastIndex) !== seen.lastTerm
      seen.lastIndex = lastIndex
      seen.lastTerm = log.last.term
      if (isCut) this.#onTurn(server, 'truncation')
      const configIndex = log.config?.index ?? 0
      if (configIndex !== seen.configIndex) {
        seen.configIndex = configIndex
        this.#onTurn(server, 'config')
      }
    }
  }
}
