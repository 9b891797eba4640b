#!/bin/sh
# Installs the Debian packages that only some tests and the benchmark use. Without them those
# tests are skipped, and the benchmark leaves them out.
set -eu
packages="
  default-jdk-headless
  etcd-server
  fish
  libcache-memcached-fast-perl
  libcache-memcached-perl
  libmemcached-tools
  libspymemcached-java
  memcached
  netcat-openbsd
  php-cli
  php-memcached
  python3-pylibmc
  python3-pymemcache
  redis-server
  zsh
"
if dpkg -s $packages >/dev/null 2>&1; then
  exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "not root, or no apt-get: tests will be skipped that need one of" $packages
  exit 0
fi
# Only their programs are wanted: while this file says so, no package starts a service.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap 'rm -f $policy' EXIT
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod +x $policy
fi
apt-get update -qq && apt-get install -y -qq --no-install-recommends $packages >/dev/null ||
  echo "could not install: tests will be skipped that need one of" $packages
