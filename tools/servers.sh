#!/bin/sh
# Make real servers available to tests and benchmarks, from the distribution's packages, without installing anything:
# a package is unpacked under build/servers, so no daemon is started, no user made, and root is only needed to refresh
# the package lists. What cannot be had is named and left out; the tests that want it then skip and say why.
# Usage: tools/servers.sh PROGRAM...   (a program is named as its Debian package)
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
folder=$root/build/servers
PATH=$folder/usr/bin:$PATH

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

fetch() {
    apt-get -qq -o APT::Sandbox::User=root download "$1" 2>/dev/null && return
    as_root apt-get -qq update 2>/dev/null && apt-get -qq -o APT::Sandbox::User=root download "$1" 2>/dev/null
}

for program in "$@"; do
    if command -v "$program" >/dev/null 2>&1; then
        continue
    elif ! command -v apt-get >/dev/null 2>&1; then
        echo "servers: no $program here and no apt-get to fetch it; install it to run what needs it" >&2
        continue
    fi
    landing=$(mktemp -d)
    if (cd "$landing" && fetch "$program" && mkdir -p "$folder" && dpkg-deb --extract ./*.deb "$folder"); then
        echo "servers: unpacked $(basename "$landing"/*.deb .deb) under build/servers"
    else
        echo "servers: no $program here and its package cannot be fetched; install it to run what needs it" >&2
    fi
    rm -rf "$landing"
done
