/**
 * What a command says, in each of the ways it may be wanted: a line for a person, the very
 * bytes for a pipe, an object for a program.
 */
import { printable } from '../../src/server/inspect/printable.ts'

export interface Reply {
  /** Whether the store did it, or had it; it is no error where it did not. */
  readonly isDone: boolean
  /** A line, or several for what is a table; harmless to a terminal. */
  readonly text: string
  /** In place of `text` where it need not be harmless. */
  readonly bytes?: Buffer
  /** The value alone, of which the reply is about one. */
  readonly value?: Buffer
  readonly json: object
}

export function done(text: string, json: object): Reply {
  return { isDone: true, text, json }
}

export function notDone(text: string, json: object): Reply {
  return { isDone: false, text, json }
}

/** A value with words before it. */
export function shown(before: string, value: Buffer, json: object): Reply {
  const prefix = before === '' ? '' : `${before} `
  return {
    isDone: true,
    text: `${printable(Buffer.from(prefix))}${printable(value)}`,
    bytes: Buffer.concat([Buffer.from(prefix), value]),
    value,
    json: { ...json, ...valueJson(value) },
  }
}

export function noSuchKey(key: string): Reply {
  return notDone(`no such key: ${printable(Buffer.from(key))}`, { key, found: false })
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** @returns null where it is not UTF-8: what others make of it is another text. */
export function textOf(bytes: Buffer): string | null {
  try {
    return utf8.decode(bytes)
  } catch {
    return null
  }
}

/** As text where it is text, else in base64. */
export function valueJson(value: Buffer): { value: string } | { base64: string } {
  const text = textOf(value)
  return text === null ? { base64: value.toString('base64') } : { value: text }
}

/** A value as it could be typed. */
export function quoted(value: Buffer): string {
  return `"${printable(value).replaceAll('"', '\\"')}"`
}
