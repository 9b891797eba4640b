/**
 * Machines of their own, almost: a network namespace for each server and for the
 * load balancer, each with two links, one to its peers and one to its clients,
 * so that a leader cut off from the others can still be asked. Made with
 * iproute2, as root:
 *
 *     namespace k:  p0 198.19.N.k ---- bridge of peers, no address here
 *                   c0 198.18.N.k ---- bridge of clients, 198.18.N.254 here
 *
 * Names carry this process's id, and all of it is removed again.
 */
import { execFile, spawnSync } from 'node:child_process'
import { promisify } from 'node:util'
import type { Place } from '../e2e/cluster.ts'

const run = promisify(execFile)

async function ip(...args: string[]): Promise<string> {
  return (await run('ip', args, { timeout: 10_000 })).stdout
}

export type LinkName = 'p0' | 'c0'

export interface Machine {
  readonly place: Place
  readonly namespace: string
  readonly number: number
}

export class Network {
  readonly #prefix = `rc${process.pid}`
  readonly #third: number
  readonly machines: Machine[] = []
  #isRemoved = false

  private constructor(third: number) {
    this.#third = third
  }

  /** @throws Error where that can't be done here; nothing is left behind then. */
  static async create(machineCount: number): Promise<Network> {
    if (process.getuid?.() !== 0) throw new Error('that takes root')
    const taken = await ip('-o', 'address', 'show')
    let third = process.pid % 256
    while (taken.includes(` 198.18.${third}.`)) third = (third + 1) % 256
    const network = new Network(third)
    process.once('exit', () => network.remove())
    try {
      await network.#create(machineCount)
    } catch (error) {
      network.remove()
      throw error
    }
    return network
  }

  async #create(machineCount: number): Promise<void> {
    for (const link of ['p0', 'c0'] as const) {
      await ip('link', 'add', this.#bridge(link), 'type', 'bridge')
      await ip('link', 'set', this.#bridge(link), 'up')
    }
    await ip('address', 'add', `198.18.${this.#third}.254/24`, 'dev', this.#bridge('c0'))
    for (let number = 1; number <= machineCount; number++) {
      const namespace = `raftcached-${process.pid}-${number}`
      const cip = `198.18.${this.#third}.${number}`
      const sip = `198.19.${this.#third}.${number}`
      const command = ['ip', 'netns', 'exec', namespace]
      const machine = { place: { cip, sip, command }, namespace, number }
      this.machines.push(machine)
      await ip('netns', 'add', namespace)
      await ip('-n', namespace, 'link', 'set', 'lo', 'up')
      for (const [link, address] of [
        ['p0', sip],
        ['c0', cip],
      ] as const) {
        const port = this.#port(machine, link)
        const peer = ['peer', 'name', link, 'netns', namespace]
        await ip('link', 'add', port, 'type', 'veth', ...peer)
        await ip('link', 'set', port, 'master', this.#bridge(link), 'up')
        await ip('-n', namespace, 'address', 'add', `${address}/24`, 'dev', link)
        await ip('-n', namespace, 'link', 'set', link, 'up')
      }
    }
  }

  /** The cable is pulled: what is sent is lost, and nobody is told. */
  async unplug(machine: Machine, link: LinkName): Promise<void> {
    await ip('link', 'set', this.#port(machine, link), 'down')
  }

  async plug(machine: Machine, link: LinkName): Promise<void> {
    await ip('link', 'set', this.#port(machine, link), 'up')
  }

  /** The interface is down: sending fails at once. */
  async disable(machine: Machine, link: LinkName): Promise<void> {
    await ip('-n', machine.namespace, 'link', 'set', link, 'down')
  }

  async enable(machine: Machine, link: LinkName): Promise<void> {
    await ip('-n', machine.namespace, 'link', 'set', link, 'up')
  }

  /** What this machine sends to that one is lost, not what comes back: its frames go to nobody. */
  async mute(from: Machine, to: Machine): Promise<void> {
    const nobody = ['lladdr', '02:00:00:00:00:01', 'nud', 'permanent']
    await ip('-n', from.namespace, 'neigh', 'replace', to.place.sip, 'dev', 'p0', ...nobody)
  }

  async unmute(from: Machine, to: Machine): Promise<void> {
    // An interface that was down meanwhile has forgotten it: not an error.
    const muted = ['to', to.place.sip, 'dev', 'p0', 'nud', 'permanent']
    await ip('-n', from.namespace, 'neigh', 'flush', ...muted)
  }

  /** Without waiting, so that it can be the last thing a process does. */
  remove(): void {
    if (this.#isRemoved) return
    this.#isRemoved = true
    for (const machine of this.machines) {
      for (const link of ['p0', 'c0'] as const) {
        spawnSync('ip', ['link', 'del', this.#port(machine, link)])
      }
      spawnSync('ip', ['netns', 'del', machine.namespace])
    }
    for (const link of ['p0', 'c0'] as const) spawnSync('ip', ['link', 'del', this.#bridge(link)])
  }

  #bridge(link: LinkName): string {
    return `${this.#prefix}${link}`
  }

  #port({ number }: Machine, link: LinkName): string {
    return `${this.#prefix}${link}${number}`
  }
}
