import { defineConfig } from 'vitest/config'

/** They start processes, and measure time: one file after the other keeps two cores honest. */
const ALONE = [
  'test/bench',
  'test/clients',
  'test/differential',
  'test/e2e',
  'test/examples',
  'test/fuzz',
  'test/io',
  'test/memcached-suite',
  'test/torture',
].map((directory) => `${directory}/**/*.test.ts`)

const TIMEOUTS = { testTimeout: 60_000, hookTimeout: 60_000 }

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          ...TIMEOUTS,
          name: 'together',
          include: ['test/**/*.test.ts'],
          exclude: ALONE,
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          ...TIMEOUTS,
          name: 'alone',
          include: ALONE,
          fileParallelism: false,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
})
