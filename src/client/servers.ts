/**
 * The servers that a client knows, with its connections to each, and which of them a call goes to.
 *
 * Reads go over one connection and writes over another, each opened when it is needed: on one
 * connection a server does not overlap reads with writes, so that calls of both kinds in turns
 * would wait for each other, one round of the servers after the other.
 *
 * In: what the directory learned, and calls. Out: where each call goes; what becomes of
 * connections. A server that could not be reached has some time before it is tried again,
 * longer each time; one that owes answers and says nothing gets no calls until it does.
 */
import type { Address, Io } from '../io/io.ts'
import { backoffMs } from './backoff.ts'
import type { Learned } from './directory.ts'
import type { Request } from './requests.ts'
import { Session, type SessionOwner } from './session.ts'

/** What the owner of all sessions hears of each. */
export interface SessionsOwner {
  onReply(session: Session, ...reply: Parameters<SessionOwner['onReply']>): boolean
  onRoom(): void
  onLost(session: Session, ...loss: Parameters<SessionOwner['onLost']>): void
  /** No connection is left. */
  onAllClosed(): void
}

/** A connection, or the time until the next one. */
interface Lane {
  readonly address: Address
  session: Session | null
  failureCount: number
  retryAtMs: number
}

interface Server {
  readonly address: Address
  readonly reads: Lane
  readonly writes: Lane
}

export const LANES = ['reads', 'writes'] as const
export type LaneName = (typeof LANES)[number]

export function laneOf({ isRead }: Request): LaneName {
  return isRead ? 'reads' : 'writes'
}

const CONNECT_MS = 1_000
const STALL_MS = 1_000

export class Servers {
  readonly #io: Io
  readonly #owner: SessionsOwner
  /** By address, the likeliest first. */
  #servers = new Map<string, Server>()
  #leader: Server | null = null
  /** Where local reads go, so that they seldom go back in time. */
  #local: Server | null = null
  /** All that are not closed. */
  readonly #sessions = new Set<Session>()

  /** @param io Logs in. */
  constructor(io: Io, owner: SessionsOwner) {
    this.#io = io
    this.#owner = owner
  }

  get addresses(): Address[] {
    return [...this.#servers.values()].map(({ address }) => address)
  }

  get openCount(): number {
    return this.#sessions.size
  }

  isLeader(session: Session | null): boolean {
    const leader = this.#leader
    return (
      session !== null && (leader?.reads.session === session || leader?.writes.session === session)
    )
  }

  learn({ servers, leader }: Learned): void {
    const before = this.#servers
    this.#servers = new Map()
    for (const address of leader ? [leader, ...servers] : servers) {
      const name = nameOf(address)
      this.#servers.set(name, before.get(name) ?? createServer(address))
    }
    this.#leader = leader ? (this.#servers.get(nameOf(leader)) ?? null) : null
    // What it has applied last may be all that it ever will.
    if (this.#local && this.#servers.get(nameOf(this.#local.address)) !== this.#local) {
      this.#local = null
    }
  }

  /** @returns null where no server may be tried now. */
  choose(request: Request, nowMs: number): Session | null {
    const { isLocal } = request
    const lane = laneOf(request)
    const preferred = isLocal ? this.#local : this.#leader
    if (preferred?.[lane].session?.takesCalls()) return preferred[lane].session
    const session =
      (!isLocal && preferred && this.#try(preferred[lane], nowMs)) || this.#chooseAny(lane, nowMs)
    if (session && isLocal) {
      for (const server of this.#servers.values()) {
        if (server[lane].session === session) this.#local = server
      }
    }
    return session
  }

  /** One that is open, else one that opens, else one that has not failed just now. */
  #chooseAny(lane: LaneName, nowMs: number): Session | null {
    let opening: Session | null = null
    for (const server of this.#servers.values()) {
      const { session } = server[lane]
      if (!session?.takesCalls()) continue
      if (session.isOpen) return session
      opening ??= session
    }
    if (opening) return opening
    for (const server of this.#servers.values()) {
      const session = this.#try(server[lane], nowMs)
      if (session) return session
    }
    return null
  }

  #try(lane: Lane, nowMs: number): Session | null {
    if (lane.session) return lane.session.takesCalls() ? lane.session : null
    if (lane.retryAtMs > nowMs) return null
    const session: Session = new Session(this.#io, lane.address, {
      onOpen: () => {
        lane.failureCount = 0
      },
      onReply: (...reply) => this.#owner.onReply(session, ...reply),
      onRoom: () => this.#owner.onRoom(),
      onLost: (...loss) => {
        lane.session = null
        lane.failureCount++
        // To connect again can be as quick as ever, and then it says nothing once more.
        const pauseMs = session.isStalled ? STALL_MS : backoffMs(lane.failureCount, this.#io.random)
        lane.retryAtMs = this.#io.clock.monotonicMs() + pauseMs
        this.#owner.onLost(session, ...loss)
      },
      onClosed: () => {
        this.#sessions.delete(session)
        if (this.#sessions.size === 0) this.#owner.onAllClosed()
      },
    })
    lane.session = session
    this.#sessions.add(session)
    return session
  }

  /**
   * Gives up connections that do not open, those to servers that have left, and those whose
   * answers nobody waits for any more.
   * @param onStalled A server owes answers and says nothing.
   * @returns when to look again.
   */
  check(nowMs: number, onStalled: (session: Session) => void): number {
    let nextMs = Number.POSITIVE_INFINITY
    for (const session of this.#sessions) {
      if (session.isLost) continue
      if (session.isIdle && !this.#servers.has(session.server)) {
        session.lose('left the cluster')
        continue
      }
      const sinceMs = session.isOpen ? session.silentSinceMs : session.startedMs
      if (sinceMs === null) continue
      const dueMs = sinceMs + (session.isOpen ? STALL_MS : CONNECT_MS)
      if (dueMs > nowMs) nextMs = Math.min(nextMs, dueMs)
      else if (!session.isOpen) session.lose(`did not let anybody in within ${CONNECT_MS} ms`)
      else {
        if (!session.isStalled) {
          session.isStalled = true
          onStalled(session)
        }
        if (session.isIdle) session.lose('does not answer')
      }
    }
    return nextMs
  }

  /** When a server may be tried again that may not be now. */
  nextRetryMs(nowMs: number): number {
    let nextMs = Number.POSITIVE_INFINITY
    for (const { reads, writes } of this.#servers.values()) {
      for (const { session, retryAtMs } of [reads, writes]) {
        if (!session && retryAtMs > nowMs) nextMs = Math.min(nextMs, retryAtMs)
      }
    }
    return nextMs
  }

  close(): void {
    for (const session of this.#sessions) session.lose('is not needed any more')
  }
}

function createServer(address: Address): Server {
  const lane = () => ({ address, session: null, failureCount: 0, retryAtMs: 0 })
  return { address, reads: lane(), writes: lane() }
}

function nameOf({ host, port }: Address): string {
  return `${host}:${port}`
}
