/**
 * Sequences against a reference and a subject, and what they answer differently.
 *
 * In: two servers, seeds. Out: the differences, each shrunk to the few requests that
 * show it; of those that look alike only the first.
 */
import { type Request, textOf } from '../fuzz/request.ts'
import { type Answer, converse, type Endpoint } from './conversation.ts'
import { type Batch, type IsExcused, randomSequence, type Sequence } from './sequence.ts'
import { shrink } from './shrink.ts'

const PREFIXES = 36 ** 5
/** No number begins like a key, and a flag z is none: so a key in any place is the same for all. */
const PREFIX_FIRST = 'z'
/** So many sequences are made, those that may overlap run at once, and then the others. */
const CHUNK = 400
/** Beyond these, differences are only counted. */
const FINDINGS_MAX = 40

export interface Discrepancy {
  readonly reference: readonly Answer[]
  readonly subject: readonly Answer[]
  /** Alike for discrepancies that look alike. */
  readonly looks: string
}

export interface Finding extends Discrepancy {
  readonly seed: number
  readonly sequence: Sequence
}

export interface Plan {
  readonly firstSeed: number
  readonly count: number
  /** How many at once. */
  readonly parallel: number
  readonly isExcused: IsExcused
  readonly onFinding: (finding: Finding) => void
  readonly onProgress?: (done: number, requestCount: number) => void
}

export class Comparison {
  readonly #reference: Endpoint
  readonly #subject: Endpoint
  /** Keys of earlier runs may still be there. */
  #prefix = Math.floor(Math.random() * PREFIXES)

  constructor(reference: Endpoint, subject: Endpoint) {
    this.#reference = reference
    this.#subject = subject
  }

  /** @returns how many sequences were answered differently. */
  async run(plan: Plan): Promise<number> {
    const looks = new Set<string>()
    let differing = 0
    let requestCount = 0
    const compare = async ({ seed, sequence }: { seed: number; sequence: Sequence }) => {
      requestCount += requestsOf(sequence).length
      const discrepancy = await this.compare(sequence)
      if (!discrepancy) return
      differing++
      if (looks.has(discrepancy.looks) || looks.size >= FINDINGS_MAX) return
      looks.add(discrepancy.looks)
      plan.onFinding({ seed, ...(await this.#shrink(sequence, discrepancy)) })
    }
    for (let done = 0; done < plan.count; done += CHUNK) {
      const cases = Array.from({ length: Math.min(CHUNK, plan.count - done) }, (_, at) => {
        const seed = plan.firstSeed + done + at
        return { seed, sequence: randomSequence(seed, plan.isExcused) }
      })
      const queue = cases.filter(({ sequence }) => !sequence.isAlone)
      const work = async () => {
        for (let next = queue.pop(); next; next = queue.pop()) await compare(next)
      }
      await Promise.all(Array.from({ length: plan.parallel }, work))
      for (const one of cases) if (one.sequence.isAlone) await compare(one)
      plan.onProgress?.(done + cases.length, requestCount)
    }
    return differing
  }

  async compare(sequence: Sequence): Promise<Discrepancy | null> {
    this.#prefix = (this.#prefix + 1) % PREFIXES
    const prefix = PREFIX_FIRST + this.#prefix.toString(36).padStart(5, '0')
    const [reference, subject] = await Promise.all([
      converse(this.#reference, sequence, prefix),
      converse(this.#subject, sequence, prefix),
    ])
    const looks = difference(reference, subject, prefix)
    return looks === null ? null : { reference, subject, looks }
  }

  async #shrink(
    sequence: Sequence,
    discrepancy: Discrepancy,
  ): Promise<Discrepancy & { sequence: Sequence }> {
    let best = { sequence, ...discrepancy }
    await shrink(sequence, async (smaller) => {
      const found = await this.compare(smaller)
      if (found?.looks !== discrepancy.looks) return false
      best = { sequence: smaller, ...found }
      return true
    })
    return best
  }
}

/**
 * The first difference, without what is different each time; null where there is none.
 * That nobody answers is one as well: then nothing was compared.
 */
function difference(
  reference: readonly Answer[],
  subject: readonly Answer[],
  prefix: string,
): string | null {
  const flatten = (answers: readonly Answer[]) =>
    answers.flatMap(({ lines, end }) => [...lines, `(${end})`])
  const theirs = flatten(reference)
  const ours = flatten(subject)
  if (theirs.includes('(silent)') && ours.includes('(silent)')) return 'both are silent'
  const at = theirs.findIndex((line, index) => line !== ours[index])
  if (at === -1) return theirs.length === ours.length ? null : '(nothing) | more'
  const both = `${theirs[at]} | ${ours[at]}`.replaceAll(prefix, '')
  return both.replace(/[\d#]+/g, '#').slice(0, 300)
}

export function requestsOf({ batches }: Sequence): Request[] {
  return batches.flatMap(({ requests }) => requests)
}

/** What to send, and who answers what. */
export function describeFinding({ seed, sequence, reference, subject }: Finding): string {
  const lines = [`seed ${seed}:`]
  for (const [at, batch] of sequence.batches.entries()) {
    for (const request of batch.requests) lines.push(`  > ${printable(textOf(request))}`)
    const theirs = reference[at]
    const ours = subject[at]
    if (JSON.stringify(theirs) === JSON.stringify(ours)) {
      lines.push(`  both:      ${describeAnswer(theirs, batch)}`)
    } else {
      lines.push(`  memcached: ${describeAnswer(theirs, batch)}`)
      lines.push(`  here:      ${describeAnswer(ours, batch)}`)
    }
  }
  return lines.join('\n')
}

function describeAnswer(answer: Answer | undefined, { ends }: Batch): string {
  if (!answer) return '(none)'
  const isExpected = answer.end === (ends ? 'closed' : 'answered')
  const end = isExpected ? [] : [`(${answer.end})`]
  const text = [...answer.lines.map(printable), ...end].join(' | ') || '(nothing)'
  return text.replace(/(?:MN \| ){9,}/g, 'MN | ... | ')
}

const NAMES = new Map([
  ['\u0100', '<newest unique>'],
  ['\u0101', '<earlier unique>'],
  ['\u0102', '<prefix>'],
  ['\u0103', '<prefix in base64>'],
])

function printable(text: string): string {
  const escaped = JSON.stringify(text).slice(1, -1)
  return escaped
    .replace(/[\u0100-\u0103]/g, (mark) => NAMES.get(mark) ?? mark)
    .replace(/[\x7f-\xff]/g, (byte) => `\\x${byte.charCodeAt(0).toString(16)}`)
    .replace(/(.)\1{30,}/g, (run) => `${run[0]}{${run.length}}`)
}
