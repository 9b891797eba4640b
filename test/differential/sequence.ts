/**
 * A random sequence of requests: what one client sends, in batches.
 *
 * Of one seed always the same. A batch is sent at once, cut into pieces at random
 * places; the next one follows when it is answered, so that it can speak of the cas
 * uniques in its replies. After a batch that `ends`, the connection is closed.
 */
import { Dice } from '../fuzz/dice.ts'
import { hasLongWord, hasUnique, isLong, type Request, wordsOf } from '../fuzz/request.ts'
import { randomRequest } from '../fuzz/requests.ts'
import type { Taste } from '../fuzz/words.ts'

const REQUESTS_MIN = 5
const REQUESTS_MAX = 30
const BATCH_MAX = 10

export interface Batch {
  readonly requests: readonly Request[]
  /** Where it is cut into pieces: fractions of its length. */
  readonly cuts: readonly number[]
  readonly ends: boolean
}

export interface Sequence {
  readonly batches: readonly Batch[]
  /** It empties the server: nothing else may happen meanwhile. */
  readonly isAlone: boolean
}

/** Whether a request, with these before it, is known to be answered otherwise: it is left out. */
export type IsExcused = (request: Request, before: readonly Request[]) => boolean

export function randomSequence(seed: number, isExcused: IsExcused): Sequence {
  const dice = new Dice(seed)
  const taste = randomTaste(dice)
  const requests: Request[] = []
  const count = dice.integer(REQUESTS_MIN, REQUESTS_MAX)
  while (requests.length < count) {
    const request = randomRequest(dice, taste)
    if (!isExcused(request, requests) && !isBlurredFlush(request)) requests.push(request)
  }
  return { batches: inBatches(requests, dice), isAlone: taste.flush }
}

/**
 * Arithmetic and marks are never in one sequence: in memcached it depends on whether
 * earlier replies are still on their way if incr keeps an item's marks.
 */
function randomTaste(dice: Dice): Taste {
  const arithmetic = dice.chance(0.5)
  return {
    arithmetic,
    marks: !arithmetic,
    big: dice.chance(0.005),
    flush: dice.chance(0.02),
    spoiltPercent: dice.pick([0, 5, 15, 40]),
  }
}

function inBatches(requests: readonly Request[], dice: Dice): Batch[] {
  const batches: Batch[] = []
  let batch: Request[] = []
  let wanted = 0
  const finish = () => {
    if (batch.length > 0) batches.push(toBatch(batch, dice))
    batch = []
    wanted = dice.integer(1, dice.pick([1, 3, BATCH_MAX]))
  }
  for (const request of requests) {
    if (batch.length >= wanted || !mayFollow(batch, request)) finish()
    batch.push(request)
    if (request.framing === 'closes') finish()
  }
  finish()
  return batches
}

/** Whether a flush_all was one has to be known: see `REMOVE_ALL_KEYS`. */
function isBlurredFlush(request: Request): boolean {
  return isFlush(request) && request.framing !== 'tight'
}

const isFlush = (request: Request) => wordsOf(request)[0] === 'flush_all'
const isLoose = ({ framing }: Request) => framing === 'loose'
const isArithmetic = (request: Request) => /^(?:incr|decr|ma) /.test(request.line)
const isRead = (request: Request) => /^(?:gets?|gats?|mg) /.test(request.line)

/**
 * What closes a connection comes alone, so that it arrives whole. What is loose may eat up
 * what follows, which then must not matter. Where an incr's result is shorter than the value
 * was, memcached pads it, but not while a reply with the old one is on its way. And with the
 * reply to a get of too long a key it drops what it has not sent of the replies before. To
 * what is set after an ms with a bad block it gives an older unique.
 */
function mayFollow(batch: readonly Request[], request: Request): boolean {
  if (request.framing === 'closes' || hasLongWord(request)) return batch.length === 0
  if (batch.some((one) => isLoose(one) && one.line.startsWith('ms'))) return false
  const together = [...batch, request]
  const isDelicate = (one: Request) => hasUnique(one) || isFlush(one) || isLong(one)
  if (together.some(isLoose) && together.some(isDelicate)) return false
  return !(isArithmetic(request) && batch.some(isRead))
}

export function toBatch(requests: readonly Request[], dice: Dice | null): Batch {
  const closes = requests.some(({ framing }) => framing === 'closes')
  const count = closes || !dice ? 0 : dice.pick([0, 0, 1, 3])
  const cuts = Array.from({ length: count }, () => (dice?.integer(1, 999) ?? 0) / 1_000)
  return {
    requests,
    cuts: cuts.sort((a, b) => a - b),
    ends: requests.some(({ framing }) => framing !== 'tight'),
  }
}
