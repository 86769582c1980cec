"""``serve``: what is said before anything is served."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path

from tests.cli.world import run
from tightrope.base.errors import UsageError
from tightrope.cli.serve import _listener


def test_whoever_comes_before_the_server_is_up_waits_and_is_not_turned_away() -> None:
    with closing(_listener("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname(), 2):
        pass


def test_an_incident_that_nobody_knows_cannot_be_under_way(tmp_path: Path) -> None:
    known = tmp_path / "incidents.csv"
    known.write_text("start,end,service,id\n2026-03-01T00:00:00Z,2026-03-01T02:00:00Z,shop,INC-1\n", encoding="utf-8")
    asked = ("serve", "--replay", "-f", tmp_path, "--data", tmp_path / "data", "--port", 0)
    for more in (["--incidents", known, "--amid", "INC-2"], ["--amid", "INC-1"]):
        error = run(*asked, *more).exception
        assert isinstance(error, UsageError)
        assert "there is no incident" in error.message
    assert not (tmp_path / "data").exists()
