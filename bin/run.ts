/** What the commands share: flags, one-line errors, the log. */
import { type Command, InvalidArgumentError } from 'commander'
import { type DestinationStream, type Logger, pino } from 'pino'
import { prettyFactory } from 'pino-pretty'
import { splitAddress } from '../src/client/where.ts'
import type { Address } from '../src/io/io.ts'
import { ITEM_SIZE_BOUNDS } from '../src/protocol/commands.ts'

export function parsePort(text: string): number {
  const port = Number(text)
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new InvalidArgumentError('a port is a number from 1 to 65535.')
  }
  return port
}

/** `host:port`; an IPv6 address stands in brackets. */
export function parseAddress(text: string): Address {
  const address = splitAddress(text)
  if (!address) throw new InvalidArgumentError('an address is like 10.0.0.8:5001.')
  return { host: address.host, port: parsePort(address.port) }
}

export function parseAddresses(text: string): Address[] {
  return text.split(',').map(parseAddress)
}

/** The load balancers that `--lb` names, else the one of `--lbip` and `--lbport`. */
export function balancersOf(flags: BalancersFlags): Address[] {
  return flags.lb ?? [{ host: flags.lbip, port: flags.lbport }]
}

export interface BalancersFlags {
  readonly lb?: Address[]
  readonly lbip: string
  readonly lbport: number
}

/** Adds the flags that say where load balancers are. */
export function addBalancersFlags(command: Command, port: number, whose: string): Command {
  return command
    .option(
      '--lb <list>',
      `load balancers, host:port,host:port, their ports for ${whose}`,
      parseAddresses,
    )
    .option('--lbip <host>', 'the load balancer, where there is one', '127.0.0.1')
    .option('--lbport <port>', `its port for ${whose}`, parsePort, port)
}

export function parseCount(text: string): number {
  const count = Number(text)
  if (!Number.isInteger(count) || count < 1) {
    throw new InvalidArgumentError('a whole number from 1 on.')
  }
  return count
}

/** One server would wait for another one, and take nothing. */
export function parseServers(text: string): number {
  const count = parseCount(text)
  if (count < 2) throw new InvalidArgumentError('a new cluster needs two.')
  return count
}

/** `300`, `512m`, `2g`: bytes, or KiB, MiB, GiB. */
export function parseBytes(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([kmgt]?)(?:i?b)?$/i.exec(text.trim())
  const unit = 1024 ** ' kmgt'.indexOf(match?.[2]?.toLowerCase() || ' ')
  const bytes = Math.floor(Number(match?.[1]) * unit)
  if (!match || !Number.isSafeInteger(bytes)) {
    throw new InvalidArgumentError('a size is like 512m or 2g.')
  }
  return bytes
}

export function parseItemSize(text: string): number {
  const bytes = parseBytes(text)
  const { min, max } = ITEM_SIZE_BOUNDS
  if (bytes < min || bytes > max) {
    throw new InvalidArgumentError(`at least ${min} and at most ${max} bytes.`)
  }
  return bytes
}

/** 0 for never. */
export function parseSeconds(text: string): number {
  const seconds = Number(text)
  if (text.trim() === '' || !Number.isSafeInteger(seconds) || seconds < 0) {
    throw new InvalidArgumentError('seconds, a whole number from 0 on.')
  }
  return seconds
}

/** Shorter than a restart takes, and servers would come and go. */
export function parseEvictAfter(text: string): number {
  const ms = parseCount(text)
  if (ms < 5_000) throw new InvalidArgumentError('milliseconds, 5000 at least.')
  return ms
}

/** Smaller ones would be begun all the time. */
export function parseSegmentBytes(text: string): number {
  const bytes = parseCount(text)
  if (bytes < 64 * 1024) throw new InvalidArgumentError('bytes, 65536 at least.')
  return bytes
}

export function parseVoters(text: string): number {
  const count = parseCount(text)
  if (count < 3 || count % 2 === 0) throw new InvalidArgumentError('an odd number from 3 on.')
  return count
}

/** To standard error: readable lines on a terminal, JSON lines for a log collector. */
export function createLogger(name: string): Logger {
  const options = { name, base: { name }, timestamp: () => `,"time":"${new Date().toISOString()}"` }
  const destination = loggingTo(2)
  if (!process.stderr.isTTY) return pino(options, destination)
  const readable = prettyFactory({ translateTime: 'HH:MM:ss.l', ignore: 'pid,hostname' })
  return pino(options, { write: (line) => destination.write(readable(line)) })
}

/**
 * A disk that is full of logs, or a terminal that is gone, is no reason to end: lines that
 * can't be written are lost. Pino's own stream throws, and would keep all of them for later.
 */
export function loggingTo(fd: number): DestinationStream {
  const open = () => {
    const stream = pino.destination({ dest: fd, sync: true })
    // Pino's listener, which is there before this one, takes itself away and emits again.
    return stream.on('error', () => {
      current = open()
    })
  }
  let current = open()
  return { write: (line) => void current.write(line) }
}

/** What went wrong, in one line for a person. */
export function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { code, port, address, path } = error as NodeJS.ErrnoException & {
    port?: number
    address?: string
  }
  switch (code) {
    case 'EADDRINUSE':
      return `port ${port} of ${address} is in use: stop whoever has it, or choose another port`
    case 'EADDRNOTAVAIL':
      return `${address} is not an address of this machine: choose one that is, and advertise the other`
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `no such host: ${error.message}`
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return path ? `${path} can't be written (${code}): choose another --data` : error.message
    case 'ENOTDIR':
    case 'EEXIST':
      return path ? `${path} is not a directory: choose another --data` : error.message
  }
  return error.message.split('\n')[0] ?? 'unknown error'
}

/** Runs a command; a failure is one line on standard error and exit status 1. */
export async function runCommand(name: string, command: () => Promise<void>): Promise<void> {
  try {
    await command()
  } catch (error) {
    process.stderr.write(`${name}: ${explain(error)}\n`)
    process.exitCode = 1
  }
}
