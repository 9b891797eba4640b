/** The protocols a load generator speaks, by name. */
import { EtcdSession, etcdFormat } from './etcd.ts'
import type { Job } from './job.ts'
import { memcachedProtocol } from './memcached.ts'
import { redisProtocol } from './redis.ts'
import { keyOf, type RequestFormat, type Script } from './script.ts'
import type { Session, SessionEvents } from './session.ts'
import { TextSession } from './text-session.ts'

export interface ProtocolOfJob {
  readonly format: RequestFormat
  createSession(script: Script, startAt: number, events: SessionEvents): Session
}

export function protocolOf({ protocol, valueBytes }: Job): ProtocolOfJob {
  if (protocol === 'etcd') {
    return {
      format: etcdFormat,
      createSession: (script, startAt, events) =>
        new EtcdSession(script, startAt, valueBytes, events),
    }
  }
  const text = protocol === 'redis' ? redisProtocol : memcachedProtocol
  const shapes = [text.readShape(keyOf(0), valueBytes), text.writeShape] as const
  return {
    format: text,
    createSession: (script, startAt, events) => new TextSession(script, startAt, shapes, events),
  }
}
