/**
 * Makes a sequence that shows something smaller, as long as it still does.
 *
 * First whole batches go, then requests, then words of them; what goes without
 * effect stays away.
 */
import { type Request, wordsOf } from '../fuzz/request.ts'
import { type Batch, type Sequence, toBatch } from './sequence.ts'

export async function shrink(
  sequence: Sequence,
  stillShows: (smaller: Sequence) => Promise<boolean>,
): Promise<void> {
  let batches = [...sequence.batches]
  const attempt = async (smaller: Batch[]) => {
    const filled = smaller.filter(({ requests }) => requests.length > 0)
    if (!(await stillShows({ ...sequence, batches: filled }))) return false
    batches = filled
    return true
  }
  for (let size = Math.ceil(batches.length / 2); size >= 1; size = Math.floor(size / 2)) {
    for (let at = 0; at < batches.length; ) {
      const isLess = await attempt(batches.toSpliced(at, size))
      if (!isLess) at += size
    }
  }
  const replaced = (at: number, requests: readonly Request[]) =>
    batches.with(at, toBatch(requests, null))
  for (let at = 0; at < batches.length; at++) {
    const requestsNow = () => batches[at]?.requests ?? []
    for (let one = requestsNow().length - 1; one >= 0; one--) {
      if (batches.length === 1 && requestsNow().length === 1) break
      const before = batches.length
      await attempt(replaced(at, requestsNow().toSpliced(one, 1)))
      if (batches.length < before) break
    }
  }
  for (let at = 0; at < batches.length; at++) {
    const requests = () => batches[at]?.requests ?? []
    for (let one = 0; one < requests().length; one++) {
      for (let word = wordsOf(requests()[one] as Request).length - 1; word > 1; word--) {
        const request = requests()[one] as Request
        const line = wordsOf(request).toSpliced(word, 1).join(' ')
        await attempt(replaced(at, requests().with(one, { ...request, line })))
      }
    }
  }
}
