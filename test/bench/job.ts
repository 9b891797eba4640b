/** A job for tests, with what matters to them said by them. */
import type { Job } from '../../bench/load/job.ts'

const JOB: Job = {
  ...{ protocol: 'memcached', endpoints: [], connectionCount: 1, inFlight: 1, kind: 'read' },
  ...{ valueBytes: 100, keyCount: 10, isFill: false, warmUpMs: 0, measureMs: 0 },
  ...{ ratePerS: null, seed: 1 },
}

export function jobFor(changes: Partial<Job>): Job {
  return { ...JOB, ...changes }
}
