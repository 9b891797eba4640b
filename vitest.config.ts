import { defineConfig } from 'vitest/config'

const WORKERS = 2

/** Clusters are waited for half the time: three files at once keep both cores busy. */
const CLUSTER_WORKERS = 3
const CLUSTERS = ['test/{clients,differential,e2e,examples}/**/*.test.ts']

/** They measure time, or take both cores themselves. */
const ALONE = [
  'test/e2e/{failover,membership}.test.ts',
  'test/{bench,fuzz,io,memcached-suite}/**/*.test.ts',
]

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
          exclude: ALONE,
          maxWorkers: CLUSTER_WORKERS,
          sequence: { groupOrder: 2 },
        },
      },
      {
        test: {
          ...TIMEOUTS,
          name: 'alone',
          include: ALONE,
          fileParallelism: false,
          sequence: { groupOrder: 3 },
        },
      },
    ],
  },
})
