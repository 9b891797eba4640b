import { describe, expect, test } from 'vitest'
import { parseLine, type Request } from '../../src/protocol/requests.ts'

const FORMAT = 'refuse CLIENT_ERROR bad command line format'
const EXPTIME = 'refuse CLIENT_ERROR invalid exptime argument'
const DELTA = 'refuse CLIENT_ERROR invalid numeric delta argument'
const K250 = 'k'.repeat(250)
const K251 = 'k'.repeat(251)

function show(request: Request | null): string {
  if (request === null) return 'close'
  switch (request.kind) {
    case 'answer':
      return (
        request.line &&
        `${/ERROR|MEMLIMIT/.test(request.line) ? 'refuse' : 'answer'} ${request.line}`
      )
    case 'write':
      return `${request.noreply ? 'noreply ' : ''}${request.command.toString('latin1').trimEnd()}`
    case 'gat':
      return `gat ${[...request.options]} ${request.keys}${request.withCas ? ' cas' : ''}`
    case 'get':
      return `get ${request.keys}${request.withCas ? ' cas' : ''}`
    case 'metaGet':
      return `metaGet ${request.get.meta.key}`
    default:
      return JSON.stringify(request)
  }
}

function parse(line: string): string {
  return show(parseLine(line.split(' ')))
}

