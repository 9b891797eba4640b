import { expect, test } from 'vitest'
import { describeProgress } from '../../bin/output.ts'

test.each([
  [0, 1_000, 2_000, '[........................] 0%  0 of 1000 bytes  0.0 MB/s'],
  [
    5_000_000,
    10_000_000,
    2_000,
    '[############............] 50%  5000000 of 10000000 bytes  2.5 MB/s',
  ],
  [999, 1_000, 1_000, '[#######################.] 99%  999 of 1000 bytes  0.0 MB/s'],
  [1_000, 1_000, 1_000, '[########################] 100%  1000 of 1000 bytes  0.0 MB/s'],
  [0, 0, 0, '[########################] 100%  0 of 0 bytes  0.0 MB/s'],
  [5 * 1024 * 1024, null, 3_500, '5 MiB read, 3 s'],
])('%s of %s bytes', (bytes, total, elapsedMs, text) => {
  expect(describeProgress(bytes, total, elapsedMs)).toBe(text)
})
