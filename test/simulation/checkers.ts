/**
 * What must hold at every moment of a run. A checker throws a Violation that
 * names itself.
 */
import { crc32 } from 'node:zlib'
import type { StateMachine } from '../../src/server/keystore/state-machine.ts'
import type { LogEntry } from '../../src/server/log/record.ts'
import type { Node } from '../../src/server/node.ts'
import { isQuorum, isSingleChange, voterIds } from '../../src/server/raft/config.ts'
import { furthest, isUpToDate } from '../../src/server/raft/term-runs.ts'
import type { Config, EntryId } from '../../src/server/raft/types.ts'
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
  readonly #watched = new WeakSet<StateMachine>()
  /** Of each server the node that runs, or ran last. */
  readonly #lastNodes = new Map<ServerProcess, Node>()
  readonly #leaders = new Map<number, string>()
  readonly #votes = new Map<string, string>()
  /** By log index; what was applied anywhere is the same everywhere, for ever. */
  readonly #committed = new Map<number, Committed>()
  /** Of those that lead: where they stood at the event before. */
  readonly #leading = new WeakMap<Node, { configIndex: number; commitIndex: number }>()
  #lastConfig: { readonly index: number; readonly config: Config } | null = null
  #pending: unknown = null
  /** The newest entry that was applied anywhere. */
  #appliedIndex = 0
  /** Events at which a lease held. */
  leaseCount = 0

  constructor(servers: readonly ServerProcess[]) {
    this.#servers = servers
  }

  /** After each event. */
  check(): void {
    if (this.#pending) throw this.#pending
    for (const server of this.#servers) {
      const { node, host } = server
      if (!node) continue
      // It gets another one with a snapshot.
      if (!this.#watched.has(node.machine)) {
        this.#watch(host, node)
        this.#lastNodes.set(server, node)
      }
      if (server.isDamaged && !node.raft.log.isOwing) server.isDamaged = false
      if (node.raft.role === 'leader') {
        this.#checkLeader(host, node)
        this.#checkProgress(host, node)
        this.#checkLease(host, node)
      } else this.#leading.delete(node)
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

  /** One that is its own majority leads, for others, once its vote for itself is durable. */
  #checkLeader(host: Host, { raft }: Node): void {
    const known = this.#leaders.get(raft.term)
    if (known === raft.id) return
    if (!host.disk.hasDurably(DATA, Buffer.from(`vote ${raft.term} ${raft.id} `))) return
    if (known === undefined) this.#leaders.set(raft.term, raft.id)
    else if (known !== raft.id) {
      fail('one leader a term', `term ${raft.term}: ${known} and ${raft.id} (${host.name})`)
    }
  }

  /**
   * A leader commits by counting only entries of its own term (thesis 3.6.2), and
   * appends a configuration only after the one before it is committed (4.1).
   */
  #checkProgress(host: Host, node: Node): void {
    const { log, term } = node.raft
    const { commitIndex } = log
    const configIndex = log.config?.index ?? 0
    const before = this.#leading.get(node)
    if (!before) {
      this.#leading.set(node, { configIndex, commitIndex })
      return
    }
    if (commitIndex > before.commitIndex && log.termAt(commitIndex) !== term) {
      fail(
        'a leader commits its own',
        `${host.name} in term ${term} commits ${commitIndex} of term ${log.termAt(commitIndex)}`,
      )
    }
    if (configIndex > before.configIndex && before.configIndex > commitIndex) {
      fail(
        'one membership change at a time',
        `${host.name} has configurations at ${before.configIndex} and ${configIndex}, committed ${commitIndex}`,
      )
    }
    before.configIndex = configIndex
    before.commitIndex = commitIndex
  }

  /** While a leader's lease holds nobody leads in a later term, and what it serves at once is the newest. */
  #checkLease(host: Host, node: Node): void {
    const { raft, machine } = node
    if (!raft.holdsLease(host.monotonicMs, host.wallMs)) return
    this.leaseCount++
    for (const { node: other } of this.#servers) {
      if (other?.raft.role !== 'leader' || other.raft.term <= raft.term) continue
      const leaders = `${host.name} in term ${raft.term}, ${other.raft.id} in ${other.raft.term}`
      fail('nobody leads beside a lease', leaders)
    }
    if (node.canReadNow() && machine.appliedIndex < this.#appliedIndex) {
      const indexes = `${host.name} would read at ${machine.appliedIndex} of ${this.#appliedIndex}`
      fail('a lease serves what is newest', indexes)
    }
  }

  #watch(host: Host, node: Node): void {
    const { machine } = node
    this.#watched.add(machine)
    this.#checkDigest(host, machine)
    const apply = machine.apply.bind(machine)
    machine.apply = (entry, onReply) => {
      let lastPlace = machine.appliedPlace
      let isAscending = true
      const reply = apply(entry, (reply, place) => {
        isAscending &&= place > lastPlace
        lastPlace = place
        onReply?.(reply, place)
      })
      // What is thrown here the node would take for its own failure.
      try {
        if (!isAscending || lastPlace > machine.appliedPlace) {
          fail('every command has a place of its own', `${host.name}, entry ${entry.index}`)
        }
        this.#applied(host, node, entry as LogEntry)
      } catch (error) {
        this.#pending ??= error
      }
      return reply
    }
  }

  #applied(host: Host, node: Node, entry: LogEntry): void {
    const { index } = entry
    this.#appliedIndex = Math.max(this.#appliedIndex, index)
    const record = entry.record.toString('latin1')
    const known = this.#committed.get(index)
    if (known === undefined) {
      this.#checkDurable(node, entry)
      this.#checkCompleteness(entry)
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
    for (const { host, id, isDamaged, lostIds } of this.#servers) {
      for (const lost of lostIds) holders.add(lost)
      // What rotted since was durable when it was acknowledged.
      if (isDamaged || host.disk.hasDurably(`${DATA}/groups`, entry.record)) holders.add(id)
    }
    // A configuration counts as soon as it is in the log, committed or not: it was one of these.
    const { log } = node.raft
    const configs = [this.#lastConfig?.config, log.configAt(entry.index), log.config?.config]
    const isMajority = configs.some((config) => {
      const voters = (config?.members ?? []).filter(({ voter }) => voter).map(({ id }) => id)
      return voters.filter((id) => holders.has(id)).length > voters.length / 2
    })
    if (!isMajority) {
      const names = [...holders].join(' ') || 'nobody'
      fail('durable on a majority', `${entry.index} applied by ${node.raft.id}, held by ${names}`)
    }
  }

  /** If all lost power now, nobody could be elected who lacks what is committed. */
  #checkCompleteness(entry: LogEntry): void {
    const logs = new Map<string, { readonly raft: Node['raft']; readonly last: EntryId }>()
    for (const [server, { raft }] of this.#lastNodes) {
      const { log } = raft
      const index = log.stableIndex
      if (!server.lostIds.has(raft.id)) {
        logs.set(raft.id, { raft, last: { index, term: log.termAt(index) } })
      }
    }
    for (const [id, { raft, last }] of logs) {
      const { log } = raft
      const isHeld = log.termAt(entry.index) === entry.term || log.base.index >= entry.index
      const holds = last.index >= entry.index && isHeld
      const config = log.configAt(last.index)
      // What it owes it has to have durably before it stands.
      const isOwing = !isUpToDate(last, log.owed)
      if (holds || isOwing || !voterIds(config).includes(id)) continue
      const votesFor = (voter: string) => {
        const their = logs.get(voter)
        return their ? isUpToDate(last, furthest(their.last, their.raft.log.owed)) : false
      }
      if (isQuorum(config, votesFor)) {
        const position = `its log ends at ${last.index} of term ${last.term}`
        fail(
          'nobody without a committed entry can be elected',
          `${id} lacks ${entry.index} of term ${entry.term}, ${position}`,
        )
      }
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
      .map(({ host, node, lastFailure }) => {
        if (!node) return `${host.name} down ${lastFailure}`
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

export function digestOf({ items, flushAtMs }: StateMachine): number {
  const lines = [`flush at ${flushAtMs}`]
  for (const [key, { flags, expiresAtMs, casUnique, marks, value }] of items) {
    lines.push(`${key} ${flags} ${expiresAtMs} ${casUnique} ${marks} ${crc32(value)}`)
  }
  return crc32(lines.sort().join('\n'))
}
