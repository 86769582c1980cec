#!/bin/sh
# Resolve the dependencies anew for every supported Python, and write them down with hashes and without any address.
# Usage: tools/lock.sh UV [PACKAGE...]   (with packages: upgrade only these; without: everything)
set -eu
uv=$1
shift
upgrade=--upgrade
[ $# -eq 0 ] || upgrade=$(printf -- '--upgrade-package %s ' "$@")

resolve() {
    target=$1
    shift
    # shellcheck disable=SC2086  # the upgrade options are meant to be split
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
        --no-emit-index-url --no-emit-find-links --no-config $upgrade "$@" --output-file "$target"
    if grep -nE '://|^ *--?(index|extra|find|trusted)' "$target"; then
        echo "lock: $target names an address; remove it before committing" >&2
        exit 1
    fi
}

resolve tools/requirements.lock tools/requirements.in
resolve requirements.lock pyproject.toml --all-extras --group dev
echo "locked $(grep -c '==' requirements.lock) packages for the project and $(grep -c '==' tools/requirements.lock) to install them"
