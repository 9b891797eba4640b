/**
 * A client that sends hundreds of plain sets in one write, now and then, and takes what is
 * answered: more than one entry of the log may hold. Some send so long values that servers
 * forget what they have applied, and read it from their logs for who lags. Nobody else reads or
 * writes its key.
 */
import { CLIENT_PORT, type ServerProcess } from './cluster.ts'
import { Host } from './host.ts'
import type { SimNetwork } from './network.ts'
import type { World } from './world.ts'

const PAUSE_MS = [1_000, 8_000] as const
const PATIENCE_MS = 3_000
/** More than an entry takes (`GROUP_COMMANDS_MAX`). */
const SETS = [257, 600] as const

export class Filler {
  readonly #world: World
  readonly #servers: readonly ServerProcess[]
  readonly #surprises: string[]
  readonly #io: ReturnType<Host['boot']>
  readonly #set: string
  isStopped = false

  /** @param surprises Takes replies that are none to a set. */
  constructor(
    world: World,
    network: SimNetwork,
    name: string,
    servers: readonly ServerProcess[],
    surprises: string[],
    valueBytes: number,
  ) {
    this.#world = world
    this.#servers = servers
    this.#surprises = surprises
    this.#io = new Host(world, network, name).boot()
    this.#set = `set filler 0 0 ${valueBytes}\r\n${'x'.repeat(valueBytes)}\r\n`
    this.#pause()
  }

  #pause(): void {
    this.#world.after(this.#world.between(...PAUSE_MS), () => {
      if (this.isStopped) return
      this.#fill()
      this.#pause()
    })
  }

  #fill(): void {
    const world = this.#world
    const { host } = world.pick(this.#servers)
    const count = world.integer(...SETS)
    let text = ''
    const stream = this.#io.network.connect(
      { host: host.name, port: CLIENT_PORT },
      {
        onData: (chunk) => {
          text += chunk.toString('latin1')
        },
        onEnd: () => {},
        onClose: () => {},
      },
    )
    stream.write(this.#set.repeat(count))
    world.after(PATIENCE_MS, () => {
      stream.destroy()
      const lines = text.split('\r\n').slice(0, -1)
      const odd = lines.find((line) => line !== 'STORED' && !line.startsWith('SERVER_ERROR '))
      if (odd !== undefined) this.#surprises.push(`a set of many -> ${odd}`)
      if (lines.length > count) this.#surprises.push(`${count} sets -> ${lines.length} replies`)
    })
  }
}
