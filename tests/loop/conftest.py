"""What tests of the loop begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loop.live_worlds import Begin, World


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    made: list[World] = []

    def make(text: str, **others: object) -> World:
        made.append(World(tmp_path / "store", text, tmp_path, **others))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.close()
