"""The stores that the journal must behave alike on: SQLite in a folder, and a real PostgreSQL on loopback."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import psycopg
import pytest

from tests.conftest import ROOT
from tests.live.conftest import free_port

_STARTS_WITHIN_S = 30
_number = count()


def _programs() -> Path | None:
    """The folder that holds initdb and postgres: on the PATH, where Debian puts them, or unpacked by make."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    found = [
        folder for root in (Path("/"), ROOT / "build" / "servers") for folder in root.glob("usr/lib/postgresql/*/bin")
    ]
    return max((one for one in found if (one / "initdb").exists()), default=None)


def _stranger() -> str | None:
    """PostgreSQL refuses to run as root; then another user has to do it."""
    if os.geteuid() != 0:
        return None
    names = {one.pw_name for one in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The address of a PostgreSQL server of our own, without a database; skips where there is no such program."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    folder, user, port = Path(tempfile.mkdtemp(prefix="tightrope-postgresql-")), _stranger(), free_port()
    if user is not None:
        shutil.chown(folder, user)
    surroundings = {**os.environ, "LC_ALL": "C"}  # noqa: TID251
    if programs.is_relative_to(ROOT):
        libraries = sorted(str(one) for one in (ROOT / "build" / "servers" / "usr" / "lib").glob("*-linux-gnu"))
        surroundings["LD_LIBRARY_PATH"] = ":".join(libraries)
    command = [str(programs / "initdb"), "-D", "data", "-U", "tightrope", "-A", "trust", "--no-sync", "-E", "UTF8"]
    made = subprocess.run(command, capture_output=True, text=True, cwd=folder, user=user, env=surroundings, check=False)
    if made.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"PostgreSQL cannot be set up here: {made.stderr.strip()[-300:]}")
    log = (folder / "log").open("wb")
    settings = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off"]
    command = [str(programs / "postgres"), "-D", "data", "-p", str(port), *settings]
    server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, user=user, env=surroundings)
    try:
        address = f"postgresql://tightrope@127.0.0.1:{port}"
        _wait(address, server, folder / "log")
        yield address
    finally:
        server.send_signal(signal.SIGQUIT)  # at once: nobody needs its data again
        with suppress(subprocess.TimeoutExpired):
            server.wait(20)
        server.kill()
        server.wait()
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def _wait(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(_STARTS_WITHIN_S * 10):
        if server.poll() is not None:
            break
        with suppress(psycopg.OperationalError), psycopg.connect(f"{address}/postgres"):
            return
        time.sleep(0.1)
    pytest.fail(f"PostgreSQL did not start:\n{log.read_text(errors='replace')[-2000:]}")


@pytest.fixture
def new_database(postgresql: str) -> Callable[[], str]:
    """Make an empty database on the real server, and hand out its address."""

    def make() -> str:
        name = f"test_{os.getpid()}_{next(_number)}"
        with psycopg.connect(f"{postgresql}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"{postgresql}/{name}"

    return make


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.live)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty store is to be, on each kind of database."""
    if request.param == "sqlite":
        return str(tmp_path / "store")
    make: Callable[[], str] = request.getfixturevalue("new_database")
    return make()
