/**
 * Data-driven tests: scripts of commands, each with the answer it must get.
 *
 *     # a comment
 *     command argument argument
 *     ----
 *     the answer, one or more lines, none of them blank
 *
 * Blocks are separated by one blank line; a block of comments alone stays as it
 * is. REWRITE=1 writes the answers that came out; their diff is reviewed like code.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { expect, test } from 'vitest'

/** Carries out one command. @returns what goes below `----`. */
export type Handler = (command: string, args: readonly string[]) => string

/** Runs every script in `directory`, each against a handler of its own. */
export function runDataDriven(directory: string, createHandler: () => Handler): void {
  for (const file of readdirSync(directory).filter((name) => name.endsWith('.txt'))) {
    test(`${basename(directory)}/${file}`, () => {
      const path = join(directory, file)
      const expected = readFileSync(path, 'utf8')
      const actual = replay(expected, createHandler())
      if (process.env.REWRITE) writeFileSync(path, actual)
      else expect(actual).toBe(expected)
    })
  }
}

/** Renders `script` again, with what follows each `----` replaced by the handler's answer. */
function replay(script: string, handle: Handler): string {
  const blocks = script
    .trimEnd()
    .split(/\n{2,}/)
    .map((block) => {
      const input = (block.split('\n----')[0] ?? '').split('\n')
      const line = input.filter((text) => !text.startsWith('#')).join(' ')
      const [command, ...args] = line.split(' ')
      if (!command) return block
      return `${input.join('\n')}\n----\n${handle(command, args)}`
    })
  return `${blocks.join('\n\n')}\n`
}
