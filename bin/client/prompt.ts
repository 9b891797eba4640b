/**
 * The prompt, at a terminal: lines with editing, completion and history, by node:readline.
 *
 * Ctrl-C clears the line, ends a command that is on its way, and on an empty line, twice, the
 * prompt; Ctrl-D on an empty line ends it. What fails says so in a line, and the prompt goes
 * on: it ends with 0.
 */
import { createInterface } from 'node:readline'
import { explain } from '../run.ts'
import type { History } from './history.ts'
import { HISTORY_LINES_MAX } from './history.ts'
import { errorJson } from './outcome.ts'
import type { Session } from './session.ts'

const PROMPT = 'raftcached> '

/** Resolves once it is ended. */
export function runPrompt(session: Session, history: History, isJson: boolean): Promise<void> {
  const say = (text: string) => process.stdout.write(`${text}\n`)
  const terminal = createInterface({
    input: process.stdin,
    output: process.stdout,
    prompt: PROMPT,
    history: history.load(),
    historySize: HISTORY_LINES_MAX,
    removeHistoryDuplicates: true,
    completer: (line: string) => session.complete(line),
  })
  /** Typed, or pasted, while a command was on its way. */
  const waiting: string[] = []
  let running: AbortController | null = null
  let isLeaving = false
  let isClosed = false

  async function runLine(line: string): Promise<void> {
    const controller = new AbortController()
    running = controller
    try {
      const replies = await session.run(line, controller.signal)
      if (replies === null) return terminal.close()
      for (const { json, text } of replies) say(isJson ? JSON.stringify(json) : text)
    } catch (error) {
      const message = explain(error)
      say(isJson ? JSON.stringify(errorJson(error, message)) : `error: ${message}`)
    } finally {
      running = null
    }
  }

  async function runWaiting(): Promise<void> {
    for (let line = waiting.shift(); line !== undefined && !isClosed; line = waiting.shift()) {
      await runLine(line)
    }
    if (!isClosed) terminal.prompt()
  }

  terminal.on('line', (line) => {
    isLeaving = false
    history.add(line)
    waiting.push(line)
    if (!running && waiting.length === 1) void runWaiting()
  })
  terminal.on('SIGINT', () => {
    if (running) {
      waiting.length = 0
      return running.abort()
    }
    if (terminal.line !== '') {
      isLeaving = false
      terminal.write(null, { ctrl: true, name: 'e' })
      return terminal.write(null, { ctrl: true, name: 'u' })
    }
    if (isLeaving) return terminal.close()
    isLeaving = true
    say('\n(Ctrl-C again, Ctrl-D or quit: end)')
    terminal.prompt()
  })
  return new Promise((resolve) => {
    terminal.on('close', () => {
      isClosed = true
      running?.abort()
      say('')
      resolve()
    })
    say('help lists the commands, Tab completes, Ctrl-D ends.')
    terminal.prompt()
  })
}
