/**
 * A small cluster of Raft cores for scripts, over a network that delivers only
 * when told to, disks that can be slow, and a clock for each server.
 *
 * Each server is driven as Ready demands: hard state is durable at once, entries
 * start on their way to the disk, messages leave, committed entries are applied.
 * On a fast disk the entries are then durable at once; on a slow one, write by
 * write, when the script says so.
 *
 * Dice: server n always rolls (n - 1) / 5. With the default timing elections
 * time out after 600, 720, 840, 960 and 1080 ms, and campaigns after a quarter
 * of that. Nothing gathers and no news wait unless the script says so.
 */
import { DEFAULT_TIMING, Raft } from '../../../src/server/raft/raft.ts'
import type { RaftLogState } from '../../../src/server/raft/raft-log.ts'
import { furthest, NO_ENTRY } from '../../../src/server/raft/term-runs.ts'
import type {
  Config,
  EntryId,
  HardState,
  LogRead,
  Message,
  Ready,
} from '../../../src/server/raft/types.ts'
import {
  createEntry,
  describeConfig,
  describeEntries,
  describeId,
  describeMessage,
  parseConfig,
  parseEntries,
  parseMessage,
  type TestEntry,
} from './describe.ts'

const WALL_MS = 1_000_000
const DELIVERIES_MAX = 10_000
const RUN_STEP_MS = 10

interface Server {
  readonly id: string
  /** Null while it is stopped. */
  raft: Raft<TestEntry> | null
  nowMs: number
  wallMs: number
  hardState: HardState
  /** What is durable. */
  disk: TestEntry[]
  /** What was durable before damage cut the log short. */
  owed: EntryId
  isDiskSlow: boolean
  /** On their way to a slow disk, oldest first. */
  writes: (readonly TestEntry[])[]
  logReads: LogRead[]
}

/** How chatty an answer is: every message sent, or only what became of them. */
type Detail = 'messages' | 'events'

export class Cluster {
  readonly #servers = new Map<string, Server>()
  #commitDelayMs = 0
  #gatherBytes = 0
  #network: Message<TestEntry>[] = []
  readonly #cut = new Set<string>()
  #lines: string[] = []
  #detail: Detail = 'messages'

  /** Carries out one command of a script. */
  handle(command: string, args: readonly string[]): string {
    this.#lines = []
    this.#detail = command === 'deliver' && args.length === 0 ? 'events' : 'messages'
    if (command === 'run' || command === 'elect') this.#detail = 'events'
    this.#run(command, args)
    return this.#lines.join('\n') || 'ok'
  }

