/** The client libraries that are tried, the programs that use them, and what these need. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'

export interface Library {
  readonly name: string
  /** The Debian packages that it comes in. */
  readonly packages: string
  readonly isInstalled: () => boolean
  /** What runs its program against the server at `address`, with keys that begin with `prefix`. */
  readonly command: (address: string, prefix: string) => [string, ...string[]]
}

/** Debian's, where its packages go; there may be others. */
const PYTHON = '/usr/bin/python3'
const SPYMEMCACHED = '/usr/share/java/spymemcached.jar'

function succeeds(command: string, ...args: string[]): boolean {
  return spawnSync(command, args, { stdio: 'ignore' }).status === 0
}

function npm(name: string): Library {
  return {
    name: `${name} (npm)`,
    packages: '',
    isInstalled: () => true,
    command: (...args) => [process.execPath, `npm-${name}.mjs`, ...args],
  }
}

function python(name: string): Library {
  return {
    name: `${name} (Python)`,
    packages: `python3-${name}`,
    isInstalled: () => succeeds(PYTHON, '-c', `import ${name}`),
    command: (...args) => [PYTHON, '-B', `python-${name}.py`, ...args],
  }
}

function perl(name: string, packages: string): Library {
  return {
    name: `${name} (Perl)`,
    packages,
    isInstalled: () => succeeds('perl', `-M${name}`, '-e', '1'),
    command: (...args) => ['perl', 'perl-memcached.pl', ...args, name],
  }
}

export const LIBRARIES: readonly Library[] = [
  npm('memcached'),
  npm('memcache-client'),
  npm('memcache-plus'),
  python('pymemcache'),
  python('pylibmc'),
  perl('Cache::Memcached', 'libcache-memcached-perl'),
  perl('Cache::Memcached::Fast', 'libcache-memcached-fast-perl'),
  {
    name: 'memcached (PHP)',
    packages: 'php-cli php-memcached',
    isInstalled: () => succeeds('php', '-r', 'new Memcached();'),
    command: (...args) => ['php', 'php-memcached.php', ...args],
  },
  {
    name: 'spymemcached (Java)',
    packages: 'default-jdk-headless libspymemcached-java',
    isInstalled: () => existsSync(SPYMEMCACHED) && succeeds('javac', '--version'),
    command: (...args) => ['java', '-cp', SPYMEMCACHED, 'JavaSpymemcached.java', ...args],
  },
]
