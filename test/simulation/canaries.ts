/**
 * Planted bugs, to prove that the simulator finds what it should.
 *
 * A canary is an edit of the compiled sources, made in a copy of them, so that
 * nothing of it is in a normal build. An edit that no longer fits says so: each
 * text must stand in its file exactly once.
 */
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export interface Canary {
  readonly name: string
  /** What the bug is, for people. */
  readonly what: string
  /** Each of a file under dist-test/src. */
  readonly edits: readonly (readonly [file: string, find: string, replace: string])[]
}

export const CANARIES: readonly Canary[] = [
  {
    name: 'forgotten-vote',
    what: 'the term is written to disk before a vote is given, the vote is not',
    edits: [['server/log/vote-file.js', "vote || '-'", "'-'"]],
  },
  {
    name: 'ack-before-sync',
    what: 'an entry is acknowledged before it is durable',
    edits: [
      [
        'server/log/log-store.js',
        'await this.#durable.write(loose',
        'await this.#segment.file.write(loose',
      ],
    ],
  },
  {
    name: 'earlier-term-commit',
    what: "an earlier term's entry is committed by counting",
    edits: [['server/raft/raft.js', '|| this.log.termAt(index) !== this.#term)', ')']],
  },
  {
    name: 'blind-truncation',
    what: 'an append cuts the log behind it even where it agrees',
    edits: [
      [
        'server/raft/raft.js',
        'if (this.log.termAt(entry.index) === entry.term)\n                    continue;',
        '',
      ],
    ],
  },
  {
    name: 'stale-read',
    what: 'a leader serves reads without asking whether it still leads',
    edits: [
      [
        'server/raft/read-rounds.js',
        'if (!this.#inFlight || round < this.#inFlight.round)',
        'if (!this.#inFlight)',
      ],
    ],
  },
  {
    name: 'read-before-noop',
    what: 'a read index from before an entry of the own term is committed',
    edits: [['server/raft/raft.js', 'if (this.#hasCommittedOwn) {', 'if (true) {']],
  },
  {
    name: 'asker-is-enough',
    what: "a follower's question for a read index confirms its leader without a quorum",
    edits: [
      [
        'server/raft/raft.js',
        'if (isConfirmed && this.#hasCommittedOwn)',
        'if (this.#hasCommittedOwn)',
      ],
    ],
  },
  {
    name: 'asker-before-noop',
    what: "a follower's question is answered before an entry of the leader's own term is committed",
    edits: [
      ['server/raft/raft.js', 'if (isConfirmed && this.#hasCommittedOwn)', 'if (isConfirmed)'],
    ],
  },
  {
    name: 'chunk-kept',
    what: 'a write that waits for a leader keeps the memory it was read into',
    edits: [['server/node.js', 'NOTHING : Buffer.from(command);', 'NOTHING : command;']],
  },
  {
    name: 'config-on-uncommitted',
    what: 'a membership change while the one before it is not committed',
    edits: [
      [
        'server/raft/raft.js',
        'if (!this.#hasCommittedOwn || currentIndex > this.log.commitIndex)',
        'if (!this.#hasCommittedOwn)',
      ],
    ],
  },
  {
    name: 'reply-before-apply',
    what: 'a write is answered when it is proposed',
    edits: [
      [
        'server/node.js',
        'this.#proposals.set(index, { term, writes: [write], commandCount: write.count });',
        "this.#settle(write, { kind: 'applied', reply: 'STORED', index });",
      ],
    ],
  },
  {
    name: 'sets-before-apply',
    what: 'sets that came together are answered when they are proposed',
    edits: [
      [
        'server/node.js',
        'this.#track(id, write);\n        return true;',
        "this.#finish(write, { kind: 'applied', reply: 'STORED', index: id.index });\n        return true;",
      ],
    ],
  },
  {
    name: 'sets-miscounted',
    what: 'sets that came together count as one where the replies of an entry are given out',
    edits: [['server/node.js', 'if (!write || ++commandCount < write.count)', 'if (!write)']],
  },
  {
    name: 'sets-uncounted',
    what: 'sets that came together count as one where an entry may take no more',
    edits: [
      [
        'server/node.js',
        'writer.extendEntry(entry, command, count)',
        'writer.extendEntry(entry, command, 1)',
      ],
    ],
  },
  {
    name: 'joins-late',
    what: 'a command joins an entry that is on its way to disks already',
    edits: [
      [
        'server/raft/raft.js',
        'this.#newEntries = [];\n            this.#close();',
        'this.#newEntries = [];',
      ],
      ['server/raft/raft.js', 'if (entries.at(-1) === this.#openEntry)', 'if (false)'],
    ],
  },
  {
    name: 'sent-twice',
    what: 'a write that may have arrived is sent again, and applied twice',
    edits: [['server/peers.js', 'if (!outgoing.isOpen)', 'if (true)']],
  },
  {
    name: 'learner-counts',
    what: 'a learner counts toward the quorum',
    edits: [
      [
        'server/raft/config.js',
        'config.members.filter((member) => member.voter)',
        'config.members',
      ],
    ],
  },
  {
    name: 'evicted-voter',
    what: 'a voter that was removed still counts',
    edits: [
      [
        'server/raft/raft.js',
        'if (!memberOf(this.config, id))\n                this.#progress.delete(id);',
        '',
      ],
      [
        'server/raft/raft.js',
        '#maybeCommit() {\n        const index = quorumValue(this.config, (id) => id === this.id ? this.log.stableIndex : (this.#progress.get(id)?.matchIndex ?? 0));',
        '#maybeCommit() {\n        const counted = [...this.#progress].filter(([id]) => memberOf(this.config, id)?.voter !== false).map(([, { matchIndex }]) => matchIndex);\n        const index = [...counted, this.log.stableIndex].sort((a, b) => b - a)[Math.floor(voterIds(this.config).length / 2)] ?? 0;',
      ],
    ],
  },
  {
    name: 'seal-left-loose',
    what: 'a batch is written behind a seal that nothing has made durable',
    edits: [['server/log/log-store.js', 'const loose = this.#looseSeal;', 'const loose = null;']],
  },
  {
    name: 'room-over-entries',
    what: 'a batch is written where room is still being made, and is lost under it',
    edits: [
      ['server/log/room.js', 'return this.#making !== null && end > this.#end;', 'return false;'],
    ],
  },
  {
    name: 'torn-record',
    what: 'a torn record is taken as whole',
    edits: [
      [
        'server/log/record.js',
        'if (crc32Of(bytes, bodyStart, end, headerCrc) !== crc)',
        'if (false)',
      ],
    ],
  },
  {
    name: 'old-log-elected',
    what: 'votes are given to logs that are behind',
    edits: [
      [
        'server/raft/raft-log.js',
        'return isUpToDate(id, furthest(this.last, this.owed));',
        'return true;',
      ],
    ],
  },
  {
    name: 'gap-accepted',
    what: 'an append is taken though the entry before it does not match',
    edits: [
      [
        'server/raft/raft.js',
        'if (!this.log.matches(prev))',
        'if (prev.index > this.log.lastIndex)',
      ],
    ],
  },
  {
    name: 'page-cache-trusted',
    what: 'what is readable at a start is taken for durable',
    edits: [['server/log/log-store.js', 'this.#goOn(unsealedFirst)', 'this.#goOn(null)']],
  },
  {
    name: 'time-goes-back',
    what: "log time starts from a new leader's clock alone",
    edits: [
      ['server/raft/raft.js', 'Math.max(this.log.lastTimeMs, medianMs)', 'medianMs'],
      [
        'server/raft/raft.js',
        'return Math.max(this.log.lastTimeMs, Math.floor(baseMs + (this.#nowMs - sinceMs)));',
        'return Math.floor(baseMs + (this.#nowMs - sinceMs));',
      ],
    ],
  },
  {
    name: 'overtaking',
    what: 'a write overtakes one of its connection that waits to be sent again',
    edits: [
      [
        'server/node.js',
        'return waitingCount > 0 || (forwardedCount > 0 && term !== this.raft.term);',
        'return false;',
      ],
    ],
  },
  {
    name: 'forgotten-debt',
    what: 'a log that damage cut short forgets that it had more',
    edits: [['server/log/log-store.js', 'this.#owed = scanned.owed;', 'this.#owed = NO_ENTRY;']],
  },
  {
    name: 'not-alone',
    what: 'a segment is begun while a batch is on its way to the one before',
    edits: [['server/log/log-store.js', 'while (this.#isWriting)', 'while (false)']],
  },
  {
    name: 'unheard-snapshot',
    what: 'a snapshot that is no news is not acknowledged',
    edits: [['server/raft/raft.js', 'this.#ackOwed = true;\n        const isHere', 'const isHere']],
  },
  {
    name: 'cut-too-far',
    what: 'the log is cut to what the next keystore file will hold',
    edits: [
      [
        'server/node.js',
        'this.#keystoreBytes = await writeKeystore(',
        'this.raft.compact(this.#store.cutTo(index));\n            this.#keystoreBytes = await writeKeystore(',
      ],
    ],
  },
  {
    name: 'forgotten-flush',
    what: 'a keystore file does not bring back a flush_all that is pending',
    edits: [
      ['server/keystore/state-machine.js', 'this.#flushAtMs = flushAtMs;', 'this.#flushAtMs = 0;'],
    ],
  },
  {
    name: 'incr-where-asked',
    what: 'the server that is asked to increment adds, and sets what came of it',
    edits: [
      [
        'server/connection.js',
        'this.#store.write(this.#lane, command, slot);',
        `const [verb, key, delta] = command.toString('latin1').trimEnd().split(' ');
        const held = verb === 'incr' && !meta ? this.#store.get(key) : undefined;
        const sum = held && String(BigInt(String(held.value).trim()) + BigInt(delta));
        const set = held && Buffer.from(\`set \${key} \${held.flags} 0 \${sum.length}\\r\\n\${sum}\\r\\n\`);
        slot.sum = sum;
        this.#store.write(this.#lane, set ?? command, slot);`,
      ],
      [
        'server/connection.js',
        'const line = replyLine(outcome);',
        "const line = slot.sum && outcome.kind === 'applied' ? slot.sum : replyLine(outcome);",
      ],
    ],
  },
  {
    name: 'unlogged-touch',
    what: 'a get and touch touches nothing but the reply',
    edits: [
      [
        'server/connection.js',
        'change: after === undefined ? null : canonicalGet(key, options)',
        'change: null',
      ],
    ],
  },
  {
    name: 'win-twice',
    what: 'who wins is told from what the item was when it was asked for',
    edits: [
      [
        'server/connection.js',
        'part.reply = outcome.item ?? null;',
        'part.reply = outcome.item ? { ...outcome.item, marks: part.reply?.marks ?? outcome.item.marks } : null;',
      ],
    ],
  },
  {
    name: 'append-keeps-unique',
    what: 'what was appended to keeps its cas unique',
    edits: [
      [
        'server/keystore/state-machine.js',
        'const joined = { ...item, flags,',
        'const joined = { ...item, casUnique: current.casUnique, flags,',
      ],
    ],
  },
  {
    name: 'lease-too-long',
    what: 'a lease is longer than voters withhold their votes',
    edits: [['server/raft/lease.js', '(1 - CLOCK_RATE_MARGIN)', '1.5']],
  },
  {
    name: 'lease-without-margin',
    what: 'a lease is as long as voters withhold their votes, whose clocks may run faster',
    edits: [['server/raft/lease.js', '(1 - CLOCK_RATE_MARGIN)', '1']],
  },
  {
    name: 'lease-from-answer',
    what: 'a lease runs from the answer of a quorum, not from the sending',
    edits: [
      ['server/raft/lease.js', 'confirmed(round) {', 'confirmed(round, monotonicMs, wallMs) {'],
      [
        'server/raft/lease.js',
        'this.#since = this.#sent.shift()?.at ?? null;',
        'this.#sent.shift();\n            this.#since = { monotonicMs, wallMs };',
      ],
      [
        'server/raft/raft.js',
        'this.#lease.confirmed(round);',
        'this.#lease.confirmed(round, this.#nowMs, this.#wallMs);',
      ],
    ],
  },
  {
    name: 'lease-by-one-clock',
    what: 'a lease goes by the monotonic clock alone, which stands still in a machine that is suspended',
    edits: [['server/raft/lease.js', ' && this.#covers(wallMs - since.wallMs)', '']],
  },
  {
    name: 'lease-through-handover',
    what: 'a leader that hands over keeps its lease',
    edits: [
      [
        'server/raft/raft.js',
        "if (this.#role !== 'leader' || this.#handover)",
        "if (this.#role !== 'leader')",
      ],
    ],
  },
  {
    name: 'lease-before-noop',
    what: 'a new leader has a lease before an entry of its own term is committed',
    edits: [
      [
        'server/raft/raft.js',
        'if (!this.#hasCommittedOwn || configIndex > log',
        'if (configIndex > log',
      ],
      ['server/raft/raft.js', 'Math.max(this.#firstIndex, configIndex)', 'configIndex'],
    ],
  },
  {
    name: 'promise-lost-at-start',
    what: 'a voter that was started again does not withhold its vote',
    edits: [['server/raft/raft.js', 'if (this.#keepsPromises)\n', 'if (false)\n']],
  },
  {
    name: 'promise-lost-at-close',
    what: "a voter stops withholding its vote when the leader's connection closes",
    edits: [
      [
        'server/raft/raft.js',
        'this.#leaderContactId && !this.#keepsPromises',
        'this.#leaderContactId',
      ],
    ],
  },
  {
    name: 'promise-lost-on-standing',
    what: 'a voter that withholds its vote from others stands itself',
    edits: [
      ['server/raft/raft.js', 'if (this.#keepsPromises && this.#isWithholding) {', 'if (false) {'],
    ],
  },
]

/**
 * @param compiled The compiled tree.
 * @returns the files under its src that the bug changes, with the bug in them.
 * @throws Error where it does not fit the code any more.
 */
export function withBug({ name, edits }: Canary, compiled: string): Map<string, string> {
  const files = new Map<string, string>()
  for (const [file, find, replace] of edits) {
    const text = files.get(file) ?? readFileSync(join(compiled, 'src', file), 'utf8')
    const count = text.split(find).length - 1
    if (count !== 1)
      throw new Error(`${name}: ${JSON.stringify(find)} stands ${count} times in ${file}`)
    const changed = text.replace(find, () => replace)
    files.set(file, changed)
  }
  return files
}

/**
 * Copies the compiled tree and plants the bug in the copy.
 * @returns the copy's path.
 */
export function plant(canary: Canary, compiled: string): string {
  const planted = join(compiled, '.bugs', canary.name)
  rmSync(planted, { recursive: true, force: true })
  mkdirSync(planted, { recursive: true })
  for (const folder of ['src', 'test']) {
    cpSync(join(compiled, folder), join(planted, folder), { recursive: true })
  }
  for (const [file, text] of withBug(canary, compiled)) {
    writeFileSync(join(planted, 'src', file), text)
  }
  return planted
}