  #run(command: string, args: readonly string[]): void {
    const [id = '', ...rest] = args
    switch (command) {
      case 'commitdelay':
        this.#commitDelayMs = Number(id)
        return
      case 'gather':
        this.#gatherBytes = Number(id)
        return
      case 'cluster':
        return this.#create(args.join(' '))
      case 'join':
        return this.#boot(this.#addServer(id), 0)
      case 'preload':
        return this.#preload(id, Number(rest[0]), rest.slice(1).join(' '))
      case 'start':
      case 'restart':
        return this.#boot(this.#server(id), Number(rest[0] ?? 0))
      case 'damage':
        return this.#damage(this.#server(id), Number(rest[0]), Number(rest[1] ?? 0))
      case 'stop':
        return this.#stop(this.#server(id))
      case 'tick':
        return this.#tick(id, Number(rest[0]))
      case 'sleep':
        this.#server(id).nowMs += Number(rest[0])
        return
      case 'wall':
        this.#server(id).wallMs = Number(rest[0])
        return
      case 'run':
        return this.#runFor(Number(id))
      case 'elect':
        this.#act(id, (raft) => raft.campaign())
        return this.#deliverAll()
      case 'campaign':
        return this.#act(id, (raft) => raft.campaign())
      case 'handover':
        return this.#act(id, (raft) => {
          const isFit = (other: string) => rest.length === 0 || rest.includes(other)
          if (!raft.handOver(isFit)) this.#say('nobody can take over')
        })
      case 'propose':
        return this.#propose(id, rest.join(' '))
      case 'config':
        return this.#act(id, (raft) => {
          this.#sayResult(raft.proposeConfig(parseConfig(rest.join(' '))))
        })
      case 'read':
        return this.#act(id, (raft) => {
          if (!raft.readIndex(Number(rest[0]))) this.#say('no leader known')
        })
      case 'lease':
        return this.#describeLease(this.#server(id))
      case 'lost':
        return this.#act(id, (raft) => raft.peerLost(rest[0] ?? ''))
      case 'closed':
        return this.#act(id, (raft) => raft.peerClosed(rest[0] ?? ''))
      case 'inject':
        return this.#inject(args.join(' '))
      case 'deliver':
        return args.length === 0 ? this.#deliverAll() : this.#deliverSome(args)
      case 'drop':
        return this.#drop(args)
      case 'cut':
        for (const other of this.#servers.keys()) {
          if (args.includes(other)) continue
          for (const cut of args) this.#cut.add(`${cut}->${other}`).add(`${other}->${cut}`)
        }
        this.#network = this.#network.filter((message) => !this.#isCut(message))
        return
      case 'heal':
        return this.#cut.clear()
      case 'disk':
        this.#server(id).isDiskSlow = rest[0] === 'slow'
        return
      case 'stable':
        return this.#stable(id, rest[0] === 'all')
      case 'compact':
        return this.#act(id, (raft) => raft.compact(Number(rest[0])))
      case 'snapshot':
        return this.#bringSnapshot(id, rest[0] ?? '')
      case 'snapshotfailed':
        return this.#act(id, (raft) => raft.snapshotFailed(rest[0] ?? ''))
      case 'logread':
        return this.#answerLogReads(this.#server(id), rest[0] === 'damaged')
      case 'messages':
        for (const message of this.#network) this.#say(describeMessage(message))
        return
      case 'status':
        for (const server of this.#servers.values()) this.#say(describeStatus(server))
        return
      case 'progress':
        return this.#describeProgress(id)
      case 'log':
        return this.#describeLog(id, rest.includes('times'))
      case 'vote':
        return this.#describeVote(this.#server(id))
      case 'deadline':
        return this.#act(id, (raft) => {
          this.#say(`in ${Math.round(raft.deadlineMs - this.#server(id).nowMs)} ms`)
        })
      case 'members':
        return this.#act(id, (raft) => this.#say(describeConfig(raft.config)))
    }
    throw new Error(`no such command: ${command}`)
  }

  // ---------------------------------------------------------------- servers

  /** Every member of `text` with the same durable log: the configuration, committed. */
  #create(text: string): void {
    const config = parseConfig(text)
    for (const { id } of config.members) {
      const server = this.#addServer(id)
      const entry = createEntry({ term: 1, index: 1 }, WALL_MS, { kind: 'config', config })
      server.disk = [entry]
      server.hardState = { term: 1, vote: '' }
      this.#boot(server, 1)
    }
    this.#lines = []
  }

  #addServer(id: string): Server {
    const server: Server = {
      id,
      raft: null,
      nowMs: 0,
      wallMs: WALL_MS,
      hardState: { term: 0, vote: '' },
      disk: [],
      owed: NO_ENTRY,
      isDiskSlow: false,
      writes: [],
      logReads: [],
    }
    this.#servers.set(id, server)
    return server
  }

  #server(id: string): Server {
    const server = this.#servers.get(id)
    if (!server) throw new Error(`no server ${id}`)
    return server
  }

  #stop(server: Server): void {
    server.raft = null
    server.writes = []
    server.logReads = []
    this.#network = this.#network.filter(({ from, to }) => from !== server.id && to !== server.id)
  }

  /** Starts from what is durable; `commitIndex` is what it remembers to be committed. */
  #boot(server: Server, commitIndex: number): void {
    this.#stop(server)
    const { id, hardState, nowMs, wallMs } = server
    server.raft = new Raft<TestEntry>({
      id,
      hardState,
      log: { ...logState(server.disk, commitIndex), owed: server.owed },
      nowMs,
      wallMs,
      random: () => (Number(id) - 1) / 5,
      createEntry,
      timing: {
        ...DEFAULT_TIMING,
        commitDelayMs: this.#commitDelayMs,
        gatherBytes: this.#gatherBytes,
      },
    })
  }

  /** It starts again, with what was durable there only up to `lastIndex`, and owing the rest. */
  #damage(server: Server, lastIndex: number, commitIndex: number): void {
    server.owed = furthest(server.owed, server.disk.at(-1) ?? NO_ENTRY)
    server.disk = server.disk.slice(0, lastIndex)
    this.#boot(server, commitIndex)
  }

  /** Gives a server, from entry 2 on, a log of a past that the script does not tell. */
  #preload(id: string, term: number, entries: string): void {
    const server = this.#server(id)
    server.disk = [...server.disk.slice(0, 1), ...parseEntries(entries, WALL_MS)]
    server.hardState = { term, vote: '' }
    this.#boot(server, 1)
  }

  // ---------------------------------------------------------------- input and output

  /** What a driver does with an input: the time first, then the input, then what is owed. */
  #act(id: string, input: (raft: Raft<TestEntry>) => void): void {
    const server = this.#server(id)
    const { raft } = server
    if (!raft) throw new Error(`server ${id} is stopped`)
    const before = describeRole(raft)
    raft.tick(server.nowMs, server.wallMs)
    try {
      input(raft)
    } catch (error) {
      return this.#say(`${id} throws: ${error instanceof Error ? error.message : error}`)
    }
    this.#pump(server, raft, before)
  }

  #pump(server: Server, raft: Raft<TestEntry>, before: string): void {
    let role = before
    for (;;) {
      if (describeRole(raft) !== role) this.#say(`${server.id} is ${describeRole(raft)}`)
      role = describeRole(raft)
      const ready = raft.takeReady()
      if (!ready) return
      this.#carryOut(server, ready)
    }
  }

  #carryOut(server: Server, ready: Ready<TestEntry>): void {
    if (ready.install) {
      const { last, config } = ready.install
      this.#say(`${server.id} installs ${describeId(last)} ${describeConfig(config)}`)
      server.disk = []
      server.writes = []
    }
    for (const to of ready.snapshots) this.#say(`${server.id} owes ${to} a snapshot`)
    if (ready.hardState) server.hardState = ready.hardState
    if (ready.entries.length > 0) server.writes.push(ready.entries)
    for (const message of ready.messages) this.#send(message)
    if (ready.committed.length > 0) {
      this.#say(`${server.id} applies ${describeEntries(ready.committed)}`)
    }
    for (const { id, index } of ready.readStates) {
      this.#say(`${server.id} may serve read ${id} at ${index}`)
    }
    for (const read of ready.reads) {
      this.#say(`${server.id} reads its log from ${read.firstIndex} for ${read.to}`)
      server.logReads.push(read)
    }
    if (!server.isDiskSlow) while (this.#completeWrite(server)) {}
  }

  #send(message: Message<TestEntry>): void {
    const isCut = this.#isCut(message) || !this.#servers.has(message.to)
    if (this.#detail === 'messages') {
      this.#say(`${describeMessage(message)}${isCut ? ' (lost)' : ''}`)
    }
    if (!isCut) this.#network.push(message)
  }

  #isCut({ from, to }: Message<TestEntry>): boolean {
    return this.#cut.has(`${from}->${to}`)
  }

  /** One of everything that `from` has applied. */
  #bringSnapshot(from: string, to: string): void {
    const log = this.#server(from).raft?.log
    if (!log) throw new Error(`${from} is stopped`)
    const index = log.appliedIndex
    const snapshot = {
      last: { term: log.termAt(index), index },
      config: log.configAt(index),
      timeMs: log.lastTimeMs,
    }
    this.#act(from, (raft) => raft.snapshotMoved(to))
    this.#act(to, (raft) => {
      if (!raft.snapshotReceived(snapshot)) this.#say('no news')
    })
  }

  #say(line: string): void {
    this.#lines.push(line)
  }

  #sayResult(result: EntryId | { readonly refused: string }): void {
    this.#say('refused' in result ? `refused: ${result.refused}` : `entry ${describeId(result)}`)
  }

  #propose(id: string, value: string): void {
    this.#act(id, (raft) => {
      const command = Buffer.from(value)
      const kind = value === 'time' ? value : 'command'
      this.#sayResult(raft.propose(kind === 'time' ? { kind } : { kind, command }))
    })
  }

  // ---------------------------------------------------------------- time

  #tick(which: string, ms: number): void {
    for (const server of this.#servers.values()) {
      if (!server.raft || (which !== 'all' && which !== server.id)) continue
      server.nowMs += ms
      server.wallMs += ms
      this.#act(server.id, () => {})
    }
  }

  /** Lets time pass in small steps, and messages arrive at once. */
  #runFor(ms: number): void {
    for (let passed = 0; passed < ms; passed += RUN_STEP_MS) {
      this.#tick('all', RUN_STEP_MS)
      this.#deliverAll()
    }
  }

  // ---------------------------------------------------------------- network

  #deliver(message: Message<TestEntry>): void {
    if (this.#servers.get(message.to)?.raft) this.#act(message.to, (raft) => raft.step(message))
  }

  /** Delivers in the order of sending, answers too, until nothing is on its way. */
  #deliverAll(): void {
    for (let count = 0; ; count++) {
      if (count > DELIVERIES_MAX) throw new Error('messages without end')
      const message = this.#network.shift()
      if (message) {
        this.#deliver(message)
        continue
      }
      const reading = [...this.#servers.values()].find(({ logReads }) => logReads.length > 0)
      if (!reading) return
      this.#answerLogReads(reading, false)
    }
  }

  /** `deliver <from>-><to> [type] [count]`: what is on its way there now, or the first of it. */
  #deliverSome([link = '', type, count = '']: readonly string[]): void {
    const taken = this.#network
      .filter((message) => isOn(message, link) && (!type || type === '*' || message.type === type))
      .slice(0, count === '' ? Infinity : Number(count))
    this.#network = this.#network.filter((message) => !taken.includes(message))
    if (taken.length === 0) this.#say('nothing to deliver')
    for (const message of taken) this.#deliver(message)
  }

  /** `drop <to>...` or `drop <from>-><to>... [type]`. */
  #drop(targets: readonly string[]): void {
    const types = targets.filter((target) => /^[a-z]/i.test(target))
    const links = targets
      .filter((target) => !types.includes(target))
      .map((target) => (target.includes('->') ? target : `*->${target}`))
    const isDropped = (message: Message<TestEntry>) =>
      links.some((link) => isOn(message, link)) &&
      (types.length === 0 || types.includes(message.type))
    for (const message of this.#network.filter(isDropped)) {
      this.#say(`dropped ${describeMessage(message)}`)
    }
    this.#network = this.#network.filter((message) => !isDropped(message))
  }

  /** A message as if a server had sent it. */
  #inject(text: string): void {
    this.#deliver(parseMessage(text, WALL_MS))
  }

  // ---------------------------------------------------------------- disk

  #stable(id: string, isAll: boolean): void {
    const server = this.#server(id)
    if (server.writes.length === 0) this.#say('nothing to write')
    this.#act(id, () => {
      do this.#completeWrite(server)
      while (isAll && server.writes.length > 0)
    })
  }

  /** The oldest write reaches the disk. An entry replaces those at its index and after. */
  #completeWrite(server: Server): boolean {
    const entries = server.writes.shift()
    if (!entries) return false
    for (const entry of entries) server.disk = [...server.disk.slice(0, entry.index - 1), entry]
    // The driver's duty: what a waiting write replaces is not durable in its place.
    const lowest = Math.min(...server.writes.flat().map(({ index }) => index))
    const last = entries.findLast(({ index }) => index < lowest)
    if (last) server.raft?.stable({ term: last.term, index: last.index })
    return true
  }

  #answerLogReads(server: Server, isDamaged: boolean): void {
    for (const read of server.logReads.splice(0)) {
      const { firstIndex, bytesMax } = read
      const entries: TestEntry[] = []
      if (isDamaged) {
        this.#act(server.id, (raft) => raft.entriesRead(read, entries))
        continue
      }
      let bytes = 0
      for (const entry of server.disk.slice(
        firstIndex - 1,
        (server.raft?.log.tailFirst ?? 1) - 1,
      )) {
        bytes += entry.bytes
        if (entries.length > 0 && bytes > bytesMax) break
        entries.push(entry)
      }
      this.#act(server.id, (raft) => raft.entriesRead(read, entries))
    }
  }

  // ---------------------------------------------------------------- descriptions

  #describeProgress(id: string): void {
    const { raft } = this.#server(id)
    for (const to of this.#servers.keys()) {
      const progress = raft?.progressOf(to)
      if (!progress) continue
      const { state, matchIndex, nextIndex, inflightCount, isPaused } = progress
      const paused = isPaused ? ' paused' : ''
      this.#say(
        `${to} ${state} match=${matchIndex} next=${nextIndex} inflight=${inflightCount}${paused}`,
      )
    }
  }

  #describeLog(id: string, withTimes: boolean): void {
    const { disk, writes } = this.#server(id)
    const time = ({ timeMs }: TestEntry) => (withTimes ? ` @${timeMs}` : '')
    const describe = (entry: TestEntry) => describeEntries([entry]) + time(entry)
    this.#say(`durable ${disk.map(describe).join(', ') || 'nothing'}`)
    for (const write of writes) this.#say(`writing ${write.map(describe).join(', ')}`)
  }

  /** By its clocks as they are, without a tick. */
  #describeLease({ raft, nowMs, wallMs }: Server): void {
    this.#say(raft?.holdsLease(nowMs, wallMs) ? 'held' : 'none')
  }

  #describeVote({ hardState: { term, vote } }: Server): void {
    this.#say(`term=${term} vote=${vote || '-'}`)
  }
}

