/** What a program says of where a cluster is, to addresses. Pure. */
import type { Address } from '../io/io.ts'
import type { Cluster, Where } from './api.ts'
import { StoreError } from './errors.ts'

export interface Asked {
  readonly balancers: readonly Address[]
  readonly servers: readonly Address[]
}

/** @throws StoreError `invalid` */
export function parseCluster(cluster: Cluster): Asked {
  if (typeof cluster === 'object' && cluster !== null && 'servers' in cluster) {
    return { balancers: [], servers: parseList(cluster.servers, 'server') }
  }
  const list = Array.isArray(cluster) ? cluster : [cluster as Where]
  return { balancers: parseList(list, 'load balancer'), servers: [] }
}

function parseList(list: readonly Where[], whom: string): Address[] {
  if (!Array.isArray(list) || list.length === 0) {
    throw new StoreError('invalid', `connect: no ${whom} was named: give at least one host:port`)
  }
  return list.map(parseWhere)
}

function parseWhere(where: Where): Address {
  const address = typeof where === 'string' ? parseText(where) : where
  const { host, port } = address ?? {}
  const isPort = typeof port === 'number' && Number.isInteger(port) && port >= 1 && port <= 65_535
  if (typeof host !== 'string' || host === '' || !isPort) {
    const shown = JSON.stringify(where)
    throw new StoreError('invalid', `connect: ${shown} is no address: give one like 10.0.0.8:5002`)
  }
  return { host, port }
}

function parseText(text: string): Address | null {
  const address = splitAddress(text)
  return address && { host: address.host, port: Number(address.port) }
}

/** `host:port`; an IPv6 address stands in brackets. */
export function splitAddress(
  text: string,
): { readonly host: string; readonly port: string } | null {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d+)$/.exec(text.trim())
  const host = match?.[1] ?? match?.[2]
  return host === undefined ? null : { host, port: match?.[3] ?? '' }
}
