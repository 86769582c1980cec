"""The worker's unit for systemd: taken as it is, and in step with the command line."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tightrope.cli.worker import worker

UNIT = ROOT / "deploy" / "systemd" / "tightrope-worker.service"


def test_systemd_takes_the_unit_without_a_word(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd is not installed here")
    here = tmp_path / UNIT.name
    here.write_text(UNIT.read_text(encoding="utf-8").replace("/opt/tightrope/bin/tightrope", sys.executable))
    command = [program, "verify", "--man=no", str(here)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert (done.returncode, done.stderr.strip()) == (0, "")


def test_the_unit_starts_a_worker_with_options_that_it_has_and_leaves_its_commands_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TIGHTROPE_DATA", "postgresql://tightrope@db/tightrope")
    unit = ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(UNIT, encoding="utf-8")
    program, command, *rest = shlex.split(unit["Service"]["ExecStart"])
    assert (program, command) == ("/opt/tightrope/bin/tightrope", "worker")
    given = worker.make_context("worker", list(rest)).params
    assert (given["data"], given["work"]) == (
        "postgresql://tightrope@db/tightrope",
        "/var/lib/tightrope-worker/runs",
    )
    assert unit["Service"]["KillMode"] == "process"
