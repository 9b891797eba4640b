// Goal: every rule of memcached's text protocol that the decoder keeps, whatever the chunks.
// Method: each case runs whole, then byte by byte, then cut at random; the requests are
// rendered only at the end, so that a view that was overwritten meanwhile shows.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  canonicalDelete,
  canonicalStore,
  commandsIn,
  ITEM_SIZE_MAX,
  isCanonical,
  KEY_BYTES_MAX,
  NO_OPTIONS,
  parseCommand,
} from '../../src/protocol/commands.ts'
import { type Request, RequestDecoder } from '../../src/protocol/memcached.ts'

const MIB = ITEM_SIZE_MAX
const LINE_MAX = 2_048

const FORMAT = 'error CLIENT_ERROR bad command line format'
const CHUNK = 'error CLIENT_ERROR bad data chunk'
const LARGE = 'error SERVER_ERROR object too large for cache'
const ERROR = 'error ERROR'
const SILENCE = 'silence'

const K250 = 'k'.repeat(250)
const K251 = 'k'.repeat(251)
const EVERY_KEY_BYTE = Buffer.from(
  Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => byte !== 10 && byte !== 32),
).toString('latin1')
/** Two keys that hold every byte a key may hold; the CR is inside, where it is no line end. */
const KEYS_OF_ALL_BYTES = [EVERY_KEY_BYTE.slice(0, 127), EVERY_KEY_BYTE.slice(127)] as const

interface Case {
  readonly title: string
  /** latin1: one character a byte. */
  readonly input: string
  readonly requests: readonly string[]
}

function group(name: string, rows: readonly [string, string, ...string[]][]): [string, Case[]] {
  return [name, rows.map(([title, input, ...requests]) => ({ title, input, requests }))]
}

