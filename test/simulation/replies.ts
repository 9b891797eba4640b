/**
 * Replies of a server: bytes in, replies as they were sent out, and what each says
 * about the keys that were asked for.
 */
import type { HistoryEntry } from './linearizability.ts'
import type { Operation, Reply } from './model.ts'

interface Hit {
  readonly key: string
  readonly flags: number
  readonly value: string
  readonly unique: string | undefined
}

/** To one request. */
export interface WireReply {
  /** The last line that is not a value. */
  readonly line: string
  /** Those of a get and its like. */
  readonly hits: readonly Hit[]
  /** That of VA. */
  readonly value: string | undefined
}

export class ReplyReader {
  #text = ''
  #hits: Hit[] = []

  push(chunk: Buffer): void {
    this.#text += chunk.toString('latin1')
  }

  /** @returns null until there is a whole one. */
  next(): WireReply | null {
    for (;;) {
      const end = this.#text.indexOf('\r\n')
      if (end === -1) return null
      const line = this.#text.slice(0, end)
      const words = line.split(' ')
      const isHit = words[0] === 'VALUE'
      if (!isHit && words[0] !== 'VA') {
        this.#text = this.#text.slice(end + 2)
        return this.#whole(line, undefined)
      }
      const valueEnd = end + 2 + Number(words[isHit ? 3 : 1])
      if (this.#text.length < valueEnd + 2) return null
      const value = this.#text.slice(end + 2, valueEnd)
      this.#text = this.#text.slice(valueEnd + 2)
      if (!isHit) return this.#whole(line, value)
      const [, key = '', flags, , unique] = words
      this.#hits.push({ key, flags: Number(flags), value, unique })
    }
  }

  #whole(line: string, value: string | undefined): WireReply {
    const hits = this.#hits
    this.#hits = []
    return { line, hits, value }
  }
}

/** What memcached may answer to each, by its first word. */
const STATUSES: Readonly<Record<Operation['kind'], readonly string[]>> = {
  get: ['END'],
  gets: ['END'],
  gat: ['END'],
  gats: ['END'],
  set: ['STORED'],
  add: ['STORED', 'NOT_STORED'],
  replace: ['STORED', 'NOT_STORED'],
  append: ['STORED', 'NOT_STORED'],
  prepend: ['STORED', 'NOT_STORED'],
  cas: ['STORED', 'EXISTS', 'NOT_FOUND'],
  delete: ['DELETED', 'NOT_FOUND'],
  touch: ['TOUCHED', 'NOT_FOUND'],
  incr: ['NOT_FOUND', 'CLIENT_ERROR'],
  decr: ['NOT_FOUND', 'CLIENT_ERROR'],
  flush_all: ['OK'],
  mg: ['VA', 'EN'],
  ms: ['HD', 'NS', 'EX', 'NF'],
  md: ['HD', 'EX', 'NF'],
  ma: ['VA', 'EX', 'NF', 'CLIENT_ERROR'],
}

/** They first look, and what failed then changed nothing. */
const READS: readonly Operation['kind'][] = ['get', 'gets', 'gat', 'gats', 'mg']

/**
 * What became of a request, one entry for each of its keys, in their order. Where it is
 * `answered` each has its reply then; where it is `refused` none of it ever happens.
 */
export type Outcome = 'answered' | 'refused' | 'unknown' | 'surprise'

export function settle(entries: readonly HistoryEntry[], wire: WireReply, atMs: number): Outcome {
  const [{ operation }] = entries as readonly [HistoryEntry]
  const { line, hits } = wire
  if (line.startsWith('SERVER_ERROR ')) {
    if (line.startsWith('SERVER_ERROR outcome unknown')) return 'unknown'
    const isRead = READS.includes(operation.kind)
    if (!isRead && !/^SERVER_ERROR (not stored|out of )/.test(line)) return 'surprise'
    return entries.length === 1 ? 'refused' : 'unknown' // of some of its keys, perhaps
  }
  const [status = ''] = line.split(' ')
  const isNumber = (operation.kind === 'incr' || operation.kind === 'decr') && /^\d+$/.test(line)
  if (!isNumber && !STATUSES[operation.kind].includes(status)) return 'surprise'
  const asked = entries.map(({ key }) => key)
  const isInOrder = hits.every(({ key }, at) => {
    const before = hits[at - 1]
    return asked.includes(key) && (!before || asked.indexOf(key) > asked.indexOf(before.key))
  })
  if (!isInOrder || (hits.length > 0 && status !== 'END')) return 'surprise'
  for (const entry of entries) {
    entry.endMs = atMs
    const hit = hits.find(({ key }) => key === entry.key)
    entry.reply = hit ? readReply(hit) : lineReply(status, wire)
  }
  return 'answered'
}

function readReply({ flags, value, unique }: Hit): Reply {
  const read = { status: 'VALUE', flags, value: unpadded(value) }
  return unique === undefined ? read : { ...read, unique }
}

function lineReply(status: string, { line, value }: WireReply): Reply {
  if (value === undefined && status !== 'HD') return { status }
  const told: { -readonly [Name in keyof Reply]: Reply[Name] } = { status }
  const flags = line.split(' ').slice(status === 'VA' ? 2 : 1)
  for (const flag of flags) {
    const token = flag.slice(1)
    if (flag[0] === 'c') told.unique = token
    if (flag[0] === 'f') told.flags = Number(token)
    if (flag[0] === 't') told.isMortal = token !== '-1'
  }
  if (value !== undefined) {
    told.value = unpadded(value)
    told.marks = flags.filter((flag) => /^[ZXW]$/.test(flag)).join('')
  }
  return told
}

/** A number that became shorter may be filled up with spaces: the model has none. */
export function unpadded(value: string): string {
  return /^\d+ +$/.test(value) ? value.trimEnd() : value
}
