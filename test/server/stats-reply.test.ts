import { describe, expect, test } from 'vitest'
import { Stats } from '../../src/server/stats.ts'
import { type ServerFacts, statsReply } from '../../src/server/stats-reply.ts'

const FACTS: ServerFacts = {
  ...{ pid: 42, uptimeS: 100, wallMs: 1_700_000_000_999, userCpuMs: 1_500, systemCpuMs: 0.25 },
  ...{ itemCount: 3, itemBytes: 240, memoryLimitBytes: 2 ** 30, itemSizeMax: 2 ** 20 },
  logSyncCount: 7,
  disk: { freeBytes: 5e9, keptBytes: 3e8, logBytes: 1_000, keystoreBytes: 2_000 },
  readMode: 'lease',
  ...{ connectionsMax: 10_000, idleTimeoutS: 0, verbosity: 1 },
  client: { host: '127.0.0.1', port: 11_211 },
  ...{ isAuthNeeded: false, mayShutDown: false },
  connections: [
    { remote: { host: '::1', port: 5 }, idleS: 0 },
    { remote: { host: '10.0.0.1', port: 6 }, idleS: 30 },
  ],
  items: () => [
    { key: 'a', valueBytes: 5, expiresAtMs: 0 },
    { key: 'no line', valueBytes: 5, expiresAtMs: 0 },
    { key: 'b', valueBytes: 0, expiresAtMs: 1_700_000_000_500 },
    { key: 'c', valueBytes: 1, expiresAtMs: 0 },
  ],
}

function reply(words: string, facts: Partial<ServerFacts> = {}, stats = new Stats()): string {
  return statsReply(words === '' ? [] : words.split(' '), stats, { ...FACTS, ...facts })
}

/** The list of a reply that ends as it must. */
function listOf(text: string): Map<string, string> {
  expect(text).toMatch(/^(STAT [^ \r\n]+ [^ \r\n]+\r\n)*END\r\n$/)
  const lines = text.split('\r\n').filter((line) => line.startsWith('STAT '))
  const list = new Map(lines.map((line) => line.split(' ').slice(1) as [string, string]))
  expect(list.size).toBe(lines.length)
  return list
}

describe('stats', () => {
  test('has what tools and libraries look for', () => {
    const list = listOf(reply(''))
    const names =
      'pid uptime time version pointer_size rusage_user rusage_system curr_items total_items ' +
      'bytes curr_connections total_connections connection_structures cmd_get cmd_set cmd_flush ' +
      'cmd_touch get_hits get_misses delete_hits delete_misses incr_hits incr_misses decr_hits ' +
      'decr_misses cas_hits cas_misses cas_badval touch_hits touch_misses get_expired ' +
      'get_flushed evictions reclaimed lrutail_reflocked listen_disabled_num ' +
      'time_in_listen_disabled_us accepting_conns store_too_large store_no_memory bytes_read ' +
      'bytes_written limit_maxbytes threads'
    for (const name of names.split(' ')) expect(list.has(name), name).toBe(true)
  })

  test('says what is so', () => {
    const stats = new Stats()
    stats.read('k', true)
    stats.bytesRead = 77
    const list = listOf(reply('', {}, stats))
    expect(Object.fromEntries(list)).toMatchObject({
      ...{ pid: '42', uptime: '100', time: '1700000000', version: '1.6.45' },
      ...{ rusage_user: '1.500000', rusage_system: '0.000250', limit_maxbytes: `${2 ** 30}` },
      ...{ curr_items: '3', bytes: '240', curr_connections: '2', max_connections: '10000' },
      ...{ cmd_get: '1', get_hits: '1', bytes_read: '77', accepting_conns: '1' },
      ...{ log_syncs: '7', disk_free: '5000000000', disk_kept_free: '300000000' },
      ...{ log_bytes: '1000', keystore_bytes: '2000' },
    })
  })

  test('of a server that watches no disk, or has none yet', () => {
    const disk = { freeBytes: null, keptBytes: 0, logBytes: 1, keystoreBytes: 2 }
    expect(listOf(reply('', { disk })).get('disk_free')).toBe(undefined)
    expect(listOf(reply('', { disk })).get('log_bytes')).toBe('1')
    expect(listOf(reply('', { disk: null })).get('log_bytes')).toBe(undefined)
  })

  test('of no limit', () => {
    const list = listOf(reply('', { memoryLimitBytes: Number.POSITIVE_INFINITY }))
    expect(list.get('limit_maxbytes')).toBe('0')
  })

  test('after a reset all counts are 0', () => {
    const stats = new Stats()
    stats.read('k', true)
    expect(reply('reset', {}, stats)).toBe('RESET\r\n')
    expect(reply('reset noreply', {}, stats)).toBe('RESET\r\n')
    expect(listOf(reply('', {}, stats)).get('get_hits')).toBe('0')
  })
})

