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
  /** Under dist-test/src. */
  readonly file: string
  readonly edits: readonly (readonly [find: string, replace: string])[]
}

export const CANARIES: readonly Canary[] = [
  {
    name: 'forgotten-vote',
    what: 'the term is written to disk before a vote is given, the vote is not',
    file: 'server/log/vote-file.js',
    edits: [["vote || '-'", "'-'"]],
  },
  {
    name: 'ack-before-sync',
    what: 'an entry is acknowledged before it is durable',
    file: 'server/log/log-store.js',
    edits: [
      [
        'await file.write(chunks, offset);\n        await file.datasync();',
        'await file.write(chunks, offset);',
      ],
    ],
  },
  {
    name: 'earlier-term-commit',
    what: "an earlier term's entry is committed by counting",
    file: 'server/raft/raft.js',
    edits: [['|| this.log.termAt(index) !== this.#term)', ')']],
  },
  {
    name: 'blind-truncation',
    what: 'an append cuts the log behind it even where it agrees',
    file: 'server/raft/raft.js',
    edits: [
      ['if (this.log.termAt(entry.index) === entry.term)\n                    continue;', ''],
    ],
  },
  {
    name: 'stale-read',
    what: 'a leader serves reads without asking whether it still leads',
    file: 'server/raft/read-rounds.js',
    edits: [['if (!this.#inFlight || round < this.round)', 'if (!this.#inFlight)']],
  },
  {
    name: 'read-before-noop',
    what: 'a read index from before an entry of the own term is committed',
    file: 'server/raft/raft.js',
    edits: [
      [
        'if (this.log.termAt(this.log.commitIndex) === this.#term) {\n                if (this.#reads',
        'if (true) {\n                if (this.#reads',
      ],
    ],
  },
  {
    name: 'config-on-uncommitted',
    what: 'a membership change while the one before it is not committed',
    file: 'server/raft/raft.js',
    edits: [
      ['if (!ownTermCommitted || currentIndex > this.log.commitIndex)', 'if (!ownTermCommitted)'],
    ],
  },
  {
    name: 'reply-before-apply',
    what: 'a write is answered when it is proposed',
    file: 'server/node.js',
    edits: [
      [
        'this.#proposals.set(index, { term, done });',
        "done({ kind: 'applied', reply: 'STORED', index });",
      ],
    ],
  },
  {
    name: 'sent-twice',
    what: 'a write that may have arrived is sent again, and applied twice',
    file: 'server/peers.js',
    edits: [['if (!outgoing.isOpen)', 'if (true)']],
  },
  {
    name: 'learner-counts',
    what: 'a learner counts toward the quorum',
    file: 'server/raft/config.js',
    edits: [['config.members.filter((member) => member.voter)', 'config.members']],
  },
  {
    name: 'torn-record',
    what: 'a torn record is taken as whole',
    file: 'server/log/record.js',
    edits: [['if (crcHex(crc32(body, crc32(fields, this.#seed))) !== crcText)', 'if (false)']],
  },
  {
    name: 'old-log-elected',
    what: 'votes are given to logs that are behind',
    file: 'server/raft/raft-log.js',
    edits: [
      [
        'return id.term > last.term || (id.term === last.term && id.index >= last.index);',
        'return true;',
      ],
    ],
  },
  {
    name: 'gap-accepted',
    what: 'an append is taken though the entry before it does not match',
    file: 'server/raft/raft.js',
    edits: [['if (!this.log.matches(prev))', 'if (prev.index > this.log.lastIndex)']],
  },
  {
    name: 'page-cache-trusted',
    what: 'what is readable at a start is taken for durable',
    file: 'server/log/log-store.js',
    edits: [['state.unsealedFirst ?? state.lastIndex + 1', 'state.lastIndex + 1']],
  },
  {
    name: 'seal-ahead',
    what: 'a seal names as committed what is not yet durable in its place',
    file: 'server/node.js',
    edits: [
      [
        'this.#store.commitIndex = this.machine.appliedIndex;',
        'this.#store.commitIndex = this.raft.log.commitIndex;',
      ],
    ],
  },
  {
    name: 'time-goes-back',
    what: "log time starts from a new leader's clock alone",
    file: 'server/raft/raft.js',
    edits: [
      ['Math.max(this.log.lastTimeMs, medianMs)', 'medianMs'],
      ['Math.max(this.log.lastTimeMs, nowMs)', 'nowMs'],
    ],
  },
  {
    name: 'overtaking',
    what: 'a write overtakes one of its connection that waits to be sent again',
    file: 'server/node.js',
    edits: [
      [
        'if (lane.waitingCount > 0 || (lane.forwardedCount > 0 && lane.term !== term)) {',
        'if (false) {',
      ],
    ],
  },
]

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
  const path = join(planted, 'src', canary.file)
  let text = readFileSync(path, 'utf8')
  for (const [find, replace] of canary.edits) {
    const count = text.split(find).length - 1
    if (count !== 1)
      throw new Error(
        `${canary.name}: ${JSON.stringify(find)} stands ${count} times in ${canary.file}`,
      )
    text = text.replace(find, () => replace)
  }
  writeFileSync(path, text)
  return planted
}
