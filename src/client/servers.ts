/**
 * The servers that a client knows, with its connection to each, and which of them a call goes to.
 *
 * In: what the directory learned, and calls. Out: where each call goes; what becomes of
 * connections. A server that could not be reached has some time before it is tried again,
 * longer each time; one that owes answers and says nothing gets no calls until it does.
 */
import type { Address, Io } from '../io/io.ts'
import { backoffMs } from './backoff.ts'
import type { Learned } from './directory.ts'
import { Session, type SessionOwner } from './session.ts'

/** What the owner of all sessions hears of each. */
export interface SessionsOwner {
  onReply(session: Session, ...reply: Parameters<SessionOwner['onReply']>): boolean
  onRoom(): void
  onLost(session: Session, ...loss: Parameters<SessionOwner['onLost']>): void
  /** No connection is left. */
  onAllClosed(): void
}

interface Server {
  readonly address: Address
  session: Session | null
  failureCount: number
  retryAtMs: number
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
    return session !== null && this.#leader?.session === session
  }

  learn({ servers, leader }: Learned): void {
    const before = this.#servers
    this.#servers = new Map()
    for (const address of leader ? [leader, ...servers] : servers) {
      const name = `${address.host}:${address.port}`
      const fresh = { address, session: null, failureCount: 0, retryAtMs: 0 }
      this.#servers.set(name, before.get(name) ?? fresh)
    }
    this.#leader = leader ? (this.#servers.get(`${leader.host}:${leader.port}`) ?? null) : null
    for (const [name, { session }] of before) {
      if (session?.isIdle && !this.#servers.has(name)) session.lose('left the cluster')
    }
  }

  /** @returns null where no server may be tried now. */
  choose(isLocal: boolean, nowMs: number): Session | null {
    const preferred = isLocal ? this.#local : this.#leader
    if (preferred?.session?.takesCalls()) return preferred.session
    const session = (!isLocal && this.#try(preferred, nowMs)) || this.#chooseAny(nowMs)
    if (session && isLocal) {
      for (const server of this.#servers.values()) {
        if (server.session === session) this.#local = server
      }
    }
    return session
  }

  /** One that is open, else one that opens, else one that has not failed just now. */
  #chooseAny(nowMs: number): Session | null {
    let opening: Session | null = null
    for (const { session } of this.#servers.values()) {
      if (!session?.takesCalls()) continue
      if (session.isOpen) return session
      opening ??= session
    }
    if (opening) return opening
    for (const server of this.#servers.values()) {
      const session = this.#try(server, nowMs)
      if (session) return session
    }
    return null
  }

  #try(server: Server | null, nowMs: number): Session | null {
    if (!server) return null
    if (server.session) return server.session.takesCalls() ? server.session : null
    if (server.retryAtMs > nowMs) return null
    const session: Session = new Session(this.#io, server.address, {
      onOpen: () => {
        server.failureCount = 0
      },
      onReply: (...reply) => this.#owner.onReply(session, ...reply),
      onRoom: () => this.#owner.onRoom(),
      onLost: (...loss) => {
        server.session = null
        server.failureCount++
        server.retryAtMs =
          this.#io.clock.monotonicMs() + backoffMs(server.failureCount, this.#io.random)
        this.#owner.onLost(session, ...loss)
      },
      onClosed: () => {
        this.#sessions.delete(session)
        if (this.#sessions.size === 0) this.#owner.onAllClosed()
      },
    })
    server.session = session
    this.#sessions.add(session)
    return session
  }

  /**
   * Gives up connections that do not open, and those whose answers nobody waits for any more.
   * @param onStalled A server owes answers and says nothing.
   * @returns when to look again.
   */
  check(nowMs: number, onStalled: (session: Session) => void): number {
    let nextMs = Number.POSITIVE_INFINITY
    for (const session of this.#sessions) {
      if (session.isLost) continue
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
    for (const { session, retryAtMs } of this.#servers.values()) {
      if (!session && retryAtMs > nowMs) nextMs = Math.min(nextMs, retryAtMs)
    }
    return nextMs
  }

  close(): void {
    for (const session of this.#sessions) session.lose('is not needed any more')
  }
}
