/**
 * Which of memcached's t/*.t are run here, with what, and why the others are not.
 * As of memcached 1.6.45. Every file must be in one of the two lists.
 */

/** What a test wants of the servers that it is run against. */
export interface Wants {
  /** `{t}` is the directory t. */
  readonly flags?: readonly string[]
  /** A request that the leader answers in one line, before anything else. */
  readonly setup?: string
}

export interface TestFile extends Wants {
  /** Of t/NAME.t. */
  readonly name: string
  /** It starts its servers itself: launcher.ts stands for memcached. */
  readonly startsServers?: true
  /** Time limit, where the default is too little. */
  readonly seconds?: number
  /** Subtests that may fail, by their name or `#number`, and why. */
  readonly mayFail?: Readonly<Record<string, string>>
}

const NO_SLABS = 'counters of slab classes: items are not kept in slabs here'
const NO_RECLAIM = 'counts what an LRU reclaims: there is none here'
const VALUE_STAYS = 'a value that is too large does not remove the one that is there'
const SWEPT_LATER = 'expired items leave memory when their turn comes, not with the next set'
const GONE = 'what is expired or flushed is not there to be found and counted'
const NO_DISABLE_FLUSH = 'starts a server that refuses flush_all (-F): there is no such setting'
const ON_LOOPBACK = 'wants a server that listens on 0.0.0.0: this one listens on loopback'

export const RUN: readonly TestFile[] = [
  { name: 'bogus-commands' },
  { name: 'cas' },
  { name: 'chunked-items', seconds: 600 },
  { name: 'expirations', seconds: 60 },
  { name: 'flags' },
  { name: 'flush-all', mayFail: { '#25': NO_DISABLE_FLUSH, '#26': NO_DISABLE_FLUSH } },
  { name: 'getandtouch' },
  {
    name: 'getset',
    seconds: 600,
    mayFail: { 'foo_1049600 == <undef>': VALUE_STAYS, 'foo_1051648 == <undef>': VALUE_STAYS },
  },
  { name: 'incrdecr' },
  { name: 'issue_104' },
  { name: 'issue_108' },
  { name: 'issue_14', mayFail: { 'Memory grows..': SWEPT_LATER } },
  { name: 'issue_152' },
  { name: 'issue_163', mayFail: { 'Objects should be reclaimed': NO_RECLAIM } },
  { name: 'issue_183', mayFail: { 'Objects should be reclaimed': NO_RECLAIM } },
  { name: 'issue_192' },
  { name: 'issue_29' },
  { name: 'issue_3' },
  { name: 'issue_41' },
  { name: 'issue_42', mayFail: { '#11': NO_SLABS } },
  {
    name: 'issue_61',
    mayFail: {
      'Got a decent number of yields': 'counts how often a thread of memcached leaves a connection',
    },
  },
  { name: 'issue_68' },
  { name: 'issue_70' },
  { name: 'malicious-commands' },
  { name: 'metaget' },
  { name: 'multiversioning' },
  { name: 'noreply' },
  { name: 'quit' },
  {
    name: 'stats-conns',
    mayFail: {
      'tcp port number is correct': ON_LOOPBACK,
      'listen_addr is correct for the tcp port': ON_LOOPBACK,
    },
  },
  { name: 'stats-detail' },
  { name: 'strtol-testing' },
  { name: 'touch' },

  { name: 'ascii-auth', flags: ['--auth-file', '{t}/authfile'] },
  { name: 'ascii-auth2', flags: ['--auth-file', '{t}/authfile2'] },
  { name: 'dash-M', flags: ['--memory-limit', '2m'] },
  { name: 'idle-timeout', flags: ['--idle-timeout', '3'] },
  { name: 'maxconns', flags: ['--max-connections', '1000'] },
  {
    name: 'stats',
    flags: ['--max-connections', '1024'],
    setup: 'item-size-max 1024',
    mayFail: {
      '#81': 'evictions are off: nothing is evicted here',
      'expected count of stats values': 'counters of slabs and LRUs are left out here',
      'initial bytes_written is zero': 'the server has been asked for its state before',
      'get_expired counter is 1': GONE,
      'after flush and a get, get_flushed is 1': GONE,
    },
  },
  { name: 'shutdown', startsServers: true, seconds: 120 },
]

const BINARY = "the binary protocol, which memcached's own documentation calls deprecated"
const EVICTION = 'eviction: nothing is evicted here'
const EXTSTORE = "extstore, memcached's storage for values on flash"
const FLAGS = "memcached's own command line"
const LRU = "memcached's LRU"
const SKIPS_ITSELF = 'skips itself'
const SLABS = "memcached's slab allocator"
const SOURCES = "the style of memcached's source files"
const WATCH = "watch, memcached's stream of log lines"

/** Why the others are not run. `*` stands for anything. */
export const NOT_RUN: Readonly<Record<string, string>> = {
  '00-startup': FLAGS,
  '64bit': SLABS,
  '*extstore*': EXTSTORE,
  'binary*': BINARY,
  'conn-limits': "the limit of memcached's connection buffers",
  daemonize: 'a daemon with a file for its pid (-d -P)',
  'dyn-maxbytes': EVICTION,
  evictions: EVICTION,
  issue_140: SKIPS_ITSELF,
  issue_22: EVICTION,
  issue_260: SKIPS_ITSELF,
  issue_50: BINARY,
  issue_67: FLAGS,
  item_size_max: 'the limit that a memcached starts with (-I): here one of the cluster',
  'line-lengths': SOURCES,
  lru: EVICTION,
  'lru-*': LRU,
  misbehave: 'how memcached gives up privileges',
  'proxy*': "memcached's proxy",
  refhang: SKIPS_ITSELF,
  restart: 'memory that outlives the process (-e)',
  slabhang: SKIPS_ITSELF,
  'slabs*': SLABS,
  'ssl_*': 'TLS',
  udp: 'UDP',
  unixsocket: 'Unix domain sockets',
  'watcher*': WATCH,
  whitespace: SOURCES,
}

/** The pattern of NOT_RUN that this file belongs to. */
export function notRunPattern(name: string): string | undefined {
  return Object.keys(NOT_RUN).find((pattern) =>
    new RegExp(`^${pattern.replaceAll('*', '.*')}$`).test(name),
  )
}
