"""The server says whether it is ready: one that follows no specs is not."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tests.loop.live_worlds import SOURCE, slo
from tightrope.app import serving
from tightrope.base import clock
from tightrope.loop.server import ServeSettings


def until(held: Callable[[], bool]) -> None:
    end = clock.ticks() + 20
    while not held():
        assert clock.ticks() < end
        time.sleep(0.02)


def test_a_server_whose_specs_were_broken_from_the_beginning_is_not_ready(tmp_path: Path) -> None:
    specs = tmp_path / "specs"
    specs.mkdir()
    (specs / "slo.yaml").write_text(SOURCE + slo("plain").replace("0.99", "99"), encoding="utf-8")
    settings = ServeSettings(spec_paths=(str(specs),))
    with serving(settings, str(tmp_path / "data"), every_s=0.05) as server:
        until(lambda: server.live.snapshot.number > 0)
        ready, why = server.ready()
        assert not ready
        assert why.startswith("no specs are followed")
        (specs / "slo.yaml").write_text(SOURCE + slo("plain"), encoding="utf-8")
        until(lambda: server.ready()[0])
        (specs / "slo.yaml").write_text(SOURCE + slo("plain").replace("0.99", "98"), encoding="utf-8")
        until(lambda: len(server.problems()) > 0)
        assert server.ready()[0], "the last good set is followed"
    left = {one.name for one in (tmp_path / "data").iterdir()}
    assert "tightrope.db" in left
    assert not [name for name in left if name.startswith("tightrope.db-")], "no log of the store is left behind"
