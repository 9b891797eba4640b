/** Dice. */

export function chance(probability: number): boolean {
  return Math.random() < probability
}

export function draw(min: number, max: number): number {
  return min + Math.random() * (max - min)
}

export function pick<T>(from: readonly T[]): T {
  if (from.length === 0) throw new Error('nothing to pick from')
  return from[Math.floor(Math.random() * from.length)] as T
}

export function shuffle<T>(values: readonly T[]): T[] {
  const shuffled = [...values]
  for (let at = shuffled.length - 1; at > 0; at--) {
    const other = Math.floor(Math.random() * (at + 1))
    const value = shuffled[at] as T
    shuffled[at] = shuffled[other] as T
    shuffled[other] = value
  }
  return shuffled
}
