/**
 * Lines from a pipe or a file, run one after the other, each once the one before it is
 * answered.
 *
 * Every line that says something has its reply on standard output, in order: one line, but for
 * what is a list. One that fails has `error: line N: why`, and the others are run all the same,
 * except where no server can be reached: then none of them could be. At the end standard error
 * has how many failed, and the exit status is that of the gravest failure.
 */
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { explain } from '../run.ts'
import { EXIT, errorJson, exitStatusOf, graver, UsageError } from './outcome.ts'
import { textOf } from './reply.ts'
import type { Session } from './session.ts'

export interface Streams {
  readonly input: Readable
  readonly output: Writable
  /** For the last word. */
  readonly errors: Writable
}

/** @returns the exit status. */
export async function runScript(
  session: Session,
  { input, output, errors }: Streams,
  isJson: boolean,
): Promise<number> {
  let status: number = EXIT.done
  let number = 0
  let failures = 0
  let firstFailure = ''
  let isStopped = false
  const failed = (failureStatus: number, why: string) => {
    status = graver(status, failureStatus)
    if (failures++ === 0) firstFailure = `line ${number}: ${why}`
  }
  const say = (text: string, json: object) =>
    write(output, isJson ? JSON.stringify({ line: number, ...json }) : text)

  // As bytes, a character each: what is not UTF-8 is to be seen, and only a line end ends a line.
  input.setEncoding('latin1')
  for await (const bytes of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
    number++
    try {
      const line = decode(bytes)
      // A byte order mark, as some editors write one.
      const replies = await session.run(number === 1 ? line.replace(/^\ufeff/, '') : line)
      if (replies === null) break
      for (const { isDone, text, json } of replies) {
        if (!isDone) failed(EXIT.no, text)
        await say(text, json)
      }
    } catch (error) {
      const message = explain(error)
      const failureStatus = exitStatusOf(error)
      failed(failureStatus, message)
      await say(`error: line ${number}: ${message}`, errorJson(error, message))
      isStopped = failureStatus === EXIT.unreachable
      if (isStopped) break
    }
  }
  input.destroy() // whoever writes it may live on, and would keep this process as long
  if (failures > 0) {
    const what = failures === 1 ? '1 command failed' : `${failures} commands failed, the first`
    const end = isStopped ? '; what follows was not run' : ''
    errors.write(`client: ${what} on ${firstFailure}${end}\n`)
  }
  return status
}

/** @param bytes A character each. */
function decode(bytes: string): string {
  const line = textOf(Buffer.from(bytes, 'latin1'))
  if (line !== null) return line
  throw new UsageError('the line is not UTF-8: a key is text, and in a value \\xHH is a byte')
}

/** No faster than it is taken. */
function write(output: Writable, line: string): Promise<void> {
  return new Promise((resolve, reject) => {
    output.write(`${line}\n`, (error) => (error ? reject(error) : resolve()))
  })
}
