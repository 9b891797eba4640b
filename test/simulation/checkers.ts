/**
 * What must hold at every moment of a run. A checker throws a Violation that
 * names itself.
 */
import { crc32 } from 'node:zlib'
import type { StateMachine } from '../../src/server/keystore/state-machine.ts'
import type { LogEntry } from '../../src/server/log/record.ts'
import type { Node } from '../../src/server/node.ts'
import { isSingleChange } from '../../src/server/raft/config.ts'
import type { Config } from '../../src/server/raft/types.ts'
import { DATA, type ServerProcess, Violation } from './cluster.ts'
import type { Host } from './host.ts'

interface Committed {
  readonly record: string
  /** Digest of the items once it is applied. */
  readonly digest: number
  readonly timeMs: number
}

/** A vote that leaves its voter. */
export interface GivenVote {
  readonly term: number
  readonly candidate: string
}

/** @returns the vote that a datagram gives; null where it gives none. */
export function voteIn(bytes: Uint8Array): GivenVote | null {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  if (text.indexOf('"type":"vote') === -1) return null
  const { type, from, to, term, granted } = JSON.parse(text.toString())
  // A candidate that asks for votes has given itself its own.
  if (type === 'vote') return { term, candidate: from }
  return granted === true ? { term, candidate: to } : null
}

export class Checkers {
  readonly #servers: readonly ServerProcess[]
  readonly #watched = new WeakSet<Node>()
  readonly #leaders = new Map<number, string>()
  readonly #votes = new Map<string, string>()
  /** By log index; what was applied anywhere is the same everywhere, for ever. */
  readonly #committed = new Map<number, Committed>()
  readonly #configs = new WeakMap<Node, number>()
  #lastConfig: { readonly index: number; readonly config: Config } | null = null
  #pending: unknown = null

  constructor(servers: readonly ServerProcess[]) {
    this.#servers = servers
  }

  /** After each event. */
  check(): void {
    if (this.#pending) throw this.#pending
    for (const { node, host } of this.#servers) {
      if (!node) continue
      if (!this.#watched.has(node)) this.#watch(host, node)
      if (node.raft.role === 'leader') {
        this.#checkLeader(host, node)
        this.#checkConfig(host, node)
      } else this.#configs.delete(node)
    }
  }

  /** Every vote on the wire. */
  checkVote(from: Host, { term, candidate }: GivenVote): void {
    const key = `${from.name} ${term}`
    const known = this.#votes.get(key)
    if (known === undefined) this.#votes.set(key, candidate)
    else if (known !== candidate) {
      this.#pending ??= new Violation(
        `one vote a term: ${from.name} in term ${term}: for ${known} and for ${candidate}`,
      )
    }
  }

  // ---------------------------------------------------------------- one each

  #checkLeader(host: Host, { raft }: Node): void {
    const known = this.#leaders.get(raft.term)
    if (known === undefined) this.#leaders.set(raft.term, raft.id)
    else if (known !== raft.id) {
      fail('one leader a term', `term ${raft.term}: ${known} and ${raft.id} (${host.name})`)
    }
  }

  /** A leader appends a configuration only after the one before it is committed. */
  #checkConfig(host: Host, node: Node): void {
    const { log } = node.raft
    const index = log.config?.index ?? 0
    const before = this.#configs.get(node)
    this.#configs.set(node, index)
    if (before !== undefined && index > before && before > log.commitIndex) {
      fail(
        'one membership change at a time',
        `${host.name} has configurations at ${before} and ${index}, committed ${log.commitIndex}`,
      )
    }
  }

  #watch(host: Host, node: Node): void {
    this.#watched.add(node)
    const { machine } = node
    this.#checkDigest(host, machine)
    const apply = machine.apply.bind(machine)
    machine.apply = (entry) => {
      const reply = apply(entry)
      // What is thrown here the node would take for its own failure.
      try {
        this.#applied(host, node, entry as LogEntry)
      } catch (error) {
        this.#pending ??= error
      }
      return reply
    }
  }

  #applied(host: Host, node: Node, entry: LogEntry): void {
    const { index } = entry
    const record = entry.record.toString('latin1')
    const known = this.#committed.get(index)
    if (known === undefined) {
      this.#checkDurable(node, entry)
      this.#checkTime(entry)
      this.#checkMembership(entry)
      this.#committed.set(index, {
        record,
        digest: digestOf(node.machine),
        timeMs: entry.timeMs,
      })
      return
    }
    if (known.record !== record) {
      fail('committed entries never change', `${host.name} applies ${record} after ${known.record}`)
    }
    this.#checkDigest(host, node.machine)
  }

  #checkDigest(host: Host, machine: StateMachine): void {
    const known = this.#committed.get(machine.appliedIndex)
    if (known && known.digest !== digestOf(machine)) {
      fail('equal keystores at equal index', `${host.name} at ${machine.appliedIndex}`)
    }
  }

  #checkTime(entry: LogEntry): void {
    const before = this.#committed.get(entry.index - 1)
    if (before && entry.timeMs < before.timeMs) {
      fail('log time never goes back', `entry ${entry.index}: ${before.timeMs} -> ${entry.timeMs}`)
    }
  }

  /** What is applied anywhere is durable on a majority of the voters at that moment. */
  #checkDurable(node: Node, entry: LogEntry): void {
    const holders = new Set<string | null>()
    for (const { host, id, isDamaged } of this.#servers) {
      // What rotted since was durable when it was acknowledged.
      if (isDamaged || host.disk.hasDurably(`${DATA}/groups`, entry.record)) holders.add(id)
    }
    // A configuration counts as soon as it is in the log, committed or not.
    const configs = [this.#lastConfig?.config, node.raft.config]
    const isMajority = configs.some((config) => {
      const voters = (config?.members ?? []).filter(({ voter }) => voter).map(({ id }) => id)
      return voters.filter((id) => holders.has(id)).length > voters.length / 2
    })
    if (!isMajority) {
      const names = [...holders].join(' ') || 'nobody'
      fail('durable on a majority', `${entry.index} applied by ${node.raft.id}, held by ${names}`)
    }
  }

  #checkMembership(entry: LogEntry): void {
    if (!entry.config) return
    const before = this.#lastConfig
    if (before && !isSingleChange(before.config, entry.config)) {
      fail('one vote changes at a time', `configurations ${before.index} and ${entry.index}`)
    }
    this.#lastConfig = { index: entry.index, config: entry.config }
  }

  /** Once faults are over: every replica holds the same. */
  checkConverged(): void {
    for (const { node, host } of this.#servers) if (node) this.#checkDigest(host, node.machine)
  }

  /** For the last words of a failed run. */
  describe(): string {
    return this.#servers
      .map(({ host, node, lastFailure, isLost }) => {
        if (!node) return `${host.name} ${isLost ? 'lost' : 'down'} ${lastFailure}`
        const { raft, machine } = node
        const { log } = raft
        return `${host.name} ${raft.id} ${raft.role} term ${raft.term} last ${log.lastIndex} commit ${log.commitIndex} applied ${machine.appliedIndex} leader ${raft.leaderId}`
      })
      .join('\n')
  }
}

export function fail(checker: string, what: string): never {
  throw new Violation(`${checker}: ${what}`)
}

export function digestOf({ items }: StateMachine): number {
  const lines = items
    .view()
    .map(([key, { flags, expiresAtMs, casUnique, value }]) => {
      return `${key} ${flags} ${expiresAtMs} ${casUnique} ${crc32(value)}`
    })
    .sort()
  return crc32(lines.join('\n'))
}
