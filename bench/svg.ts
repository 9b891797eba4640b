/**
 * The results as a picture: for each row a bar for this store and one for each of the
 * others, as long as its rate in that of the row's fastest, the rate and the ratio beside
 * it. Its colours follow the page's, light or dark. Pure.
 */
import { type RowResult, ratioTo, type SubjectResult } from './results.ts'

const WIDTH = 760
const NAME_WIDTH = 130
const SUBJECT_WIDTH = 90
const BAR_WIDTH = 340
const BAR_HEIGHT = 14
const LINE_HEIGHT = 18
const ROW_GAP = 12
const MARGIN = 12

const STYLE = `
text { font: 12px system-ui, sans-serif; fill: #24292f }
.own { fill: #1f6feb }
.other { fill: #8c959f }
.name { font-weight: 600 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .own { fill: #58a6ff }
  .other { fill: #6e7681 }
}`

export function drawResults(results: readonly RowResult[], title: string): string {
  let y = MARGIN + LINE_HEIGHT
  const parts = [text(MARGIN, y, title, 'name')]
  for (const result of results) {
    y += ROW_GAP
    const most = Math.max(...result.subjects.map(({ median }) => median.rate))
    for (const [at, subject] of result.subjects.entries()) {
      y += LINE_HEIGHT
      if (at === 0) parts.push(text(MARGIN, y, result.row.name, 'name'))
      parts.push(drawBar(result, subject, subject.median.rate / most, y))
    }
  }
  const height = y + MARGIN
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="${escapeText(title)}">`,
    `<style>${STYLE}</style>`,
    ...parts,
    '</svg>\n',
  ].join('\n')
}

function drawBar(
  result: RowResult,
  { subject, median }: SubjectResult,
  share: number,
  y: number,
): string {
  const isOwn = subject === 'raftcached'
  const x = MARGIN + NAME_WIDTH + SUBJECT_WIDTH
  const width = Math.max(1, BAR_WIDTH * share)
  const ratio = isOwn ? null : ratioTo(result, subject)
  const rate = `${Math.round(median.rate).toLocaleString('en')}/s`
  const label = ratio === null ? rate : `${rate}, raftcached ${ratio.toFixed(2)} x`
  return [
    text(MARGIN + NAME_WIDTH, y, subject),
    `<rect class="${isOwn ? 'own' : 'other'}" x="${x}" y="${y - BAR_HEIGHT + 3}" width="${width.toFixed(1)}" height="${BAR_HEIGHT}" rx="2"/>`,
    text(x + width + 6, y, label),
  ].join('\n')
}

function text(x: number, y: number, content: string, kind = ''): string {
  const attribute = kind === '' ? '' : ` class="${kind}"`
  return `<text${attribute} x="${x.toFixed(1)}" y="${y}">${escapeText(content)}</text>`
}

function escapeText(content: string): string {
  return content.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/"/g, '&quot;')
}
