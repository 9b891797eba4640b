#!/bin/sh
# Installs the Debian packages that only some tests use. Without them those tests are skipped.
set -eu
packages="
  default-jdk-headless
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
"
if dpkg -s $packages >/dev/null 2>&1; then
  exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "not root, or no apt-get: tests will be skipped that need one of" $packages
  exit 0
fi
apt-get update -qq && apt-get install -y -qq --no-install-recommends $packages >/dev/null ||
  echo "could not install: tests will be skipped that need one of" $packages
