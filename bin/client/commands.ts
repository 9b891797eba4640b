/**
 * The words of the client, each with what it takes, what it says of itself and what it does:
 * one table for the command line (../client.ts), the prompt and scripts (session.ts).
 *
 * In: bytes as they were typed, and a Client. Out: replies. What the store answers with no,
 * such as a key that is not there, is a reply; all that goes wrong is thrown.
 */
import type { Client, WriteOptions } from '../../src/client/api.ts'
import type { Disk } from '../../src/io/io.ts'
import type { ClusterStatus } from '../../src/protocol/status.ts'
import { printable } from '../../src/server/inspect/printable.ts'
import { describeStatus } from '../status.ts'
import { hashImage } from './image-hash.ts'
import { UsageError } from './outcome.ts'
import { done, noSuchKey, notDone, quoted, type Reply, shown, textOf, valueJson } from './reply.ts'

/** What commands work with. */
export interface Context {
  readonly client: Client
  readonly disk: Disk
  readonly status: () => Promise<ClusterStatus>
  /** Of each call. */
  readonly timeoutMs?: number | undefined
  readonly signal?: AbortSignal | undefined
}

export interface Option {
  /** null for one that takes none. */
  readonly value: string | null
  readonly help: string
}

export const OPTIONS = {
  expires: { value: '<seconds>', help: 'until it is gone; without, it stays' },
  flags: { value: '<number>', help: 'a number from 0 to 4294967295 kept with the value' },
  cas: { value: '<unique>', help: 'only where the item is still the one that gets showed' },
  local: { value: null, help: 'what one server has, at once; it may be some time ago' },
  delay: { value: '<seconds>', help: 'not at once' },
} as const satisfies Readonly<Record<string, Option>>

export type OptionName = keyof typeof OPTIONS
export type Options = Readonly<Partial<Record<OptionName, string>>>

export interface Command {
  readonly name: string
  /** `<needed>`, `[optional]`, `<many...>`; those called key are keys. */
  readonly params: string
  readonly options: readonly OptionName[]
  readonly help: string
  /** Of the words behind `client`, or behind the prompt. */
  readonly example: string
  /** The last parameter is the rest of the line, as it is. */
  readonly takesRest?: boolean
  /** @param args As many as `params` says. */
  run(context: Context, args: readonly Buffer[], options: Options): Promise<readonly Reply[]>
}

const WRITE: readonly OptionName[] = ['expires', 'flags']

