/** What Linux counts of processes and of the machine, read from /proc and /sys; sums of several. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'

/** Of the times in /proc; the same on every machine that Linux still supports. */
const TICKS_PER_S = 100
const SECTOR_BYTES = 512
/** Among the fields of a device's `stat`. */
const SECTORS_WRITTEN = 6

export interface ProcessCounts {
  readonly cpuS: number
}

export interface MachineCounts {
  /** All processors together. */
  readonly cpuS: number
  /** Everything that went over loopback. */
  readonly loopbackBytes: number
  /**
   * What all disks were given. Of a process the kernel counts what it makes dirty, and that by the
   * pieces of its page cache, which may be much longer than what is written of them.
   */
  readonly diskBytes: number
}

export function readProcess(pid: number): ProcessCounts {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  // The second field is a name in parentheses, which may contain anything.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const cpuS = (Number(fields[11]) + Number(fields[12])) / TICKS_PER_S
  return { cpuS }
}

export function readResidentBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1')
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024
}

export function readMachine(): MachineCounts {
  const [, user, nice, system, , , irq, softirq] = (
    readFileSync('/proc/stat', 'latin1').split('\n')[0] ?? ''
  ).split(/\s+/)
  const ticks = [user, nice, system, irq, softirq].reduce((sum, text) => sum + Number(text), 0)
  const loopback = /^\s*lo:\s*(\d+)/m.exec(readFileSync('/proc/net/dev', 'latin1'))
  return {
    ...{ cpuS: ticks / TICKS_PER_S, loopbackBytes: Number(loopback?.[1] ?? 0) },
    diskBytes: readDiskBytes(),
  }
}

/** Devices that stand for others, or for memory, are left out. */
function readDiskBytes(): number {
  const devices = readdirSync('/sys/block').filter((name) =>
    existsSync(`/sys/block/${name}/device`),
  )
  return devices.reduce((sum, name) => {
    const fields = readFileSync(`/sys/block/${name}/stat`, 'latin1').trim().split(/\s+/)
    return sum + Number(fields[SECTORS_WRITTEN]) * SECTOR_BYTES
  }, 0)
}
