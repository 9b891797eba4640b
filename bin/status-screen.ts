/**
 * `store status` as a person sees it: an overview in, lines out. Pure; no terminal.
 *
 * What is wrong comes first. No line is longer than the columns there are: texts go on in
 * the next line, addresses lose their beginning. docs/STATUS.md shows screens.
 */
import {
  addressText,
  countText,
  describeSpan,
  isMember,
  type MemberOverview,
  type Overview,
  sizeText,
} from './overview.ts'

export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow'

export interface Look {
  readonly columns: number
  /** Colours, where there are any. */
  readonly paint: (style: Style, text: string) => string
}

export const PLAIN: Look = { columns: 80, paint: (_, text) => text }

interface Cell {
  readonly text: string
  readonly style?: Style | undefined
}

interface Column {
  readonly title: string
  readonly isNumber?: boolean
  /** Gives way where the columns do not suffice. */
  readonly isShortened?: boolean
  readonly cell: (member: MemberOverview) => Cell | string
}

const ADDRESS_CHARACTERS_MIN = 12

/** Nobody reads less; and what is set in has room. */
const COLUMNS_MIN = 20

/** @returns lines, each with its end. */
export function drawScreen(overview: Overview, given: Look = PLAIN): string {
  const look = { ...given, columns: Math.max(COLUMNS_MIN, given.columns) }
  const { members, problems } = overview
  const parts = [
    headline(overview, look),
    problems.flatMap(({ text, kind }) => {
      if (kind === 'noLeader') return [] // the headline
      const style = kind === 'figures' ? 'yellow' : 'red'
      return wrapped(text, look.columns, '! ').map((line) => look.paint(style, line))
    }),
    members.length === 0 ? [] : membersTable(members, look),
    hasFigures(overview) ? figures(overview, look) : [],
    summary(overview, look),
  ]
  const blocks = parts.filter((lines) => lines.length > 0)
  return blocks.map((lines) => lines.map((line) => `${line}\n`).join('')).join('\n')
}

function headline(overview: Overview, { columns, paint }: Look): string[] {
  const { cluster, leader, whyNoLeader, members } = overview
  const member = members.find(({ id }) => id === leader)
  const where = member ? `, ${clientsOf(member)}` : ''
  const who =
    leader === null
      ? `no leader: ${whyNoLeader ?? 'nobody says why'}`
      : `server ${leader} leads${where}`
  const term = member?.term ? `, term ${member.term}` : ''
  const lines = wrapped(`cluster ${cluster ?? '(none yet)'}: ${who}${term}`, columns)
  return lines.map((line) => paint(leader === null ? 'red' : 'bold', line))
}

function summary(overview: Overview, look: Look): string[] {
  const { membership, reads, balancers, members } = overview
  const voters = members.filter(({ voter }) => voter)
  const live = voters.filter(({ alive }) => alive === true).length
  const majority = Math.floor(voters.length / 2) + 1
  const facts = [
    voters.length === 0
      ? null
      : `voters: ${voters.length}, of them ${live} answer; a majority is ${majority}`,
    membership === null ? null : `membership: ${membership}`,
    reads === null ? null : `reads: ${reads}`,
    balancers.length === 0 ? null : `load balancer: ${balancers.map(describeBalancer).join(', ')}`,
  ]
  return facts.filter((fact) => fact !== null).flatMap((fact) => wrapped(fact, look.columns))
}

function describeBalancer({ host, port, failure }: Overview['balancers'][number]): string {
  return `${addressText({ host, port })}${failure === null ? '' : ' (no answer)'}`
}

// ---------------------------------------------------------------- members

const MEMBER_COLUMNS: readonly Column[] = [
  { title: 'server', cell: ({ id }) => id },
  { title: 'role', cell: (member) => roleOf(member) },
  { title: 'clients', isShortened: true, cell: clientsOf },
  { title: 'position', isNumber: true, cell: ({ lastIndex }) => known(lastIndex, String) },
  { title: 'behind', isNumber: true, cell: behind },
  { title: 'heard', isNumber: true, cell: (member) => known(member.lastHeardMsAgo, describeSpan) },
  { title: '', cell: doing },
]

function membersTable(members: readonly MemberOverview[], look: Look): string[] {
  const rows = members.map((member) => cellsOf(MEMBER_COLUMNS, member))
  return table(MEMBER_COLUMNS, rows, look)
}

function roleOf(member: MemberOverview): Cell {
  if (!isMember(member)) return { text: 'no member', style: 'dim' }
  if (member.alive === false) return { text: 'dead', style: 'red' }
  if (member.cluster === null) return { text: 'new' }
  if (!member.voter) return { text: 'learner' }
  if (member.role === 'leader') return { text: 'leader', style: 'green' }
  return { text: member.role === 'preCandidate' ? 'candidate' : (member.role ?? 'voter') }
}

/** Colour is for what lasts: a few entries are always under way. */
const LAG_SHOWN = 1_000

function behind({ lag }: MemberOverview): Cell {
  return {
    text: known(lag, countText),
    style: lag !== null && lag >= LAG_SHOWN ? 'yellow' : undefined,
  }
}