describe('stats settings', () => {
  test('has what tests of libraries read', () => {
    const list = Object.fromEntries(listOf(reply('settings')))
    expect(list).toMatchObject({
      ...{
        item_size_max: '1048576',
        read_mode: 'lease',
        maxconns: '10000',
        cas_enabled: 'yes',
        udpport: '0',
      },
      ...{ auth_enabled_sasl: 'no', auth_enabled_ascii: 'no', shutdown_command: 'no' },
      ...{ client_flags_size: '4', inter: '127.0.0.1', tcpport: '11211', verbosity: '1' },
      ...{ detail_enabled: 'no', idle_timeout: '0' },
    })
    for (const name of ['evictions', 'domain_socket', 'growth_factor', 'umask']) {
      expect(list).toHaveProperty(name)
    }
  })

  test('says what is so', () => {
    const facts = { isAuthNeeded: true, mayShutDown: true, itemSizeMax: 2_048, idleTimeoutS: 60 }
    expect(Object.fromEntries(listOf(reply('settings', facts)))).toMatchObject({
      ...{ auth_enabled_ascii: 'yes', shutdown_command: 'yes' },
      ...{ item_size_max: '2048', idle_timeout: '60' },
    })
  })
})

test('stats items and slabs, with items and without', () => {
  expect(listOf(reply('items')).get('items:1:number')).toBe('3')
  expect(listOf(reply('slabs')).get('active_slabs')).toBe('1')
  expect(reply('items', { itemCount: 0 })).toBe('END\r\n')
  expect(listOf(reply('slabs', { itemCount: 0 })).get('active_slabs')).toBe('0')
})

test('stats conns', () => {
  const list = listOf(reply('conns'))
  expect(Object.fromEntries(list)).toMatchObject({
    ...{ '0:addr': 'tcp:127.0.0.1:11211', '0:state': 'conn_listening' },
    ...{ '1:addr': 'tcp:::1:5', '1:state': 'conn_parse_cmd', '1:secs_since_last_cmd': '0' },
    ...{ '2:addr': 'tcp:10.0.0.1:6', '2:state': 'conn_read', '2:secs_since_last_cmd': '30' },
  })
})

test('stats detail', () => {
  const stats = new Stats()
  const usage = 'CLIENT_ERROR usage: stats detail on|off|dump\r\n'
  expect(reply('detail', {}, stats)).toBe(usage)
  expect(reply('detail bogus', {}, stats)).toBe(usage)
  expect(reply('detail on', {}, stats)).toBe('OK\r\n')
  expect(listOf(reply('settings', {}, stats)).get('detail_enabled')).toBe('yes')
  stats.read('a:b', true)
  expect(reply('detail dump', {}, stats)).toBe('PREFIX a get 1 hit 1 set 0 del 0\r\nEND\r\n')
  expect(reply('detail off', {}, stats)).toBe('OK\r\n')
  expect(stats.isDetailed).toBe(false)
})

test.each([
  ['sizes', 'STAT sizes_status disabled\r\nEND\r\n'],
  ['cachedump', 'CLIENT_ERROR bad command line\r\n'],
  ['cachedump 1', 'CLIENT_ERROR bad command line\r\n'],
  ['cachedump a 1', 'CLIENT_ERROR bad command line format\r\n'],
  ['cachedump 1 a', 'CLIENT_ERROR bad command line format\r\n'],
  ['cachedump 64 1', 'CLIENT_ERROR Illegal slab id\r\n'],
  ['cachedump 2 1', 'END\r\n'],
  ['cachedump 1 2', 'ITEM a [5 b; 0 s]\r\nITEM b [0 b; 1700000000 s]\r\nEND\r\n'],
  [
    'cachedump 1 0',
    'ITEM a [5 b; 0 s]\r\nITEM b [0 b; 1700000000 s]\r\nITEM c [1 b; 0 s]\r\nEND\r\n',
  ],
  ['bogus', 'ERROR\r\n'],
  ['noreply', 'ERROR\r\n'],
  ['r', 'RESET\r\n'],
  ['settingsx', 'ERROR\r\n'],
])('stats %s', (words, text) => {
  expect(reply(words)).toBe(text)
})

test('a subcommand cut short', () => {
  expect(reply('set')).toBe(reply('settings'))
})
