import { defineConfig } from 'vitest/config'

const WORKERS = 2

/** They start clusters and wait for what these do; two files at a time keep both cores busy. */
const CLUSTERS = [
  ...['auth', 'backup', 'client', 'clients', 'commands', 'completion', 'config', 'connections'],
  ...['inspect', 'status'],
]
  .map((name) => `test/e2e/${name}.test.ts`)
  .concat('test/clients/**/*.test.ts', 'test/examples/**/*.test.ts')

/** They measure time, or take both cores themselves. */
const ALONE = ['bench', 'differential', 'e2e', 'fuzz', 'io', 'memcached-suite', 'torture'].map(
  (directory) => `test/${directory}/**/*.test.ts`,
)

const TIMEOUTS = { testTimeout: 60_000, hookTimeout: 60_000 }

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          ...TIMEOUTS,
          name: 'pure',
          include: ['test/**/*.test.ts'],
          exclude: [...CLUSTERS, ...ALONE],
          maxWorkers: WORKERS,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          ...TIMEOUTS,
          name: 'clusters',
          include: CLUSTERS,
          maxWorkers: WORKERS,
          sequence: { groupOrder: 2 },
        },
      },
      {
        test: {
          ...TIMEOUTS,
          name: 'alone',
          include: ALONE,
          exclude: CLUSTERS,
          fileParallelism: false,
          sequence: { groupOrder: 3 },
        },
      },
    ],
  },
})
