/** Operations of a history, as bytes for a server and as text for people. */
import type { HistoryEntry } from './linearizability.ts'
import type { Operation, Reply } from './model.ts'

/** The request in memcached's text protocol; one key, but for a get and its like. */
export function encode(keys: readonly string[], operation: Operation): string {
  const key = keys.join(' ')
  switch (operation.kind) {
    case 'get':
    case 'gets':
    case 'delete':
      return `${operation.kind} ${key}\r\n`
    case 'gat':
    case 'gats':
      return `${operation.kind} ${operation.exptime} ${key}\r\n`
    case 'touch':
      return `touch ${key} ${operation.exptime}\r\n`
    case 'incr':
    case 'decr':
      return `${operation.kind} ${key} ${operation.delta}\r\n`
    case 'flush_all':
      return operation.delay === 0 ? 'flush_all\r\n' : `flush_all ${operation.delay}\r\n`
    case 'set':
    case 'add':
    case 'replace':
    case 'append':
    case 'prepend':
    case 'cas': {
      const { kind, value, flags = 0, exptime = 0 } = operation
      const unique = operation.kind === 'cas' ? ` ${operation.unique}` : ''
      return `${kind} ${key} ${flags} ${exptime} ${value.length}${unique}\r\n${value}\r\n`
    }
    case 'mg': {
      const { exptime, vivify, recache, explicit } = operation
      // What touches comes first, so that t tells of it.
      const touches = [flag('T', exptime), flag('N', vivify), flag('R', recache)].join('')
      return `mg ${key}${touches}${flag('E', explicit)} v f c t\r\n`
    }
    case 'ms': {
      const { mode, value, flags, exptime, compare, explicit, isStale, vivify } = operation
      const numbers = [flag('F', flags), flag('T', exptime), flag('N', vivify)].join('')
      const uniques = flag('C', compare) + flag('E', explicit) + (isStale ? ' I' : '')
      return `ms ${key} ${value.length} M${mode}${numbers}${uniques} c\r\n${value}\r\n`
    }
    case 'md': {
      const { compare, explicit, isStale, isEmptied, exptime } = operation
      const marks = (isStale ? ' I' : '') + (isEmptied ? ' x' : '')
      return `md ${key}${flag('C', compare)}${flag('E', explicit)}${marks}${flag('T', exptime)}\r\n`
    }
    case 'ma': {
      const { mode, delta, vivify, initial, exptime, compare, explicit } = operation
      const numbers = [flag('N', vivify), flag('J', initial), flag('T', exptime)].join('')
      const uniques = flag('C', compare) + flag('E', explicit)
      return `ma ${key} M${mode} D${delta}${numbers}${uniques} v c t\r\n`
    }
  }
}

function flag(letter: string, token: string | number | undefined): string {
  return token === undefined ? '' : ` ${letter}${token}`
}

/** One line for a person. */
export function describe({ key, operation }: HistoryEntry): string {
  return encode([key], operation).trimEnd().replace('\r\n', ' ')
}

export function describeReply(reply: Reply | undefined): string {
  if (!reply) return 'unknown'
  const { status, value, flags, unique, isMortal, marks } = reply
  const told = [value, flag('f', flags), flag('c', unique), isMortal && 'expires', marks]
  return [status, ...told].filter(Boolean).join(' ').replaceAll('  ', ' ')
}
