/** Where a command finds the cluster it is about, as its flags say, and how it gets in. */
import type { Command } from 'commander'
import type { Whom } from '../src/client/balancer-client.ts'
import { type Login, withLogin } from '../src/client/login.ts'
import type { Address, Disk, Io } from '../src/io/io.ts'
import { readAuthFile } from './auth-file.ts'
import { addBalancersFlags, type BalancersFlags, balancersOf, parseAddress } from './run.ts'

export interface Cluster {
  /** Load balancers, or one server in their place. */
  readonly asked: readonly Address[]
  readonly whom: Whom
  /** Reaches those. */
  readonly io: Io
  /** Reaches servers. */
  readonly servers: Io
}

export interface ClusterFlags extends BalancersFlags {
  readonly server?: Address
  readonly authFile?: string
}

export function addClusterFlags(
  command: Command,
  serverHelp = 'ask this server instead of a load balancer',
): Command {
  addBalancersFlags(command, 5002, 'clients').option(
    '--server <host:port>',
    serverHelp,
    parseAddress,
  )
  return addLoginFlag(command)
}

export function addLoginFlag(command: Command): Command {
  return command.option('--auth-file <path>', 'log in to servers as the first user of this file')
}

export async function clusterOf(io: Io, flags: ClusterFlags): Promise<Cluster> {
  const servers = withLogin(io, await loginOf(io.disk, flags.authFile))
  if (flags.server) return { asked: [flags.server], whom: 'server', io: servers, servers }
  return { asked: balancersOf(flags), whom: 'load balancer', io, servers }
}

export async function loginOf(disk: Disk, path: string | undefined): Promise<Login | null> {
  return path === undefined ? null : (await readAuthFile(disk, path))[0]
}