const GROUPS: readonly [string, readonly Case[]][] = [
  group('questions about the cluster', [
    [
      'each is one line',
      'get-servers\r\nstatus\nremove-server a\r\n',
      'cluster',
      'cluster',
      'remove',
    ],
    [
      'backup, with others around it',
      'version\r\nbackup\r\nget a\r\n',
      'version',
      'backup',
      'get a',
    ],
    ['backup is no key', 'get backup\r\n', 'get backup'],
  ]),
  group('get and gets', [
    ['get, one key', 'get a\r\n', 'get a'],
    ['get, several keys in the order asked', 'get b a c\r\n', 'get b a c'],
    ['get, a key asked twice', 'get a a\r\n', 'get a a'],
    ['gets, several keys', 'gets a b\r\n', 'gets a b'],
    ['get takes no noreply: it is a key', 'get noreply\r\n', 'get noreply'],
    ['get a noreply asks for two keys', 'get a noreply\r\n', 'get a noreply'],
    ['get, bare newline', 'get a\nget b\n', 'get a', 'get b'],
    ['get, extra and trailing spaces', 'get   a  b   \r\n', 'get a b'],
    ['get, a CR before CRLF is part of the key', 'get a\r\r\n', 'get "a\\r"'],
    ['get, a CR inside a key', 'get a\rb\r\n', 'get "a\\rb"'],
    ['get, a tab is part of the key', 'get a\tb\r\n', 'get "a\\tb"'],
    ['get without a key', 'get\r\nversion\r\n', FORMAT, 'version'],
    ['gets without a key', 'gets\r\n', FORMAT],
    ['get and a space only', 'get \r\n', FORMAT],
    ['get, key of 250 bytes', `get ${K250}\r\n`, 'get <k*250>'],
    ['get, key of 251 bytes', `get ${K251}\r\nversion\r\n`, FORMAT, 'version'],
    [
      'get, one key of 251 among others: one line is the whole reply',
      `get a ${K251} b\r\n`,
      FORMAT,
    ],
    ['gets, key of 251 bytes', `gets ${K251}\r\n`, FORMAT],
    ['get, UTF-8 key', 'get \xc3\xbc\r\n', 'get \xc3\xbc'],
    [
      'get, every byte a key may hold',
      `get ${KEYS_OF_ALL_BYTES.join(' ')}\r\n`,
      `get ${KEYS_OF_ALL_BYTES.map(quoted).join(' ')}`,
    ],
    ['get with a last key HTTP/ is a get', 'get / HTTP/1.1\r\n', 'get / HTTP/1.1'],
  ]),
  group('set, add and cas', [
    ['set', 'set a 0 0 1\r\nx\r\n', 'write set a 0 0 1\\r\\nx\\r\\n'],
    ['add', 'add a 1 2 1\r\nx\r\n', 'write add a 1 2 1\\r\\nx\\r\\n'],
    ['cas', 'cas a 1 2 1 9\r\nx\r\n', 'write cas a 1 2 1 9\\r\\nx\\r\\n'],
    ['set noreply', 'set a 0 0 1 noreply\r\nx\r\n', 'write noreply set a 0 0 1\\r\\nx\\r\\n'],
    ['add noreply', 'add a 0 0 1 noreply\r\nx\r\n', 'write noreply add a 0 0 1\\r\\nx\\r\\n'],
    ['cas noreply', 'cas a 0 0 1 9 noreply\r\nx\r\n', 'write noreply cas a 0 0 1 9\\r\\nx\\r\\n'],
    [
      'set, a sixth token that is not noreply',
      'set a 0 0 1 x\r\nx\r\n',
      'write set a 0 0 1\\r\\nx\\r\\n',
    ],
    [
      'set, noreply counts only as the last token',
      'set a 0 0 1 noreply x\r\nx\r\n',
      'write set a 0 0 1\\r\\nx\\r\\n',
    ],
    [
      'set, noreply as the seventh token',
      'set a 0 0 1 x noreply\r\nx\r\n',
      'write noreply set a 0 0 1\\r\\nx\\r\\n',
    ],
    ['cas, a seventh token', 'cas a 0 0 1 9 x\r\nx\r\n', 'write cas a 0 0 1 9\\r\\nx\\r\\n'],
    [
      'set of the key noreply',
      'set noreply 0 0 1\r\nx\r\n',
      'write set noreply 0 0 1\\r\\nx\\r\\n',
    ],
    ['set, bare newline after the line', 'set a 0 0 1\nx\r\n', 'write set a 0 0 1\\r\\nx\\r\\n'],
    ['set, extra spaces', 'set  a   0 0  1 \r\nx\r\n', 'write set a 0 0 1\\r\\nx\\r\\n'],
    ['set, empty value', 'set a 0 0 0\r\n\r\n', 'write set a 0 0 0\\r\\n\\r\\n'],
    [
      'set, empty value, bare newline after the line',
      'set a 0 0 0\n\r\n',
      'write set a 0 0 0\\r\\n\\r\\n',
    ],
    [
      'set, value with line ends',
      'set a 0 0 6\r\na\r\n\nb\r\r\n',
      'write set a 0 0 6\\r\\na\\r\\n\\nb\\r\\r\\n',
    ],
    [
      'set, value that looks like commands',
      'set a 0 0 15\r\nget x\r\nversion\r\r\n',
      'write set a 0 0 15\\r\\nget x\\r\\nversion\\r\\r\\n',
    ],
    [
      'set, binary value',
      'set a 0 0 5\r\n\x00\xff\x80\n\r\r\n',
      'write set a 0 0 5\\r\\n\\u0000\xff\x80\\n\\r\\r\\n',
    ],
    ['set, key of 250 bytes', `set ${K250} 0 0 1\r\nx\r\n`, 'write set <k*250> 0 0 1\\r\\nx\\r\\n'],
    ...KEYS_OF_ALL_BYTES.map((key, at): [string, string, string] => [
      `set, every byte a key may hold, part ${at + 1}`,
      `set ${key} 0 0 1\r\nx\r\n`,
      `write ${escaped(`set ${key} 0 0 1\r\nx\r\n`)}`,
    ]),
    ['set, length with zeros', 'set a 0 0 001\r\nx\r\n', 'write set a 0 0 1\\r\\nx\\r\\n'],
  ]),
  group('flags', [
    ['largest', 'set a 4294967295 0 1\r\nx\r\n', 'write set a 4294967295 0 1\\r\\nx\\r\\n'],
    ['flags with leading zeros', 'set a 0123 0 1\r\nx\r\n', 'write set a 123 0 1\\r\\nx\\r\\n'],
    ['flags with a plus', 'set a +5 0 1\r\nx\r\n', 'write set a 5 0 1\\r\\nx\\r\\n'],
    ['flags of 2^32 wrap to 0', 'set a 4294967296 0 1\r\nx\r\n', 'write set a 0 0 1\\r\\nx\\r\\n'],
    [
      'flags of 2^32 + 7 wrap to 7',
      'add a 4294967303 0 1\r\nx\r\n',
      'write add a 7 0 1\\r\\nx\\r\\n',
    ],
    [
      'flags of 2^64 - 1 wrap',
      'set a 18446744073709551615 0 1\r\nx\r\n',
      'write set a 4294967295 0 1\\r\\nx\\r\\n',
    ],
    [
      '2^64, block swallowed',
      'set a 18446744073709551616 0 1\r\nx\r\nversion\r\n',
      FORMAT,
      'version',
    ],
    ['negative, block swallowed', 'set a -1 0 1\r\nx\r\nversion\r\n', FORMAT, 'version'],
    ['two signs', 'set a ++1 0 1\r\nx\r\nversion\r\n', FORMAT, 'version'],
    ['text, block swallowed', 'set a abc 0 1\r\nx\r\nversion\r\n', FORMAT, 'version'],
    ['digits and text', 'set a 1x 0 1\r\nx\r\nversion\r\n', FORMAT, 'version'],
    [
      'bad, noreply, block swallowed',
      'set a abc 0 1 noreply\r\nx\r\nversion\r\n',
      SILENCE,
      'version',
    ],
  ]),
  group('exptime', [
    ['30 days', 'set a 0 2592000 1\r\nx\r\n', 'write set a 0 2592000 1\\r\\nx\\r\\n'],
    ['Unix time', 'set a 0 1700000000 1\r\nx\r\n', 'write set a 0 1700000000 1\\r\\nx\\r\\n'],
    // memcached itself overflows here; this store takes it as Unix time, on purpose.
    [
      '2^31 stays Unix time',
      'set a 0 2147483648 1\r\nx\r\n',
      'write set a 0 2147483648 1\\r\\nx\\r\\n',
    ],
    ['past 2^31', 'set a 0 99999999999 1\r\nx\r\n', 'write set a 0 99999999999 1\\r\\nx\\r\\n'],
    [
      'exptime past any calendar is cut',
      'set a 0 100000000000 1\r\nx\r\n',
      'write set a 0 99999999999 1\\r\\nx\\r\\n',
    ],
    ['-1', 'set a 0 -1 1\r\nx\r\n', 'write set a 0 -1 1\\r\\nx\\r\\n'],
    ['exptime, any negative is -1', 'set a 0 -1000 1\r\nx\r\n', 'write set a 0 -1 1\\r\\nx\\r\\n'],
    [
      'exptime, any negative is -1, bare newline',
      'set a 0 -5 1\nx\r\n',
      'write set a 0 -1 1\\r\\nx\\r\\n',
    ],
    ['exptime -0', 'set a 0 -0 1\r\nx\r\n', 'write set a 0 0 1\\r\\nx\\r\\n'],
    ['exptime with plus and zeros', 'set a 0 +010 1\r\nx\r\n', 'write set a 0 10 1\\r\\nx\\r\\n'],
    ['text, block swallowed', 'set a 0 abc 1\r\nx\r\nversion\r\n', FORMAT, 'version'],
    ['plus and minus, block swallowed', 'set a 0 +-1 1\r\nx\r\nversion\r\n', FORMAT, 'version'],
    ['fraction, block swallowed', 'set a 0 1.5 1\r\nx\r\nversion\r\n', FORMAT, 'version'],
    [
      'bad, noreply, block swallowed',
      'add a 0 abc 1 noreply\r\nx\r\nversion\r\n',
      SILENCE,
      'version',
    ],
  ]),
  group('cas unique', [
    ['0', 'cas a 0 0 1 0\r\nx\r\n', 'write cas a 0 0 1 0\\r\\nx\\r\\n'],
    [
      'cas unique with leading zeros',
      'cas a 0 0 1 007\r\nx\r\n',
      'write cas a 0 0 1 7\\r\\nx\\r\\n',
    ],
    [
      '2^64 - 1',
      'cas a 0 0 1 18446744073709551615\r\nx\r\n',
      'write cas a 0 0 1 18446744073709551615\\r\\nx\\r\\n',
    ],
    [
      '2^64, block swallowed',
      'cas a 0 0 1 18446744073709551616\r\nx\r\nversion\r\n',
      FORMAT,
      'version',
    ],
    ['negative, block swallowed', 'cas a 0 0 1 -1\r\nx\r\nversion\r\n', FORMAT, 'version'],
    ['a plus, block swallowed', 'cas a 0 0 1 +1\r\nx\r\nversion\r\n', FORMAT, 'version'],
    ['text, block swallowed', 'cas a 0 0 1 abc\r\nx\r\nversion\r\n', FORMAT, 'version'],
    ['bad, noreply', 'cas a 0 0 1 abc noreply\r\nx\r\nversion\r\n', SILENCE, 'version'],
    ['none, block swallowed', 'cas a 0 0 1\r\nx\r\nversion\r\n', FORMAT, 'version'],
    ['none, noreply', 'cas a 0 0 1 noreply\r\nx\r\nversion\r\n', SILENCE, 'version'],
  ]),
  group('refused blocks', [
    ['key too long, block swallowed', `set ${K251} 0 0 1\r\nx\r\nversion\r\n`, FORMAT, 'version'],
    ['key too long in cas', `cas ${K251} 0 0 1 9\r\nx\r\nversion\r\n`, FORMAT, 'version'],
    ['key too long, noreply', `add ${K251} 0 0 1 noreply\r\nx\r\nversion\r\n`, SILENCE, 'version'],
    [
      'a swallowed block may hold commands',
      'set a x 0 8\r\nget a\r\nb\r\nversion\r\n',
      FORMAT,
      'version',
    ],
    ['swallowed by count, whatever ends it', 'set a x 0 1\r\nabcversion\r\n', FORMAT, 'version'],
    ['empty block swallowed', 'set a x 0 0\r\n\r\nversion\r\n', FORMAT, 'version'],
    ['two refused in a row', 'set a x 0 1\r\nx\r\nset b x 0 1\r\nx\r\n', FORMAT, FORMAT],
  ]),
  group('bad length: nothing is swallowed', [
    ['negative', 'set a 0 0 -1\r\nversion\r\n', FORMAT, 'version'],
    ['negative, the block is read as a command', 'set a 0 0 -5\r\nhello\r\n', FORMAT, ERROR],
    ['text', 'set a 0 0 scoobydoo\r\nx\r\nversion\r\n', FORMAT, FORMAT, 'version'],
    ['digits and text', 'set a 0 0 1x\r\nversion\r\n', FORMAT, 'version'],
    ['a plus', 'set a 0 0 +1\r\nversion\r\n', FORMAT, 'version'],
    ['4294967295', 'set a 0 0 4294967295\r\nversion\r\n', FORMAT, 'version'],
    ['2147483647', 'set a 0 0 2147483647\r\nversion\r\n', FORMAT, 'version'],
    ['2147483646', 'set a 0 0 2147483646\r\nversion\r\n', FORMAT, 'version'],
    [
      '2147483645 is good: no reply until that much has come',
      'set a 0 0 2147483645\r\nversion\r\n',
    ],
    ['a thousand digits', `set a 0 0 ${'9'.repeat(1_000)}\r\nversion\r\n`, FORMAT, 'version'],
    ['also with noreply it is answered', 'set a b c d noreply\r\nversion\r\n', FORMAT, 'version'],
    ['key too long and length bad', `set ${K251} 0 0 x\r\nversion\r\n`, FORMAT, 'version'],
    ['in cas', 'cas a 0 0 x 9\r\nversion\r\n', FORMAT, 'version'],
  ]),
  group('too few tokens', [
    ['set', 'set\r\nversion\r\n', FORMAT, 'version'],
    ['set a', 'set a\r\nversion\r\n', FORMAT, 'version'],
    ['set a 0', 'set a 0\r\nversion\r\n', FORMAT, 'version'],
    ['set a 0 0', 'set a 0 0\r\nversion\r\n', FORMAT, 'version'],
    ['add a 0 0', 'add a 0 0\r\nversion\r\n', FORMAT, 'version'],
    ['cas a 0 0', 'cas a 0 0\r\nversion\r\n', FORMAT, 'version'],
    ['noreply is no length', 'set a 0 0 noreply\r\nversion\r\n', FORMAT, 'version'],
    ['tabs separate nothing', 'set a\t0\t0\t1\r\nx\r\nversion\r\n', FORMAT, FORMAT, 'version'],
  ]),
  group('bad data chunk: length + 2 bytes are consumed', [
    [
      'longer, the rest is a command',
      'set a 0 0 3\r\nabcdef\r\nversion\r\n',
      CHUNK,
      FORMAT,
      'version',
    ],
    ['the rest is an unknown command', 'set a 0 0 1\r\nabcdef\r\n', CHUNK, ERROR],
    [
      'bad chunk, noreply',
      'set a 0 0 3 noreply\r\nabcdef\r\nversion\r\n',
      SILENCE,
      FORMAT,
      'version',
    ],
    ['bare newline', 'set a 0 0 2\r\nab\nversion\r\n', CHUNK, ERROR],
    ['CR CR', 'set a 0 0 2\r\nab\r\rversion\r\n', CHUNK, 'version'],
    ['LF CR', 'set a 0 0 2\r\nab\n\rversion\r\n', CHUNK, 'version'],
    ['LF LF', 'set a 0 0 2\r\nab\n\nversion\r\n', CHUNK, 'version'],
    ['bad chunk in a line that is not canonical', 'set a 0 0 2\nabcdversion\r\n', CHUNK, 'version'],
    ['in add', 'add a 0 0 2\r\nabcdversion\r\n', CHUNK, 'version'],
    ['in cas', 'cas a 0 0 2 1\r\nabcdversion\r\n', CHUNK, 'version'],
    [
      'shorter, goes on into the next line',
      'set a 0 0 5\r\nab\r\nc\r\n',
      'write set a 0 0 5\\r\\nab\\r\\nc\\r\\n',
    ],
  ]),
  group('delete', [
    ['delete', 'delete a\r\n', 'write delete a\\r\\n'],
    ['bare newline and spaces', 'delete   a \n', 'write delete a\\r\\n'],
    ['noreply', 'delete a noreply\r\n', 'write noreply delete a\\r\\n'],
    ['time 0', 'delete a 0\r\n', 'write delete a\\r\\n'],
    ['time 10', 'delete a 10\r\n', 'write delete a\\r\\n'],
    ['text for a time', 'delete a abc\r\n', 'write delete a\\r\\n'],
    ['time and noreply', 'delete a 0 noreply\r\n', 'write noreply delete a\\r\\n'],
    ['text and noreply', 'delete a abc noreply\r\n', 'write noreply delete a\\r\\n'],
    ['noreply only as the last token', 'delete a noreply x\r\n', 'write delete a\\r\\n'],
    ['no key', 'delete\r\nversion\r\n', FORMAT, 'version'],
    ['more than four words', 'delete a b c d e\r\nversion\r\n', FORMAT, 'version'],
    ['five words', 'delete a b c d\r\n', FORMAT],
    ['key of 250 bytes', `delete ${K250}\r\n`, 'write delete <k*250>\\r\\n'],
    ['key of 251 bytes', `delete ${K251}\r\nversion\r\n`, FORMAT, 'version'],
    ['key that ends in CR', 'delete a\r\r\n', 'write delete a\\r\\r\\n'],
    ...KEYS_OF_ALL_BYTES.map((key, at): [string, string, string] => [
      `every byte a key may hold, part ${at + 1}`,
      `delete ${key}\r\n`,
      `write ${escaped(`delete ${key}\r\n`)}`,
    ]),
  ]),
  group('version and quit', [
    ['version', 'version\r\n', 'version'],
    ['version, bare newline', 'version\n', 'version'],
    ['version, arguments ignored', 'version foo bar\r\n', 'version'],
    ['version noreply still answers', 'version noreply\r\n', 'version'],
    ['quit', 'quit\r\n', 'quit'],
    ['quit, arguments ignored', 'quit now\r\n', 'quit'],
    ['what follows quit is not run', 'quit\r\nversion\r\nset a 0 0 1\r\nx\r\n', 'quit'],
    [
      'what came before quit is',
      'version\r\nget a\r\nquit\r\nget b\r\n',
      'version',
      'get a',
      'quit',
    ],
  ]),
  group('unknown commands and blank lines', [
    ['unknown', 'bogus\r\nversion\r\n', ERROR, 'version'],
    ['unknown with arguments', 'bogus a b c\r\n', ERROR],
    ['unknown, noreply last: nothing', 'bogus noreply\r\nversion\r\n', SILENCE, 'version'],
    ['unknown, noreply not last', 'bogus noreply x\r\n', ERROR],
    ['upper case', 'GET a\r\n', ERROR],
    ['mixed case; its block is a command', 'Set a 0 0 1\r\nx\r\n', ERROR, FORMAT],
    ['a longer word', 'getx a\r\n', ERROR],
    ['version2', 'version2\r\n', ERROR],
    [
      'names of what objects inherit',
      'constructor\r\n__proto__\r\ntoString a\r\n',
      ERROR,
      ERROR,
      ERROR,
    ],
    ['a tab after the command', 'get\ta\r\n', ERROR],
    ['a NUL', '\x00\x00\x00\r\n', ERROR],
    ['empty line', '\r\nversion\r\n', FORMAT, 'version'],
    ['empty line, bare newline', '\nversion\r\n', FORMAT, 'version'],
    ['one space', ' \r\n', FORMAT],
    ['one space, bare newline', ' \n', FORMAT],
    ['only spaces', '          \r\n', ERROR],
    ['one letter', 'a\r\n', FORMAT],
    ['two letters, bare newline', 'ab\n', FORMAT],
    ['two letters', 'ab\r\n', ERROR],
    ['three letters', 'abc\r\n', ERROR],
    ['three letters, bare newline', 'abc\n', ERROR],
    ['leading space', ' get a\r\nversion\r\n', ERROR, 'version'],
    ['leading space before set: its block is a command', ' set a 0 0 1\r\nx\r\n', ERROR, FORMAT],
    ['leading space before version', ' version\r\n', ERROR],
    ['leading spaces before quit', '  quit\r\nversion\r\n', ERROR, 'version'],
    ['leading space before flush_all', ' flush_all\r\n', 'write flush_all 0\\r\\n'],
    ['leading spaces before verbosity', '  verbosity x\r\n', FORMAT],
    ['a CR alone is no line end', 'version\rversion\r\n', ERROR],
  ]),
  group('replace, append and prepend', [
    ['replace', 'replace a 1 2 1\r\nx\r\n', 'write replace a 1 2 1\\r\\nx\\r\\n'],
    // The item's own flags and exptime stay, whatever is given.
    ['append', 'append a 1 2 1\r\nx\r\n', 'write append a 0 0 1\\r\\nx\\r\\n'],
    [
      'prepend noreply',
      'prepend a 1 2 1 noreply\r\nx\r\n',
      'write noreply prepend a 0 0 1\\r\\nx\\r\\n',
    ],
    ['bad flags all the same', 'append a x 0 1\r\nx\r\nversion\r\n', FORMAT, 'version'],
    [
      '1 MiB + 1, append',
      `append a 0 0 ${MIB + 1}\r\n${'x'.repeat(MIB + 1)}\r\nversion\r\n`,
      LARGE,
      'version',
    ],
  ]),
  group('ms', [
    ['plain', 'ms a 1\r\nx\r\n', 'write set a 0 0 1\\r\\nx\\r\\n'],
    ['with flags', 'ms a 1 F5 T9 q k\r\nx\r\n', 'write set a 5 9 1\\r\\nx\\r\\n'],
    ['bare newline after the line', 'ms a 1\nx\r\n', 'write set a 0 0 1\\r\\nx\\r\\n'],
    [
      'a key that no line can have',
      'ms YSBi 1 b\r\nx\r\n',
      'write set YSBi 0 0 1 base64\\r\\nx\\r\\n',
    ],
    ['empty value', 'ms a 0\r\n\r\nmn\r\n', 'write set a 0 0 0\\r\\n\\r\\n', 'answer MN'],
    ['bad chunk', 'ms a 1\r\nxyzversion\r\n', CHUNK, 'version'],
    ['bad chunk, quiet', 'ms a 1 q\r\nxyzversion\r\n', CHUNK, 'version'],
    ['too few words', 'ms a\r\nversion\r\n', FORMAT, 'version'],
    ['no length: nothing is swallowed', 'ms a S2\r\nversion\r\n', FORMAT, 'version'],
    ['a length past 2^31 - 3', 'ms a 2147483646\r\nversion\r\n', FORMAT, 'version'],
    [
      'a bad flag: the block is swallowed',
      'ms a 2 z\r\nmn\r\nversion\r\n',
      'error CLIENT_ERROR invalid flag',
      'version',
    ],
    [
      'what can be no flag: nothing is swallowed',
      'ms a 2 c \xff\r\nmn\r\nversion\r\n',
      FORMAT,
      'answer MN',
      'version',
    ],
    [
      'key too long: the block is swallowed',
      `ms ${K251} 2\r\nhi\r\nversion\r\n`,
      FORMAT,
      'version',
    ],
    [
      'too large, quiet',
      `ms a ${MIB + 1} q\r\n${'x'.repeat(MIB + 1)}\r\nversion\r\n`,
      LARGE,
      'version',
    ],
    ['without its block', 'ms a 1\r\nx\r'],
  ]),
  group('not this protocol', [
    ['binary magic first closes', '\x80\x00\x00\x00', 'quit'],
    ['binary magic first closes, what follows is not run', '\x80\r\nversion\r\n', 'quit'],
    [
      'binary magic later is an unknown command',
      'version\r\n\x80\x00\x00\r\nversion\r\n',
      'version',
      ERROR,
      'version',
    ],
    ['HTTP closes', 'GET / HTTP/1.1\r\nHost: x\r\n\r\n', 'quit'],
    ['HTTP closes, bare newline', 'POST / HTTP/1.0\n\n', 'quit'],
    ['HTTP later closes', 'version\r\nGET / HTTP/1.1\r\nversion\r\n', 'version', 'quit'],
    ['HTTP/ not in the last token', 'GET HTTP/1.1 x\r\n', ERROR],
  ]),
  group('lines of many bytes', [
    ['2048 bytes with their end', `${'x'.repeat(LINE_MAX - 2)}\r\nversion\r\n`, ERROR, 'version'],
    [
      '2048 bytes, the end comes after them',
      `${'x'.repeat(LINE_MAX)}\nversion\r\n`,
      ERROR,
      'version',
    ],
    ['2048 bytes, no end yet', 'x'.repeat(LINE_MAX)],
    ['2049 bytes, no end: closed', 'x'.repeat(LINE_MAX + 1), 'quit'],
    ['2049 bytes of spaces, no end: closed', ' '.repeat(LINE_MAX + 1), 'quit'],
    ['a set line, no end: closed', `set a 0 0 1${' '.repeat(LINE_MAX)}`, 'quit'],
    ['get without its space, no end: closed', `get${'x'.repeat(LINE_MAX)}`, 'quit'],
    ['GET, no end: closed', `GET ${'x'.repeat(LINE_MAX)}`, 'quit'],
    [
      'after other requests, no end: closed',
      `version\r\n${'x'.repeat(LINE_MAX + 1)}`,
      'version',
      'quit',
    ],
    ['get and many spaces', `get ${' '.repeat(LINE_MAX)}a\r\n`, 'get a'],
    ['gets and many spaces', `gets ${' '.repeat(LINE_MAX)}a\r\n`, 'gets a'],
    ['get and many spaces, no end yet', `get ${' '.repeat(LINE_MAX)}a`],
    [
      '100 spaces before get',
      `${' '.repeat(100)}get ${'x'.repeat(LINE_MAX)}\r\nversion\r\n`,
      ERROR,
      'version',
    ],
    [
      '101 spaces before get, no end: closed',
      `${' '.repeat(101)}get ${'x'.repeat(LINE_MAX)}`,
      'quit',
    ],
    ['get, one key of 3000 bytes', `get ${'x'.repeat(3_000)}\r\nversion\r\n`, FORMAT, 'version'],
    ['get, 5000 keys', `get ${keys(5_000)}\r\nversion\r\n`, `get ${keys(5_000)}`, 'version'],
    ['gets, 19000 keys', `gets ${keys(19_000)}\r\n`, `gets ${keys(19_000)}`],
    ['get-local, 19000 keys', `get-local ${keys(19_000)}\r\n`, 'getLocal'],
  ]),
  group('values of many bytes', [
    [
      '1 MiB',
      `set a 0 0 ${MIB}\r\n${'x'.repeat(MIB)}\r\n`,
      `write set a 0 0 ${MIB}\\r\\n<x*${MIB}>\\r\\n`,
    ],
    [
      '1 MiB, noreply, and another',
      `set a 0 0 ${MIB} noreply\r\n${'x'.repeat(MIB)}\r\nget a\r\n`,
      `write noreply set a 0 0 ${MIB}\\r\\n<x*${MIB}>\\r\\n`,
      'get a',
    ],
    [
      '1 MiB + 1',
      `set a 0 0 ${MIB + 1}\r\n${'x'.repeat(MIB + 1)}\r\nversion\r\n`,
      LARGE,
      'version',
    ],
    [
      '1 MiB + 1, add',
      `add a 0 0 ${MIB + 1}\r\n${'x'.repeat(MIB + 1)}\r\nversion\r\n`,
      LARGE,
      'version',
    ],
    [
      '1 MiB + 1, cas',
      `cas a 0 0 ${MIB + 1} 1\r\n${'x'.repeat(MIB + 1)}\r\nversion\r\n`,
      LARGE,
      'version',
    ],
    [
      '1 MiB + 1, noreply',
      `set a 0 0 ${MIB + 1} noreply\r\n${'x'.repeat(MIB + 1)}\r\nversion\r\n`,
      SILENCE,
      'version',
    ],
    [
      'too large, one byte missing: no answer yet',
      `set a 0 0 ${MIB + 1}\r\n${'x'.repeat(MIB + 1)}\r`,
    ],
    [
      'bad flags and too large',
      `set a x 0 ${MIB + 1}\r\n${'x'.repeat(MIB + 1)}\r\nversion\r\n`,
      FORMAT,
      'version',
    ],
    ['1 MiB, bad chunk', `set a 0 0 ${MIB}\r\n${'x'.repeat(MIB)}xxversion\r\n`, CHUNK, 'version'],
  ]),
  group('incomplete', [
    ['a line without its end', 'get a'],
    ['a line and its CR', 'get a\r'],
    ['set without its block', 'set a 0 0 1\r\n'],
    ['set without the end of its block', 'set a 0 0 1\r\nx\r'],
    ['set noreply without its block', 'set a 0 0 1 noreply\r\n'],
    ['bad flags without its block', 'set a x 0 1\r\nx\r'],
    ['nothing', ''],
  ]),
  group('pipelined', [
    [
      'many kinds in one chunk',
      'set a 0 0 1\r\nx\r\nset b 0 0 2 noreply\r\nyy\r\nget a b\r\nbogus\r\ndelete a noreply\r\n' +
        'cas b 1 0 1 5\r\nz\r\ngets b\r\n\r\nversion\r\nset c 0 0 x\r\nadd d 0 0 0\n\r\nquit\r\nget z\r\n',
      'write set a 0 0 1\\r\\nx\\r\\n',
      'write noreply set b 0 0 2\\r\\nyy\\r\\n',
      'get a b',
      ERROR,
      'write noreply delete a\\r\\n',
      'write cas b 1 0 1 5\\r\\nz\\r\\n',
      'gets b',
      FORMAT,
      'version',
      FORMAT,
      'write add d 0 0 0\\r\\n\\r\\n',
      'quit',
    ],
    [
      '1000 sets in one chunk',
      Array.from({ length: 1_000 }, (_, at) => `set k${at} 0 0 4\r\n${1_000 + at}\r\n`).join(''),
      ...Array.from(
        { length: 1_000 },
        (_, at) => `write set k${at} 0 0 4\\r\\n${1_000 + at}\\r\\n`,
      ),
    ],
    [
      '1000 sets with noreply in one chunk',
      Array.from(
        { length: 1_000 },
        (_, at) => `set k${at} 0 0 4 noreply\r\n${1_000 + at}\r\n`,
      ).join(''),
      ...Array.from(
        { length: 1_000 },
        (_, at) => `write noreply set k${at} 0 0 4\\r\\n${1_000 + at}\\r\\n`,
      ),
    ],
  ]),
]

