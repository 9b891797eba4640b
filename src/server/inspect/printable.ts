/**
 * Bytes as text that stays on one line and harms no terminal, and that bash's
 * `printf %b` turns back into the same bytes:
 *
 * - A backslash becomes `\\`; line ends and tabs become `\n`, `\r`, `\t`.
 * - Other control characters become `\xHH`, byte by byte.
 * - Where the bytes are not UTF-8, so does each one past ASCII.
 * - All else stays as it is.
 */
const PLAIN = /^[ -[\]-~]*$/
const NOT_PLAIN = /[^ -[\]-~]/g
const BREAKS_LINE = /[\p{Cc}\p{Zl}\p{Zp}\\]/gu
const SHORT: Readonly<Record<string, string>> = {
  '\\': '\\\\',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
}

export function printable(bytes: Buffer): string {
  const text = bytes.toString('latin1')
  if (PLAIN.test(text)) return text
  const decoded = decodeUtf8(bytes)
  return decoded === null
    ? text.replace(NOT_PLAIN, (character) => escaped(character, 'latin1'))
    : decoded.replace(BREAKS_LINE, (character) => escaped(character, 'utf8'))
}

function escaped(character: string, encoding: 'latin1' | 'utf8'): string {
  const hex = (byte: number) => `\\x${byte.toString(16).padStart(2, '0')}`
  return SHORT[character] ?? [...Buffer.from(character, encoding)].map(hex).join('')
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function decodeUtf8(bytes: Buffer): string | null {
  try {
    return utf8.decode(bytes)
  } catch {
    return null
  }
}
