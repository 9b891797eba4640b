/** memcached with its default settings (four threads) and memory enough for every row. */
import { freePorts } from '../../test/e2e/cluster.ts'
import { FixedSystem } from './fixed-system.ts'
import { ask, findProgram, Programs } from './programs.ts'
import { type System, UnavailableError } from './system.ts'

export async function startMemcached(): Promise<System> {
  const path = findProgram('memcached')
  if (path === null) throw new UnavailableError('memcached is not installed')
  const port = await freePorts(1)
  const endpoint = { host: '127.0.0.1', port }
  const user = process.getuid?.() === 0 ? ['-u', 'nobody'] : []
  const programs = new Programs()
  try {
    const args = ['-l', endpoint.host, '-p', port, '-U', 0, '-t', 4, '-m', 1024, ...user]
    programs.start('memcached', path, () => args)
    await programs.ready('memcached answers', () =>
      ask(endpoint, 'version\r\n', /^VERSION .*\r\n$/),
    )
    return new FixedSystem({
      ...{ name: 'memcached', protocol: 'memcached', programs, endpoints: [endpoint] },
      roles: { memcached: 'server' },
    })
  } catch (error) {
    await programs.stop()
    throw error
  }
}
