/** One command of the command line: what it takes from there. */
import { expect, test } from 'vitest'
import { COMMANDS, type Command } from '../../../bin/client/commands.ts'
import { UsageError } from '../../../bin/client/outcome.ts'
import { runSingle } from '../../../bin/client/single.ts'
import { io } from '../../e2e/cluster.ts'
import { FakeClient } from './fake-client.ts'

const client = new FakeClient()

function run(name: string, ...words: string[]): Promise<number> {
  const command = COMMANDS.find((command) => command.name === name) as Command
  const status = () => Promise.reject(new Error('not here'))
  return runSingle(command, words, {}, { client, disk: io.disk, status })
}

test('bytes that are not UTF-8, which node has replaced, become no other key or value', async () => {
  for (const words of [
    ['k\ufffd', 'v'],
    ['k', 'v\ufffd'],
  ]) {
    const refused = run('set', ...words)
    await expect(refused).rejects.toThrow(UsageError)
    await expect(refused).rejects.toThrow(/^not UTF-8, or U\+FFFD: [kv]\ufffd; a value - is read/)
  }
  expect(client.items.size).toBe(0)
})
