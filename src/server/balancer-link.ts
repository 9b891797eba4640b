/**
 * A server's side of the load balancer protocol: registers once a second and at
 * every change, answers heartbeats and questions, hands over what the balancer
 * says. A balancer that does not answer is a line in the log, never a failure.
 */
import type { Address, Io, Timer } from '../io/io.ts'
import type { Logger } from '../io/logger.ts'
import type { Report, ServerAddress, ToBalancer, ToServer } from '../protocol/balancer.ts'

const REGISTER_MS = 1_000
/** Silent for so long, the balancer is reported as not answering. */
const SILENT_MS = 3_000

export interface BalancerLinkOptions {
  readonly io: Io
  readonly log: Logger
  readonly balancer: Address
  readonly report: () => Report
  readonly send: (message: ToBalancer, to: Address) => void
  /** This server shall form the cluster. */
  readonly onForm: (cluster: string) => void
  /** The cluster exists; a server without one joins it. */
  readonly onCluster: (cluster: string, servers: readonly ServerAddress[]) => void
  readonly onCampaign: () => void
}

export class BalancerLink {
  readonly #options: BalancerLinkOptions
  #timer: Timer | null = null
  #heardMs: number
  #isSilent = false
  #refused: string | undefined

  constructor(options: BalancerLinkOptions) {
    this.#options = options
    this.#heardMs = options.io.clock.monotonicMs()
  }

  /** Registers now and every second from now on. */
  register(): void {
    const { io, balancer, report, send } = this.#options
    this.#timer?.cancel()
    this.#timer = io.timers.after(REGISTER_MS, () => this.register())
    send({ type: 'register', server: report() }, balancer)
    const silentMs = io.clock.monotonicMs() - this.#heardMs
    if (silentMs > SILENT_MS && !this.#isSilent) {
      this.#isSilent = true
      const { host, port } = balancer
      this.#options.log.warn(
        {},
        `load balancer ${host}:${port} does not answer: trying on; the servers elect a leader themselves`,
      )
    }
  }

  receive(message: ToServer, from: Address): void {
    const { report, send, log } = this.#options
    this.#heardMs = this.#options.io.clock.monotonicMs()
    if (this.#isSilent) {
      this.#isSilent = false
      log.info({}, 'the load balancer answers again')
    }
    switch (message.type) {
      case 'lbHeartbeat':
        return send({ type: 'lbHeartbeatResp', server: report() }, from)
      case 'status':
        return send({ type: 'statusResp', server: report() }, from)
      case 'campaign':
        return this.#options.onCampaign()
      case 'form':
        return this.#options.onForm(message.cluster)
      case 'registered':
        if (message.refused !== undefined && message.refused !== this.#refused) {
          log.error({}, `the load balancer refuses this server: ${message.refused}`)
        }
        this.#refused = message.refused
        if (message.cluster !== null && message.refused === undefined) {
          this.#options.onCluster(message.cluster, message.servers)
        }
    }
  }

  stop(): void {
    this.#timer?.cancel()
  }
}
