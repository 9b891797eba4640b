#!/bin/sh
# Installs the Debian packages that only some tests use. Without them those tests are skipped.
set -eu
packages="netcat-openbsd"
if dpkg -s $packages >/dev/null 2>&1; then
  exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "not root, or no apt-get: tests that need $packages will be skipped"
  exit 0
fi
apt-get update -qq && apt-get install -y -qq $packages >/dev/null ||
  echo "could not install $packages: tests that need them will be skipped"