for (const [name, cases] of GROUPS) {
  describe(name, () => {
    for (const { title, input, requests } of cases) {
      const bytes = Buffer.from(input, 'latin1')
      test(`${title}: whole`, () => {
        expect(decode([bytes])).toEqual(requests)
      })
      test(`${title}: byte by byte`, () => {
        expect(decode(cut(bytes, 1))).toEqual(requests)
      })
      test(`${title}: cut anywhere`, () => {
        fc.assert(
          fc.property(cutsOf(bytes), (chunks) => {
            expect(decode(chunks)).toEqual(requests)
          }),
          { numRuns: bytes.length > 10_000 ? 10 : 50 },
        )
      })
    }
  })
}

test('a storage line that is not canonical may end a chunk', () => {
  const chunks = ['set a 0 0 1 noreply\r\n', 'x\r\n', 'version\r\n']
  expect(decode(chunks.map((text) => Buffer.from(text)))).toEqual([
    'write noreply set a 0 0 1\\r\\nx\\r\\n',
    'version',
  ])
})

describe('a long line that arrives whole is parsed', () => {
  const rows: readonly [string, string, ...string[]][] = [
    ['unknown', `${'x'.repeat(3_000)}\r\nversion\r\n`, ERROR, 'version'],
    [
      'set with many spaces',
      `set a 0 0 ${' '.repeat(3_000)}1\r\nx\r\n`,
      'write set a 0 0 1\\r\\nx\\r\\n',
    ],
    [
      'set, key of 3000 bytes',
      `set ${'k'.repeat(3_000)} 0 0 1\r\nx\r\nversion\r\n`,
      FORMAT,
      'version',
    ],
    ['delete, key of 3000 bytes', `delete ${'k'.repeat(3_000)}\r\nversion\r\n`, FORMAT, 'version'],
  ]
  test.each(rows)('%s', (_title, input, ...requests) => {
    expect(decode([Buffer.from(input, 'latin1')])).toEqual(requests)
  })
})

