"""One server for all tests of the API, and one that asks nobody on this machine for a token."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.api.world import World, running, write_fleet


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server that wants a token of everybody."""
    folder = tmp_path_factory.mktemp("api")
    write_fleet(folder, int(time.time()))  # noqa: TID251 - the server runs on the real clock
    with running(folder, required=True) as found:
        yield found


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server that trusts whoever is on this machine."""
    folder = tmp_path_factory.mktemp("local")
    write_fleet(folder, int(time.time()))  # noqa: TID251 - the server runs on the real clock
    with running(folder, required=False) as found:
        yield found
