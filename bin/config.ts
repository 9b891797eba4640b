/** `store config`: the settings that a cluster has as a whole, and to change them. */
import { READ_MODES, type ReadMode } from '../src/protocol/status.ts'
import { askLeader, changeThroughLeader } from './ask-leader.ts'
import type { Cluster } from './cluster.ts'
import { printing } from './output.ts'
import { parseItemSize } from './run.ts'

interface Setting {
  /** Its name in `stats settings`. */
  readonly stat: string
  /** What asks the leader for another one. */
  readonly request: string
  /** @throws Error where no cluster can have it. */
  readonly parse: (text: string) => string
  readonly describe: (value: string) => string
}

const READS: Readonly<Record<ReadMode, string>> = {
  quorum: 'quorum, a majority confirms that the leader leads',
  lease: 'lease, the leader answers alone for as long as nobody else can be elected',
}

const SETTINGS = {
  'item-size': {
    stat: 'item_size_max',
    request: 'item-size-max',
    parse: (text) => String(parseItemSize(text)),
    describe: (bytes) => `values may have up to ${bytes} bytes`,
  },
  reads: {
    stat: 'read_mode',
    request: 'read-mode',
    parse: (text) => {
      if (isReadMode(text)) return text
      throw new Error(`reads are one of ${READ_MODES.join(', ')}`)
    },
    describe: (mode) => (isReadMode(mode) ? READS[mode] : mode),
  },
} satisfies Readonly<Record<string, Setting>>

export type SettingName = keyof typeof SETTINGS

export const SETTING_NAMES = Object.keys(SETTINGS) as SettingName[]

/** @param only All settings, where it names none. */
export async function printConfig(cluster: Cluster, only?: SettingName): Promise<void> {
  const names = only ? [only] : SETTING_NAMES
  const values = await askLeader(cluster, 'stats settings', (lines) =>
    names.map((name) => valueIn(lines, SETTINGS[name].stat)),
  )
  await printing(async (out) => {
    for (const [at, name] of names.entries()) out.line(lineOf(name, values[at] ?? ''))
  })
}

/** @throws Error with the reason why it is not so. */
export async function changeConfig(
  cluster: Cluster,
  name: SettingName,
  text: string,
  timeoutMs: number,
): Promise<void> {
  const { request, parse } = SETTINGS[name]
  const value = parse(text)
  await changeThroughLeader(cluster, `${request} ${value}`, timeoutMs)
  process.stdout.write(`${lineOf(name, value)}\n`)
}

function isReadMode(text: string): text is ReadMode {
  return READ_MODES.some((mode) => mode === text)
}

function lineOf(name: SettingName, value: string): string {
  return `${name}: ${SETTINGS[name].describe(value)}`
}

function valueIn(lines: readonly string[], stat: string): string {
  const prefix = `STAT ${stat} `
  const line = lines.find((candidate) => candidate.startsWith(prefix))
  if (!line) throw new Error(`the leader does not tell its ${stat}: is it older than this?`)
  return line.slice(prefix.length)
}
