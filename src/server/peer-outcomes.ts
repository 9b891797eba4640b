/** How a write ended, as JSON between servers. What does not verify is null. */
import { parseCas } from '../protocol/cas-unique.ts'
import type { ItemReply } from '../protocol/replies.ts'
import { hasShape, isCount, oneOf, optional, type Shape, shaped } from '../protocol/shape.ts'
import { LACKS, type WriteOutcome } from './peer-messages.ts'

/** An item as JSON: its cas unique may be larger than a number there. */
interface EncodedItem extends Omit<ItemReply, 'casUnique' | 'value'> {
  readonly casUnique: string
}

const ITEM: Shape = {
  flags: isCount,
  ttlBeforeS: isSeconds,
  ttlS: isSeconds,
  casUnique: (text) => typeof text === 'string' && parseCas(text) !== null,
  valueBytes: isCount,
  marks: isText,
}

type EncodedOutcome =
  | Exclude<WriteOutcome, { kind: 'applied' }>
  | (Omit<Extract<WriteOutcome, { kind: 'applied' }>, 'item'> & { readonly item?: EncodedItem })

const APPLIED: Shape = {
  kind: (kind) => kind === 'applied',
  reply: isText,
  item: optional(shaped(ITEM)),
  index: isCount,
}

const NOT_APPLIED: Shape = {
  kind: oneOf('notStored', 'unknown', 'refused'),
  why: isText,
  lacks: optional(oneOf(...LACKS)),
}

function isOutcome(value: unknown): value is EncodedOutcome {
  return hasShape(value, APPLIED) || hasShape(value, NOT_APPLIED)
}

/** Or -1, for ever. */
function isSeconds(value: unknown): boolean {
  return value === -1 || isCount(value)
}

function isText(value: unknown): boolean {
  return typeof value === 'string'
}

/** What goes into JSON: a value stays behind. */
export function encodeOutcome(outcome: WriteOutcome): object {
  if (outcome.kind !== 'applied') return outcome
  const { kind, reply, index, item } = outcome
  if (!item) return { kind, reply, index }
  const { value: _, casUnique, ...rest } = item
  const encoded: EncodedItem = { ...rest, casUnique: String(casUnique) }
  return { kind, reply, index, item: encoded }
}

/** @param value What JSON had. */
export function decodeOutcome(value: unknown): WriteOutcome | null {
  if (!isOutcome(value)) return null
  if (value.kind !== 'applied' || !value.item) return value as WriteOutcome
  const { casUnique, ...rest } = value.item
  return { ...value, item: { ...rest, casUnique: parseCas(casUnique) ?? 0 } }
}
