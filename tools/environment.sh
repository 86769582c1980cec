#!/bin/sh
# Build or refresh the virtual environment from the locked dependencies: needs only Python, its pip and its venv module.
# Usage: tools/environment.sh PYTHON FOLDER
set -eu
python=$1
folder=$2
installer=$folder/installer # an environment of its own, so that the project's holds nothing but what is locked

if ! command -v "$python" >/dev/null 2>&1; then
    echo "setup: there is no '$python' here; install it (Debian: apt-get install python3 python3-venv)" >&2
    exit 2
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "setup: $("$python" --version) is too old; Tightrope needs Python 3.11 or newer (make PYTHON=python3.12 ...)" >&2
    exit 2
fi

works() { [ -x "$1/bin/python" ] && "$1/bin/python" -c '' 2>/dev/null; }

cannot() {
    echo "setup: this Python can make no virtual environment; on Debian: apt-get install python3-venv" >&2
    exit 2
}

# A venv with pip needs ensurepip, which Debian ships in python3-venv; with python3-pip alone that pip does the work.
works "$folder" || "$python" -m venv --clear --without-pip "$folder" || cannot
if ! works "$installer"; then
    if "$python" -c 'import ensurepip' 2>/dev/null; then
        "$python" -m venv --clear "$installer"
    elif "$python" -c 'import pip' 2>/dev/null; then
        "$python" -m venv --clear --without-pip "$installer"
    else
        cannot
    fi
fi
if "$installer/bin/python" -c 'import pip' 2>/dev/null; then pip=$installer/bin/python; else pip=$python; fi

pip_into() {
    where=$1
    shift
    "$pip" -m pip --python "$where/bin/python" install --quiet --disable-pip-version-check "$@"
}

uv_pip() {
    "$installer/bin/uv" pip "$@" --quiet --compile-bytecode --python "$folder/bin/python"
}

# uv does not read pip's configuration; where only pip knows the way to a package index, pip does the work.
if pip_into "$installer" --require-hashes --requirement tools/requirements.lock \
    && uv_pip sync --require-hashes requirements.lock; then
    uv_pip install --no-deps --no-build-isolation --editable .
else
    echo "setup: uv could not install the packages, trying pip" >&2
    pip_into "$folder" --require-hashes --requirement requirements.lock
    PATH=$(cd "$folder/bin" && pwd):$PATH pip_into "$folder" --no-deps --no-build-isolation --editable .
fi
echo "setup: $("$folder/bin/python" --version), $(grep -c '==' requirements.lock) locked packages in $folder"