/** Of a learner; what else there is to say stands above, as a problem. */
function doing({ voter, note }: MemberOverview): string {
  if (voter || note === null) return ''
  if (/^learner, .* behind/.test(note)) return 'catching up'
  return /^learner, (stands by)/.exec(note)?.[1] ?? ''
}

function clientsOf({ cip, cport }: MemberOverview): string {
  return addressText({ host: cip, port: cport })
}

// ---------------------------------------------------------------- figures

const FIGURE_COLUMNS: readonly Column[] = [
  { title: 'server', cell: ({ id }) => id },
  { title: 'items', isNumber: true, cell: ({ items }) => known(items, countText) },
  { title: 'memory', isNumber: true, cell: ({ itemBytes }) => known(itemBytes, sizeText) },
  { title: 'limit', isNumber: true, cell: ({ memoryLimitBytes: max }) => known(max, limitText) },
  { title: 'disk free', isNumber: true, cell: diskFree },
  { title: 'log', isNumber: true, cell: ({ logBytes }) => known(logBytes, sizeText) },
  { title: 'keystore', isNumber: true, cell: ({ keystoreBytes: size }) => known(size, sizeText) },
  { title: 'reads/s', isNumber: true, cell: (member) => known(member.readsPerSecond, countText) },
  { title: 'writes/s', isNumber: true, cell: (member) => known(member.writesPerSecond, countText) },
]

function hasFigures({ members }: Overview): boolean {
  return members.some(({ items }) => items !== null)
}

function figures(overview: Overview, look: Look): string[] {
  const { readsPerSecond, writesPerSecond } = overview
  const members = overview.members.filter(({ items }) => items !== null)
  const rows = members.map((member) => cellsOf(FIGURE_COLUMNS, member))
  // The rest has no total: all servers hold the same.
  const total = [known(readsPerSecond, countText), known(writesPerSecond, countText)]
  const blanks = FIGURE_COLUMNS.slice(1 + total.length).map(() => '')
  if (rows.length > 1) rows.push(['all', ...blanks, ...total].map(asCell))
  return table(FIGURE_COLUMNS, rows, look)
}

function diskFree({ diskFreeBytes: free, diskKeptBytes: kept }: MemberOverview): Cell {
  const isLow = free !== null && kept !== null && free < 2 * kept
  return { text: known(free, sizeText), style: isLow ? 'red' : undefined }
}

function limitText(bytes: number): string {
  return bytes === 0 ? 'none' : sizeText(bytes)
}

// ---------------------------------------------------------------- lines

function known(value: number | null, describe: (value: number) => string): string {
  return value === null ? '?' : describe(value)
}

function cellsOf(columns: readonly Column[], member: MemberOverview): Cell[] {
  return columns.map(({ cell }) => asCell(cell(member)))
}

function table(columns: readonly Column[], cells: readonly Cell[][], look: Look): string[] {
  const titles = columns.map(({ title }): Cell => ({ text: title, style: 'dim' }))
  const rows = [titles, ...cells]
  const widths = columns.map((_, at) => Math.max(...rows.map((row) => row[at]?.text.length ?? 0)))
  const total = widths.reduce((sum, width) => sum + 2 + width, 0)
  const shortened = columns.findIndex(({ isShortened }) => isShortened)
  const width = widths[shortened]
  if (width !== undefined && total > look.columns) {
    const room = Math.max(ADDRESS_CHARACTERS_MIN, width - (total - look.columns))
    widths[shortened] = Math.min(width, room)
  }
  return rows.map((row) => {
    const cells = row.map((cell, at) => aligned(cell, widths[at] ?? 0, columns[at], look))
    return `  ${cells.join('  ')}`.trimEnd()
  })
}

function aligned(
  { text, style }: Cell,
  width: number,
  column: Column | undefined,
  look: Look,
): string {
  const fitting = text.length > width ? `…${text.slice(text.length - width + 1)}` : text
  const blanks = ' '.repeat(width - fitting.length)
  const painted = style && fitting ? look.paint(style, fitting) : fitting
  return column?.isNumber ? blanks + painted : painted + blanks
}

function asCell(cell: Cell | string): Cell {
  return typeof cell === 'string' ? { text: cell } : cell
}

/**
 * Lines of whole words, a word longer than a line broken; those after the first are set in.
 * @param columns More than what is set in, and the mark.
 */
export function wrapped(text: string, columns: number, mark = ''): string[] {
  const lines: string[] = []
  let line = mark
  let isBegun = false
  const room = () => columns - line.length - (isBegun ? 1 : 0)
  for (const word of text.split(' ')) {
    let rest = word
    if (isBegun && rest.length > room()) {
      lines.push(line)
      line = '  '
      isBegun = false
    }
    while (rest.length > room()) {
      const part = rest.slice(0, room())
      rest = rest.slice(part.length)
      lines.push(line + part)
      line = '  '
    }
    line += isBegun ? ` ${rest}` : rest
    isBegun = true
  }
  return [...lines, line]
}