describe('the limit for values', () => {
  test('is asked for with each', () => {
    let limit = 2
    const decoder = new RequestDecoder({ itemSizeMax: () => limit })
    decoder.push(Buffer.from('set a 0 0 3\r\nxxx\r\nset a 0 0 2\r\nxx\r\n'))
    expect(take(decoder).map(show)).toEqual([LARGE, 'write set a 0 0 2\\r\\nxx\\r\\n'])
    limit = 3
    decoder.push(Buffer.from('set a 0 0 3\r\nxxx\r\n'))
    expect(take(decoder).map(show)).toEqual(['write set a 0 0 3\\r\\nxxx\\r\\n'])
  })

  test('does not reach a value whose line was taken', () => {
    let limit = 3
    const decoder = new RequestDecoder({ itemSizeMax: () => limit })
    decoder.push(Buffer.from('set a 0 0 3\r\nx'))
    expect(take(decoder)).toEqual([])
    limit = 2
    decoder.push(Buffer.from('xx\r\n'))
    expect(take(decoder).map(show)).toEqual(['write set a 0 0 3\\r\\nxxx\\r\\n'])
  })
})

describe('plain sets that come together', () => {
  const together = (text: string, setsMax: number, itemSizeMax = 100_000): string[] => {
    const decoder = new RequestDecoder({ itemSizeMax: () => itemSizeMax })
    decoder.push(Buffer.from(text, 'latin1'))
    const seen: string[] = []
    for (let next = decoder.next(setsMax); next; next = decoder.next(setsMax)) {
      if (next.kind !== 'sets') seen.push(show(next))
      else seen.push(`${next.count}: ${escaped(next.commands.toString('latin1'))}`)
    }
    return seen
  }
  const [a, b] = ['set a 0 0 1\r\nx\r\n', 'set b 0 0 2\r\nyy\r\n']
  const one = (text: string) => `write ${escaped(text)}`

  test.each<[string, string, string[]]>([
    ['two', `${a}${b}`, [`2: ${escaped(a + b)}`]],
    ['one', a, [one(a)]],
    ['more than asked for', `${a}${b}${a}${b}`, [`3: ${escaped(a + b + a)}`, one(b)]],
    ['and a get', `${a}${b}get a\r\n${a}`, [`2: ${escaped(a + b)}`, 'get a', one(a)]],
    ['and a delete', `${a}${b}delete a\r\n`, [`2: ${escaped(a + b)}`, 'write delete a\\r\\n']],
    [
      'one wants no reply',
      `${a}${b}set a 0 0 1 noreply\r\nx\r\n${a}${b}`,
      [`2: ${escaped(a + b)}`, `write noreply ${escaped(a)}`, `2: ${escaped(a + b)}`],
    ],
    ['one is spelt in another way', `${a}set a 0 0 01\r\nx\r\n${a}`, [one(a), one(a), one(a)]],
    ['one is not here whole', `${a}${b}${a.slice(0, -1)}`, [`2: ${escaped(a + b)}`]],
  ])('%s', (_what, text, requests) => {
    expect(together(text, 3)).toEqual(requests)
  })

  test('none is longer than values may be', () => {
    expect(together(`${a}${a}${b}${a}`, 9, 1)).toEqual([`2: ${escaped(a + a)}`, LARGE, one(a)])
  })

  test('have 16 KiB at the most, but for one', () => {
    const long = `set a 0 0 6000\r\n${'v'.repeat(6_000)}\r\n`
    const longer = `set a 0 0 20000\r\n${'v'.repeat(20_000)}\r\n`
    const seen = together(`${long}${long}${long}${longer}${a}${a}`, 9)
    const heads = seen.map((each) => each.slice(0, 21))
    expect(heads).toEqual([
      '2: set a 0 0 6000\\r\\n',
      one(long).slice(0, 21),
      one(longer).slice(0, 21),
      `2: ${escaped(a + a)}`.slice(0, 21),
    ])
  })

  test('are what they are one by one, wherever they are cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(a, b, 'get a\r\n', 'delete b\r\n', 'set b 0 0 1 \r\nz\r\n')),
        fc.infiniteStream(fc.integer({ min: 1, max: 60 })),
        fc.integer({ min: 2, max: 5 }),
        (parts, sizes, setsMax) => {
          const bytes = Buffer.from(parts.join(''))
          const decoder = new RequestDecoder()
          const seen: string[] = []
          for (const chunk of cutBy(bytes, sizes)) {
            decoder.push(chunk)
            for (let next = decoder.next(setsMax); next; next = decoder.next(setsMax)) {
              if (next.kind !== 'sets') seen.push(show(next))
              else for (const each of commandsIn(next.commands)) seen.push(one(each.toString()))
            }
          }
          expect(seen).toEqual(decode([bytes]))
        },
      ),
      { numRuns: 500 },
    )
  })
})