function isOn({ from, to }: Message<TestEntry>, link: string): boolean {
  const [a, b] = link.split('->')
  return (a === '*' || a === from) && (b === '*' || b === to)
}

/** The state of a log as a driver finds it at its start. */
export function logState(disk: readonly TestEntry[], commitIndex: number): RaftLogState<TestEntry> {
  const termRuns: EntryId[] = []
  const configs: { index: number; config: Config }[] = []
  for (const { term, index, config } of disk) {
    if (term !== termRuns.at(-1)?.term) termRuns.push({ term, index })
    if (config) configs.push({ index, config })
  }
  const inForce = configs.findLast(({ index }) => index <= commitIndex)
  return {
    termRuns,
    tail: disk.slice(commitIndex),
    lastIndex: disk.length,
    lastTimeMs: disk.at(-1)?.timeMs ?? 0,
    commitIndex,
    configs: configs.filter((config) => config === inForce || config.index > commitIndex),
  }
}

function describeRole(raft: Raft<TestEntry>): string {
  const { role, term, leaderId } = raft
  const leader = role === 'follower' ? ` leader=${leaderId ?? '-'}` : ''
  return `${role} term=${term}${leader}`
}

/** `2 follower term=2 leader=1 commit=2 last=2/3`; `stable` where it is behind, `(owing)` where damage cut it short. */
function describeStatus({ id, raft }: Server): string {
  if (!raft) return `${id} stopped`
  const { last, commitIndex, stableIndex } = raft.log
  const stable = stableIndex < last.index ? ` stable=${stableIndex}` : ''
  const learner = raft.isVoter ? '' : ' (no vote)'
  const owing = raft.log.isOwing ? ' (owing)' : ''
  return `${id} ${describeRole(raft)} commit=${commitIndex} last=${describeId(last)}${stable}${learner}${owing}`
}
