/** The bare server of bare-server.ts: what Node's sockets cost, and nothing else. */
import { join } from 'node:path'
import { freePorts } from '../../test/e2e/cluster.ts'
import { ask, Programs } from './programs.ts'
import { SingleProcess } from './single-process.ts'
import type { StartOptions, System } from './system.ts'

const SERVER = join(import.meta.dirname, 'bare-server.js')

export async function startBare({ valueBytes }: StartOptions): Promise<System> {
  const port = await freePorts(1)
  const endpoint = { host: '127.0.0.1', port }
  const programs = new Programs()
  try {
    programs.start('bare', process.execPath, () => [SERVER, port, valueBytes])
    await programs.ready('the bare server answers', () => ask(endpoint, 'get k\r\n', /END\r\n$/))
    return new SingleProcess('bare', programs, endpoint)
  } catch (error) {
    await programs.stop()
    throw error
  }
}
