"""One server for all callers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.world import World
from tests.contracts.dialect_world import dialect_world


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server with services in every standing."""
    with dialect_world(tmp_path_factory.mktemp("dialects")) as world:
        yield world