export const COMMANDS: readonly Command[] = [
  {
    name: 'get',
    params: '<key...>',
    options: ['local'],
    help: 'print `key value` for each key',
    example: 'get greeting other',
    run: async (context, args, options) => {
      const keys = args.map(wordOf)
      const values = await context.client.get(keys, readOptions(context, options))
      return keys.map((key) => {
        const value = values.get(key)
        return value ? shown(key, value, { key, found: true }) : noSuchKey(key)
      })
    },
  },
  {
    name: 'gets',
    params: '<key...>',
    options: ['local'],
    help: 'print `key cas-unique flags value` for each key',
    example: 'gets greeting',
    run: async (context, args, options) => {
      const keys = args.map(wordOf)
      const items = await context.client.gets(keys, readOptions(context, options))
      return keys.map((key) => {
        const item = items.get(key)
        if (!item) return noSuchKey(key)
        const { value, flags } = item
        const casUnique = String(item.casUnique)
        const json = { key, found: true, casUnique, flags }
        return shown(`${key} ${casUnique} ${flags}`, value, json)
      })
    },
  },
  {
    name: 'read',
    params: '<key>',
    options: ['local'],
    help: 'print the value of a key',
    example: 'read greeting',
    run: async (context, args, options) => {
      const [key = ''] = args.map(wordOf)
      const value = await context.client.get(key, readOptions(context, options))
      return [value ? shown('', value, { key, found: true }) : noSuchKey(key)]
    },
  },
  {
    name: 'set',
    params: '<key> <value>',
    options: [...WRITE, 'cas'],
    help: 'store a value; prints STORED',
    example: 'set greeting "hello world" --expires 3600',
    run: setItem,
  },
  {
    name: 'write',
    params: '<key> <value>',
    options: WRITE,
    help: 'the same as set',
    example: 'write greeting "hello world"',
    run: setItem,
  },
  storeWhere('add', 'it has a value', {
    options: WRITE,
    help: 'store a value where the key has none',
    example: 'add lock me --expires 30',
  }),
  storeWhere('replace', 'it has no value', {
    options: WRITE,
    help: 'store a value where the key has one',
    example: 'replace greeting hi',
  }),
  storeWhere('append', 'it has no value, or the two together would be too long', {
    options: [],
    help: 'put this behind the value that is there',
    example: 'append greeting ", and goodbye"',
  }),
  storeWhere('prepend', 'it has no value, or the two together would be too long', {
    options: [],
    help: 'put this before the value that is there',
    example: 'prepend greeting "well: "',
  }),
  {
    name: 'cas',
    params: '<key> <expected> <value>',
    options: WRITE,
    help: 'swap the value where it is the expected one; says what it was',
    example: 'cas greeting hello hi',
    run: compareAndSwap,
  },
  count('incr', {
    help: 'add to a number, 1 if not told otherwise; prints the sum',
    example: 'incr visits 5',
  }),
  count('decr', {
    help: 'take from a number, down to 0; prints what is left',
    example: 'decr stock',
  }),
  {
    name: 'delete',
    params: '<key>',
    options: [],
    help: 'remove a key',
    example: 'delete greeting',
    run: async (context, args) => {
      const [key = ''] = args.map(wordOf)
      const wasThere = await context.client.delete(key, callOptions(context))
      return [wasThere ? done('DELETED', { key, deleted: true }) : noSuchKey(key)]
    },
  },
  {
    name: 'touch',
    params: '<key> <seconds>',
    options: [],
    help: 'set anew when it is gone; 0 for never',
    example: 'touch greeting 3600',
    run: async (context, args) => {
      const [key = '', time = ''] = args.map(wordOf)
      const seconds = wholeNumber('seconds', time)
      const wasThere = await context.client.touch(key, seconds, callOptions(context))
      return [wasThere ? done('TOUCHED', { key, touched: true }) : noSuchKey(key)]
    },
  },
  {
    name: 'flush',
    params: '',
    options: ['delay'],
    help: 'remove everything',
    example: 'flush --delay 60',
    run: async (context, _args, { delay }) => {
      const delayS = delay === undefined ? {} : { delayS: wholeNumber('--delay', delay) }
      await context.client.flushAll({ ...callOptions(context), ...delayS })
      return [done('OK', { flushed: true })]
    },
  },
  {
    name: 'stats',
    params: '[about]',
    options: [],
    help: 'what the leader counts, or one group of it, such as settings',
    example: 'stats settings',
    run: async (context, args) => {
      const [about] = args.map(wordOf)
      const stats = await context.client.stats(about, callOptions(context))
      const lines = [...stats].map(([name, value]) => printable(Buffer.from(`${name} ${value}`)))
      return [done(lines.join('\n'), Object.fromEntries(stats))]
    },
  },
  {
    name: 'iset',
    params: '<image> <metadata...>',
    options: [],
    help: 'store the rest of the line under the average hash of an image',
    example: 'iset cat.jpg a cat, asleep on the keyboard',
    takesRest: true,
    run: async (context, args) => {
      const [image = Buffer.alloc(0), metadata = Buffer.alloc(0)] = args
      const key = await hashImage(context.disk, wordOf(image))
      await context.client.set(key, metadata, callOptions(context))
      return [done(`STORED ${key}`, { key, stored: true })]
    },
  },
  {
    name: 'iget',
    params: '<image>',
    options: ['local'],
    help: 'print what is stored under the average hash of an image',
    example: 'iget cat.jpg',
    run: async (context, args, options) => {
      const key = await hashImage(context.disk, wordOf(args[0]))
      const value = await context.client.get(key, readOptions(context, options))
      if (value) return [shown('', value, { key, found: true })]
      return [notDone(`nothing is stored for this image (${key})`, { key, found: false })]
    },
  },
  {
    name: 'status',
    params: '',
    options: [],
    help: 'print the members of the cluster, and who leads',
    example: 'status',
    run: async ({ status }) => {
      const cluster = await status()
      return [done(describeStatus(cluster).trimEnd(), cluster)]
    },
  },
]

function storeWhere(
  name: 'add' | 'replace' | 'append' | 'prepend',
  whyNot: string,
  about: Pick<Command, 'options' | 'help' | 'example'>,
): Command {
  return {
    name,
    params: '<key> <value>',
    ...about,
    run: async (context, args, options) => {
      const [key, value] = keyAndValue(args)
      const isStored = await context.client[name](key, value, writeOptions(context, options))
      return [stored(key, isStored, whyNot)]
    },
  }
}