describe('while a client has to say who it is', () => {
  /** Taken as it comes; whoever says anything is believed. */
  function guarded(chunks: readonly Buffer[]): string[] {
    const decoder = new RequestDecoder()
    decoder.needsAuth = true
    const seen: string[] = []
    for (const chunk of chunks) {
      decoder.push(chunk)
      for (let request = decoder.next(); request; request = decoder.next()) {
        if (request.kind === 'auth') decoder.needsAuth = false
        const { kind } = request
        seen.push(kind === 'auth' ? `${request.user}/${request.password}` : show(request))
      }
    }
    return seen
  }
  const UNKNOWN = 'error CLIENT_ERROR unauthenticated'

  test.each<[string, string[]]>([
    ['set x 0 0 3\r\na b\r\nversion\r\n', ['a/b', 'version']],
    ['set x y z 3 noreply\na b\r\nversion\r\n', ['a/b', 'version']],
    ['set x 0 0 5\r\na b c\r\n', ['a/b c']],
    ['set x 0 0 5\r\n \r\nxx\r\n', ['/\r\nxx']],
    ['version\r\nset x 0 0 3\r\na b\r\n', [UNKNOWN, 'a/b']],
    ['set x 0 0 -1\r\nversion\r\n', [UNKNOWN, UNKNOWN]],
    [
      'set x 0 0 3\r\nabc\r\nversion\r\n',
      ['error CLIENT_ERROR bad authentication token format', UNKNOWN],
    ],
    [
      'set x 0 0 3\r\na b\n\nversion\r\n',
      ['error CLIENT_ERROR bad command line termination', UNKNOWN],
    ],
    ['set x 0 0 16385\r\nversion\r\n', ['error CLIENT_ERROR auth token too long', UNKNOWN]],
    ['mn\r\nversion\r\n', ['quit']],
    ['\x80\r\nversion\r\n', ['quit']],
    ['x'.repeat(2_049), ['quit']],
  ])('%j', (text, requests) => {
    const bytes = Buffer.from(text, 'latin1')
    expect(guarded([bytes])).toEqual(requests)
    expect(guarded(cut(bytes, 1))).toEqual(requests)
  })
})

