/** Faults of links between machines. */
import { setTimeout as delay } from 'node:timers/promises'
import { chance, draw, shuffle } from './dice.ts'
import type { Fault, Nemesis } from './nemesis.ts'
import type { LinkName, Machine, Network } from './netns.ts'

const CUT_MS = [300, 5_000] as const

/** @param network The servers' machines, and the load balancer's as the last. */
export function cutFaults(network: Network, nemesis: Nemesis): Fault[] {
  const servers = network.machines.slice(0, -1)
  const balancer = network.machines.slice(-1)

  const leaders = async () => {
    const places = (await nemesis.leaders()).map(({ place }) => place)
    return servers.filter(({ place }) => places.includes(place))
  }
  const cut =
    (...links: LinkName[]) =>
    async (machine: Machine) => {
      // To the others that is the same. The machine itself finds that sending fails, or does not.
      const isTold = chance(0.3)
      for (const link of links) await network[isTold ? 'disable' : 'unplug'](machine, link)
      await delay(draw(...CUT_MS))
      for (const link of links) await network[isTold ? 'enable' : 'plug'](machine, link)
    }
  const mute = async (from: readonly Machine[], to: readonly Machine[], bothWays: boolean) => {
    const muted: [Machine, Machine][] = from.flatMap((a) =>
      to.filter((b) => a !== b).map((b): [Machine, Machine] => [a, b]),
    )
    if (bothWays) muted.push(...muted.map(([a, b]): [Machine, Machine] => [b, a]))
    for (const [a, b] of muted) await network.mute(a, b)
    await delay(draw(...CUT_MS))
    for (const [a, b] of muted) await network.unmute(a, b)
  }

  return [
    {
      name: 'leader cut off from peers, clients reach it',
      weight: 7,
      run: async () => nemesis.with(await leaders(), cut('p0')),
    },
    {
      name: 'server cut off from peers, clients reach it',
      weight: 4,
      run: () => nemesis.with(servers, cut('p0')),
    },
    {
      name: 'leader cut off from all',
      weight: 3,
      run: async () => nemesis.with(await leaders(), cut('p0', 'c0')),
    },
    {
      name: 'load balancer cut off from servers',
      weight: 2,
      run: () => nemesis.with(balancer, cut('p0')),
    },
    {
      name: 'two servers cut off from each other',
      weight: 4,
      run: async () => {
        const [a, b] = shuffle(servers)
        if (!a || !b) return false
        await mute([a], [b], true)
        return true
      },
    },
    {
      name: 'leader heard by none, hears all',
      weight: 3,
      run: async () => {
        const from = await leaders()
        if (from.length > 0) await mute(from, servers, false)
        return from.length > 0
      },
    },
    {
      name: 'leader hears none, heard by all',
      weight: 3,
      run: async () => {
        const to = await leaders()
        if (to.length > 0) await mute(servers, to, false)
        return to.length > 0
      },
    },
    {
      name: 'no server reaches another',
      weight: 2,
      isAlone: true,
      run: async () => {
        await Promise.all(servers.map(cut('p0')))
        return true
      },
    },
  ]
}