function count(name: 'incr' | 'decr', about: Pick<Command, 'help' | 'example'>): Command {
  return {
    name,
    params: '<key> [by]',
    options: [],
    ...about,
    run: async (context, args) => {
      const [key, by] = keyAndAmount(args)
      return [counted(key, await context.client[name](key, by, callOptions(context)))]
    },
  }
}

async function setItem(
  context: Context,
  args: readonly Buffer[],
  options: Options,
): Promise<Reply[]> {
  const [key, value] = keyAndValue(args)
  const { client } = context
  const write = writeOptions(context, options)
  if (options.cas === undefined) {
    await client.set(key, value, write)
    return [stored(key, true, '')]
  }
  const casUnique = BigInt(wholeNumber('--cas', options.cas, BigInt))
  const result = await client.cas(key, value, casUnique, write)
  if (result === 'notFound') return [noSuchKey(key)]
  return [stored(key, result === 'stored', 'it has changed since')]
}

/** Compares values, where memcached's own cas compares the unique that `gets` shows. */
async function compareAndSwap(
  context: Context,
  args: readonly Buffer[],
  options: Options,
): Promise<Reply[]> {
  const [word, expected = Buffer.alloc(0), value = Buffer.alloc(0)] = args
  const key = wordOf(word)
  let old: Buffer | null = null
  let isSwapped = false
  await context.client.update(
    key,
    (found) => {
      old = found
      isSwapped = found?.equals(expected) ?? false
      return isSwapped ? value : undefined
    },
    writeOptions(context, options),
  )
  return [swapped(key, isSwapped, old)]
}

function swapped(key: string, isSwapped: boolean, old: Buffer | null): Reply {
  const json = { key, swapped: isSwapped, old: old && valueJson(old) }
  if (!old) return notDone(`not swapped: no such key: ${printable(Buffer.from(key))}`, json)
  return isSwapped
    ? done(`swapped: it was ${quoted(old)}`, json)
    : notDone(`not swapped: it is ${quoted(old)}`, json)
}

function stored(key: string, isStored: boolean, whyNot: string): Reply {
  const json = { key, stored: isStored }
  if (isStored) return done('STORED', json)
  return notDone(`not stored: ${printable(Buffer.from(key))}: ${whyNot}`, json)
}

function counted(key: string, sum: bigint | null): Reply {
  return sum === null ? noSuchKey(key) : done(String(sum), { key, found: true, value: String(sum) })
}

/** Of what is no value. @throws UsageError where it would become another, as another key. */
function wordOf(bytes: Buffer = Buffer.alloc(0)): string {
  const text = textOf(bytes)
  if (text !== null) return text
  throw new UsageError(`not UTF-8: ${quoted(bytes)}; only a value may be any bytes`)
}

function keyAndValue(args: readonly Buffer[]): [string, Buffer] {
  return [wordOf(args[0]), args[1] ?? Buffer.alloc(0)]
}

function keyAndAmount(args: readonly Buffer[]): [string, bigint] {
  const [key = '', by = '1'] = args.map(wordOf)
  return [key, wholeNumber('what is added or taken', by, BigInt)]
}

function callOptions({ timeoutMs, signal }: Context) {
  return { ...(timeoutMs === undefined ? {} : { timeoutMs }), ...(signal ? { signal } : {}) }
}

function readOptions(context: Context, { local }: Options) {
  const read = local === undefined ? ('linearizable' as const) : ('local' as const)
  return { ...callOptions(context), read }
}

function writeOptions(context: Context, { expires, flags }: Options): WriteOptions {
  return {
    ...callOptions(context),
    ...(expires === undefined ? {} : { expiresInS: wholeNumber('--expires', expires) }),
    ...(flags === undefined ? {} : { flags: wholeNumber('--flags', flags) }),
  }
}

function wholeNumber(what: string, text: string): number
function wholeNumber(what: string, text: string, convert: (text: string) => bigint): bigint
function wholeNumber(
  what: string,
  text: string,
  convert: (text: string) => number | bigint = Number,
): number | bigint {
  if (!/^\d+$/.test(text)) {
    throw new UsageError(`${what}: a whole number from 0 on, not ${JSON.stringify(text)}`)
  }
  return convert(text)
}