describe('memory', () => {
  test('a get line has a bound too', () => {
    const decoder = new RequestDecoder()
    const chunk = Buffer.from(`get ${'k '.repeat(512 * 1024)}`)
    const seen: string[] = []
    for (let bytes = 0; bytes < 64 * 1024 * 1024 && seen.length === 0; bytes += chunk.length) {
      decoder.push(chunk)
      seen.push(...take(decoder).map(show))
    }
    expect(seen).toEqual(['quit'])
  })

  test('a canonical command that arrives whole is a view of its chunk', () => {
    const chunk = Buffer.from('set a 0 0 1\r\nx\r\n')
    const decoder = new RequestDecoder()
    decoder.push(chunk)
    const [request] = take(decoder)
    expect(request?.kind === 'write' && request.command.buffer === chunk.buffer).toBe(true)
  })

  test('chunks are never written to', () => {
    fc.assert(
      fc.property(
        fc.array(stream(), { maxLength: 4 }),
        fc.integer({ min: 1, max: 9 }),
        (parts, size) => {
          const bytes = Buffer.concat(parts)
          const chunks = cut(bytes, size)
          decode(chunks)
          expect(Buffer.concat(chunks).equals(bytes)).toBe(true)
        },
      ),
    )
  })
})

describe('canonical commands', () => {
  test('every way to spell a write comes out as the one canonical command', () => {
    fc.assert(
      fc.property(spelledWrite(), ({ input, canonical, noreply }) => {
        const requests = take(pushed([Buffer.from(input, 'latin1')]))
        expect(requests.map(show)).toEqual([
          `write ${noreply ? 'noreply ' : ''}${collapsed(escaped(canonical))}`,
        ])
      }),
      { numRuns: 1_000 },
    )
  })

  test('every way to spell a write comes out the same, cut anywhere', () => {
    fc.assert(
      fc.property(
        spelledWrite(),
        fc.infiniteStream(fc.integer({ min: 1, max: 7 })),
        (write, sizes) => {
          const bytes = Buffer.from(`${write.input}version\r\n`, 'latin1')
          expect(decode(cutBy(bytes, sizes))).toEqual([
            `write ${write.noreply ? 'noreply ' : ''}${collapsed(escaped(write.canonical))}`,
            'version',
          ])
        },
      ),
      { numRuns: 500 },
    )
  })

  test('a negative exptime of one digit is -1 as well', () => {
    expect(decode([Buffer.from('set a 0 -5 1\r\nx\r\n')])).toEqual([
      'write set a 0 -1 1\\r\\nx\\r\\n',
    ])
  })

  test('parseCommand reads back what it was made of', () => {
    fc.assert(
      fc.property(storeFields(), ({ verb, key, flags, exptime, cas, value }) => {
        const line = canonicalStore(verb, key, `${flags}`, `${exptime}`, value.length, `${cas}`)
        const command = Buffer.concat([Buffer.from(line, 'latin1'), value, Buffer.from('\r\n')])
        const casUnique = verb === 'cas' ? cas : 0
        expect(parseCommand(command)).toEqual({
          ...{ verb, key, flags, exptime, casUnique, value, options: NO_OPTIONS },
        })
      }),
    )
    fc.assert(
      fc.property(keyArbitrary(), (key) => {
        expect(parseCommand(canonicalDelete(key))).toEqual({
          ...{ verb: 'delete', key, options: NO_OPTIONS },
        })
      }),
    )
  })

  test.each([
    '',
    'delete a',
    'delete a b\r\n',
    'delete \r\n',
    `delete ${'k'.repeat(251)}\r\n`,
    'set a 0 0 1\r\nxx\r\n',
    'set a 0 0 1\r\nx\n\n',
    'set a 00 0 1\r\nx\r\n',
    'set a 4294967296 0 1\r\nx\r\n',
    'set a 0 -2 1\r\nx\r\n',
    'set a 0 0 1 noreply\r\nx\r\n',
    'set a 0 0 1\r\nx\r\nset b 0 0 1\r\nx\r\n',
    'cas a 0 0 1\r\nx\r\n',
    'noop\r\n',
    'config {}\r\n',
  ])('%j is no canonical command', (text) => {
    expect(isCanonical(Buffer.from(text))).toBe(false)
  })

  test('flags that wrap to as many digits are written wrapped', () => {
    expect(decode([Buffer.from('set a 8589934591 0 1\r\nx\r\n')])).toEqual([
      'write set a 4294967295 0 1\\r\\nx\\r\\n',
    ])
  })

  test.each(['rename a b\r\n', 'noop\r\n', '\r\n', '', 'SET a 0 0 1\r\nx\r\n'])(
    'parseCommand throws on %j',
    (text) => {
      expect(() => parseCommand(Buffer.from(text))).toThrow('unknown command in the log')
    },
  )
})

