/**
 * npm run test:memcached -- DIR                      memcached's own tests, against a cluster
 * npm run test:memcached -- DIR --only getset        one of them
 * npm run test:memcached -- DIR --server HOST:PORT   against a server that runs already
 *
 * DIR holds memcached's sources, of which the tests in t/ are used as they are;
 * nothing has to be built. Each is run against the leader and then against a
 * follower, without items and with counters at zero, and so is memccapable of
 * libmemcached's tools. suite.ts says which are run, which may fail, and why the
 * others are not run.
 *
 * Exit status 1 where a subtest failed that may not, where a test did not come to
 * its end, where a server died, or where DIR has a test that suite.ts doesn't know.
 */
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { Command, InvalidArgumentError } from 'commander'
import { memccapable, type Program, perlTest, writeBuildDirectory } from './programs.ts'
import { type Row, renderFailures, renderTable } from './report.ts'
import { run } from './run.ts'
import { type Address, GivenServer, OwnCluster, type Role, type Servers } from './servers.ts'
import { NOT_RUN, notRunPattern, RUN } from './suite.ts'
import { isGood, judge, type Verdict } from './verdict.ts'

interface Flags {
  readonly server?: Address
  readonly only: readonly string[]
}

const ENDED_BY_SIGNAL = 130
const NOWHERE: Address = { host: '', port: 0 }

const print = (line: string) => void process.stdout.write(`${line}\n`)
const progress = (line: string) => void process.stderr.write(`${line}\n`)

const command = new Command('test:memcached')
  .description("Runs memcached's own tests of the text protocol, and memccapable.")
  .argument('<dir>', "memcached's sources: t/ and t/lib/ are needed, and nothing built")
  .option('--server <host:port>', 'test this one instead; all its items are lost', parseAddress)
  .option(
    '--only <name>',
    'only this one, like getset or memccapable; may be repeated',
    collect,
    [],
  )
  .parse()
const { server, only } = command.opts<Flags>()
const testDirectory = resolve(command.args[0] ?? '', 't')
const names = findTests()
const programs = [...RUN.map((file) => perlTest(file, testDirectory)), memccapable].filter(isWanted)
const unknown = names.filter(
  (name) => !RUN.some((file) => file.name === name) && !notRunPattern(name),
)
if (programs.length === 0) command.error(`nothing that is run is called ${only.join(' or ')}`)

const workDirectory = mkdtempSync(join(tmpdir(), 'raftcached-suite-'))
writeBuildDirectory(workDirectory)
const ending = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => ending.abort())
}
const own = server ? null : new OwnCluster()
const servers: Servers = own ?? new GivenServer(server as Address)
const rows: Row[] = []
try {
  for (const program of programs) rows.push(await runProgram(program))
} catch (error) {
  if (!ending.signal.aborted) throw error
} finally {
  await servers.stop()
}
if (ending.signal.aborted) {
  rmSync(workDirectory, { recursive: true })
  process.exit(ENDED_BY_SIGNAL)
}

print(renderTable(only.length > 0 ? rows : [...rows, ...rowsNotRun()], servers.roles))
const isAllGood = rows.every(({ verdicts }) => [...verdicts.values()].every(isGood))
if (isAllGood) {
  rmSync(workDirectory, { recursive: true })
} else {
  if (own) writeFileSync(join(workDirectory, 'servers.log'), own.log)
  print(renderFailures(rows))
  print(`\nkept, what they printed: ${workDirectory}`)
}
for (const name of unknown) print(`t/${name}.t: suite.ts does not say whether it is run`)
process.exit(isAllGood && unknown.length === 0 ? 0 : 1)

/** One program, at every role. */
async function runProgram(program: Program): Promise<Row> {
  const verdicts = new Map<Role, Verdict>()
  const note = whyNot(program)
  if (note !== null) return { name: program.name, verdicts, note }
  for (const role of servers.roles) {
    const startMs = performance.now()
    const verdict = await runAt(program, role)
    verdicts.set(role, verdict)
    const seconds = ((performance.now() - startMs) / 1_000).toFixed(1)
    const { passed, count } = verdict
    progress(`${program.name} at ${role}: ${passed} of ${count}, ${seconds} s`)
  }
  return { name: program.name, verdicts }
}

async function runAt(program: Program, role: Role): Promise<Verdict> {
  let address = NOWHERE
  try {
    if (!program.startsServers) address = await servers.prepare(role, program)
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error)
    return judge(program.parse([]), { problem, remark: null })
  }
  const outcome = await run(program.command(address), {
    cwd: workDirectory,
    env: program.env(role, address),
    seconds: program.seconds,
    signal: ending.signal,
  })
  ending.signal.throwIfAborted()
  const { problem, remark } = await servers.check()
  const verdict = judge(
    program.parse(outcome.lines),
    { problem: problem ?? outcome.problem, remark },
    program.mayFail,
  )
  if (!isGood(verdict)) {
    writeFileSync(join(workDirectory, `${program.name}.${role}.txt`), outcome.lines.join('\n'))
  }
  return verdict
}

/** null where it can be run. */
function whyNot({ name, flags = [], startsServers }: Program): string | null {
  if (name !== memccapable.name && !names.includes(name)) return 'these sources have none'
  if (server && startsServers) return 'starts servers itself'
  if (server && flags.length > 0 && only.length === 0) {
    return `wants a server with ${flags.join(' ')}: name it with --only`
  }
  return null
}

/** A row for each reason, with the files that it holds for. */
function rowsNotRun(): Row[] {
  return Object.entries(NOT_RUN).flatMap(([pattern, note]) => {
    const count = names.filter((name) => notRunPattern(name) === pattern).length
    if (count === 0) return []
    const name = pattern.includes('*') ? `${pattern} (${count} files)` : pattern
    return [{ name, verdicts: new Map(), note }]
  })
}

function isWanted({ name }: Program): boolean {
  return only.length === 0 || only.includes(name)
}

/** The names of the t/*.t. */
function findTests(): string[] {
  if (!existsSync(join(testDirectory, 'lib', 'MemcachedTest.pm'))) {
    command.error(`${testDirectory} has no lib/MemcachedTest.pm: memcached's sources are needed`)
  }
  const found = readdirSync(testDirectory).filter((file) => file.endsWith('.t'))
  return found.map((file) => file.slice(0, -'.t'.length)).sort()
}

function collect(name: string, before: readonly string[]): string[] {
  return [...before, name.replace(/\.t$/, '')]
}

function parseAddress(text: string): Address {
  const [, host, port] = /^(.+):(\d+)$/.exec(text) ?? []
  if (host && port) return { host, port: Number(port) }
  throw new InvalidArgumentError('HOST:PORT is needed')
}
