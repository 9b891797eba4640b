/**
 * Who the servers are and who leads: asked of load balancers, and of servers where none of
 * those can tell.
 *
 * In: addresses to ask. Out: the first answer that names a leader; where nobody knows one, an
 * answer that names servers. Any of them may be wrong or out of date, which costs time and
 * nothing else: every server takes every request.
 *
 * The next is asked as soon as the one before has failed, or has been silent for a while.
 */
import type { Address, Io, Timer } from '../io/io.ts'
import { hasShape, isName, isPort, listOf, parseObject, shaped } from '../protocol/shape.ts'
import type { ClusterStatus } from '../protocol/status.ts'
import { ask, type Whom } from './balancer-client.ts'
import { LoginError } from './login.ts'

export interface Learned {
  /** The likeliest to answer first. */
  readonly servers: readonly Address[]
  readonly leader: Address | null
}

interface Candidate {
  readonly address: Address
  readonly whom: Whom
  readonly io: Io
}

const ANSWER_MS = 1_000
const PATIENCE_MS = 150
const MEMBERS_MAX = 1_000

export class Directory {
  readonly #io: Io
  readonly #serversIo: Io
  readonly #balancers: readonly Address[]
  readonly #seeds: readonly Address[]
  /** The balancer that answered last is asked first. */
  #firstBalancer = 0

  /** @param serversIo Logs in. */
  constructor(io: Io, serversIo: Io, balancers: readonly Address[], seeds: readonly Address[]) {
    this.#io = io
    this.#serversIo = serversIo
    this.#balancers = balancers
    this.#seeds = seeds
  }

  /**
   * @param known Servers, besides those that were named.
   * @param signal Ends it at once.
   * @throws LoginError where a server does not let this client in; else Error with what each
   *   that was asked said.
   */
  learn(known: readonly Address[], signal: AbortSignal): Promise<Learned> {
    const candidates = this.#candidates(known)
    return new Promise((resolve, reject) => {
      const rest = new AbortController()
      const failures: unknown[] = []
      let fallback: Learned | null = null
      let nextCount = 0
      let overCount = 0
      let patience: Timer | null = null

      const finish = (learned: Learned | null) => {
        patience?.cancel()
        signal.removeEventListener('abort', onAbort)
        rest.abort()
        if (learned) resolve(learned)
        else reject(failures.find((error) => error instanceof LoginError) ?? joined(failures))
      }
      const onAbort = () => finish(null)
      const onOver = () => {
        if (rest.signal.aborted) return
        overCount++
        if (overCount === candidates.length) finish(fallback)
        else askNext()
      }
      const askNext = () => {
        patience?.cancel()
        const candidate = candidates[nextCount]
        if (!candidate) return
        const balancer = this.#balancers.indexOf(candidate.address)
        nextCount++
        patience = this.#io.timers.after(PATIENCE_MS, askNext)
        const { io, address, whom } = candidate
        ask(io, address, 'status', whom, ANSWER_MS, rest.signal)
          .then((lines) => {
            const learned = readStatus(lines, `${whom} ${address.host}:${address.port}`)
            if (rest.signal.aborted) return
            if (learned.leader && balancer !== -1) this.#firstBalancer = balancer
            if (learned.leader) finish(learned)
            else fallback ??= learned
          })
          .catch((error) => failures.push(error))
          .then(onOver)
      }
      signal.addEventListener('abort', onAbort)
      if (signal.aborted) finish(null)
      else askNext()
    })
  }

  #candidates(known: readonly Address[]): Candidate[] {
    const first = this.#firstBalancer
    const balancers = [...this.#balancers.slice(first), ...this.#balancers.slice(0, first)]
    const servers = new Map<string, Address>()
    for (const server of [...known, ...this.#seeds])
      servers.set(`${server.host}:${server.port}`, server)
    return [
      ...balancers.map((address) => ({ address, whom: 'load balancer' as const, io: this.#io })),
      ...[...servers.values()].map((address) => ({
        address,
        whom: 'server' as const,
        io: this.#serversIo,
      })),
    ]
  }
}

const isMember = shaped({ id: isName, cip: isName, cport: isPort })
const STATUS_SHAPE = { members: listOf(isMember, MEMBERS_MAX) }

/** @throws Error where it names no server. */
function readStatus([line = '']: readonly string[], who: string): Learned {
  const object = parseObject(line)
  if (!hasShape(object, STATUS_SHAPE)) throw new Error(`${who} does not speak this protocol`)
  const { members, leader, whyNoLeader } = object as unknown as ClusterStatus
  const named = members.find(({ id }) => id === leader)
  // Who has not joined takes no requests yet, and who is dead none any more.
  const rank = ({ cluster, alive }: (typeof members)[number]) =>
    (alive === false ? 2 : 0) + (cluster === null ? 1 : 0)
  const servers = [...members].sort((a, b) => rank(a) - rank(b)).map(addressOf)
  if (servers.length === 0) throw new Error(`${who} knows no server: ${whyNoLeader ?? 'start one'}`)
  return { servers, leader: named ? addressOf(named) : null }
}

function addressOf({ cip, cport }: ClusterStatus['members'][number]): Address {
  return { host: cip, port: cport }
}

function joined(failures: readonly unknown[]): Error {
  const words = failures.map((error) => (error instanceof Error ? error.message : String(error)))
  return new Error(words.join('; ') || 'nobody was asked')
}
