#!/bin/sh
# Make real servers available to tests and benchmarks, from the distribution's packages, without installing anything:
# a package is unpacked under build/servers, so no daemon is started, no user made, and root is only needed to refresh
# the package lists. What cannot be had is named and left out; the tests that want it then skip and say why.
# Usage: tools/servers.sh PROGRAM...   (a program is named as its Debian package; postgresql is that of any version)
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
folder=$root/build/servers
PATH=$folder/usr/bin:$PATH

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

have() {
    case $1 in
    postgresql) # its programs are not on the PATH, but in a folder of their version
        command -v initdb >/dev/null 2>&1 || [ -n "$(ls "$folder"/usr/lib/postgresql/*/bin/initdb /usr/lib/postgresql/*/bin/initdb 2>/dev/null)" ]
        ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}

packages() {
    case $1 in
    postgresql) # an empty package that depends on the version of this release
        apt-cache depends postgresql | sed -n 's/^ *Depends: \(postgresql-[0-9]*\)$/\1/p'
        echo libpq5
        ;;
    *) echo "$1" ;;
    esac
}

fetch() {
    # shellcheck disable=SC2046  # one word for each package
    set -- $(packages "$1")
    apt-get -qq -o APT::Sandbox::User=root download "$@" 2>/dev/null && return
    as_root apt-get -qq update 2>/dev/null && apt-get -qq -o APT::Sandbox::User=root download "$@" 2>/dev/null
}

unpack() {
    for package in "$1"/*.deb; do
        dpkg-deb --extract "$package" "$folder" || return
        echo "servers: unpacked $(basename "$package" .deb) under build/servers"
    done
}

for program in "$@"; do
    if have "$program"; then
        continue
    elif ! command -v apt-get >/dev/null 2>&1; then
        echo "servers: no $program here and no apt-get to fetch it; install it to run what needs it" >&2
        continue
    fi
    landing=$(mktemp -d)
    if ! (cd "$landing" && fetch "$program" && mkdir -p "$folder" && unpack "$landing"); then
        echo "servers: no $program here and its package cannot be fetched; install it to run what needs it" >&2
    fi
    rm -rf "$landing"
done
