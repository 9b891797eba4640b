/**
 * `store status`: one screen, one JSON object, or with `--watch` one after the other.
 *
 * On a terminal a watch draws in place, on the terminal's other screen, until a signal
 * ends it; the terminal is then as it was, with the last screen printed below the command.
 * To a file or a pipe it writes one screen, or one JSON line, after the other. A cluster
 * that does not answer for a while is no end: that is what one watches for.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { styleText } from 'node:util'
import { LoginError } from '../src/client/login.ts'
import type { Cluster } from './cluster.ts'
import { observe } from './observe.ts'
import { printing } from './output.ts'
import { type Observation, overviewOf } from './overview.ts'
import { explain } from './run.ts'
import { drawScreen, type Look } from './status-screen.ts'

const REFRESH_MS = 1_000
const COLUMNS = 80

export interface StatusFlags {
  readonly json?: boolean
  readonly watch?: boolean
}

export async function showStatus(cluster: Cluster, flags: StatusFlags): Promise<void> {
  if (flags.watch) return watchStatus(cluster, flags)
  const observation = await observe(cluster)
  await printing(async (out) => out.line(describe(observation, flags).trimEnd()))
}

function describe(observation: Observation, { json }: StatusFlags): string {
  const overview = overviewOf(observation)
  return json ? `${JSON.stringify(overview)}\n` : drawScreen(overview, lookOf())
}

/** As Node decides it: colours on a terminal, unless NO_COLOR; anywhere with FORCE_COLOR. */
function lookOf(): Look {
  return {
    columns: process.stdout.isTTY ? process.stdout.columns || COLUMNS : COLUMNS,
    paint: (style, text) => styleText(style, text, { stream: process.stdout }),
  }
}

// ---------------------------------------------------------------- watching

/** The other screen, without a cursor, and without lines that go on in the next row. */
const ENTER = '\x1b[?1049h\x1b[?25l\x1b[?7l'
const LEAVE = '\x1b[?1049l\x1b[?7h\x1b[?25h'
const HOME = '\x1b[H'
const ERASE_LINE_END = '\x1b[K'
const ERASE_BELOW = '\x1b[J'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

async function watchStatus(cluster: Cluster, flags: StatusFlags): Promise<void> {
  const isDrawn = process.stdout.isTTY && !flags.json
  let isStopped = false
  const stopped = new Promise<null>((resolve) => {
    for (const signal of SIGNALS) {
      process.on(signal, () => {
        isStopped = true
        resolve(null)
      })
    }
  })
  // Whoever mistyped an address learns it here; later ones may come back.
  const first = await Promise.race([observe(cluster), stopped])
  if (!first) process.exit(0)
  let observation: Observation = first
  let screen = describe(observation, flags)
  if (isDrawn) process.stdout.write(ENTER)
  try {
    await printing(async (out) => {
      for (let isFirst = true; !isStopped; isFirst = false) {
        if (isDrawn) process.stdout.write(inPlace(screen, process.stdout.rows))
        else {
          out.line(`${isFirst || flags.json ? '' : '\n'}${screen.trimEnd()}`)
          await out.flush()
        }
        await Promise.race([delay(REFRESH_MS), stopped])
        if (isStopped) return
        try {
          const { samples } = observation
          observation = (await Promise.race([observe(cluster, samples), stopped])) ?? observation
          screen = describe(observation, flags)
        } catch (error) {
          if (error instanceof LoginError) throw error
          screen = unanswered(explain(error), flags)
        }
      }
    })
  } finally {
    if (isDrawn) process.stdout.write(`${LEAVE}${screen}`)
  }
  process.exit(0) // not when connections that nobody waits for any more have timed out
}

function unanswered(why: string, { json }: StatusFlags): string {
  return json ? `${JSON.stringify({ failure: why })}\n` : `${why}; asking again\n`
}

/**
 * Drawn over what is there, without clearing it first: nothing flickers. Where not all has room
 * empty lines go first, then the last ones: what is wrong stands above.
 * @param rows Of the terminal; 0 where it does not know.
 */
export function inPlace(screen: string, rows: number): string {
  const lines = screen.split('\n').slice(0, -1)
  const most = rows > 1 ? rows - 1 : lines.length
  const kept = lines.length > most ? lines.filter((line) => line !== '') : lines
  const shown = kept.slice(0, most)
  return `${HOME}${shown.map((line) => `${line}${ERASE_LINE_END}\r\n`).join('')}${ERASE_BELOW}`
}