describe('fuzz', () => {
  test('random bytes never throw; what is written is canonical', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        take(pushed([Buffer.from(bytes)])).forEach(assertCanonical)
      }),
      { numRuns: 2_000 },
    )
  })

  test('almost commands never throw; what is written is canonical', () => {
    let writes = 0
    fc.assert(
      fc.property(stream(), (bytes) => {
        const requests = take(pushed([bytes]))
        requests.forEach(assertCanonical)
        writes += requests.filter(({ kind }) => kind === 'write').length
      }),
      { numRuns: 2_000 },
    )
    expect(writes).toBeGreaterThan(100)
  })

  test('almost commands decode the same, cut anywhere', () => {
    fc.assert(
      fc.property(stream(), fc.infiniteStream(fc.integer({ min: 1, max: 20 })), (bytes, sizes) => {
        expect(decode(cutBy(bytes, sizes))).toEqual(decode([bytes]))
      }),
      { numRuns: 1_000 },
    )
  })
})

// ---------------------------------------------------------------- decoding

function pushed(chunks: readonly Buffer[]): RequestDecoder {
  const decoder = new RequestDecoder()
  for (const chunk of chunks) decoder.push(chunk)
  return decoder
}

function take(decoder: RequestDecoder): Request[] {
  const requests: Request[] = []
  for (let request = decoder.next(); request; request = decoder.next()) requests.push(request)
  return requests
}

/** Takes what there is after each chunk; renders at the end. */
function decode(chunks: readonly Buffer[]): string[] {
  const decoder = new RequestDecoder()
  const requests: Request[] = []
  for (const chunk of chunks) {
    decoder.push(chunk)
    requests.push(...take(decoder))
  }
  return requests.map(show)
}

function show(request: Request): string {
  switch (request.kind) {
    case 'get':
      return `${request.withCas ? 'gets' : 'get'} ${request.keys.map(quoted).join(' ')}`
    case 'write': {
      const command = collapsed(escaped(request.command.toString('latin1')))
      return `write ${request.noreply ? 'noreply ' : ''}${command}`
    }
    case 'answer': {
      const { line } = request
      if (line.startsWith('VERSION ')) return 'version'
      return line === '' ? SILENCE : `${isRefusal(line) ? 'error' : 'answer'} ${line}`
    }
    default:
      return request.kind
  }
}

function escaped(text: string): string {
  return JSON.stringify(text).slice(1, -1)
}

/** A key as it is, or as JSON where it has unprintable bytes; a long run as `<k*250>`. */
function quoted(key: string): string {
  const json = JSON.stringify(key)
  return json.length === key.length + 2 ? collapsed(key) : json
}

function collapsed(text: string): string {
  return text.replace(/(.)\1{99,}/gs, (run, char) => `<${char}*${run.length}>`)
}

function keys(count: number): string {
  return Array.from({ length: count }, (_, at) => `key${at}`).join(' ')
}

/** Copies, as a socket would hand them over. */
function cut(bytes: Buffer, size: number): Buffer[] {
  const chunks: Buffer[] = []
  for (let at = 0; at < bytes.length; at += size) {
    chunks.push(Buffer.from(bytes.subarray(at, at + size)))
  }
  return chunks
}

function cutBy(bytes: Buffer, sizes: Iterator<number>): Buffer[] {
  const chunks: Buffer[] = []
  for (let at = 0; at < bytes.length; ) {
    const size: number = sizes.next().value ?? 1
    chunks.push(Buffer.from(bytes.subarray(at, at + size)))
    at += size
  }
  return chunks
}

function cutsOf(bytes: Buffer): fc.Arbitrary<Buffer[]> {
  return fc.array(fc.nat(bytes.length), { maxLength: 12 }).map((offsets) => {
    const bounds = [0, ...offsets.sort((a, b) => a - b), bytes.length]
    return bounds.slice(1).map((end, at) => Buffer.from(bytes.subarray(bounds[at], end)))
  })
}

