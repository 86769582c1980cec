"""A server that is asked to end ends its turn, closes its store, and says that all went well."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.serving import Served
from tests.loop.live_worlds import SOURCE, slo

pytestmark = pytest.mark.live


def test_a_server_that_is_asked_to_end_closes_its_store(tmp_path: Path) -> None:
    specs = tmp_path / "specs"
    specs.mkdir()
    (specs / "slo.yaml").write_text(SOURCE + slo("plain"), encoding="utf-8")
    server = Served(specs, str(tmp_path / "data")).start()
    process = server.process
    assert process is not None
    listener = subprocess.Popen(  # somebody who listens to live changes holds nobody up
        [
            *(sys.executable, "-c"),
            f"import urllib.request as r; r.urlopen('{server.url}/api/v1/events/stream').read()",
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        server.stop()
        assert process.returncode == 0
        names = {one.name for one in (tmp_path / "data").iterdir()}
        assert "tightrope.db" in names
        assert not {one for one in names if one.startswith("tightrope.db-")}, "what is in the log is in the store"
    finally:
        listener.kill()
        listener.wait(10)
