"""Killed with -9 at every moment, before and after every commit and effect: the same end, and no effect twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT


def _played(store: str, folder: Path, story: str) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    """How a story ends undisturbed, how it ends after each kill, and what the journal says at last."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.runs.kills", store, str(folder), story],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"},  # noqa: TID251
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    first, *rest, journal = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rest) == first["moments"]
    return first, rest, journal


@pytest.mark.timeout(300)
def test_killed_at_every_moment_a_run_ends_as_if_nothing_had_been(store: str, tmp_path: Path) -> None:
    first, rest, journal = _played(store, tmp_path, "effects")
    assert first["moments"] > 60
    assert first["runs"] == {"first": "succeeded", "second": "succeeded", "third": "cancelled"}
    unknown = 0
    for told in rest:
        held = told["held"]
        if held["steps"]["first/tell"] == "unknown":
            # It may have been done or not, and nobody did it again; the group waits for a person.
            unknown += 1
            assert held["effects"] in (["first/deploy"], ["first/deploy", "first/tell"])
            assert (held["runs"]["first"], held["runs"]["second"]) == ("unknown", "queued")
        else:
            assert held["effects"] == first["effects"]
        assert told["runs"] == first["runs"]
        assert told["steps"] == first["steps"]
        assert told["attempts"] == first["attempts"]
        for name, outcome in told["outcomes"].items():
            assert outcome == first["outcomes"][name] or name == "first/tell"
    assert unknown > 0
    stories = first["moments"] + 1
    assert journal["broken"] == 0
    kinds = {kind.removeprefix("dev.tightrope."): count for kind, count in journal["kinds"].items()}
    assert kinds == {
        "run.queued.v1": 3 * stories,
        "run.started.v1": 2 * stories,
        "run.cancelling.v1": stories,
        "run.finished.v1": 3 * stories,
        "run.held.v1": unknown,
        "step.ready.v1": 5 * stories,
        "step.started.v1": 6 * stories,
        "step.requeued.v1": stories,
        "step.unknown.v1": unknown,
        "step.settled.v1": unknown,
        "step.finished.v1": 7 * stories,
    }


@pytest.mark.timeout(300)
def test_killed_at_every_moment_a_server_goes_on_with_its_command_and_starts_no_second(store: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first, rest, journal = _played(store, Path(folder), "command")
    assert first["moments"] > 10
    for told in (first, *rest):
        assert (told["runs"], told["lines"]) == ({"first": "succeeded"}, 1)
        assert told["steps"] == {"first/command": "succeeded"}
    assert journal["broken"] == 0