// ---------------------------------------------------------------- what a write may be

function assertCanonical(request: Request): void {
  if (request.kind !== 'write') return
  const { command } = request
  expect(isCanonical(command)).toBe(true)
  const parsed = parseCommand(command)
  if (parsed.verb === 'flush_all') return
  expect(parsed.key.length).toBeGreaterThan(0)
  expect(parsed.key.length).toBeLessThanOrEqual(KEY_BYTES_MAX)
}

function keyArbitrary(): fc.Arbitrary<string> {
  return fc
    .uint8Array({ minLength: 1, maxLength: KEY_BYTES_MAX })
    .map((bytes) => Buffer.from(bytes.map((byte) => (byte === 10 || byte === 32 ? 95 : byte))))
    .map((bytes) => bytes.toString('latin1'))
}

function storeFields() {
  return fc.record({
    verb: fc.constantFrom('set', 'add', 'replace', 'cas'),
    key: keyArbitrary(),
    flags: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    exptime: fc.oneof(fc.constant(-1), fc.integer({ min: 0, max: 99_999_999_999 })),
    cas: fc.nat(Number.MAX_SAFE_INTEGER),
    value: fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)),
  }) as fc.Arbitrary<{
    verb: 'set' | 'add' | 'replace' | 'cas'
    key: string
    flags: number
    exptime: number
    cas: number
    value: Buffer
  }>
}

/** A storage command in one of its many spellings, and the canonical command it means. */
function spelledWrite(): fc.Arbitrary<{ input: string; canonical: string; noreply: boolean }> {
  return fc
    .record({
      fields: storeFields(),
      zeros: fc.tuple(fc.nat(3), fc.nat(3), fc.nat(3), fc.nat(3)),
      plus: fc.tuple(fc.boolean(), fc.boolean()),
      wrapFlags: fc.boolean(),
      spaces: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 7, maxLength: 7 }),
      isPlain: fc.boolean(),
      noreply: fc.boolean(),
      end: fc.constantFrom('\r\n', '\n'),
    })
    .map(({ fields, zeros, plus, wrapFlags, spaces, isPlain, noreply, end }) => {
      const { verb, key, flags, exptime, cas, value } = fields
      const spell = (number: number, at: 0 | 1 | 2 | 3) =>
        isPlain || number < 0
          ? String(number)
          : `${plus[at as 0 | 1] ? '+' : ''}${'0'.repeat(zeros[at])}${number}`
      const tokens = [
        verb,
        key,
        spell(wrapFlags && !isPlain ? flags + 2 ** 32 : flags, 0),
        spell(exptime, 1),
        spell(value.length, 2),
        ...(verb === 'cas' ? [spell(cas, 3)] : []),
        ...(noreply ? ['noreply'] : []),
      ]
      const line = tokens.map((token, at) =>
        at === 0 || isPlain ? token : `${' '.repeat(spaces[at] ?? 1)}${token}`,
      )
      const block = `${value.toString('latin1')}\r\n`
      const header = canonicalStore(
        verb,
        key,
        `${flags}`,
        `${exptime}`,
        value.length,
        verb === 'cas' ? `${cas}` : '',
      )
      // A key may end in CR, but only CRLF or LF ends a line, and a number stands before it.
      const input = `${line.join(isPlain ? ' ' : '')}${isPlain ? '\r\n' : end}${block}`
      return { input, canonical: `${header}${block}`, noreply }
    })
}

/** A stream that is nearly made of commands: right and wrong words, numbers, ends and blocks. */
function stream(): fc.Arbitrary<Buffer> {
  const verb = fc.constantFrom(
    ...[
      'set',
      'add',
      'replace',
      'append',
      'prepend',
      'cas',
      'delete',
      'get',
      'gets',
      'gat',
      'gats',
    ],
    ...['incr', 'decr', 'touch', 'flush_all', 'verbosity', 'cache_memlimit', 'stats', 'version'],
    ...['mg', 'ms', 'md', 'ma', 'me', 'mn', 'slabs', 'lru', 'shutdown', 'bogus', ''],
  )
  const number = fc.constantFrom('0', '1', '3', '+2', '007', '-1', '-12', '4294967296', 'x', '')
  const word = fc.constantFrom('a', 'noreply', 'k\r', '\x80\xff', '\t', K250, K251, 'HTTP/1', '')
  const end = fc.constantFrom('\r\n', '\r\n', '\r\n', '\n', '\r', '\r\r\n', '')
  const flag = fc.constantFrom(
    ...['v', 'k', 'q', 'b', 'c', 's', 't', 'x', 'I', 'Oabc', 'T30', 'T-1', 'N0', 'N9', 'R5', 'F7'],
    ...['C5', 'C0', 'E18446744073709551615', 'D2', 'J7', 'MA', 'M+', 'MR', 'Mx', 'z', 'Tx', '\xff'],
  )
  const meta = fc
    .tuple(
      fc.constantFrom('mg', 'ms', 'md', 'ma', 'me'),
      fc.constantFrom('a', 'YSBi', 'YQpi', 'YWI=', '!!!', K250, K251),
      fc.constantFrom('', 'x', 'ab', 'mn\r\n'),
      fc.array(flag, { maxLength: 5 }),
    )
    .map(([code, key, value, flags]) => {
      const words = [code, key, ...(code === 'ms' ? [value.length] : []), ...flags]
      return `${words.join(' ')}\r\n${code === 'ms' ? `${value}\r\n` : ''}`
    })
  const block = fc.constantFrom('', '\r\n', 'x\r\n', 'ab\r\n', 'abc\r\n', '\r\n\r\r\n', 'abc\n')
  const space = fc.constantFrom(' ', ' ', ' ', '  ')
  const anything = fc
    .tuple(verb, fc.array(fc.oneof(word, number), { maxLength: 6 }), space, end, block)
    .map(([first, rest, gap, lineEnd, data]) => `${[first, ...rest].join(gap)}${lineEnd}${data}`)
  const store = fc
    .record({
      verb: fc.constantFrom('set', 'add', 'cas', 'append', 'replace'),
      key: fc.constantFrom('a', 'bb', '\x00', K250, K251),
      flags: number,
      exptime: number,
      value: fc.constantFrom('', 'x', 'ab', '\r\n', 'abc', 'get a\r\n'),
      extra: fc.constantFrom('', '', ' 9', ' 9 noreply', ' noreply', ' 18446744073709551615'),
      end,
      blockEnd: fc.constantFrom('\r\n', '\r\n', '\r\n', '\n', 'xx'),
    })
    .map(
      (part) =>
        `${part.verb} ${part.key} ${part.flags} ${part.exptime} ${part.value.length}${part.extra}` +
        `${part.end}${part.value}${part.blockEnd}`,
    )
  // Short of 2048 bytes without a line end, whatever the parts.
  return fc
    .array(fc.oneof(anything, store, meta), { maxLength: 6 })
    .map((parts) => Buffer.from(parts.join('\r\n').slice(0, LINE_MAX), 'latin1'))
}

function isRefusal(line: string): boolean {
  return /ERROR|MEMLIMIT/.test(line)
}
