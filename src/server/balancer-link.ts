/**
 * A server's side of the load balancer protocol: registers with every balancer
 * once a second and at every change, answers heartbeats and questions, hands
 * over what balancers say. One that does not answer is a line in the log, never
 * a failure.
 *
 * Each balancer is told its place in this server's list: only the first forms a
 * cluster. Of a server that several know, the freshest news counts.
 */
import type { Address, Io, Timer } from '../io/io.ts'
import type { Logger } from '../io/logger.ts'
import type { Registration, Report, ToBalancer, ToServer } from '../protocol/balancer.ts'
import { isSuccessor } from '../protocol/cluster-id.ts'

const REGISTER_MS = 1_000
/** Silent for so long, a balancer is reported as not answering. */
const SILENT_MS = 3_000

export interface BalancerLinkOptions {
  readonly io: Io
  readonly log: Logger
  readonly balancers: readonly Address[]
  readonly report: () => Report
  readonly send: (message: ToBalancer, to: Address) => void
  /** This server shall form the cluster. */
  readonly onForm: (cluster: string) => void
  /** The cluster exists; a server without one joins it. */
  readonly onCluster: (cluster: string, servers: readonly Registration[]) => void
  readonly onCampaign: () => void
  /** This server's cluster was recovered without it: what it acknowledges counts for nothing. */
  readonly onSuperseded: (why: string) => void
}

interface Balancer {
  readonly address: Address
  heardMs: number
  isSilent: boolean
  refused: string | undefined
  /** The servers it knows, as of `heardMs`. */
  servers: readonly Registration[]
}

export class BalancerLink {
  readonly #options: BalancerLinkOptions
  readonly #balancers: readonly Balancer[]
  #timer: Timer | null = null
  #isStopped = false

  constructor(options: BalancerLinkOptions) {
    this.#options = options
    const heardMs = options.io.clock.monotonicMs()
    this.#balancers = options.balancers.map((address) => ({
      address,
      heardMs,
      isSilent: false,
      refused: undefined,
      servers: [],
    }))
  }

  /** Registers now and every second from now on, until it is stopped. */
  register(): void {
    if (this.#isStopped) return
    const { io, report, send } = this.#options
    this.#timer?.cancel()
    this.#timer = io.timers.after(REGISTER_MS, () => this.register())
    const server = report()
    for (const [place, balancer] of this.#balancers.entries()) {
      send({ type: 'register', server, place }, balancer.address)
      this.#watch(balancer)
    }
  }

  #watch(balancer: Balancer): void {
    const silentMs = this.#options.io.clock.monotonicMs() - balancer.heardMs
    if (silentMs <= SILENT_MS || balancer.isSilent) return
    balancer.isSilent = true
    const rest = this.#balancers.every(({ isSilent }) => isSilent)
      ? '; the servers elect a leader themselves'
      : ''
    this.#options.log.warn(
      {},
      `load balancer ${nameOf(balancer)} does not answer: trying on${rest}`,
    )
  }

  receive(message: ToServer, from: Address): void {
    if (this.#isStopped) return
    const { report, send } = this.#options
    switch (message.type) {
      case 'lbHeartbeat':
        return send({ type: 'lbHeartbeatResp', server: report() }, from)
      case 'status':
        return send({ type: 'statusResp', server: report() }, from)
      case 'campaign':
        return this.#options.onCampaign()
      case 'form':
        return this.#options.onForm(message.cluster)
      case 'registered': {
        const balancer = this.#balancers[message.place]
        if (balancer) this.#registered(balancer, message)
      }
    }
  }

  #registered(balancer: Balancer, message: Extract<ToServer, { type: 'registered' }>): void {
    const { log, io } = this.#options
    balancer.heardMs = io.clock.monotonicMs()
    if (balancer.isSilent) {
      balancer.isSilent = false
      log.info({}, `load balancer ${nameOf(balancer)} answers again`)
    }
    const { cluster, servers, refused } = message
    if (refused !== undefined && refused !== balancer.refused) {
      log.error({}, `load balancer ${nameOf(balancer)} refuses this server: ${refused}`)
    }
    balancer.refused = refused
    const own = this.#options.report().cluster
    if (refused !== undefined && own !== null && isSuccessor(cluster ?? '', own)) {
      return this.#options.onSuperseded(refused)
    }
    const isOurs = cluster !== null && refused === undefined
    balancer.servers = isOurs ? servers : [] // what it said before would look fresh
    if (!isOurs) return
    this.#options.onCluster(cluster, this.#freshest())
  }

  /** Every server that some balancer knows, as the one knows it that heard it last. */
  #freshest(): Registration[] {
    const nowMs = this.#options.io.clock.monotonicMs()
    const servers = this.#balancers.flatMap((balancer) =>
      balancer.servers.map((server) => {
        return { ...server, silentMs: server.silentMs + (nowMs - balancer.heardMs) }
      }),
    )
    const byId = new Map<string, Registration>()
    for (const server of servers) {
      const known = byId.get(server.id)
      if (!known || server.silentMs < known.silentMs) byId.set(server.id, server)
    }
    return [...byId.values()]
  }

  stop(): void {
    this.#isStopped = true
    this.#timer?.cancel()
  }
}

function nameOf({ address: { host, port } }: Balancer): string {
  return `${host}:${port}`
}
