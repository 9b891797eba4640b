/** Operations of a history, as bytes for a server and as text for people. */
import type { HistoryEntry, Operation } from './linearizability.ts'

/** The request in memcached's text protocol. */
export function encode(key: string, operation: Operation): string {
  switch (operation.kind) {
    case 'get':
    case 'gets':
    case 'delete':
      return `${operation.kind} ${key}\r\n`
    case 'set':
    case 'add': {
      const { kind, value } = operation
      const exptime = kind === 'set' ? (operation.exptime ?? 0) : 0
      return `${kind} ${key} 0 ${exptime} ${value.length}\r\n${value}\r\n`
    }
    case 'cas': {
      const { value, unique } = operation
      return `cas ${key} 0 0 ${value.length} ${unique}\r\n${value}\r\n`
    }
    case 'expire':
      throw new Error('an expiry is not asked for')
  }
}

/** One line for a person. */
export function describe({ key, operation }: HistoryEntry): string {
  const value = 'value' in operation ? ` ${operation.value}` : ''
  const unique = operation.kind === 'cas' ? ` ${operation.unique}` : ''
  return `${operation.kind} ${key}${value}${unique}`
}
