/**
 * Reads who may use the servers, in memcached's format: lines `user:password`, in UTF-8.
 *
 * A file that says anything else is refused as a whole: a server that left out a line of
 * it would lock somebody out, and one that read none would let everybody in.
 */
import type { Login } from '../src/client/login.ts'
import type { Disk } from '../src/io/io.ts'

/** @throws Error in one line, without any password in it. */
export async function readAuthFile(disk: Disk, path: string): Promise<[Login, ...Login[]]> {
  const bytes = await disk.readFile(path).catch((error) => {
    throw new Error(`${path} can't be read (${error.code}): check --auth-file`)
  })
  if (!bytes) throw new Error(`${path} is not there: check --auth-file`)
  return parseAuthFile(bytes, path)
}

export function parseAuthFile(bytes: Buffer, path: string): [Login, ...Login[]] {
  const lines = textOf(bytes, path).split(/\r?\n/)
  if (lines.at(-1) === '') lines.pop()
  const users = new Set<string>()
  const [first, ...others] = lines.map((line, at): Login => {
    // The password may have blanks and colons: it is what follows.
    const [, user, password] = /^([^: ]+):(.+)$/.exec(line) ?? []
    const where = `${path}: line ${at + 1}`
    if (user === undefined || password === undefined) {
      throw new Error(`${where} is not user:password, with no blank in the user's name`)
    }
    if (users.has(user)) throw new Error(`${where} names user ${user} again`)
    users.add(user)
    return { user, password }
  })
  if (!first) throw new Error(`${path} is empty: it needs a line user:password`)
  return [first, ...others]
}

function textOf(bytes: Buffer, path: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new Error(`${path} is not text in UTF-8`)
  }
}

/** As servers know them: one character a byte. */
export function usersOf(logins: readonly Login[]): Map<string, string> {
  const asBytes = (text: string) => Buffer.from(text).toString('latin1')
  return new Map(logins.map(({ user, password }) => [asBytes(user), asBytes(password)]))
}
