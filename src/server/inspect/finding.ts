/** What is worth saying about a file of a server's. */
export interface Finding {
  /** `note`: nothing is wrong, a crash or a stop leaves it so. */
  readonly kind: 'damage' | 'note'
  readonly path: string
  /** In bytes, where it is one place in the file. */
  readonly offset?: number
  /** The log index it is about. */
  readonly index?: number
  readonly what: string
}

export function describeFinding({ kind, path, offset, index, what }: Finding): string {
  const place = [
    ...(offset === undefined ? [] : [`byte ${offset}`]),
    ...(index === undefined ? [] : [`entry ${index}`]),
  ]
  const at = place.length > 0 ? ` at ${place.join(', ')}` : ''
  return `${path}: ${kind === 'damage' ? 'DAMAGED' : 'note'}${at}: ${what}`
}
