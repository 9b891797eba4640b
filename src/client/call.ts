/** One call of the program, from its promise to its answer; it may be sent several times. */
import type { StoreError } from './errors.ts'
import type { Failure } from './failures.ts'
import type { Request } from './requests.ts'
import type { Session } from './session.ts'

export class Call {
  readonly request: Request
  readonly timeoutMs: number
  readonly deadlineMs: number
  readonly bytes: number
  readonly resolve: (result: unknown) => void
  readonly reject: (error: StoreError) => void
  /** Stops to listen to the program's signal. */
  forgetSignal: (() => void) | null = null
  /** Where it is now: null while it waits for a server, and when it is over. */
  session: Session | null = null
  /** Its place among what that session has written; -1 while it has not. */
  seq = -1
  /** When it was written there, and how long after that it was refused, the last time. */
  writtenMs = 0
  refusalMs = 0
  /** How often it failed in a way that passes, and how the last time. */
  failureCount = 0
  lastFailure: Failure | null = null
  /** After a failure it waits until then. */
  dueMs = 0

  constructor(
    request: Request,
    timeoutMs: number,
    nowMs: number,
    resolve: (result: unknown) => void,
    reject: (error: StoreError) => void,
  ) {
    this.request = request
    this.timeoutMs = timeoutMs
    this.deadlineMs = nowMs + timeoutMs
    this.bytes = request.text.length + (request.body?.length ?? 0)
    this.resolve = resolve
    this.reject = reject
  }

  /** Whether a server may have it. */
  get isWritten(): boolean {
    return this.seq >= 0
  }
}
