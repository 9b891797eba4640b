// Goal: each rule of Raft that this core keeps has a script that shows it kept.
// Method: a cluster of cores over a network, disks and clocks that the script
// moves by hand (see cluster.ts); the answers are golden text.
import { join } from 'node:path'
import { Cluster } from './cluster.ts'
import { runDataDriven } from './datadriven.ts'

runDataDriven(join(import.meta.dirname, '../../testdata/raft'), () => {
  const cluster = new Cluster()
  return (command, args) => cluster.handle(command, args)
})
