"""A server in memory for the tests of the live pages, and a client that sits at the same machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.web.standin import World, standin
from tests.web.worlds import END, INCIDENTS, fleet, reading
from tightrope.specs.model import Specs
from tightrope.web.routes import web_routes

HERE = ("127.0.0.1", 50_000)


def client_of(world: World) -> TestClient:
    """A browser without scripts, at the same machine as the server."""
    pages = Starlette(routes=web_routes(world.server))
    return TestClient(pages, base_url="http://127.0.0.1:8080", client=HERE, follow_redirects=False)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """The small fleet, 20 seconds after its last slice."""
    found = fleet()
    specs = Specs(slos=tuple(one.slo for one in found), digest="a1b2c3d4e5f60718")
    with standin(tmp_path, found, specs, at=END + 20) as made:
        made.still.read, made.still.incidents = reading, INCIDENTS
        yield made


@pytest.fixture
def client(world: World) -> Iterator[TestClient]:
    with client_of(world) as found:
        yield found
