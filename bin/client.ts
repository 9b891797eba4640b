#!/usr/bin/env node
/** The `client` command: parses flags, calls src/client, prints. */
import { Command } from 'commander'
import { type Client, connect } from '../src/client/client.ts'
import { createNodeIo } from '../src/io/node.ts'
import { addLoginFlag, loginOf } from './cluster.ts'
import { addBalancersFlags, type BalancersFlags, balancersOf, runCommand } from './run.ts'

const io = createNodeIo()

interface ClientFlags extends BalancersFlags {
  readonly authFile?: string
}

const program = new Command('client')
  .description('Reads and writes keys of a raftcached cluster, found through its load balancer.')
  .showHelpAfterError()

function addCommand(name: string): Command {
  return addLoginFlag(addBalancersFlags(program.command(name), 5002, 'clients'))
}

addCommand('set <key> <value>')
  .description('store a value; prints STORED')
  .addHelpText('after', '\nExample:\n  client set greeting "hello world"')
  .action((key: string, value: string, flags: ClientFlags) =>
    withClient(flags, async (client) => {
      await client.set(key, value)
      process.stdout.write('STORED\n')
    }),
  )

addCommand('get <keys...>')
  .description('print `key value` for each key; exit status 1 when one is missing')
  .addHelpText('after', '\nExample:\n  client get greeting other')
  .action((keys: string[], flags: ClientFlags) =>
    withClient(flags, async (client) => {
      const values = await Promise.all(keys.map((key) => client.get(key)))
      for (const [at, value] of values.entries()) {
        if (value) {
          process.stdout.write(
            Buffer.concat([Buffer.from(`${keys[at]} `), value, Buffer.from('\n')]),
          )
        } else {
          process.stderr.write(`client: no such key: ${keys[at]}\n`)
          process.exitCode = 1
        }
      }
    }),
  )

function withClient(flags: ClientFlags, use: (client: Client) => Promise<void>): Promise<void> {
  return runCommand('client', async () => {
    const login = await loginOf(io.disk, flags.authFile)
    const client = await connect(balancersOf(flags), { login, io })
    try {
      await use(client)
    } finally {
      await client.close()
    }
  })
}

await program.parseAsync()
