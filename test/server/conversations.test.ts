/**
 * Conversations with memcached 1.6.45, as they were measured, had with this store.
 *
 * test/testdata/protocol has them. A paragraph is a connection, the items stay for the
 * next one of its file. Lines that begin with `>` are sent at once, those with `<` are the
 * whole answer. Each ends with CRLF unless with a backslash, which stands for nothing.
 * `{k*250}` is 250 times k, and `{n}` in an answer any number: a cas unique or a size.
 * Where this store differs on purpose, a line beginning with `!` says so.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { Client, ReplicaStore } from './client.ts'

const DIRECTORY = 'test/testdata/protocol'
const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', s: ' ' }

interface Step {
  readonly sent: string
  readonly answer: string
}

/** As many bytes may lie about without a line end. */
const LINE_BYTES_MAX = 2_048

const ways: readonly (readonly [name: string, cut: (text: string) => readonly string[]])[] = [
  ['whole', (text) => [text]],
  ['byte by byte', (text) => (text.length > LINE_BYTES_MAX ? [text] : [...text])],
]

for (const [way, cut] of ways)
  for (const file of readdirSync(DIRECTORY)) {
    const store = new ReplicaStore()
    for (const paragraph of readFileSync(`${DIRECTORY}/${file}`, 'latin1').trim().split('\n\n')) {
      const [title = '', ...lines] = paragraph.split('\n')
      test(`${file}: ${title.slice(2)}, ${way}`, () => {
        const client = new Client(store)
        for (const { sent, answer } of stepsOf(lines)) {
          for (const piece of cut(unescaped(sent))) client.receive(piece)
          const actual = client.settle() + (client.isEnded ? '(closed)\r\n' : '')
          const isAsMeasured = answer.includes('{n}')
            ? patternOf(answer).test(actual)
            : actual === unescaped(answer)
          // What differs is shown as it is written there.
          if (!isAsMeasured) expect(`${sent}--\n${shown(actual)}`).toBe(`${sent}--\n${answer}`)
        }
      })
    }
  }

function stepsOf(lines: readonly string[]): Step[] {
  const text = lines
    .filter((line) => !line.startsWith('!'))
    .map((line) => `${line}\n`)
    .join('')
  const steps = [...text.matchAll(/((?:>.*\n)+)((?:<.*\n)+)/g)]
  expect(steps.map(([step]) => step).join('')).toBe(text)
  return steps.map(([, sent = '', answer = '']) => ({
    sent: sent.replace(/^> ?/gm, ''),
    answer: answer.replace(/^< ?/gm, '').replace('(nothing)\n', ''),
  }))
}

function unescaped(text: string): string {
  return text
    .replace(/(?<!\\)\n/g, '\\r\\n')
    .replace(/\\\n/g, '')
    .replace(/\{(.)\*(\d+)\}/g, (_, char, count) => char.repeat(Number(count)))
    .replace(/\\x(..)/g, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)))
    .replace(/\\(.)/g, (_, letter) => ESCAPES[letter] ?? letter)
}

function shown(text: string): string {
  const printable = text.replace(/[^ -~\r\n]/g, (char) => {
    return `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`
  })
  return printable
    .replace(/(.)\1{24,}/g, (run, char) => `{${char}*${run.length}}`)
    .replace(/\r\n/g, '\n')
}

function patternOf(answer: string): RegExp {
  const parts = unescaped(answer).split('{n}')
  return new RegExp(`^${parts.map((part) => part.replace(/[^\w ]/g, '\\$&')).join('\\d+')}$`)
}
