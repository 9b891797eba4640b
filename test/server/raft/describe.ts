/**
 * One stable text form for entries, messages and configurations, and back.
 *
 *     1->2 append term=2 prev=1/1 commit=1 [2/2 noop, 2/3 "x"]
 *
 * An entry id is `term/index`. A command's text may end in `bytes=<n>`: the
 * entry then claims to be so large.
 */
import type { Config, Entry, EntryId, Message, Payload } from '../../../src/server/raft/types.ts'

export interface TestEntry extends Entry {
  /** The payload: `"<command>"`, `noop`, `time` or `config(...)`. */
  readonly text: string
}

const ENTRY_BYTES = 100

export function createEntry(id: EntryId, timeMs: number, payload: Payload): TestEntry {
  const { term, index } = id
  const config = payload.kind === 'config' ? payload.config : undefined
  const text = describePayload(payload)
  const bytes = Number(/ bytes=(\d+)"$/.exec(text)?.[1] ?? ENTRY_BYTES)
  return { term, index, timeMs, bytes, config, text }
}

function describePayload(payload: Payload): string {
  if (payload.kind === 'command') return `"${Buffer.from(payload.command).toString()}"`
  if (payload.kind === 'config') return describeConfig(payload.config)
  return payload.kind
}

/** `config(1 2 3 | 4 floor=3 reads=lease)`: three voters, one learner; a floor of 2 goes without saying. */
export function describeConfig({ members, floor, reads }: Config): string {
  const voters = members.filter(({ voter }) => voter).map(({ id }) => id)
  const learners = members.filter(({ voter }) => !voter).map(({ id }) => id)
  const words = [...voters]
  if (learners.length > 0) words.push('|', ...learners)
  if (floor !== 2) words.push(`floor=${floor}`)
  if (reads) words.push(`reads=${reads}`)
  return `config(${words.join(' ')})`
}

/** Reads what stands between the parentheses. */
export function parseConfig(text: string): Config {
  let floor = 2
  let voter = true
  let isLease = false
  const members: { id: string; voter: boolean }[] = []
  for (const word of text.split(' ').filter((part) => part !== '')) {
    if (word === '|') voter = false
    else if (word === 'reads=lease') isLease = true
    else if (word.startsWith('floor=')) floor = Number(word.slice(6))
    else members.push({ id: word, voter })
  }
  const address = { cip: '127.0.0.1', cport: 1, sip: '127.0.0.1', sport: 1 }
  const config = { members: members.map((member) => ({ ...member, ...address })), floor }
  return isLease ? { ...config, reads: 'lease' } : config
}

export function describeId({ term, index }: EntryId): string {
  return `${term}/${index}`
}

export function parseId(text: string): EntryId {
  const [term = 0, index = 0] = text.split('/').map(Number)
  return { term, index }
}

export function describeEntry(entry: TestEntry): string {
  return `${describeId(entry)} ${entry.text}`
}

export function describeEntries(entries: readonly TestEntry[]): string {
  return entries.map(describeEntry).join(', ')
}

/** Reads entries such as `2/2 noop, 2/3 "x"`; all get the same log time. */
export function parseEntries(text: string, timeMs: number): TestEntry[] {
  return text
    .split(', ')
    .filter((part) => part !== '')
    .map((part) => {
      const space = part.indexOf(' ')
      const id = parseId(part.slice(0, space))
      return createEntry(id, timeMs, parsePayload(part.slice(space + 1)))
    })
}

function parsePayload(text: string): Payload {
  if (text === 'noop' || text === 'time') return { kind: text }
  if (text.startsWith('config(')) return { kind: 'config', config: parseConfig(text.slice(7, -1)) }
  return { kind: 'command', command: Buffer.from(text.slice(1, -1)) }
}

export function describeMessage(message: Message<TestEntry>): string {
  const { type, from, to, term } = message
  return `${from}->${to} ${type} term=${term} ${describeBody(message)}`.trimEnd()
}

function describeBody(message: Message<TestEntry>): string {
  switch (message.type) {
    case 'preVote':
      return `last=${describeId(message.last)}`
    case 'vote':
      return `last=${describeId(message.last)}${message.handover ? ' handover' : ''}`
    case 'timeoutNow':
      return ''
    case 'preVoteResp':
      return message.granted ? 'granted' : 'refused'
    case 'voteResp':
      return `${message.granted ? 'granted' : 'refused'} wall=${message.wallMs}`
    case 'heartbeat':
      return `commit=${message.commitIndex} round=${message.round}`
    case 'heartbeatResp':
      return `round=${message.round}`
    case 'append': {
      const { prev, commitIndex, entries } = message
      return `prev=${describeId(prev)} commit=${commitIndex} [${describeEntries(entries)}]`
    }
    case 'appendResp': {
      const { matchIndex, reject } = message
      if (!reject) return `match=${matchIndex}`
      return `match=${matchIndex} reject=${reject.index} hint=${describeId(reject.hint)}`
    }
    case 'readIndex':
      return `id=${message.id}`
    case 'readIndexResp':
      return `id=${message.id} index=${message.index}`
  }
}

/** Reads what `describeMessage` writes. */
export function parseMessage(text: string, timeMs: number): Message<TestEntry> {
  const [head = '', list = ''] = text.split(' [')
  const [link = '', type = '', ...words] = head.split(' ')
  const [from = '', to = ''] = link.split('->')
  const fields = new Map<string, string>()
  for (const word of words) {
    const [key = '', value = ''] = word.split('=')
    fields.set(key, value)
  }
  const number = (key: string) => Number(fields.get(key) ?? 0)
  const id = (key: string) => parseId(fields.get(key) ?? '0/0')
  const envelope = { from, to, term: number('term') }
  const granted = fields.has('granted')
  switch (type) {
    case 'preVote':
      return { ...envelope, type, last: id('last') }
    case 'vote':
      return { ...envelope, type, last: id('last'), handover: fields.has('handover') }
    case 'timeoutNow':
      return { ...envelope, type }
    case 'preVoteResp':
      return { ...envelope, type, granted }
    case 'voteResp':
      return { ...envelope, type, granted, wallMs: number('wall') }
    case 'heartbeat':
      return { ...envelope, type, commitIndex: number('commit'), round: number('round') }
    case 'heartbeatResp':
      return { ...envelope, type, round: number('round') }
    case 'append': {
      const entries = parseEntries(list.replace(/\]$/, ''), timeMs)
      return { ...envelope, type, prev: id('prev'), commitIndex: number('commit'), entries }
    }
    case 'appendResp': {
      const reject = { index: number('reject'), hint: id('hint') }
      const matchIndex = number('match')
      if (!fields.has('reject')) return { ...envelope, type, matchIndex }
      return { ...envelope, type, matchIndex, reject }
    }
    case 'readIndex':
      return { ...envelope, type, id: number('id') }
    case 'readIndexResp':
      return { ...envelope, type, id: number('id'), index: number('index') }
  }
  throw new Error(`no such message: ${text}`)
}
