/**
 * What load balancer and servers say to each other over UDP: one JSON object a
 * datagram. A server speaks from its peer port; the load balancer answers where
 * a datagram came from.
 *
 *     server            load balancer
 *     register     ->                     every second, and at every change of role
 *                  <-   registered        the cluster, and the servers known
 *                  <-   form              this server shall form the cluster
 *                  <-   lbHeartbeat       to the leader
 *     lbHeartbeatResp ->
 *                  <-   status            when the leader is silent
 *     statusResp   ->
 *                  <-   campaign          seek election; never an appointment
 */
import {
  hasShape,
  isBoolean,
  isCount,
  isName,
  isNameOrNull,
  isPort,
  listOf,
  oneOf,
  optional,
  parseObject,
  type Shape,
  shaped,
} from './shape.ts'
import { READ_MODES, type ReadMode } from './status.ts'

export interface ServerAddress {
  readonly id: string
  /** Where clients reach it. */
  readonly cip: string
  readonly cport: number
  /** Where peers and load balancers reach it. */
  readonly sip: string
  readonly sport: number
}

/** What a server says of itself. */
export interface Report extends ServerAddress {
  /** null until it has joined one. */
  readonly cluster: string | null
  readonly role: 'follower' | 'preCandidate' | 'candidate' | 'leader'
  readonly voter: boolean
  readonly term: number
  /** The server it follows; null when it knows none. */
  readonly leader: string | null
  readonly lastTerm: number
  readonly lastIndex: number
  readonly commitIndex: number
  readonly appliedIndex: number
  /** Requests of clients since it started. */
  readonly requestCount: number
  /** What it speaks with its peers; versions before 3 do not say. */
  readonly protocol?: number | undefined
  /** Of a leader: how reads are confirmed, what its membership is doing and why, and who the members are. */
  readonly reads?: ReadMode | undefined
  readonly membership?: string | undefined
  readonly members?: readonly MemberNote[] | undefined
}

export interface MemberNote extends ServerAddress {
  readonly voter: boolean
  /** For people; null for a voter that is well. */
  readonly note: string | null
}

/** A server that a load balancer knows. */
export interface Registration extends ServerAddress {
  /** Since the balancer heard from it. */
  readonly silentMs: number
  /** As it said. */
  readonly protocol?: number | undefined
}

export type ToBalancer =
  | {
      readonly type: 'register'
      readonly server: Report
      /** Of this balancer in the server's list, from 0. */
      readonly place: number
    }
  | { readonly type: 'lbHeartbeatResp'; readonly server: Report }
  | { readonly type: 'statusResp'; readonly server: Report }

export type ToServer =
  | {
      readonly type: 'registered'
      readonly cluster: string | null
      readonly servers: readonly Registration[]
      /** As the server said it. */
      readonly place: number
      /** Why this server is not taken into the cluster. */
      readonly refused?: string | undefined
    }
  | { readonly type: 'form'; readonly cluster: string }
  | { readonly type: 'lbHeartbeat' }
  | { readonly type: 'status' }
  | { readonly type: 'campaign' }

/** No more servers than this are known to a load balancer, and fit into a datagram. */
export const SERVERS_MAX = 64

const isText = (value: unknown): boolean => typeof value === 'string'
const isTextOrNull = (value: unknown): boolean => value === null || isText(value)

const ADDRESS: Shape = { id: isName, cip: isName, cport: isPort, sip: isName, sport: isPort }

const REPORT: Shape = {
  ...ADDRESS,
  cluster: isNameOrNull,
  role: oneOf('follower', 'preCandidate', 'candidate', 'leader'),
  voter: isBoolean,
  term: isCount,
  leader: isNameOrNull,
  lastTerm: isCount,
  lastIndex: isCount,
  commitIndex: isCount,
  appliedIndex: isCount,
  requestCount: isCount,
  protocol: optional(isCount),
  reads: optional(oneOf(...READ_MODES)),
  membership: optional(isText),
  members: optional(
    listOf(shaped({ ...ADDRESS, voter: isBoolean, note: isTextOrNull }), SERVERS_MAX),
  ),
}

const TO_BALANCER: Readonly<Record<string, Shape>> = {
  register: { server: shaped(REPORT), place: isCount },
  lbHeartbeatResp: { server: shaped(REPORT) },
  statusResp: { server: shaped(REPORT) },
}

const TO_SERVER: Readonly<Record<string, Shape>> = {
  registered: {
    cluster: isNameOrNull,
    servers: listOf(
      shaped({ ...ADDRESS, silentMs: isCount, protocol: optional(isCount) }),
      SERVERS_MAX,
    ),
    place: isCount,
    refused: optional(isText),
  },
  form: { cluster: isName },
  lbHeartbeat: {},
  status: {},
  campaign: {},
}

export function encodeDatagram(message: ToBalancer | ToServer): Buffer {
  return Buffer.from(JSON.stringify(message))
}

export function decodeToBalancer(bytes: Buffer): ToBalancer | null {
  return decode(parseObject(bytes.toString()), TO_BALANCER) as ToBalancer | null
}

/** @param object What `parseObject` made of a datagram. */
export function decodeToServer(object: Record<string, unknown> | null): ToServer | null {
  return decode(object, TO_SERVER) as ToServer | null
}

function decode(object: Record<string, unknown> | null, shapes: Readonly<Record<string, Shape>>) {
  const type = object?.type
  if (typeof type !== 'string' || !Object.hasOwn(shapes, type)) return null
  return hasShape(object, shapes[type] ?? {}) ? object : null
}
