#!/bin/sh
# Make real servers and a browser available to tests and benchmarks, from the distribution's packages.
# A server is unpacked under build/servers and not installed, so no daemon is started, no user made, and root is only
# needed to refresh the package lists. Chromium wants many libraries where the distribution puts them, and is no daemon:
# it is installed, where that can be done without asking anybody. What cannot be had is named and left out; the tests
# that want it then skip and say why.
# Usage: tools/servers.sh PROGRAM...   (named as its Debian package, but for kubectl; postgresql is that of any version)
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
folder=$root/build/servers
PATH=$folder/usr/bin:$folder/usr/sbin:$PATH

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

have() {
    case $1 in
    postgresql) # its programs are not on the PATH, but in a folder of their version
        command -v initdb >/dev/null 2>&1 || [ -n "$(ls "$folder"/usr/lib/postgresql/*/bin/initdb /usr/lib/postgresql/*/bin/initdb 2>/dev/null)" ]
        ;;
    chromium)
        { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null 2>&1 &&
            command -v chromedriver >/dev/null 2>&1
        ;;
    podman) # and what it runs containers with; the image of the tests is a busybox that needs no libraries
        command -v podman >/dev/null 2>&1 && command -v runc >/dev/null 2>&1 && command -v conmon >/dev/null 2>&1 &&
            command -v catatonit >/dev/null 2>&1 && { [ -x "$folder/bin/busybox" ] || [ -x /bin/busybox ]; }
        ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}

libraries() { # that packages depend on
    apt-cache depends "$@" | sed -n 's/^ *Depends: \(lib[a-z0-9.+-]*\)$/\1/p' | grep -v -e '^libc6$' -e '^libgcc' | sort -u
}

may_install() {
    [ "$(id -u)" = 0 ] || { command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; }
}

install() {
    set -- env DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends "$@"
    as_root "$@" >/dev/null 2>&1 && return
    as_root apt-get -qq update 2>/dev/null && as_root "$@" >/dev/null
}

packages() {
    case $1 in
    postgresql) # an empty package that depends on the version of this release
        apt-cache depends postgresql | sed -n 's/^ *Depends: \(postgresql-[0-9]*\)$/\1/p'
        echo libpq5
        ;;
    kubectl) echo kubernetes-client ;;
    podman)
        echo podman runc conmon catatonit busybox-static
        # shellcheck disable=SC2046  # one word for each package
        { libraries podman runc conmon; libraries $(libraries podman runc conmon); } | sort -u
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
    elif [ "$program" = chromium ]; then
        if ! may_install; then
            echo "servers: no Chromium with its driver here, and no leave to install it; as root: apt-get install chromium chromium-driver" >&2
        elif install chromium chromium-driver; then
            echo "servers: installed chromium and chromium-driver"
        else
            echo "servers: chromium and chromium-driver cannot be installed; what needs them skips" >&2
        fi
        continue
    fi
    landing=$(mktemp -d)
    if ! (cd "$landing" && fetch "$program" && mkdir -p "$folder" && unpack "$landing"); then
        echo "servers: no $program here and its package cannot be fetched; install it to run what needs it" >&2
    fi
    rm -rf "$landing"
done