describe.each<[string, (readonly [line: string, request: string])[]]>([
  [
    'gat and gats',
    [
      ['gat 10 a b', 'gat exptime,10 a,b'],
      ['gats 010 a', 'gat exptime,10 a cas'],
      ['gat +10 a', EXPTIME],
      ['gat -5 a', 'gat exptime,-1 a'],
      ['gat', FORMAT],
      ['gat 10', FORMAT],
      ['gats 10', FORMAT],
      ['gat abc', FORMAT],
      ['gat abc k', EXPTIME],
      [`gat 0 a ${K251}`, FORMAT],
      [`gat abc ${K251}`, EXPTIME],
      ['gat 0 noreply', 'gat exptime,0 noreply'],
    ],
  ],
  [
    'incr and decr',
    [
      ['incr a 1', 'incr a 1'],
      ['decr a 007', 'decr a 7'],
      ['incr a +7', DELTA],
      ['incr a 18446744073709551615', 'incr a 18446744073709551615'],
      ['incr a 18446744073709551616', DELTA],
      ['incr a -1', DELTA],
      ['decr a abc', DELTA],
      ['incr a 1 extra', 'incr a 1'],
      ['incr a 1 noreply', 'noreply incr a 1'],
      ['incr a 1 noreply x', 'incr a 1'],
      ['incr a abc noreply', ''],
      ['incr a noreply', ''],
      ['incr', FORMAT],
      ['incr a', FORMAT],
      ['decr a', FORMAT],
      [`incr ${K250} 1`, `incr ${K250} 1`],
      [`incr ${K251} 1`, FORMAT],
      [`incr ${K251} 1 noreply`, ''],
    ],
  ],
  [
    'touch',
    [
      ['touch a 10', 'touch a 10'],
      ['touch a -3', 'touch a -1'],
      ['touch a 10 extra', 'touch a 10'],
      ['touch a 10 noreply', 'noreply touch a 10'],
      ['touch a +10', EXPTIME],
      ['touch a abc', EXPTIME],
      ['touch a abc noreply', ''],
      ['touch', FORMAT],
      ['touch a', FORMAT],
      [`touch ${K251} 1`, FORMAT],
    ],
  ],
  [
    'delete',
    [
      ['delete a', 'delete a'],
      ['delete a 0', 'delete a'],
      ['delete a 10', 'delete a'],
      ['delete a abc', 'delete a'],
      ['delete a noreply', 'noreply delete a'],
      ['delete a 10 noreply', 'noreply delete a'],
      ['delete a noreply x', 'delete a'],
      ['delete noreply', 'noreply delete noreply'],
      ['delete', FORMAT],
      ['delete a b c d', FORMAT],
      [`delete ${K251}`, FORMAT],
      [`delete ${K251} noreply`, ''],
    ],
  ],
  [
    'flush_all',
    [
      ['flush_all', 'flush_all 0'],
      ['flush_all 0', 'flush_all 0'],
      ['flush_all 1000', 'flush_all 1000'],
      ['flush_all -7', 'flush_all -1'],
      ['flush_all 0 extra', 'flush_all 0'],
      ['flush_all noreply', 'noreply flush_all 0'],
      ['flush_all 5 noreply', 'noreply flush_all 5'],
      ['flush_all 0 extra noreply', 'noreply flush_all 0'],
      ['flush_all +10', EXPTIME],
      ['flush_all abc', EXPTIME],
      ['flush_all foo bar', EXPTIME],
      ['flush_all abc noreply', ''],
    ],
  ],
  [
    'version, verbosity, mn',
    [
      ['version', 'answer VERSION 1.6.45'],
      ['version foo bar', 'answer VERSION 1.6.45'],
      ['version noreply', 'answer VERSION 1.6.45'],
      ['verbosity 1', '{"kind":"verbosity","level":1,"noreply":false}'],
      ['verbosity 1 2 3', '{"kind":"verbosity","level":1,"noreply":false}'],
      ['verbosity 0 noreply', '{"kind":"verbosity","level":0,"noreply":true}'],
      ['verbosity noreply', ''],
      ['verbosity', FORMAT],
      ['verbosity abc', FORMAT],
      ['verbosity -1', FORMAT],
      ['verbosity foo bar my', FORMAT],
      ['mn', 'answer MN'],
      ['mn foo', 'answer MN'],
    ],
  ],
  [
    'what is about a server itself',
    [
      ['stats', '{"kind":"stats","words":[]}'],
      ['stats detail on', '{"kind":"stats","words":["detail","on"]}'],
      ['shutdown', '{"kind":"shutdown","isValid":true,"noreply":false}'],
      ['shutdown graceful', '{"kind":"shutdown","isValid":true,"noreply":false}'],
      ['shutdown now', '{"kind":"shutdown","isValid":false,"noreply":false}'],
      ['shutdown graceful now', '{"kind":"shutdown","isValid":false,"noreply":false}'],
      ['shutdown noreply', '{"kind":"shutdown","isValid":false,"noreply":true}'],
      [
        'cache_memlimit 64',
        `{"kind":"memoryLimit","limitBytes":${64 * 1024 * 1024},"noreply":false}`,
      ],
      [
        'cache_memlimit 8 noreply',
        `{"kind":"memoryLimit","limitBytes":${8 * 1024 * 1024},"noreply":true}`,
      ],
      ['cache_memlimit 7', 'refuse MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m'],
      [
        'cache_memlimit 1000000001',
        'refuse MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes',
      ],
      ['cache_memlimit abc', 'refuse ERROR'],
      ['cache_memlimit', 'refuse ERROR'],
      ['item-size-max 2048', '{"kind":"itemSizeMax","bytes":2048}'],
      ['item-size-max', '{"kind":"itemSizeMax","bytes":null}'],
      ['item-size-max 1m', '{"kind":"itemSizeMax","bytes":null}'],
      ['read-mode lease', '{"kind":"readMode","mode":"lease"}'],
      ['remove-server', '{"kind":"remove","server":""}'],
      ['quit now', '{"kind":"quit"}'],
    ],
  ],
  [
    'what this store does not have',
    [
      ['slabs automove 0', 'answer OK'],
      ['slabs automove 2', 'answer OK'],
      ['slabs automove 3', 'refuse ERROR'],
      ['slabs automove invalid', FORMAT],
      ['slabs automove', 'refuse ERROR'],
      ['slabs reassign 1 2', 'refuse CLIENT_ERROR slab reassignment disabled'],
      ['slabs bogus 1', 'refuse ERROR'],
      ['lru mode flat', 'answer OK'],
      ['lru mode', 'refuse ERROR'],
      ['lru bogus x', 'refuse ERROR'],
      ['lru_crawler enable', 'answer OK'],
      ['lru_crawler metadump all', 'refuse CLIENT_ERROR lru crawler disabled'],
      ['lru_crawler bogus', 'refuse ERROR'],
      ['watch', 'refuse CLIENT_ERROR watch commands not allowed'],
      ['watch mutations', 'refuse CLIENT_ERROR watch commands not allowed'],
      ['watch noreply', ''],
    ],
  ],
  [
    'what nobody knows',
    [
      ['bogus', 'refuse ERROR'],
      ['bogus noreply', ''],
      ['bogus noreply x', 'refuse ERROR'],
      ['INCR a 1', 'refuse ERROR'],
      ['incr2 a 1', 'refuse ERROR'],
      ['flush_all2', 'refuse ERROR'],
      ['constructor', 'refuse ERROR'],
      ['GET / HTTP/1.1', 'close'],
      ['get / HTTP/1.1', 'get /,HTTP/1.1'],
    ],
  ],
  [
    'meta commands',
    [
      ['mg a', 'metaGet a'],
      ['mg', FORMAT],
      ['mg a z', 'refuse CLIENT_ERROR invalid flag'],
      ['md a q', 'delete a'],
      ['md', FORMAT],
      ['ma a', 'incr a 1'],
      ['ma', FORMAT],
      ['mx a', 'refuse ERROR'],
      ['me', FORMAT],
      [`me ${K251}`, FORMAT],
      ['me a +', FORMAT],
      ['me a', '{"kind":"metaDebug","key":"a","keyText":"a"}'],
      ['me YWI= b', '{"kind":"metaDebug","key":"ab","keyText":"YWI="}'],
      ['me !!! b', FORMAT],
    ],
  ],
])('%s', (_, rows) => {
  test.each(rows)('%s', (line, request) => {
    expect(parse(line)).toBe(request)
  })
})
